#include "terminal.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <utility>

namespace pensee::cli {
namespace {

constexpr auto kFirstDraw = std::chrono::milliseconds(500);
constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr int kBarWidth = 40;  // characters

bool output_failed = false;  // this program's own; the library has no such state

void write_to(std::FILE* stream, std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stream) == text.size();
  const bool flushed = std::fflush(stream) == 0;
  if (stream == stdout && !(written && flushed)) output_failed = true;
}

}  // namespace

bool error_is_terminal() {
  return isatty(STDERR_FILENO) == 1;
}
bool input_is_terminal() {
  return isatty(STDIN_FILENO) == 1;
}

std::string given_or_input(const std::string& given) {
  if (given != "-") return given;
  std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

void write_out(std::string_view text) {
  write_to(stdout, text);
}
void write_error(std::string_view text) {
  write_to(stderr, text);
}
std::string mebibytes(size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

bool output_is_good() {
  return !output_failed;
}

Dim::Dim() : allowed_(error_is_terminal() && std::getenv("NO_COLOR") == nullptr) {}

void Dim::begin() {
  if (allowed_ && !on_) write_error("\033[2m");
  on_ = true;
}

void Dim::end() {
  if (allowed_ && on_) write_error("\033[0m");
  on_ = false;
}

ProgressBar::ProgressBar(std::string label)
    : label_(std::move(label)),
      allowed_(error_is_terminal()),
      next_(std::chrono::steady_clock::now() + kFirstDraw) {}

void ProgressBar::show(double fraction) {
  const auto now = std::chrono::steady_clock::now();
  if (!allowed_ || now < next_) return;
  next_ = now + kRedraw;
  drawn_ = true;
  const double whole = std::clamp(fraction, 0.0, 1.0);
  const auto filled = static_cast<size_t>(whole * kBarWidth);
  std::string line =
      "\r" + label_ + " [" + std::string(filled, '#') + std::string(kBarWidth - filled, ' ') + "] ";
  const std::string percent = std::to_string(static_cast<int>(whole * 100.0));
  write_error(line + std::string(3 - percent.size(), ' ') + percent + " %");
}

void ProgressBar::wipe() {
  if (drawn_) write_error("\r\033[K");
  drawn_ = false;
}

}  // namespace pensee::cli
