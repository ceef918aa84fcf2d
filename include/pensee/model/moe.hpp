// A mixture-of-experts layer: routed experts, grouped by expert, plus the shared experts.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "pensee/base/arena.hpp"
#include "pensee/model/ffn.hpp"
#include "pensee/model/linear.hpp"
#include "pensee/model/router.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// A slot is one meeting of a token and an expert. Slots are ordered by expert, so that the rows of
// one expert lie together and its weights are read once for all of them.
struct MoeScratch {
  RouterScratch router;
  float* scores = nullptr;        // (chunk, n_routed_experts)
  int32_t* experts = nullptr;     // (chunk, num_experts_per_tok)
  float* weights = nullptr;       // (chunk, num_experts_per_tok)
  int64_t* slot_of = nullptr;     // (chunk, num_experts_per_tok)
  int64_t* slot_begin = nullptr;  // (n_routed_experts + 1): first slot of each expert
  float* x = nullptr;             // (slots, hidden)
  FfnScratch routed;              // (slots, moe_intermediate_size)
  float* down = nullptr;          // (slots, hidden)
  FfnScratch shared;              // (chunk, moe_intermediate_size * n_shared_experts)
  Product* products = nullptr;    // (2 * n_routed_experts + 2)

  static MoeScratch layout(Arena& arena, const Config& c, int64_t chunk) {
    const int64_t slots = chunk * c.num_experts_per_tok;
    MoeScratch s;
    s.router = RouterScratch::layout(arena, c);
    s.scores = arena.take<float>(chunk * c.n_routed_experts);
    s.experts = arena.take<int32_t>(slots);
    s.weights = arena.take<float>(slots);
    s.slot_of = arena.take<int64_t>(slots);
    s.slot_begin = arena.take<int64_t>(c.n_routed_experts + 1);
    s.x = arena.take<float>(slots * c.hidden_size);
    s.routed = FfnScratch::layout(arena, slots, c.moe_intermediate_size);
    s.down = arena.take<float>(slots * c.hidden_size);
    s.shared = FfnScratch::layout(arena, chunk, c.moe_intermediate_size * c.n_shared_experts);
    s.products = arena.take<Product>(max_products(c));
    return s;
  }

  [[nodiscard]] static int64_t max_products(const Config& c) noexcept {
    return 2 * c.n_routed_experts + 2;
  }
};

// Gives every (token, choice) its slot: a counting sort by expert.
inline void assign_slots(const Config& c, const MoeScratch& s, int64_t n) {
  const int64_t choices = n * c.num_experts_per_tok;
  std::fill_n(s.slot_begin, c.n_routed_experts + 1, 0);
  for (int64_t i = 0; i < choices; ++i) ++s.slot_begin[s.experts[i] + 1];
  for (int64_t e = 0; e < c.n_routed_experts; ++e) s.slot_begin[e + 1] += s.slot_begin[e];
  for (int64_t i = 0; i < choices; ++i) s.slot_of[i] = s.slot_begin[s.experts[i]]++;
  // Each begin has moved to the next expert's begin: move them back by one place.
  for (int64_t e = c.n_routed_experts; e > 0; --e) s.slot_begin[e] = s.slot_begin[e - 1];
  s.slot_begin[0] = 0;
}

// Chooses experts for x (n, hidden) and copies each token to its slots.
inline void route(const Compute& compute, const Config& c, const MoeWeights& w, const MoeScratch& s,
                  int64_t n, const float* x) {
  const int64_t hidden = c.hidden_size;
  const int64_t k = c.num_experts_per_tok;
  multiply(compute, std::array{Product{&w.gate, x, hidden, n, s.scores, c.n_routed_experts}});
  for (int64_t i = 0; i < n; ++i) {
    route_token(c, w.e_score_correction_bias.data(), s.scores + i * c.n_routed_experts, s.router,
                s.experts + i * k, s.weights + i * k);
  }
  assign_slots(c, s, n);
  for_each_row(compute, n, k * hidden, [&](int64_t i) {
    for (int64_t j = i * k; j < (i + 1) * k; ++j) {
      std::copy_n(x + i * hidden, hidden, s.x + s.slot_of[j] * hidden);
    }
  });
}

// The products that take every busy expert's rows of x_slots through `matrix`; returns their count.
inline size_t expert_products(const MoeWeights& w, const MoeScratch& s, Matrix FfnWeights::*matrix,
                              const float* x_slots, float* y_slots, Product* out) {
  size_t count = 0;
  for (size_t e = 0; e < w.experts.size(); ++e) {
    const int64_t begin = s.slot_begin[e];
    const int64_t rows = s.slot_begin[e + 1] - begin;
    if (rows == 0) continue;
    const Matrix& m = w.experts[e].*matrix;
    out[count++] = {&m, x_slots + begin * m.cols, m.cols, rows, y_slots + begin * m.rows, m.rows};
  }
  return count;
}

// out (n, hidden) = sum over chosen experts of weight * expert(x) + shared_experts(x (n, hidden)).
inline void moe(const Compute& compute, const Config& c, const MoeWeights& w, const MoeScratch& s,
                int64_t n, const float* x, float* out) {
  const int64_t hidden = c.hidden_size;
  const int64_t k = c.num_experts_per_tok;
  const int64_t slots = n * k;
  const int64_t shared_size = c.moe_intermediate_size * c.n_shared_experts;
  const FfnWeights& shared = w.shared_experts;
  route(compute, c, w, s, n, x);

  size_t count = expert_products(w, s, &FfnWeights::gate_proj, s.x, s.routed.gate, s.products);
  count += expert_products(w, s, &FfnWeights::up_proj, s.x, s.routed.up, s.products + count);
  if (shared_size > 0) {
    s.products[count++] = {&shared.gate_proj, x, hidden, n, s.shared.gate, shared_size};
    s.products[count++] = {&shared.up_proj, x, hidden, n, s.shared.up, shared_size};
  }
  multiply(compute, std::span<const Product>(s.products, count));

  const int64_t size = c.moe_intermediate_size;
  for_each_row(compute, slots, size * kSiluCost, [&](int64_t i) {
    float* gate = s.routed.gate + i * size;
    compute.kernels->silu_mul(gate, s.routed.up + i * size, size, gate);
  });
  for_each_row(compute, n, shared_size * kSiluCost, [&](int64_t i) {
    float* gate = s.shared.gate + i * shared_size;
    compute.kernels->silu_mul(gate, s.shared.up + i * shared_size, shared_size, gate);
  });

  count = expert_products(w, s, &FfnWeights::down_proj, s.routed.gate, s.down, s.products);
  if (shared_size > 0) {
    s.products[count++] = {&shared.down_proj, s.shared.gate, shared_size, n, out, hidden};
  } else {
    std::fill_n(out, n * hidden, 0.0F);
  }
  multiply(compute, std::span<const Product>(s.products, count));

  for_each_row(compute, n, k * hidden, [&](int64_t i) {
    for (int64_t j = i * k; j < (i + 1) * k; ++j) {
      const float weight = s.weights[j];
      const float* y = s.down + s.slot_of[j] * hidden;
      float* sum = out + i * hidden;
      for (int64_t d = 0; d < hidden; ++d) sum[d] += weight * y[d];
    }
  });
}

}  // namespace pensee
