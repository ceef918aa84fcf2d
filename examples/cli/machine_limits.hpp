// What this machine can do at most, measured: read bandwidth and arithmetic peaks.
#pragma once

#include <optional>
#include <string>

#include "pensee/base/result.hpp"
#include "pensee/base/threads.hpp"

namespace pensee::cli {

struct PeakLimit {
  std::string isa;                   // the instructions used
  std::optional<double> per_second;  // operations a second, all threads; empty: not available
};

struct MachineLimits {
  int n_threads = 0;
  double buffer_bytes = 0;
  bool huge_pages_asked = false;  // the kernel accepted the request; it may still use small pages
  double read_bytes_per_second = 0;
  PeakLimit f32;
  PeakLimit bf16;
  PeakLimit int8;
};

// The best of several passes with all threads of the pool, since a neighbour can only make them
// slower; takes a few seconds.
[[nodiscard]] Result<MachineLimits> measure_machine(ThreadPool& pool);

}  // namespace pensee::cli
