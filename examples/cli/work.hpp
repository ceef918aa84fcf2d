// What a pass of tokens through a model costs at least: bytes to read and operations.
#pragma once

#include "machine_limits.hpp"
#include "pensee/model/transformer.hpp"

namespace pensee::cli {

// A multiplication and the addition of its product are two operations.
struct Work {
  double weight_bytes = 0;
  double cache_bytes = 0;
  double int8_operations = 0;  // on weights in blocks
  double bf16_operations = 0;  // on weights in 16 or 8 bits, and attention
  double f32_operations = 0;   // on weights in 32 bits

  [[nodiscard]] double bytes() const noexcept { return weight_bytes + cache_bytes; }
  // The least seconds that the machine needs for the bytes alone, and for the operations alone.
  [[nodiscard]] double read_seconds(const MachineLimits& machine) const;
  // 0 where a peak is not known.
  [[nodiscard]] double compute_seconds(const MachineLimits& machine) const;
};

// n tokens in one pass behind `cached` others, with logits of the last of them. Weights are read
// once; of the embeddings one row a token; of an expert's weights as much as is expected where
// tokens choose evenly. Norms, biases and the router's arithmetic are left out.
[[nodiscard]] Work work_of_pass(const Transformer& model, CacheType cache, int64_t n,
                                int64_t cached);

}  // namespace pensee::cli
