// Attention of new tokens over the cache, for every kind of model and of cache.
//
// Cached tokens are packed, a tile at a time, into operands of small matrix products; the softmax
// is kept up from tile to tile, so that no buffer grows with the context (FlashAttention,
// arXiv:2205.14135). Long contexts are cut into splits, whose results are joined in order: the work
// can be shared by all threads, and their number changes no bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>

#include "pensee/base/arena.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/base/threads.hpp"
#include "pensee/kernels/table.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/kv_cache.hpp"
#include "pensee/model/linear.hpp"

namespace pensee {

// Cached tokens that are packed at a time, and those whose results are summed apart: whole tiles.
inline constexpr int64_t kTileTokens = 128;
inline constexpr int64_t kSplitTokens = 1024;
inline constexpr int64_t kScoreRows = 16;  // queries that meet a tile together
inline constexpr int64_t kJoinRows = 8;    // queries whose splits a task joins
// Up to so many queries read cached rows in place. Packing pays where more of them meet a tile, and
// soon where numbers are decoded, for in place that is done again for every few queries.
[[nodiscard]] constexpr int64_t in_place_rows(size_t type) noexcept {
  return type == CacheStorage::kQ8 ? 8 : 32;
}

// One layer's attention over n new tokens of a sequence, at positions [begin, begin + n), whose
// queries, keys and values are projected.
template <class AttentionWeights, class Scratch>
struct LayerCall {
  Compute compute;
  const Config& config;
  const AttentionWeights& w;
  Scratch s;  // with the rows of these tokens
  const KvCache& cache;
  std::byte* rows;      // of this layer in the cache
  const float* angles;  // (n, 2, rope_dim / 2)
  int64_t begin;
  int64_t n;
  float scale;  // of the scores
};

// `streams` of queries, each with its own cached rows; in a stream every new token has `per_token`
// queries, side by side. Query r of token i in stream s is at
// q + i * q_token + s * q_stream + r * key_size, its result likewise.
struct AttentionCall {
  const AttentionKernels* math;
  int64_t streams;
  int64_t per_token;
  int64_t key_size;    // numbers
  int64_t value_size;  // numbers
  int64_t begin;       // position of the first new token
  int64_t n;           // new tokens; each sees those before it and itself
  float scale;         // of the scores
  const float* q;
  int64_t q_token;
  int64_t q_stream;
  float* out;
  int64_t out_token;
  int64_t out_stream;

  [[nodiscard]] int64_t rows() const noexcept { return n * per_token; }
  // Cached tokens that query `row` of a stream sees.
  [[nodiscard]] int64_t limit(int64_t row) const noexcept { return begin + row / per_token + 1; }
};

// The sizes of the buffers.
struct AttentionShape {
  int64_t key_size = 0;
  int64_t value_size = 0;
  int64_t block_rows = 0;     // queries of a stream that one task takes
  int64_t loader_floats = 0;  // thread scratch of what packs the tiles

  [[nodiscard]] static int64_t columns(int64_t n) noexcept {
    return ceil_div(n, int64_t{kAttentionColumns}) * kAttentionColumns;
  }
  [[nodiscard]] int64_t state_floats() const noexcept {
    return (2 + columns(value_size)) * block_rows;
  }
  [[nodiscard]] AttentionState state(float* floats) const noexcept {
    const int64_t ld = columns(value_size);
    return {floats + ld * block_rows, floats + (ld + 1) * block_rows, floats, ld};
  }
};

// Hands out parts of a thread's scratch, each at a multiple of 64 bytes; without scratch it only
// counts.
struct ThreadScratch {
  float* scratch;
  int64_t& floats;  // handed out so far

  [[nodiscard]] float* take(int64_t n) const noexcept {
    constexpr int64_t kAligned = 16;
    float* taken = scratch == nullptr ? nullptr : scratch + floats;
    floats += ceil_div(n, kAligned) * kAligned;
    return taken;
  }
  [[nodiscard]] uint32_t* words(int64_t n) const noexcept {
    return reinterpret_cast<uint32_t*>(take(n));
  }
};

// The buffers of one task. Words are as large as floats, so float32 operands take the most.
struct AttentionBuffers {
  uint32_t* q = nullptr;        // left (block_rows, key_size)
  uint32_t* keys = nullptr;     // right (key_size, kTileTokens)
  uint32_t* values = nullptr;   // right (kTileTokens, value_size)
  float* scores = nullptr;      // (kScoreRows, kTileTokens)
  uint32_t* weights = nullptr;  // left (kScoreRows, kTileTokens)
  float* loader = nullptr;      // (loader_floats)
  float* state = nullptr;       // (state_floats): the splits so far
  float* split = nullptr;       // (state_floats): one more
  int64_t floats = 0;

  static AttentionBuffers layout(float* scratch, const AttentionShape& shape) {
    AttentionBuffers b;
    const ThreadScratch room{scratch, b.floats};
    b.q = room.words(shape.block_rows * shape.key_size);
    b.keys = room.words(shape.key_size * kTileTokens);
    b.values = room.words(kTileTokens * AttentionShape::columns(shape.value_size));
    b.scores = room.take(kScoreRows * kTileTokens);
    b.weights = room.words(kScoreRows * kTileTokens);
    b.loader = room.take(shape.loader_floats);
    b.state = room.take(shape.state_floats());
    b.split = room.take(shape.state_floats());
    return b;
  }
};

// Where splits are shared by threads, their results wait here.
struct AttentionSplits {
  float* states = nullptr;  // (count, state_floats)
  int64_t count = 0;

  static constexpr int64_t kTasksAThread = 4;

  // Splits of every unit for which there is room at a time, beside what is joined of it: so many
  // that all threads have as many, if there is room for that.
  [[nodiscard]] int64_t in_a_wave(int64_t units, int64_t threads) const noexcept {
    const int64_t room = count / units - 1;
    const int64_t even = threads / std::gcd(units, threads);
    return room < even ? room : room / even * even;
  }

  static AttentionSplits layout(Arena& arena, const AttentionShape& shape, int64_t capacity,
                                int threads) {
    AttentionSplits s;
    if (threads == 1 || capacity <= kSplitTokens) return s;
    s.count = 2 * kTasksAThread * threads;
    s.states = arena.take<float>(s.count * shape.state_floats());
    return s;
  }
};

// The cached rows of a stream, where they hold keys and values as they are.
struct CachedRows {
  KernelMatrix keys{};  // no data: they do not
  KernelMatrix values{};
  size_t type = CacheStorage::kF32;
};

namespace attention_detail {

inline constexpr float kNothing = -std::numeric_limits<float>::infinity();

inline void clear(const AttentionState& state, int64_t rows) {
  std::fill_n(state.max, rows, kNothing);
  std::fill_n(state.sum, rows, 0.0F);
  std::fill_n(state.out, rows * state.ld, 0.0F);
}

// state += split: what both have seen, in rows [row_begin, row_end).
inline void join(const AttentionState& state, const AttentionState& split, int64_t row_begin,
                 int64_t row_end) {
  for (int64_t r = row_begin; r < row_end; ++r) {
    if (split.max[r] == kNothing && split.sum[r] == 0.0F) continue;  // it saw no token
    const float max = std::max(state.max[r], split.max[r]);
    const float a = std::exp(state.max[r] - max);
    const float b = std::exp(split.max[r] - max);
    state.max[r] = max;
    state.sum[r] = a * state.sum[r] + b * split.sum[r];
    float* out = state.out + r * state.ld;
    const float* more = split.out + r * state.ld;
    for (int64_t c = 0; c < state.ld; ++c) out[c] = a * out[c] + b * more[c];
  }
}

// Queries [row_begin, row_end) of a stream.
struct Block {
  int64_t stream;
  int64_t row_begin;
  int64_t row_end;
  [[nodiscard]] int64_t rows() const noexcept { return row_end - row_begin; }
};

inline void pack_queries(const AttentionCall& a, const Block& block, uint32_t* q) {
  const int64_t ld = ceil_div(a.key_size, a.math->pair);
  for (int64_t r = block.row_begin; r < block.row_end; ++r) {
    const float* from = a.q + r / a.per_token * a.q_token + block.stream * a.q_stream +
                        r % a.per_token * a.key_size;
    a.math->pack_left(from, a.key_size, 1, a.key_size, a.scale, q + (r - block.row_begin) * ld, ld);
  }
}

// One tile of n tokens from t on: the first `in_place` of them as they are cached, the rest packed
// in b.keys and b.values.
inline void attend_tile(const AttentionCall& a, const Block& block, const CachedRows& cached,
                        int64_t t, int64_t n, int64_t in_place, const AttentionBuffers& b,
                        const AttentionState& state) {
  const int64_t columns = AttentionShape::columns(n);
  const int64_t ldq = ceil_div(a.key_size, a.math->pair);
  const int64_t ldw = kTileTokens / a.math->pair;
  for (int64_t r = block.row_begin; r < block.row_end; r += kScoreRows) {
    const int64_t rows = std::min(kScoreRows, block.row_end - r);
    int64_t visible[kScoreRows];
    for (int64_t i = 0; i < rows; ++i) visible[i] = std::clamp<int64_t>(a.limit(r + i) - t, 0, n);
    if (visible[rows - 1] == 0) continue;
    const int64_t first = r - block.row_begin;
    const AttentionState part{state.max + first, state.sum + first, state.out + first * state.ld,
                              state.ld};
    const uint32_t* q = b.q + first * ldq;
    if (in_place > 0) {
      a.math->score_rows[cached.type](rows, q, ldq, &cached.keys, t, t + in_place, b.scores,
                                      kTileTokens);
    }
    if (in_place < n) {
      a.math->multiply(rows, columns - in_place, a.key_size, q, ldq, b.keys, kTileTokens,
                       b.scores + in_place, kTileTokens, 0);
    }
    a.math->soften(rows, columns, b.scores, kTileTokens, visible, &part, b.weights, ldw);
    if (in_place > 0) {
      a.math->add_values[cached.type](rows, b.weights, ldw, &cached.values, t, t + in_place,
                                      part.out, state.ld);
    }
    if (in_place < n) {
      a.math->multiply(rows, state.ld, n - in_place, b.weights + in_place / a.math->pair, ldw,
                       b.values, state.ld, part.out, state.ld, 1);
    }
  }
}

// Tokens [begin, end) of the cache, into an empty state.
template <class Loader>
void attend_split(const AttentionCall& a, const Loader& loader, const Block& block, int64_t begin,
                  int64_t end, const AttentionBuffers& b, const AttentionState& state) {
  clear(state, block.rows());
  const CachedRows cached = loader.cached_rows(block.stream);
  const bool reads_in_place =
      cached.keys.data != nullptr && a.math->score_rows[cached.type] != nullptr &&
      block.rows() <= in_place_rows(cached.type) && a.key_size % kAttentionColumns == 0 &&
      a.value_size % kAttentionColumns == 0;
  for (int64_t t = begin; t < end; t += kTileTokens) {
    const int64_t n = std::min(kTileTokens, end - t);
    const int64_t in_place = reads_in_place ? n / kAttentionColumns * kAttentionColumns : 0;
    if (in_place < n) {
      loader.load(block.stream, t + in_place, n - in_place, b.loader, b.keys, b.values);
    }
    attend_tile(a, block, cached, t, n, in_place, b, state);
  }
}

// The results of rows [row_begin, row_end) of a block.
inline void finish(const AttentionCall& a, const Block& block, const AttentionState& state,
                   int64_t row_begin, int64_t row_end) {
  for (int64_t i = row_begin; i < row_end; ++i) {
    const int64_t r = block.row_begin + i;
    float* to = a.out + r / a.per_token * a.out_token + block.stream * a.out_stream +
                r % a.per_token * a.value_size;
    const float inverse = 1.0F / state.sum[i];
    const float* from = state.out + i * state.ld;
    for (int64_t c = 0; c < a.value_size; ++c) to[c] = from[c] * inverse;
  }
}

}  // namespace attention_detail

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

// out = softmax(scale * q . keys) * values. The loader packs the cached rows:
//   cached_rows(stream): for blocks of few queries, which read them in place;
//   prepare(stream, scratch): called by a task before it loads tiles of a stream;
//   load(stream, t, n, scratch, keys, values): right operands of tokens [t, t + n), which are
//   (key_size, n) with kTileTokens words between rows, and (n, value_size) with as many as
//   value_size has when it is rounded up to whole kAttentionColumns.
template <class Loader>
void attend(const Compute& compute, const AttentionShape& shape, const AttentionSplits& waiting,
            const AttentionCall& a, const Loader& loader) {
  namespace detail = attention_detail;
  ThreadPool& pool = *compute.pool;
  const int64_t blocks = ceil_div(a.rows(), shape.block_rows);
  const int64_t units = a.streams * blocks;
  const auto block_of = [&](int64_t unit) {
    const int64_t begin = unit % blocks * shape.block_rows;
    return detail::Block{unit / blocks, begin, std::min(begin + shape.block_rows, a.rows())};
  };
  const auto buffers_of = [&](int thread) {
    return AttentionBuffers::layout(compute.thread_scratch(thread), shape);
  };
  const int64_t splits = ceil_div(a.begin + a.n, kSplitTokens);
  const auto split_end = [&](const detail::Block& block, int64_t split) {
    return std::min((split + 1) * kSplitTokens, a.limit(block.row_end - 1));
  };
  const auto prepare = [&](const detail::Block& block, const AttentionBuffers& b) {
    detail::pack_queries(a, block, b.q);
    loader.prepare(block.stream, b.loader);
  };

  if (splits == 1 || waiting.count == 0 || units >= 2 * pool.size()) {
    pool.parallel_for(units, [&](int64_t unit, int thread) {
      const detail::Block block = block_of(unit);
      const AttentionBuffers b = buffers_of(thread);
      const AttentionState state = shape.state(b.state);
      prepare(block, b);
      detail::attend_split(a, loader, block, 0, split_end(block, 0), b, state);
      for (int64_t split = 1; split < splits; ++split) {
        const AttentionState more = shape.state(b.split);
        detail::attend_split(a, loader, block, split * kSplitTokens, split_end(block, split), b,
                             more);
        detail::join(state, more, 0, block.rows());
      }
      detail::finish(a, block, state, 0, block.rows());
    });
    return;
  }
  // The first states are those of the units, the others wait to be joined to them.
  const int64_t wave = std::min(waiting.in_a_wave(units, pool.size()), splits);
  const auto state_of = [&](int64_t unit, int64_t slot) {
    return shape.state(waiting.states + (slot * units + unit) * shape.state_floats());
  };
  for (int64_t first = 0; first < splits; first += wave) {
    const int64_t count = std::min(wave, splits - first);
    pool.parallel_for(count * units, [&](int64_t task, int thread) {
      const int64_t split = first + task / units;
      const detail::Block block = block_of(task % units);
      const AttentionBuffers b = buffers_of(thread);
      prepare(block, b);
      detail::attend_split(a, loader, block, split * kSplitTokens, split_end(block, split), b,
                           state_of(task % units, split == 0 ? 0 : 1 + split - first));
    });
    const int64_t parts = ceil_div(shape.block_rows, kJoinRows);
    pool.parallel_for(units * parts, [&](int64_t part, int /*thread*/) {
      const int64_t unit = part / parts;
      const detail::Block block = block_of(unit);
      const int64_t begin = part % parts * kJoinRows;
      const int64_t end = std::min(begin + kJoinRows, block.rows());
      const AttentionState state = state_of(unit, 0);
      for (int64_t split = std::max<int64_t>(first, 1); split < first + count; ++split) {
        detail::join(state, state_of(unit, 1 + split - first), begin, end);
      }
      if (first + count == splits) detail::finish(a, block, state, begin, end);
    });
  }
}

}  // namespace pensee
