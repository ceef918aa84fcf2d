// Grouped-query attention (arXiv:2305.13245): several query heads share one key-value head.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "pensee/base/arena.hpp"
#include "pensee/model/attention.hpp"
#include "pensee/model/attention_tiles.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/kv_cache.hpp"
#include "pensee/model/linear.hpp"
#include "pensee/model/rope.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

struct GqaScratch {
  float* q = nullptr;       // (chunk, n_heads, head_dim)
  float* keys = nullptr;    // (chunk, n_kv_heads, head_dim)
  float* values = nullptr;  // (chunk, n_kv_heads, head_dim)
  float* heads = nullptr;   // (chunk, n_heads, head_dim)
  AttentionShape shape;
  AttentionSplits splits;

  // Enough queries for what a task packs to cost little beside their products.
  static constexpr int64_t kBlockRows = 256;

  static GqaScratch layout(Arena& arena, const Config& c, int64_t capacity, int64_t chunk,
                           int threads) {
    GqaScratch s;
    s.q = arena.take<float>(chunk * c.n_heads * c.head_dim);
    s.keys = arena.take<float>(chunk * c.n_kv_heads * c.head_dim);
    s.values = arena.take<float>(chunk * c.n_kv_heads * c.head_dim);
    s.heads = arena.take<float>(chunk * c.n_heads * c.head_dim);
    s.shape = {.key_size = c.head_dim,
               .value_size = c.head_dim,
               .block_rows = std::min(chunk * (c.n_heads / c.n_kv_heads), kBlockRows)};
    s.shape.work_floats = TileBuffers::layout(nullptr, s.shape).floats;
    s.splits = AttentionSplits::layout(arena, s.shape, capacity, threads);
    return s;
  }
  // For a sequence whose rows of a pass of several begin with row `first`: the rows of that pass,
  // and the rest its own.
  [[nodiscard]] GqaScratch with_rows_of(const GqaScratch& pass, const Config& c,
                                        int64_t first) const noexcept {
    GqaScratch s = *this;
    s.q = pass.q + first * c.n_heads * c.head_dim;
    s.keys = pass.keys + first * c.n_kv_heads * c.head_dim;
    s.values = pass.values + first * c.n_kv_heads * c.head_dim;
    s.heads = pass.heads + first * c.n_heads * c.head_dim;
    return s;
  }
  // Floats of thread scratch that attention needs.
  [[nodiscard]] int64_t thread_scratch() const noexcept {
    return AttentionBuffers::layout(nullptr, shape).floats;
  }
};

// `rows` is (n_kv_heads, capacity, row_bytes).
using GqaCall = LayerCall<GqaWeights, GqaScratch>;

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

// Queries, keys and values of x (n, hidden), as the weights give them, into s.
inline void gqa_project(const Compute& compute, const Config& c, const GqaWeights& w,
                        const GqaScratch& s, int64_t n, const float* x) {
  const int64_t ldq = c.n_heads * c.head_dim;
  const int64_t ldkv = c.n_kv_heads * c.head_dim;
  multiply(compute, std::array{Product{&w.q_proj, x, c.hidden_size, n, s.q, ldq},
                               Product{&w.k_proj, x, c.hidden_size, n, s.keys, ldkv},
                               Product{&w.v_proj, x, c.hidden_size, n, s.values, ldkv}});
}

// Finishes what gqa_project() left: the queries in s.q, the keys and values into the cache.
inline void gqa_store(const GqaCall& a, const RotaryTable& rotary) {
  const Config& c = a.config;
  const GqaWeights& w = a.w;
  const int64_t size = c.head_dim;
  const int64_t ldq = c.n_heads * size;
  const int64_t ldkv = c.n_kv_heads * size;
  for_each_row(a.compute, a.n, ldq, [&](int64_t i) {
    const float* angles = a.angles + i * size;
    float* keys = a.s.keys + i * ldkv;
    float* values = a.s.values + i * ldkv;
    finish_heads(a, rotary, angles, w.q_bias, w.q_norm, c.n_heads, a.s.q + i * ldq);
    finish_heads(a, rotary, angles, w.k_bias, w.k_norm, c.n_kv_heads, keys);
    for (size_t d = 0; d < w.v_bias.size(); ++d) values[d] += w.v_bias[d];
    for (int64_t h = 0; h < c.n_kv_heads; ++h) {
      const KernelTable& kernels = *a.compute.kernels;
      a.cache.store(kernels, a.rows, h, a.begin + i, 0, keys + h * size, size);
      a.cache.store(kernels, a.rows, h, a.begin + i, a.cache.second, values + h * size, size);
    }
  });
}

// s.heads = attention of s.q over the cache.
inline void gqa_attend(const GqaCall& a) {
  const Config& c = a.config;
  const int64_t size = c.head_dim;
  const int64_t group = c.n_heads / c.n_kv_heads;
  const AttentionKernels& math = attention_kernels(*a.compute.kernels, a.cache.type);
  const CacheLoader loader{math, a.cache, a.rows, a.cache.second, a.s.shape};
  attend(a.compute, a.s.shape, a.s.splits,
         {.streams = c.n_kv_heads,
          .per_token = group,
          .key_size = size,
          .value_size = size,
          .begin = a.begin,
          .n = a.n,
          .scale = a.scale,
          .q = a.s.q,
          .q_token = c.n_heads * size,
          .q_stream = group * size,
          .out = a.s.heads,
          .out_token = c.n_heads * size,
          .out_stream = group * size},
         TileWork{a.s.shape, math, loader});
}

}  // namespace pensee
