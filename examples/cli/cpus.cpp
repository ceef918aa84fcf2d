#include "cpus.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace pensee::cli {
namespace {

Error refused(const char* what, int code) {
  return {Status::kInternal, std::string("cannot ") + what + " the CPUs of this process: " +
                                 std::generic_category().message(code)};
}

// `thread` 0: the calling one.
Result<void> set_cpus(pid_t thread, std::span<const int> cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(static_cast<size_t>(cpu), &set);
  if (sched_setaffinity(thread, sizeof set, &set) != 0) return refused("choose", errno);
  return {};
}

// The number that text begins with, which is then taken off; -1 if there is none.
int take_number(std::string_view& text) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return error == std::errc() ? value : -1;
}

// Takes off one part of a list, "8" or "0-3". False if there is none.
bool take_range(std::string_view& text, int& first, int& last) {
  first = last = take_number(text);
  if (first < 0) return false;
  if (!text.empty() && text.front() == '-') {
    text.remove_prefix(1);
    last = take_number(text);
  }
  return last >= first;
}

}  // namespace

Result<std::vector<int>> available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return refused("find", errno);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

Result<std::vector<int>> parse_cpus(std::string_view text) {
  PENSEE_ASSIGN_OR_RETURN(const std::vector<int> available, available_cpus());
  const Error malformed = invalid_argument(
      "--cpus: expected numbers and ranges such as 0-3,8, found \"" + std::string(text) + "\"");
  std::vector<int> cpus;
  for (bool more = true; more;) {
    int first = 0;
    int last = 0;
    if (!take_range(text, first, last)) return malformed;
    for (int cpu = first; cpu <= last; ++cpu) {
      if (!std::binary_search(available.begin(), available.end(), cpu)) {
        return invalid_argument("--cpus: expected CPUs of " + format_cpus(available) +
                                ", which this process may use, found " + std::to_string(cpu));
      }
      cpus.push_back(cpu);
    }
    more = !text.empty();
    if (more && text.front() != ',') return malformed;
    if (more) text.remove_prefix(1);
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::string format_cpus(std::span<const int> cpus) {
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    if (i > 0) text += ',';
    text += std::to_string(cpus[i]);
    if (end > i + 1) text.append("-").append(std::to_string(cpus[end - 1]));
    i = end;
  }
  return text;
}

Result<void> use_cpus(std::span<const int> cpus) {
  return set_cpus(0, cpus);
}

Result<void> pin_threads(std::span<const int> cpus) {
  std::vector<pid_t> threads;
  std::error_code error;
  std::filesystem::directory_iterator it("/proc/self/task", error);
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    threads.push_back(static_cast<pid_t>(std::atoi(it->path().filename().c_str())));
  }
  if (error) return refused("choose", error.value());
  std::sort(threads.begin(), threads.end());  // the oldest first
  for (size_t i = 0; i < threads.size(); ++i) {
    PENSEE_RETURN_IF_ERROR(set_cpus(threads[i], cpus.subspan(i % cpus.size(), 1)));
  }
  return {};
}

}  // namespace pensee::cli
