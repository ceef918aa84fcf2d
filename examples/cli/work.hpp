// What a pass of tokens through a model costs at least: bytes to read and operations.
#pragma once

#include <cstdint>

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

struct Pass {
  int64_t tokens = 0;     // of each sequence
  int64_t cached = 0;     // tokens before them
  int64_t sequences = 1;  // which the pass serves
  int64_t cache_bytes_per_token = 0;
  bool all_rows = false;  // the last layer computes more than each sequence's last token
};

// The pass computes the logits of each sequence's last token, or of all. Weights are read once; of
// the embeddings one row a token; of an expert's weights as much as is expected where tokens choose
// evenly. Norms and biases are left out.
[[nodiscard]] Work work_of(const Transformer& model, const Pass& pass);

}  // namespace pensee::cli
