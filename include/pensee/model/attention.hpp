// Attention of new tokens over the cache, for every kind of model and of cache.
//
// The softmax is kept up from tile to tile of cached tokens, so that no buffer grows with the
// context (FlashAttention, arXiv:2205.14135). Long contexts are cut into splits, whose results are
// joined in order: the work can be shared by all threads, and their number changes no bit. What a
// task does with the tokens of a split is in attention_tiles.hpp and attention_latents.hpp.
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

// Cached tokens that are taken at a time, and those whose results are summed apart: whole tiles.
inline constexpr int64_t kTileTokens = 128;
inline constexpr int64_t kSplitTokens = 1024;
inline constexpr int64_t kJoinRows = 8;  // queries whose splits a task joins

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
  // And of as many `tokens` from t on.
  [[nodiscard]] int64_t visible(int64_t row, int64_t t, int64_t tokens) const noexcept {
    return std::clamp<int64_t>(limit(row) - t, 0, tokens);
  }
  [[nodiscard]] const float* query(int64_t stream, int64_t row) const noexcept {
    return q + row / per_token * q_token + stream * q_stream + row % per_token * key_size;
  }
  [[nodiscard]] float* result(int64_t stream, int64_t row) const noexcept {
    return out + row / per_token * out_token + stream * out_stream + row % per_token * value_size;
  }
};

// The sizes of the buffers.
struct AttentionShape {
  int64_t key_size = 0;
  int64_t value_size = 0;
  int64_t block_rows = 0;   // queries of a stream that one task takes
  int64_t work_floats = 0;  // thread scratch of what it does with them

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

// The buffers of one task.
struct AttentionBuffers {
  float* state = nullptr;  // (state_floats): the splits so far
  float* split = nullptr;  // (state_floats): one more
  float* work = nullptr;   // (work_floats)
  int64_t floats = 0;

  static AttentionBuffers layout(float* scratch, const AttentionShape& shape) {
    AttentionBuffers b;
    const ThreadScratch room{scratch, b.floats};
    b.state = room.take(shape.state_floats());
    b.split = room.take(shape.state_floats());
    b.work = room.take(shape.work_floats);
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

// Queries [row_begin, row_end) of a stream.
struct AttentionBlock {
  int64_t stream;
  int64_t row_begin;
  int64_t row_end;
  [[nodiscard]] int64_t rows() const noexcept { return row_end - row_begin; }
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

// The results of rows [row_begin, row_end) of a block.
inline void finish(const AttentionCall& a, const AttentionBlock& block, const AttentionState& state,
                   int64_t row_begin, int64_t row_end) {
  for (int64_t i = row_begin; i < row_end; ++i) {
    float* to = a.result(block.stream, block.row_begin + i);
    const float inverse = 1.0F / state.sum[i];
    const float* from = state.out + i * state.ld;
    for (int64_t c = 0; c < a.value_size; ++c) to[c] = from[c] * inverse;
  }
}

}  // namespace attention_detail

// out = softmax(scale * q . keys) * values. Work is what a task does, in `scratch` of work_floats:
//   prepare(a, block, scratch): before it takes splits of a block;
//   attend(a, block, begin, end, scratch, state): takes tokens [begin, end) of the cache, whole
//   tiles unless they are the last ones, into an empty state.
template <class Work>
void attend(const Compute& compute, const AttentionShape& shape, const AttentionSplits& waiting,
            const AttentionCall& a, const Work& work) {
  namespace detail = attention_detail;
  ThreadPool& pool = *compute.pool;
  const int64_t blocks = ceil_div(a.rows(), shape.block_rows);
  const int64_t units = a.streams * blocks;
  const auto block_of = [&](int64_t unit) {
    const int64_t begin = unit % blocks * shape.block_rows;
    return AttentionBlock{unit / blocks, begin, std::min(begin + shape.block_rows, a.rows())};
  };
  const auto buffers_of = [&](int thread) {
    return AttentionBuffers::layout(compute.thread_scratch(thread), shape);
  };
  const int64_t splits = ceil_div(a.begin + a.n, kSplitTokens);
  const auto split_end = [&](const AttentionBlock& block, int64_t split) {
    return std::min((split + 1) * kSplitTokens, a.limit(block.row_end - 1));
  };
  const auto take_split = [&](const AttentionBlock& block, int64_t split, float* scratch,
                              const AttentionState& state) {
    detail::clear(state, block.rows());
    work.attend(a, block, split * kSplitTokens, split_end(block, split), scratch, state);
  };

  if (splits == 1 || waiting.count == 0 || units >= 2 * pool.size()) {
    pool.parallel_for(units, [&](int64_t unit, int thread) {
      const AttentionBlock block = block_of(unit);
      const AttentionBuffers b = buffers_of(thread);
      const AttentionState state = shape.state(b.state);
      work.prepare(a, block, b.work);
      take_split(block, 0, b.work, state);
      for (int64_t split = 1; split < splits; ++split) {
        const AttentionState more = shape.state(b.split);
        take_split(block, split, b.work, more);
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
      const AttentionBlock block = block_of(task % units);
      const AttentionBuffers b = buffers_of(thread);
      work.prepare(a, block, b.work);
      take_split(block, split, b.work, state_of(task % units, split == 0 ? 0 : 1 + split - first));
    });
    const int64_t parts = ceil_div(std::min(shape.block_rows, a.rows()), kJoinRows);
    pool.parallel_for(units * parts, [&](int64_t part, int /*thread*/) {
      const int64_t unit = part / parts;
      const AttentionBlock block = block_of(unit);
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
