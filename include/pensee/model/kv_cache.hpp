// The key-value cache: what every cached token keeps in every layer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "pensee/base/arena.hpp"
#include "pensee/base/dtype.hpp"
#include "pensee/base/result.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/kernels/table.hpp"
#include "pensee/model/config.hpp"

namespace pensee {

// X(enumerator, name, type of its rows): how the numbers are held, numbered as in CacheStorage.
#define PENSEE_CACHE_TYPE_LIST(X) \
  X(kBF16, "bf16", DType::kBF16)  \
  X(kF32, "f32", DType::kF32)     \
  X(kQ8, "q8", DType::kQ8_0)

enum class CacheType : uint8_t {
#define PENSEE_X(enumerator, name, dtype) enumerator,
  PENSEE_CACHE_TYPE_LIST(PENSEE_X)
#undef PENSEE_X
};
#define PENSEE_X(enumerator, name, dtype) \
  static_assert(static_cast<int>(CacheType::enumerator) == int{CacheStorage::enumerator});
PENSEE_CACHE_TYPE_LIST(PENSEE_X)
#undef PENSEE_X

[[nodiscard]] constexpr std::string_view cache_type_name(CacheType type) noexcept {
  switch (type) {
#define PENSEE_X(enumerator, name, dtype) \
  case CacheType::enumerator:             \
    return name;
    PENSEE_CACHE_TYPE_LIST(PENSEE_X)
#undef PENSEE_X
  }
  return "unknown";
}

[[nodiscard]] constexpr DType cache_dtype(CacheType type) noexcept {
  switch (type) {
#define PENSEE_X(enumerator, name, dtype) \
  case CacheType::enumerator:             \
    return dtype;
    PENSEE_CACHE_TYPE_LIST(PENSEE_X)
#undef PENSEE_X
  }
  return DType::kF32;
}

// Errors: kInvalidArgument, with the names there are.
[[nodiscard]] inline Result<CacheType> cache_type_from_name(std::string_view name) {
  std::string names;
#define PENSEE_X(enumerator, text, dtype)         \
  if (name == text) return CacheType::enumerator; \
  names += (names.empty() ? "" : ", ") + std::string(text);
  PENSEE_CACHE_TYPE_LIST(PENSEE_X)
#undef PENSEE_X
  return invalid_argument("cache type: expected one of " + names + ", found " + std::string(name));
}

// Every layer has planes, each with a row for every token: with grouped-query attention a plane for
// each key-value head, of rows [RoPE(key) (head_dim) | value (head_dim)]; with multi-head latent
// attention one plane, of rows [RMSNorm(c_kv) (kv_lora_rank) | RoPE(k_pe) (qk_rope_head_dim)]. Of
// rows in blocks each part fills whole blocks, with zeros at its end.
struct KvCache {
  std::byte* data = nullptr;  // (n_layers, planes, capacity, row_bytes)
  int64_t capacity = 0;       // tokens
  int64_t planes = 0;         // of a layer
  int64_t second = 0;         // the number with which the second part begins
  int64_t row_size = 0;       // numbers, those that fill blocks included
  int64_t row_bytes = 0;
  CacheType type = CacheType::kF32;

  static KvCache layout(Arena& arena, const Config& config, int64_t capacity, CacheType type) {
    const int64_t block = dtype_block_elements(cache_dtype(type));
    const auto whole_blocks = [&](int64_t numbers) { return ceil_div(numbers, block) * block; };
    KvCache cache;
    cache.type = type;
    cache.capacity = capacity;
    cache.planes = config.has_mla() ? 1 : config.n_kv_heads;
    cache.second = whole_blocks(config.has_mla() ? config.kv_lora_rank : config.head_dim);
    cache.row_size =
        cache.second + whole_blocks(config.has_mla() ? config.qk_rope_head_dim : config.head_dim);
    cache.row_bytes = dtype_row_bytes(cache_dtype(type), cache.row_size);
    int64_t rows = 0;
    int64_t bytes = 0;
    if (__builtin_mul_overflow(config.n_layers * cache.planes, capacity, &rows) ||
        __builtin_mul_overflow(rows, cache.row_bytes, &bytes)) {
      bytes = std::numeric_limits<int64_t>::max();  // which the arena refuses
    }
    cache.data = arena.take<std::byte>(bytes);
    return cache;
  }

  // Of one token in all layers.
  [[nodiscard]] static int64_t token_bytes(const Config& config, CacheType type) {
    Arena measure;
    const KvCache one = layout(measure, config, 1, type);
    return config.n_layers * one.planes * one.row_bytes;
  }

  // The planes of one layer: (planes, capacity, row_bytes).
  [[nodiscard]] std::byte* layer(int64_t index) const noexcept {
    return data + index * planes * capacity * row_bytes;
  }
  // Plane `index` of all layers' planes: (capacity, row_bytes).
  [[nodiscard]] std::byte* plane(int64_t index) const noexcept {
    return data + index * capacity * row_bytes;
  }
  // `cols` numbers of every row of a plane, from number `first` on, which begins a part.
  [[nodiscard]] KernelMatrix matrix(const std::byte* layer_rows, int64_t plane, int64_t first,
                                    int64_t cols) const noexcept {
    return {layer_rows + plane * capacity * row_bytes + dtype_row_bytes(cache_dtype(type), first),
            nullptr, row_bytes, 0, cols};
  }

  // Puts one part of a token's row: x (n) from number `first` on.
  void store(const KernelTable& kernels, std::byte* layer_rows, int64_t plane, int64_t token,
             int64_t first, const float* x, int64_t n) const {
    std::byte* out = layer_rows + (plane * capacity + token) * row_bytes +
                     dtype_row_bytes(cache_dtype(type), first);
    switch (type) {
      case CacheType::kF32:
        std::memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
        return;
      case CacheType::kBF16:
        for (int64_t i = 0; i < n; ++i) {
          const uint16_t bits = f32_to_bf16(x[i]);
          std::memcpy(out + 2 * i, &bits, sizeof bits);
        }
        return;
      case CacheType::kQ8:
        store_q8(kernels, x, n, out);
    }
  }

 private:
  static void store_q8(const KernelTable& kernels, const float* x, int64_t n, std::byte* out) {
    constexpr int64_t kBlock = dtype_block_elements(DType::kQ8_0);
    for (int64_t c = 0; c < n; c += kQ8Columns) {
      const int64_t count = std::min<int64_t>(kQ8Columns, n - c);
      Q8Chunk chunk;
      kernels.quantize_q8(x + c, count, &chunk, 1);
      for (int64_t b = 0; b < ceil_div(count, kBlock); ++b) {
        const uint16_t scale = f32_to_f16(chunk.scales[b]);
        std::memcpy(out, &scale, sizeof scale);
        std::memcpy(out + sizeof scale, chunk.codes + b * kBlock, kBlock);
        out += dtype_block_bytes(DType::kQ8_0);
      }
    }
  }
};

}  // namespace pensee
