// The latent cache of multi-head latent attention: what every cached token keeps in every layer.
#pragma once

#include <cstdint>

#include "pensee/base/arena.hpp"
#include "pensee/base/dtype.hpp"
#include "pensee/kernels/table.hpp"
#include "pensee/model/config.hpp"

namespace pensee {

// A row is [RMSNorm(c_kv) (kv_lora_rank) | RoPE(k_pe) (qk_rope_head_dim)], float32: the same for
// all heads. To the kernels the cache is one more matrix, with a row for each token.
struct LatentCache {
  float* data = nullptr;  // (n_layers, capacity, row_size)
  int64_t capacity = 0;   // tokens
  int64_t row_size = 0;   // kv_lora_rank + qk_rope_head_dim

  static LatentCache layout(Arena& arena, const Config& config, int64_t capacity) {
    LatentCache cache;
    cache.capacity = capacity;
    cache.row_size = config.kv_lora_rank + config.qk_rope_head_dim;
    cache.data = arena.take<float>(config.n_layers * capacity * cache.row_size);
    return cache;
  }

  // Rows of one layer: (capacity, row_size).
  [[nodiscard]] float* layer(int64_t index) const noexcept {
    return data + index * capacity * row_size;
  }

  // The first `cols` numbers of every row of a layer as a kernel's matrix.
  [[nodiscard]] KernelMatrix matrix(const float* layer_rows, int64_t cols) const noexcept {
    return {layer_rows, nullptr, row_size * static_cast<int64_t>(sizeof(float)), 0, cols};
  }
};

}  // namespace pensee
