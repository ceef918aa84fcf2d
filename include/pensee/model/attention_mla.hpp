// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1), in its two forms.
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

// Both forms compute the same numbers. Expanded: kv_b_proj turns every cached latent back into
// keys and values of each head, then ordinary attention. Absorbed: kv_b_proj's key half goes into
// the query and its value half onto the result, so that the latents themselves are keys and values.
enum class MlaForm { kAuto, kAbsorbed, kExpanded };

inline constexpr int64_t kAbsorbedTokens = 16;  // queries in one go of the absorbed form
inline constexpr int64_t kAbsorbedHeads = 16;   // at most so many heads in one of its tasks
// The references normalise the low-rank latents with this, whatever rms_norm_eps says.
inline constexpr float kLatentNormEps = 1e-6F;

struct MlaScratch {
  float* q_a = nullptr;       // (chunk, q_lora_rank)
  float* q = nullptr;         // (chunk, n_heads, nope + rope)
  float* kv_a = nullptr;      // (chunk, kv_lora_rank + rope)
  float* q_latent = nullptr;  // (kAbsorbedTokens, n_heads, kv_lora_rank + rope)
  float* o_latent = nullptr;  // (kAbsorbedTokens, n_heads, kv_lora_rank)
  float* heads = nullptr;     // (chunk, n_heads, v)

  static MlaScratch layout(Arena& arena, const Config& c, int64_t chunk) {
    const int64_t absorbed = std::min(chunk, kAbsorbedTokens);
    MlaScratch s;
    s.q_a = arena.take<float>(chunk * c.q_lora_rank);
    s.q = arena.take<float>(chunk * c.n_heads * (c.qk_nope_head_dim + c.qk_rope_head_dim));
    s.kv_a = arena.take<float>(chunk * (c.kv_lora_rank + c.qk_rope_head_dim));
    s.q_latent = arena.take<float>(absorbed * c.n_heads * (c.kv_lora_rank + c.qk_rope_head_dim));
    s.o_latent = arena.take<float>(absorbed * c.n_heads * c.kv_lora_rank);
    s.heads = arena.take<float>(chunk * c.n_heads * c.v_head_dim);
    return s;
  }
};

// Floats of thread scratch that attention needs: scores, and in the expanded form the keys and
// values of one head and its rows of kv_b_proj.
[[nodiscard]] inline int64_t mla_thread_scratch(const Config& c, int64_t capacity, int64_t chunk) {
  const int64_t expanded_dims = c.qk_nope_head_dim + c.v_head_dim;
  const int64_t absorbed = kAbsorbedHeads * capacity;
  const int64_t expanded =
      (std::min(chunk, kScoreRows) + expanded_dims) * capacity + expanded_dims * c.kv_lora_rank;
  return std::max(absorbed, expanded);
}

// One layer's attention over n new tokens at positions [begin, begin + n), whose latents and
// queries are ready.
struct MlaCall {
  const Compute& compute;
  const Config& config;
  const MlaWeights& w;
  const MlaScratch& s;
  const KvCache& cache;
  const float* rows;    // this layer's cache: (capacity, kv_lora_rank + rope)
  const float* angles;  // (n, 2, rope / 2)
  int64_t begin;
  int64_t n;
  float scale;  // of the scores
};

// Multiply-adds of each form: per query and cached token, plus what each spends on kv_b_proj. Few
// queries always take the form in which each is computed for itself.
[[nodiscard]] inline MlaForm choose_mla_form(const Config& c, int64_t begin, int64_t n) {
  if (n < kAbsorbedTokens) return MlaForm::kAbsorbed;
  const int64_t cached = begin + n;
  const int64_t pairs = n * begin + n * (n + 1) / 2;
  const int64_t kv_b = (c.qk_nope_head_dim + c.v_head_dim) * c.kv_lora_rank;
  const int64_t absorbed = pairs * (2 * c.kv_lora_rank + c.qk_rope_head_dim) + n * kv_b;
  const int64_t expanded =
      pairs * (c.qk_nope_head_dim + c.qk_rope_head_dim + c.v_head_dim) + cached * kv_b;
  return absorbed <= expanded ? MlaForm::kAbsorbed : MlaForm::kExpanded;
}

// A matrix of kv_b_proj, whole or split, and where head h's part of it begins.
struct MlaPart {
  const Matrix* w;
  int64_t first_row;
};
[[nodiscard]] inline MlaPart value_part(const MlaCall& a, int64_t h) {
  const int64_t v = a.config.v_head_dim;
  if (a.w.is_split()) return {&a.w.v_b_proj, h * v};
  return {&a.w.kv_b_proj, h * (a.config.qk_nope_head_dim + v) + a.config.qk_nope_head_dim};
}

// q_latent = [q_nope * W_UK | q_pe] of head h of n tokens, q (n, n_heads, nope + rope).
inline void absorb_query(const MlaCall& a, const float* q, int64_t n, int64_t h) {
  const Config& c = a.config;
  const KernelTable& kernels = *a.compute.kernels;
  const int64_t nope = c.qk_nope_head_dim;
  const int64_t q_size = nope + c.qk_rope_head_dim;
  const int64_t latent = c.kv_lora_rank;
  const int64_t row = a.cache.row_size;
  for (int64_t i = 0; i < n; ++i) {
    float* out = a.s.q_latent + (i * c.n_heads + h) * row;
    std::fill_n(out, latent, 0.0F);
    std::copy_n(q + (i * c.n_heads + h) * q_size + nope, c.qk_rope_head_dim, out + latent);
  }
  if (a.w.is_split()) {
    const KernelMatrix k_b = kernel_matrix(a.w.k_b_proj);
    kernels.dot_rows[static_cast<size_t>(a.w.k_b_proj.dtype)](
        &k_b, h * latent, (h + 1) * latent, q + h * q_size, c.n_heads * q_size, n,
        a.s.q_latent + h * row, c.n_heads * row);
  } else {
    const KernelMatrix kv_b = kernel_matrix(a.w.kv_b_proj);
    const int64_t w_uk = h * (nope + c.v_head_dim);
    kernels.add_rows[static_cast<size_t>(a.w.kv_b_proj.dtype)](
        &kv_b, w_uk, w_uk + nope, q + h * q_size, c.n_heads * q_size, n, a.s.q_latent + h * row,
        c.n_heads * row);
  }
}

// Heads [h0, h1) of tokens [t0, t0 + n) of the call, by one thread.
inline void absorbed_heads(const MlaCall& a, int64_t t0, int64_t n, int64_t h0, int64_t h1,
                           float* scores) {
  const Config& c = a.config;
  const int64_t latent = c.kv_lora_rank;
  const int64_t row = a.cache.row_size;
  const KernelTable& kernels = *a.compute.kernels;
  const float* q = a.s.q + t0 * c.n_heads * c.qk_head_dim();
  for (int64_t h = h0; h < h1; ++h) absorb_query(a, q, n, h);

  const KernelMatrix keys = a.cache.matrix(a.rows, 0, row);
  const KernelMatrix values = a.cache.matrix(a.rows, 0, latent);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t cached = a.begin + t0 + i + 1;
    float* o = a.s.o_latent + (i * c.n_heads + h0) * latent;
    kernels.dot_rows[KernelType::kF32](&keys, 0, cached, a.s.q_latent + (i * c.n_heads + h0) * row,
                                       row, h1 - h0, scores, cached);
    for (int64_t h = 0; h < h1 - h0; ++h) kernels.softmax(scores + h * cached, a.scale, cached);
    std::fill_n(o, (h1 - h0) * latent, 0.0F);
    kernels.add_rows[KernelType::kF32](&values, 0, cached, scores, cached, h1 - h0, o, latent);
  }
  for (int64_t h = h0; h < h1; ++h) {  // o = o_latent * W_UV
    const MlaPart part = value_part(a, h);
    const KernelMatrix w_uv = kernel_matrix(*part.w);
    kernels.dot_rows[static_cast<size_t>(part.w->dtype)](
        &w_uv, part.first_row, part.first_row + c.v_head_dim, a.s.o_latent + h * latent,
        c.n_heads * latent, n, a.s.heads + (t0 * c.n_heads + h) * c.v_head_dim,
        c.n_heads * c.v_head_dim);
  }
}

inline void mla_absorbed(const MlaCall& a) {
  const int64_t n_heads = a.config.n_heads;
  const int64_t threads = a.compute.pool->size();
  const int64_t block = std::clamp<int64_t>(n_heads / threads, 1, kAbsorbedHeads);
  for (int64_t t0 = 0; t0 < a.n; t0 += kAbsorbedTokens) {
    const int64_t n = std::min(kAbsorbedTokens, a.n - t0);
    a.compute.pool->parallel_for(ceil_div(n_heads, block), [&](int64_t task, int thread) {
      const int64_t h0 = task * block;
      absorbed_heads(a, t0, n, h0, std::min(h0 + block, n_heads), a.compute.thread_scratch(thread));
    });
  }
}

// Keys (cached, nope) and values (cached, v) of head h from the cached latents; `panel`
// ((nope + v) * kv_lora_rank) is scratch. False when oneDNN runs out of memory.
inline bool expand_head(const MlaCall& a, int64_t h, float* panel, float* keys, float* values) {
  const Config& c = a.config;
  const int64_t nope = c.qk_nope_head_dim;
  const int64_t v = c.v_head_dim;
  const int64_t latent = c.kv_lora_rank;
  const int64_t row = a.cache.row_size;
  const int64_t cached = a.begin + a.n;
  const auto unpack = [&](const Matrix& w, int64_t begin, int64_t rows, float* out) {
    const KernelMatrix matrix = kernel_matrix(w);
    a.compute.kernels->unpack_rows[static_cast<size_t>(w.dtype)](&matrix, begin, begin + rows, out,
                                                                 w.cols);
  };
  float* w_uk = panel;                  // (nope, kv_lora_rank), or its transpose when split
  float* w_uv = panel + nope * latent;  // (v, kv_lora_rank)
  const MlaPart part = value_part(a, h);
  unpack(*part.w, part.first_row, v, w_uv);
  bool ok = gemm_nt(cached, v, latent, a.rows, row, w_uv, latent, 0.0F, values, v);
  if (a.w.is_split()) {
    unpack(a.w.k_b_proj, h * latent, latent, w_uk);
    return ok && gemm_nn(cached, nope, latent, a.rows, row, w_uk, nope, 0.0F, keys, nope);
  }
  unpack(a.w.kv_b_proj, h * (nope + v), nope, w_uk);
  return ok && gemm_nt(cached, nope, latent, a.rows, row, w_uk, latent, 0.0F, keys, nope);
}

// One head of all tokens of the call, by one thread.
inline bool expanded_head(const MlaCall& a, int64_t h, float* scratch) {
  const Config& c = a.config;
  const int64_t nope = c.qk_nope_head_dim;
  const int64_t rope = c.qk_rope_head_dim;
  const int64_t v = c.v_head_dim;
  const int64_t latent = c.kv_lora_rank;
  const int64_t row = a.cache.row_size;
  const int64_t cached = a.begin + a.n;
  const int64_t ldq = c.n_heads * (nope + rope);
  float* panel = scratch;                     // (nope + v, kv_lora_rank)
  float* keys = panel + (nope + v) * latent;  // (cached, nope)
  float* values = keys + cached * nope;       // (cached, v)
  float* scores = values + cached * v;        // (kScoreRows, cached)

  bool ok = expand_head(a, h, panel, keys, values);
  for (int64_t i0 = 0; ok && i0 < a.n; i0 += kScoreRows) {
    const int64_t n = std::min(kScoreRows, a.n - i0);
    const int64_t seen = a.begin + i0 + n;  // by the last query of the block
    const float* q = a.s.q + i0 * ldq + h * (nope + rope);
    ok = gemm_nt(n, seen, nope, q, ldq, keys, nope, 0.0F, scores, seen) &&
         gemm_nt(n, seen, rope, q + nope, ldq, a.rows + latent, row, 1.0F, scores, seen);
    causal_softmax(*a.compute.kernels, a.scale, scores, a.begin + i0, n);
    ok = ok && gemm_nn(n, v, seen, scores, seen, values, v, 0.0F,
                       a.s.heads + (i0 * c.n_heads + h) * v, c.n_heads * v);
  }
  return ok;
}

inline void mla_expanded(const MlaCall& a) {
  a.compute.pool->parallel_for(a.config.n_heads, [&](int64_t h, int thread) {
    if (!expanded_head(a, h, a.compute.thread_scratch(thread))) {
      a.compute.failed->store(true, std::memory_order_relaxed);
    }
  });
}

// Queries of x into s.q, rotated; latents and rotated keys into the cache.
inline void mla_project(const MlaCall& a, const RotaryTable& rotary, const float* x,
                        float* cache_rows) {
  const Config& c = a.config;
  const MlaScratch& s = a.s;
  const MlaWeights& w = a.w;
  const int64_t rope = c.qk_rope_head_dim;
  const int64_t q_size = c.qk_head_dim();
  const int64_t ldq = c.n_heads * q_size;
  const int64_t row = a.cache.row_size;
  const Product kv_a{&w.kv_a_proj_with_mqa, x, c.hidden_size, a.n, s.kv_a, row};
  const float eps = kLatentNormEps;
  if (c.q_lora_rank > 0) {
    const int64_t rank = c.q_lora_rank;
    multiply(a.compute, std::array{Product{&w.q_a_proj, x, c.hidden_size, a.n, s.q_a, rank}, kv_a});
    for (int64_t i = 0; i < a.n; ++i) {
      float* q_a = s.q_a + i * rank;
      a.compute.kernels->rms_norm(q_a, w.q_a_layernorm.data(), eps, rank, q_a);
    }
    multiply(a.compute, std::array{Product{&w.q_b_proj, s.q_a, rank, a.n, s.q, ldq}});
  } else {
    multiply(a.compute, std::array{Product{&w.q_proj, x, c.hidden_size, a.n, s.q, ldq}, kv_a});
  }
  for_each_row(a.compute, a.n, ldq, [&](int64_t i) {
    const float* angles = a.angles + i * rope;
    const float* kv = s.kv_a + i * row;
    float* cached = cache_rows + (a.begin + i) * row;
    a.compute.kernels->rms_norm(kv, w.kv_a_layernorm.data(), eps, c.kv_lora_rank, cached);
    std::copy_n(kv + c.kv_lora_rank, rope, cached + c.kv_lora_rank);
    rotary.rotate(angles, cached + c.kv_lora_rank);
    for (int64_t h = 0; h < c.n_heads; ++h) {
      rotary.rotate(angles, s.q + i * ldq + h * q_size + c.qk_nope_head_dim);
    }
  });
}

}  // namespace pensee
