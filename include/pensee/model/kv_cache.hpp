// The key-value cache: what every cached token keeps in every layer.
#pragma once

#include <cstdint>

#include "pensee/base/arena.hpp"
#include "pensee/kernels/table.hpp"
#include "pensee/model/config.hpp"

namespace pensee {

// Rows of float32 numbers. Multi-head latent attention: [RMSNorm(c_kv) (kv_lora_rank) |
// RoPE(k_pe) (qk_rope_head_dim)], the same for all heads. Grouped-query attention: [RoPE(keys)
// (n_kv_heads, head_dim) | values (n_kv_heads, head_dim)]. To the kernels a slice of the columns of
// one layer is one more matrix, with a row for each token.
struct KvCache {
  float* data = nullptr;  // (n_layers, capacity, row_size)
  int64_t capacity = 0;   // tokens
  int64_t row_size = 0;   // Config::cache_row_size()

  static KvCache layout(Arena& arena, const Config& config, int64_t capacity) {
    KvCache cache;
    cache.capacity = capacity;
    cache.row_size = config.cache_row_size();
    cache.data = arena.take<float>(config.n_layers * capacity * cache.row_size);
    return cache;
  }

  // Rows of one layer: (capacity, row_size).
  [[nodiscard]] float* layer(int64_t index) const noexcept {
    return data + index * capacity * row_size;
  }

  // `cols` numbers of every row of a layer, from column `first` on, as a kernel's matrix.
  [[nodiscard]] KernelMatrix matrix(const float* layer_rows, int64_t first,
                                    int64_t cols) const noexcept {
    return {layer_rows + first, nullptr, row_size * static_cast<int64_t>(sizeof(float)), 0, cols};
  }
};

}  // namespace pensee
