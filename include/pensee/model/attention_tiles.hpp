// Attention in the arithmetic of AttentionKernels: cached tokens are packed, a tile at a time, into
// operands of small matrix products, or read in place.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "pensee/base/tensor_view.hpp"
#include "pensee/kernels/table.hpp"
#include "pensee/model/attention.hpp"
#include "pensee/model/kv_cache.hpp"

namespace pensee {

inline constexpr int64_t kScoreRows = 16;  // queries that meet a tile together
// Up to so many queries read cached rows in place. Packing pays where more of them meet a tile, and
// soon where numbers are decoded, for in place that is done again for every few queries.
[[nodiscard]] constexpr int64_t in_place_rows(size_t type) noexcept {
  return type == CacheStorage::kQ8 ? 8 : 32;
}

// Thread scratch. Words are as large as floats, so float32 operands take the most.
struct TileBuffers {
  uint32_t* q = nullptr;        // left (block_rows, key_size)
  uint32_t* keys = nullptr;     // right (key_size, kTileTokens)
  uint32_t* values = nullptr;   // right (kTileTokens, value_size)
  float* scores = nullptr;      // (kScoreRows, kTileTokens)
  uint32_t* weights = nullptr;  // left (kScoreRows, kTileTokens)
  float* loader = nullptr;      // what the loader needs
  int64_t floats = 0;           // without that

  static TileBuffers layout(float* scratch, const AttentionShape& shape) {
    TileBuffers b;
    const ThreadScratch room{scratch, b.floats};
    b.q = room.words(shape.block_rows * shape.key_size);
    b.keys = room.words(shape.key_size * kTileTokens);
    b.values = room.words(kTileTokens * AttentionShape::columns(shape.value_size));
    b.scores = room.take(kScoreRows * kTileTokens);
    b.weights = room.words(kScoreRows * kTileTokens);
    b.loader = room.take(0);
    return b;
  }
};

// The cached rows of a stream, where they hold keys and values as they are.
struct CachedRows {
  KernelMatrix keys{};  // no data: they do not
  KernelMatrix values{};
  size_t type = CacheStorage::kF32;
};

// The arithmetic that is as exact as a cache.
[[nodiscard]] inline const AttentionKernels& attention_kernels(const KernelTable& kernels,
                                                               CacheType type) noexcept {
  return type == CacheType::kF32 ? kernels.attention_f32 : kernels.attention;
}

// Tiles as the cache holds them: a plane is a stream, a row begins with the key.
struct CacheLoader {
  const AttentionKernels& math;
  const KvCache& cache;
  const std::byte* rows;  // of one layer
  int64_t value;          // the number of a row with which the value begins
  const AttentionShape& shape;

  [[nodiscard]] CachedRows cached_rows(int64_t stream) const {
    return {cache.matrix(rows, stream, 0, shape.key_size),
            cache.matrix(rows, stream, value, shape.value_size), static_cast<size_t>(cache.type)};
  }
  void prepare(int64_t /*stream*/, float* /*scratch*/) const {}
  void load(int64_t stream, int64_t t, int64_t n, float* /*scratch*/, uint32_t* keys,
            uint32_t* values) const {
    const CachedRows from = cached_rows(stream);
    math.pack_transposed[from.type](&from.keys, t, t + n, keys, kTileTokens);
    math.pack_right[from.type](&from.values, t, t + n, values,
                               AttentionShape::columns(shape.value_size));
  }
};

// Work of attend(). The loader packs the cached rows:
//   cached_rows(stream): for blocks of few queries, which read them in place;
//   prepare(stream, scratch): called by a task before it loads tiles of a stream;
//   load(stream, t, n, scratch, keys, values): right operands of tokens [t, t + n), which are
//   (key_size, n) with kTileTokens words between rows, and (n, value_size) with as many as
//   value_size has when it is rounded up to whole kAttentionColumns.
template <class Loader>
class TileWork {
 public:
  TileWork(const AttentionShape& shape, const AttentionKernels& math, const Loader& loader)
      : shape_(shape), math_(math), loader_(loader) {}

  void prepare(const AttentionCall& a, const AttentionBlock& block, float* scratch) const {
    const TileBuffers b = TileBuffers::layout(scratch, shape_);
    const int64_t ld = words(a.key_size);
    for (int64_t r = block.row_begin; r < block.row_end; ++r) {
      math_.pack_left(a.query(block.stream, r), a.key_size, 1, a.key_size, a.scale,
                      b.q + (r - block.row_begin) * ld, ld);
    }
    loader_.prepare(block.stream, b.loader);
  }

  void attend(const AttentionCall& a, const AttentionBlock& block, int64_t begin, int64_t end,
              float* scratch, const AttentionState& state) const {
    const TileBuffers b = TileBuffers::layout(scratch, shape_);
    const CachedRows cached = loader_.cached_rows(block.stream);
    const bool reads_in_place =
        cached.keys.data != nullptr && math_.score_rows[cached.type] != nullptr &&
        block.rows() <= in_place_rows(cached.type) && a.key_size % kAttentionColumns == 0 &&
        a.value_size % kAttentionColumns == 0;
    for (int64_t t = begin; t < end; t += kTileTokens) {
      const int64_t n = std::min(kTileTokens, end - t);
      const int64_t in_place = reads_in_place ? n / kAttentionColumns * kAttentionColumns : 0;
      if (in_place < n) {
        loader_.load(block.stream, t + in_place, n - in_place, b.loader, b.keys, b.values);
      }
      attend_tile(a, block, cached, t, n, in_place, b, state);
    }
  }

 private:
  [[nodiscard]] int64_t words(int64_t numbers) const noexcept {
    return ceil_div(numbers, math_.pair);
  }

  // One tile of n tokens from t on: the first `in_place` of them as they are cached, the rest
  // packed in b.keys and b.values.
  void attend_tile(const AttentionCall& a, const AttentionBlock& block, const CachedRows& cached,
                   int64_t t, int64_t n, int64_t in_place, const TileBuffers& b,
                   const AttentionState& state) const {
    const int64_t columns = AttentionShape::columns(n);
    const int64_t ldq = words(a.key_size);
    const int64_t ldw = words(kTileTokens);
    for (int64_t r = block.row_begin; r < block.row_end; r += kScoreRows) {
      const int64_t rows = std::min(kScoreRows, block.row_end - r);
      int64_t visible[kScoreRows];
      for (int64_t i = 0; i < rows; ++i) visible[i] = a.visible(r + i, t, n);
      if (visible[rows - 1] == 0) continue;
      const int64_t first = r - block.row_begin;
      const AttentionState part{state.max + first, state.sum + first, state.out + first * state.ld,
                                state.ld};
      const uint32_t* q = b.q + first * ldq;
      if (in_place > 0) {
        math_.score_rows[cached.type](rows, q, ldq, &cached.keys, t, t + in_place, b.scores,
                                      kTileTokens);
      }
      if (in_place < n) {
        math_.multiply(rows, columns - in_place, a.key_size, q, ldq, b.keys, kTileTokens,
                       b.scores + in_place, kTileTokens, 0);
      }
      math_.soften(rows, columns, b.scores, kTileTokens, visible, &part, b.weights, ldw);
      if (in_place > 0) {
        math_.add_values[cached.type](rows, b.weights, ldw, &cached.values, t, t + in_place,
                                      part.out, state.ld);
      }
      if (in_place < n) {
        math_.multiply(rows, state.ld, n - in_place, b.weights + in_place / math_.pair, ldw,
                       b.values, state.ld, part.out, state.ld, 1);
      }
    }
  }

  const AttentionShape& shape_;
  const AttentionKernels& math_;
  const Loader& loader_;
};

}  // namespace pensee
