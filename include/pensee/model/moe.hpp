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
  int32_t* token_of = nullptr;    // (slots)
  int64_t* slot_begin = nullptr;  // (n_routed_experts + 1): first slot of each expert
  float* x = nullptr;             // (slots, hidden); unused where all experts are of block types
  float* routed = nullptr;        // (slots, h_floats(moe_intermediate_size))
  float* down = nullptr;          // (slots, hidden)
  float* shared = nullptr;        // (chunk, h_floats(moe_intermediate_size * n_shared_experts))
  Product* products = nullptr;    // (n_routed_experts + 1)

  static MoeScratch layout(Arena& arena, const Config& c, int64_t chunk) {
    const int64_t slots = chunk * c.num_experts_per_tok;
    MoeScratch s;
    s.router = RouterScratch::layout(arena, c);
    s.scores = arena.take<float>(chunk * c.n_routed_experts);
    s.experts = arena.take<int32_t>(slots);
    s.weights = arena.take<float>(slots);
    s.slot_of = arena.take<int64_t>(slots);
    s.token_of = arena.take<int32_t>(slots);
    s.slot_begin = arena.take<int64_t>(c.n_routed_experts + 1);
    s.routed = arena.take<float>(slots * h_floats(c.moe_intermediate_size));
    s.x = arena.take<float>(slots * c.hidden_size);
    s.down = s.x;  // its results come when the inputs have been read
    s.shared = arena.take<float>(chunk * h_floats(c.moe_intermediate_size * c.n_shared_experts));
    s.products = arena.take<Product>(max_products(c));
    return s;
  }

  // Chunks of quantised inputs of the routed and the shared experts.
  [[nodiscard]] static int64_t max_q8(const Config& c, int64_t chunk) noexcept {
    return (chunk * c.num_experts_per_tok + chunk) * q8_chunks(c.hidden_size);
  }

  [[nodiscard]] static int64_t max_products(const Config& c) noexcept {
    return c.n_routed_experts + 1;
  }
};

// Gives every (token, choice) its slot: a counting sort by expert.
inline void assign_slots(const Config& c, const MoeScratch& s, int64_t n) {
  const int64_t choices = n * c.num_experts_per_tok;
  std::fill_n(s.slot_begin, c.n_routed_experts + 1, 0);
  for (int64_t i = 0; i < choices; ++i) ++s.slot_begin[s.experts[i] + 1];
  for (int64_t e = 0; e < c.n_routed_experts; ++e) s.slot_begin[e + 1] += s.slot_begin[e];
  for (int64_t i = 0; i < choices; ++i) {
    s.slot_of[i] = s.slot_begin[s.experts[i]]++;
    s.token_of[s.slot_of[i]] = static_cast<int32_t>(i / c.num_experts_per_tok);
  }
  // Each begin has moved to the next expert's begin: move them back by one place.
  for (int64_t e = c.n_routed_experts; e > 0; --e) s.slot_begin[e] = s.slot_begin[e - 1];
  s.slot_begin[0] = 0;
}

// Chooses experts for x (n, hidden), and gives every choice its slot.
inline void route(const Compute& compute, const Config& c, const MoeWeights& w, const MoeScratch& s,
                  int64_t n, const float* x) {
  const int64_t hidden = c.hidden_size;
  const int64_t k = c.num_experts_per_tok;
  Product scores{&w.gate, x, hidden, n, s.scores, c.n_routed_experts};
  scores.in_float32 = true;  // a token that hangs between two experts would go to the other one
  multiply(compute, std::array{scores});
  for (int64_t i = 0; i < n; ++i) {
    route_token(c, w.e_score_correction_bias.data(), s.scores + i * c.n_routed_experts, s.router,
                s.experts + i * k, s.weights + i * k);
  }
  assign_slots(c, s, n);
}

// The inputs of the slots, x (n, hidden), where a product cannot choose rows of x: one token's
// slots share its row; otherwise each has a copy (slots, hidden), so that an expert's rows lie
// together.
inline const float* copy_to_slots(const Compute& compute, const Config& c, const MoeScratch& s,
                                  int64_t n, const float* x) {
  if (n == 1) return x;
  const int64_t hidden = c.hidden_size;
  const int64_t k = c.num_experts_per_tok;
  for_each_row(compute, n, k * hidden, [&](int64_t i) {
    for (int64_t j = i * k; j < (i + 1) * k; ++j) {
      std::copy_n(x + i * hidden, hidden, s.x + s.slot_of[j] * hidden);
    }
  });
  return s.x;
}

// out (n, hidden) = sum over chosen experts of weight * expert(x) + shared_experts(x (n, hidden)).
// `out` may be x: it is written when x has been read.
inline void moe(const Compute& compute, const Config& c, const MoeWeights& w, const MoeScratch& s,
                int64_t n, const float* x, float* out) {
  const int64_t hidden = c.hidden_size;
  const int64_t size = h_floats(c.moe_intermediate_size);
  const int64_t k = c.num_experts_per_tok;
  const bool has_shared = c.n_shared_experts > 0;
  route(compute, c, w, s, n, x);
  const auto of_blocks = [](const FfnWeights& expert) {
    return is_block_type(expert.gate_proj.dtype) && is_block_type(expert.up_proj.dtype);
  };
  const bool by_rows = n > 1 && std::all_of(w.experts.begin(), w.experts.end(), of_blocks);
  const float* slots = by_rows ? nullptr : copy_to_slots(compute, c, s, n, x);

  // f(expert, first slot, rows) gives a product of every expert that has rows.
  const auto for_busy_experts = [&](auto&& f) {
    size_t count = 0;
    for (size_t e = 0; e < w.experts.size(); ++e) {
      const int64_t begin = s.slot_begin[e];
      const int64_t rows = s.slot_begin[e + 1] - begin;
      if (rows == 0) continue;
      s.products[count] = f(w.experts[e], begin, rows);
      s.products[count++].pass_rows = n;
    }
    return count;
  };
  size_t count = for_busy_experts([&](const FfnWeights& expert, int64_t begin, int64_t rows) {
    float* out_rows = s.routed + begin * size;
    if (!by_rows) {
      return ffn_gate_up(expert, n == 1 ? slots : slots + begin * hidden, rows, out_rows);
    }
    Product p = ffn_gate_up(expert, x, rows, out_rows);
    p.rows = s.token_of + begin;
    return p;
  });
  if (has_shared) s.products[count++] = ffn_gate_up(w.shared_experts, x, n, s.shared);
  multiply(compute, std::span<const Product>(s.products, count));

  count = for_busy_experts([&](const FfnWeights& expert, int64_t begin, int64_t rows) {
    return ffn_down(expert, s.routed + begin * size, rows, s.down + begin * hidden);
  });
  if (has_shared) {
    s.products[count++] = ffn_down(w.shared_experts, s.shared, n, out);
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
