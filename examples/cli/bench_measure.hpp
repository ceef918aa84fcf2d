// How `bench` takes its times.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

#include "pensee/base/result.hpp"

namespace pensee::cli {

// Precondition: there are values.
[[nodiscard]] inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Seconds of one run: the median of `repeats`, after one that warms up and is not counted.
template <class Run>
Result<double> measure_seconds(int repeats, Run&& run) {
  std::vector<double> seconds;
  for (int i = 0; i <= repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    PENSEE_RETURN_IF_ERROR(run());
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    if (i > 0) seconds.push_back(passed.count());
  }
  return median(std::move(seconds));
}

}  // namespace pensee::cli
