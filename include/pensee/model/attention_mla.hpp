// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1), in its two forms.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "pensee/model/attention.hpp"
#include "pensee/model/attention_latents.hpp"
#include "pensee/model/attention_tiles.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/kv_cache.hpp"
#include "pensee/model/linear.hpp"
#include "pensee/model/mla_scratch.hpp"
#include "pensee/model/rope.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// Whether the absorbed form multiplies in eight bits.
[[nodiscard]] inline bool takes_eight_bits(const KernelTable& kernels, const MlaScratch& s) {
  return kernels.latents.attend != nullptr && s.latents.group > 0;
}

// Multiply-adds of each form: per query and cached token, plus what each spends on kv_b_proj. Those
// of the absorbed form count as what they take, as measured beside the others: 9/8, in eight bits
// 3/4. Few queries always take the form in which each is computed for itself.
[[nodiscard]] inline MlaForm choose_mla_form(const Config& c, int64_t begin, int64_t n,
                                             bool eight_bits) {
  if (n < kAbsorbedTokens) return MlaForm::kAbsorbed;
  const int64_t cached = begin + n;
  const int64_t pairs = n * begin + n * (n + 1) / 2;
  const int64_t kv_b = (c.qk_nope_head_dim + c.v_head_dim) * c.kv_lora_rank;
  const int64_t absorbed =
      pairs * (2 * c.kv_lora_rank + c.qk_rope_head_dim) / 8 * (eight_bits ? 6 : 9) + n * kv_b;
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

// y (n, rows) = x (n, w.cols) * the transpose of `rows` rows of w from `first` on, by one thread.
inline void multiply_part(const MlaCall& a, const Matrix& w, int64_t first, int64_t rows,
                          const float* x, int64_t ldx, int64_t n, float* y, int64_t ldy,
                          int thread) {
  const KernelTable& kernels = *a.compute.kernels;
  const KernelMatrix view = kernel_matrix(w);
  const auto type = static_cast<size_t>(w.dtype);
  if (!is_block_type(w.dtype)) {
    kernels.dot_rows[type](&view, first, first + rows, x, ldx, n, y, ldy);
    return;
  }
  auto* q8 = reinterpret_cast<Q8Chunk*>(a.compute.thread_scratch(thread));
  for (int64_t i = 0; i < n; ++i) kernels.quantize_q8(x + i * ldx, w.cols, q8 + i, n);
  kernels.dot_rows_q8[type](&view, first, first + rows, q8, n, n, y, ldy);
}

// q_latent = [q_nope * W_UK | q_pe] of head h of n tokens, q (n, n_heads, nope + rope).
inline void absorb_query(const MlaCall& a, const float* q, int64_t n, int64_t h, int thread) {
  const Config& c = a.config;
  const int64_t nope = c.qk_nope_head_dim;
  const int64_t q_size = nope + c.qk_rope_head_dim;
  const int64_t latent = c.kv_lora_rank;
  const int64_t row = a.cache.row_size;
  for (int64_t i = 0; i < n; ++i) {
    float* out = a.s.q_latent + (i * c.n_heads + h) * row;
    std::fill_n(out, row, 0.0F);
    std::copy_n(q + (i * c.n_heads + h) * q_size + nope, c.qk_rope_head_dim, out + a.cache.second);
  }
  if (a.w.is_split()) {
    multiply_part(a, a.w.k_b_proj, h * latent, latent, q + h * q_size, c.n_heads * q_size, n,
                  a.s.q_latent + h * row, c.n_heads * row, thread);
  } else {
    const KernelMatrix kv_b = kernel_matrix(a.w.kv_b_proj);
    const int64_t w_uk = h * (nope + c.v_head_dim);
    a.compute.kernels->add_rows[static_cast<size_t>(a.w.kv_b_proj.dtype)](
        &kv_b, w_uk, w_uk + nope, q + h * q_size, c.n_heads * q_size, n, a.s.q_latent + h * row,
        c.n_heads * row);
  }
}

// heads = o_latent * W_UV of head h of n tokens, heads (n, n_heads, v).
inline void unabsorb_value(const MlaCall& a, int64_t n, int64_t h, float* heads, int thread) {
  const Config& c = a.config;
  const MlaPart part = value_part(a, h);
  multiply_part(a, *part.w, part.first_row, c.v_head_dim, a.s.o_latent + h * c.kv_lora_rank,
                c.n_heads * c.kv_lora_rank, n, heads + h * c.v_head_dim, c.n_heads * c.v_head_dim,
                thread);
}

// o_latent = attention of q_latent over the latents, of n tokens from token `first` on.
inline void attend_latents(const MlaCall& a, int64_t first, int64_t n) {
  const Config& c = a.config;
  const int64_t row = a.cache.row_size;
  const KernelTable& kernels = *a.compute.kernels;
  const AttentionCall call{.streams = 1,
                           .per_token = c.n_heads,
                           .key_size = row,
                           .value_size = c.kv_lora_rank,
                           .begin = a.begin + first,
                           .n = n,
                           .scale = a.scale,
                           .q = a.s.q_latent,
                           .q_token = c.n_heads * row,
                           .q_stream = 0,
                           .out = a.s.o_latent,
                           .out_token = c.n_heads * c.kv_lora_rank,
                           .out_stream = 0};
  if (takes_eight_bits(kernels, a.s)) {
    const KernelMatrix rows = a.cache.matrix(a.rows, 0, 0, row);
    attend(a.compute, a.s.absorbed, a.s.absorbed_splits, call,
           LatentWork{a.s.latents, a.s.absorbed.block_rows, kernels.latents, rows});
    return;
  }
  const AttentionKernels& math = attention_kernels(kernels, a.cache.type);
  const CacheLoader loader{math, a.cache, a.rows, 0, a.s.absorbed};
  attend(a.compute, a.s.absorbed, a.s.absorbed_splits, call, TileWork{a.s.absorbed, math, loader});
}

// What kv_b_proj does before and after `attend`, to n tokens from token `first` on.
template <class Attend>
void absorb_around(const MlaCall& a, int64_t first, int64_t n, Attend&& attend) {
  const Config& c = a.config;
  const float* q = a.s.q + first * c.n_heads * c.qk_head_dim();
  float* heads = a.s.heads + first * c.n_heads * c.v_head_dim;
  a.compute.pool->parallel_for(c.n_heads,
                               [&](int64_t h, int thread) { absorb_query(a, q, n, h, thread); });
  attend();
  a.compute.pool->parallel_for(
      c.n_heads, [&](int64_t h, int thread) { unabsorb_value(a, n, h, heads, thread); });
}

inline void mla_absorbed(const MlaCall& a) {
  for (int64_t first = 0; first < a.n; first += kAbsorbedTokens) {
    const int64_t n = std::min(kAbsorbedTokens, a.n - first);
    absorb_around(a, first, n, [&] { attend_latents(a, first, n); });
  }
}

// The same for tokens of several sequences, at most kAbsorbedTokens, one of each: kv_b_proj is read
// once for all. `all`: as if they were of one; call_of(i): of sequence i, which has its own part of
// the latents of `all`.
template <class CallOf>
void mla_absorbed_together(const MlaCall& all, CallOf&& call_of) {
  absorb_around(all, 0, all.n, [&] {
    for (int64_t i = 0; i < all.n; ++i) {
      MlaCall one = call_of(i);
      one.s.q_latent = all.s.q_latent + i * all.config.n_heads * all.cache.row_size;
      one.s.o_latent = all.s.o_latent + i * all.config.n_heads * all.config.kv_lora_rank;
      attend_latents(one, 0, 1);
    }
  });
}

// Keys and values of a head, a stream, from the cached latents.
class ExpandLoader {
 public:
  ExpandLoader(const MlaCall& call, const AttentionKernels& math) : a_(call), math_(math) {}

  [[nodiscard]] static CachedRows cached_rows(int64_t /*head*/) { return {}; }
  void prepare(int64_t head, float* scratch) const {
    const Config& c = a_.config;
    const int64_t nope = c.qk_nope_head_dim;
    const int64_t v = c.v_head_dim;
    const int64_t latent = c.kv_lora_rank;
    const ExpandBuffers b = ExpandBuffers::layout(scratch, c, a_.cache);
    const MlaPart part = value_part(a_, head);
    unpack(*part.w, part.first_row, v, b.rows);
    const KernelMatrix w_uv = matrix(b.rows, latent, latent);
    math_.pack_transposed[CacheStorage::kF32](&w_uv, 0, v, b.w_uv, AttentionShape::columns(v));
    const int64_t ld = words(latent);
    if (!a_.w.is_split()) {
      unpack(a_.w.kv_b_proj, head * (nope + v), nope, b.rows);
      math_.pack_left(b.rows, latent, nope, latent, 1.0F, b.w_uk, ld);
      return;
    }
    // Stored transposed: turned over, as many rows at a time as b.latents has room for.
    unpack(a_.w.k_b_proj, head * latent, latent, b.rows);
    auto* turned = reinterpret_cast<float*>(b.latents);
    for (int64_t first = 0; first < nope; first += kTileTokens) {
      const int64_t count = std::min(kTileTokens, nope - first);
      for (int64_t l = 0; l < latent; ++l) {
        for (int64_t d = 0; d < count; ++d) turned[d * latent + l] = b.rows[l * nope + first + d];
      }
      math_.pack_left(turned, latent, count, latent, 1.0F, b.w_uk + first * ld, ld);
    }
  }

  void load(int64_t /*head*/, int64_t t, int64_t n, float* scratch, uint32_t* keys,
            uint32_t* values) const {
    const Config& c = a_.config;
    const int64_t nope = c.qk_nope_head_dim;
    const int64_t latent = c.kv_lora_rank;
    const int64_t v_columns = AttentionShape::columns(c.v_head_dim);
    const ExpandBuffers b = ExpandBuffers::layout(scratch, c, a_.cache);
    const auto type = static_cast<size_t>(a_.cache.type);
    const KernelMatrix latents = a_.cache.matrix(a_.rows, 0, 0, latent);
    const KernelMatrix rope = a_.cache.matrix(a_.rows, 0, a_.cache.second, c.qk_rope_head_dim);
    // Keys: W_UK * latents^T.
    math_.pack_transposed[type](&latents, t, t + n, b.latents, kTileTokens);
    math_.multiply(nope, AttentionShape::columns(n), latent, b.w_uk, words(latent), b.latents,
                   kTileTokens, b.product, kTileTokens, 0);
    const KernelMatrix k_nope = matrix(b.product, n, kTileTokens);
    math_.pack_right[CacheStorage::kF32](&k_nope, 0, nope, keys, kTileTokens);
    math_.pack_transposed[type](&rope, t, t + n, keys + words(nope) * kTileTokens, kTileTokens);
    // Values: latents * W_UV^T.
    const KernelMatrix whole = a_.cache.matrix(a_.rows, 0, 0, a_.cache.second);
    a_.compute.kernels->unpack_rows[static_cast<size_t>(cache_dtype(a_.cache.type))](
        &whole, t, t + n, b.rows, whole.cols);
    math_.pack_left(b.rows, whole.cols, n, latent, 1.0F, b.latents, words(latent));
    math_.multiply(n, v_columns, latent, b.latents, words(latent), b.w_uv, v_columns, b.product,
                   v_columns, 0);
    const KernelMatrix product = matrix(b.product, c.v_head_dim, v_columns);
    math_.pack_right[CacheStorage::kF32](&product, 0, n, values, v_columns);
  }

 private:
  [[nodiscard]] int64_t words(int64_t k) const noexcept { return ceil_div(k, math_.pair); }
  [[nodiscard]] static KernelMatrix matrix(const float* rows, int64_t cols, int64_t ld) noexcept {
    return {rows, nullptr, ld * static_cast<int64_t>(sizeof(float)), 0, cols};
  }
  void unpack(const Matrix& w, int64_t begin, int64_t rows, float* out) const {
    const KernelMatrix view = kernel_matrix(w);
    a_.compute.kernels->unpack_rows[static_cast<size_t>(w.dtype)](&view, begin, begin + rows, out,
                                                                  w.cols);
  }

  const MlaCall& a_;
  const AttentionKernels& math_;
};

inline void mla_expanded(const MlaCall& a) {
  const Config& c = a.config;
  const int64_t q_size = c.qk_head_dim();
  // Rotated keys follow the others within a head, and have to begin with a word.
  const bool whole_words = c.qk_nope_head_dim % a.compute.kernels->attention.pair == 0;
  const AttentionKernels& math =
      attention_kernels(*a.compute.kernels, whole_words ? a.cache.type : CacheType::kF32);
  const ExpandLoader loader(a, math);
  attend(a.compute, a.s.expanded, a.s.expanded_splits,
         {.streams = c.n_heads,
          .per_token = 1,
          .key_size = q_size,
          .value_size = c.v_head_dim,
          .begin = a.begin,
          .n = a.n,
          .scale = a.scale,
          .q = a.s.q,
          .q_token = c.n_heads * q_size,
          .q_stream = q_size,
          .out = a.s.heads,
          .out_token = c.n_heads * c.v_head_dim,
          .out_stream = c.v_head_dim},
         TileWork{a.s.expanded, math, loader});
}

// Queries, latents and keys of x (n, hidden), as the weights give them, into s.
inline void mla_project(const Compute& compute, const Config& c, const MlaWeights& w,
                        const MlaScratch& s, int64_t n, const float* x) {
  const int64_t ldq = c.n_heads * c.qk_head_dim();
  const int64_t row = c.kv_lora_rank + c.qk_rope_head_dim;
  const Product kv_a{&w.kv_a_proj_with_mqa, x, c.hidden_size, n, s.kv_a, row};
  if (c.q_lora_rank == 0) {
    multiply(compute, std::array{Product{&w.q_proj, x, c.hidden_size, n, s.q, ldq}, kv_a});
    return;
  }
  const int64_t rank = c.q_lora_rank;
  multiply(compute, std::array{Product{&w.q_a_proj, x, c.hidden_size, n, s.q_a, rank}, kv_a});
  for (int64_t i = 0; i < n; ++i) {
    float* q_a = s.q_a + i * rank;
    compute.kernels->rms_norm(q_a, w.q_a_layernorm.data(), kLatentNormEps, rank, q_a);
  }
  multiply(compute, std::array{Product{&w.q_b_proj, s.q_a, rank, n, s.q, ldq}});
}

// Finishes what mla_project() left: the queries in s.q, rotated; latents and rotated keys into the
// cache.
inline void mla_store(const MlaCall& a, const RotaryTable& rotary) {
  const Config& c = a.config;
  const MlaScratch& s = a.s;
  const int64_t rope = c.qk_rope_head_dim;
  const int64_t q_size = c.qk_head_dim();
  const int64_t ldq = c.n_heads * q_size;
  const int64_t row = c.kv_lora_rank + rope;
  for_each_row(a.compute, a.n, ldq, [&](int64_t i) {
    const float* angles = a.angles + i * rope;
    float* kv = s.kv_a + i * row;
    a.compute.kernels->rms_norm(kv, a.w.kv_a_layernorm.data(), kLatentNormEps, c.kv_lora_rank, kv);
    rotary.rotate(angles, kv + c.kv_lora_rank);
    a.cache.store(*a.compute.kernels, a.rows, 0, a.begin + i, 0, kv, c.kv_lora_rank);
    a.cache.store(*a.compute.kernels, a.rows, 0, a.begin + i, a.cache.second, kv + c.kv_lora_rank,
                  rope);
    for (int64_t h = 0; h < c.n_heads; ++h) {
      rotary.rotate(angles, s.q + i * ldq + h * q_size + c.qk_nope_head_dim);
    }
  });
}

}  // namespace pensee
