// Where text goes: the answer to standard output, everything else to standard error.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace pensee::cli {

[[nodiscard]] bool error_is_terminal();
[[nodiscard]] bool input_is_terminal();

// `given`, or for "-" all of standard input, without the newline at its end.
[[nodiscard]] std::string given_or_input(const std::string& given);

// Both flush, so that text shows as it is made.
void write_out(std::string_view text);
void write_error(std::string_view text);

// "12.3 MiB".
[[nodiscard]] std::string mebibytes(size_t bytes);

// Fails when standard output could not take all that was written, such as on a full disk.
[[nodiscard]] bool output_is_good();

// Text after begin() is dim on a terminal that allows colours (NO_COLOR unset), until end().
class Dim {
 public:
  Dim();
  ~Dim() { end(); }
  Dim(const Dim&) = delete;
  Dim& operator=(const Dim&) = delete;
  void begin();
  void end();

 private:
  bool allowed_;
  bool on_ = false;
};

// "loading [######      ]  48 %", redrawn in place, only on a terminal and only when the work has
// already lasted half a second. The bar is wiped at the end.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar() { wipe(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void show(double fraction);
  void wipe();

 private:
  std::string label_;
  bool allowed_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace pensee::cli
