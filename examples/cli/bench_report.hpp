// What `bench` found, and how it is shown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "machine_limits.hpp"
#include "work.hpp"

namespace pensee::cli {

// One pass of `tokens` behind `depth` others in the cache: a prompt, or with one token a step of
// decoding.
struct PassTime {
  int64_t tokens = 0;
  int64_t depth = 0;
  double seconds = 0;
  Work work;
};

struct TokenizerRate {
  size_t bytes = 0;
  size_t tokens = 0;
  double bytes_per_second = 0;
};

struct BenchReport {
  std::string model;
  std::string kernels;
  std::vector<int> cpus;
  bool pinned = false;
  int repeats = 0;
  size_t file_bytes = 0;
  double load_seconds = 0;
  size_t peak_bytes = 0;  // that the process had in memory
  int64_t cache_bytes_per_token = 0;
  size_t cache_bytes = 0;  // of the most tokens that were in the cache
  MachineLimits machine;
  std::vector<PassTime> prefill;
  std::vector<PassTime> decode;
  std::vector<PassTime> sessions;          // steps of so many together: a token of each
  std::optional<TokenizerRate> tokenizer;  // none for a file without vocabulary
};

[[nodiscard]] std::string to_json(const BenchReport& report);
[[nodiscard]] std::string to_text(const BenchReport& report);

}  // namespace pensee::cli
