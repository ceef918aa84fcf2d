// Grouped-query attention (arXiv:2305.13245): several query heads share one key-value head.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "pensee/base/arena.hpp"
#include "pensee/model/causal_softmax.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/kv_cache.hpp"
#include "pensee/model/linear.hpp"
#include "pensee/model/rope.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

struct GqaScratch {
  float* q = nullptr;      // (chunk, n_heads, head_dim)
  float* heads = nullptr;  // (chunk, n_heads, head_dim)

  static GqaScratch layout(Arena& arena, const Config& c, int64_t chunk) {
    GqaScratch s;
    s.q = arena.take<float>(chunk * c.n_heads * c.head_dim);
    s.heads = arena.take<float>(chunk * c.n_heads * c.head_dim);
    return s;
  }
};

// Floats of thread scratch that attention needs: scores.
[[nodiscard]] inline int64_t gqa_thread_scratch(const Config& c, int64_t capacity, int64_t chunk) {
  return std::max(std::min(chunk, kScoreRows), c.n_heads / c.n_kv_heads) * capacity;
}

// One layer's attention over n new tokens at positions [begin, begin + n).
struct GqaCall {
  const Compute& compute;
  const Config& config;
  const GqaWeights& w;
  const GqaScratch& s;
  const KvCache& cache;
  float* rows;          // this layer's cache: (capacity, row_size)
  const float* angles;  // (n, 2, head_dim / 2)
  int64_t begin;
  int64_t n;
  float scale;  // of the scores
};

// From this many new tokens on, scores are a matrix product.
inline constexpr int64_t kGqaGemmTokens = 16;

// Bias, norm and rotation of the heads of one token, x (n_heads, head_dim). Empty vectors are left
// out.
inline void finish_heads(const GqaCall& a, const RotaryTable& rotary, const float* angles,
                         const std::vector<float>& bias, const std::vector<float>& norm,
                         int64_t n_heads, float* x) {
  const int64_t size = a.config.head_dim;
  for (size_t i = 0; i < bias.size(); ++i) x[i] += bias[i];
  const auto eps = static_cast<float>(a.config.rms_norm_eps);
  for (int64_t h = 0; h < n_heads; ++h) {
    float* head = x + h * size;
    if (!norm.empty()) a.compute.kernels->rms_norm(head, norm.data(), eps, size, head);
    rotary.rotate(angles, head);
  }
}

// Queries of x (n, hidden) into s.q; keys and values into the cache.
inline void gqa_project(const GqaCall& a, const RotaryTable& rotary, const float* x) {
  const Config& c = a.config;
  const GqaWeights& w = a.w;
  const int64_t row = a.cache.row_size;
  const int64_t ldq = c.n_heads * c.head_dim;
  const int64_t kv_size = c.n_kv_heads * c.head_dim;
  float* keys = a.rows + a.begin * row;  // of the new tokens
  float* values = keys + kv_size;
  multiply(a.compute, std::array{Product{&w.q_proj, x, c.hidden_size, a.n, a.s.q, ldq},
                                 Product{&w.k_proj, x, c.hidden_size, a.n, keys, row},
                                 Product{&w.v_proj, x, c.hidden_size, a.n, values, row}});
  for_each_row(a.compute, a.n, ldq, [&](int64_t i) {
    const float* angles = a.angles + i * c.head_dim;
    finish_heads(a, rotary, angles, w.q_bias, w.q_norm, c.n_heads, a.s.q + i * ldq);
    finish_heads(a, rotary, angles, w.k_bias, w.k_norm, c.n_kv_heads, keys + i * row);
    for (size_t d = 0; d < w.v_bias.size(); ++d) {
      values[i * row + static_cast<int64_t>(d)] += w.v_bias[d];
    }
  });
}

// Query heads [h0, h1), which share a key-value head, of token i of the call, by one thread.
inline void gqa_token(const GqaCall& a, int64_t i, int64_t h0, int64_t h1, float* scores) {
  const Config& c = a.config;
  const KernelTable& kernels = *a.compute.kernels;
  const int64_t size = c.head_dim;
  const int64_t kv_head = h0 / (c.n_heads / c.n_kv_heads);
  const KernelMatrix keys = a.cache.matrix(a.rows, kv_head * size, size);
  const KernelMatrix values = a.cache.matrix(a.rows, (c.n_kv_heads + kv_head) * size, size);
  const int64_t cached = a.begin + i + 1;
  float* out = a.s.heads + (i * c.n_heads + h0) * size;
  kernels.dot_rows[KernelType::kF32](&keys, 0, cached, a.s.q + (i * c.n_heads + h0) * size, size,
                                     h1 - h0, scores, cached);
  for (int64_t h = 0; h < h1 - h0; ++h) kernels.softmax(scores + h * cached, a.scale, cached);
  std::fill_n(out, (h1 - h0) * size, 0.0F);
  kernels.add_rows[KernelType::kF32](&values, 0, cached, scores, cached, h1 - h0, out, size);
}

// Tokens [i0, i0 + n) of query head h, by one thread. False when oneDNN runs out of memory.
inline bool gqa_block(const GqaCall& a, int64_t i0, int64_t n, int64_t h, float* scores) {
  const Config& c = a.config;
  const int64_t size = c.head_dim;
  const int64_t ldq = c.n_heads * size;
  const int64_t row = a.cache.row_size;
  const int64_t seen = a.begin + i0 + n;  // by the last query of the block
  const float* keys = a.rows + h / (c.n_heads / c.n_kv_heads) * size;
  const float* values = keys + c.n_kv_heads * size;
  if (!gemm_nt(n, seen, size, a.s.q + i0 * ldq + h * size, ldq, keys, row, 0.0F, scores, seen)) {
    return false;
  }
  causal_softmax(*a.compute.kernels, a.scale, scores, a.begin + i0, n);
  return gemm_nn(n, size, seen, scores, seen, values, row, 0.0F, a.s.heads + i0 * ldq + h * size,
                 ldq);
}

// s.heads = attention of s.q over the cache.
inline void gqa_attend(const GqaCall& a) {
  const Config& c = a.config;
  const int64_t group = c.n_heads / c.n_kv_heads;
  ThreadPool& pool = *a.compute.pool;
  if (a.n < kGqaGemmTokens) {
    // Groups are split when there are more threads than key-value heads.
    const int64_t parts = std::min<int64_t>(group, ceil_div(pool.size(), c.n_kv_heads));
    const int64_t heads = ceil_div(group, parts);
    pool.parallel_for(a.n * c.n_kv_heads * parts, [&](int64_t task, int thread) {
      const int64_t kv_head = task / parts % c.n_kv_heads;
      const int64_t h0 = kv_head * group + task % parts * heads;
      const int64_t h1 = std::min(h0 + heads, (kv_head + 1) * group);
      if (h0 >= h1) return;
      gqa_token(a, task / parts / c.n_kv_heads, h0, h1, a.compute.thread_scratch(thread));
    });
    return;
  }
  pool.parallel_for(ceil_div(a.n, kScoreRows) * c.n_heads, [&](int64_t task, int thread) {
    const int64_t i0 = task / c.n_heads * kScoreRows;
    const int64_t n = std::min(kScoreRows, a.n - i0);
    if (!gqa_block(a, i0, n, task % c.n_heads, a.compute.thread_scratch(thread))) {
      a.compute.failed->store(true, std::memory_order_relaxed);
    }
  });
}

}  // namespace pensee
