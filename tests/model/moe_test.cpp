#include "pensee/model/moe.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <deque>
#include <vector>
#include <xtensor/xadapt.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xview.hpp>

#include "compute.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"

namespace pensee {
namespace {

using pensee_test::matrix_of;
using pensee_test::random_floats;
using pensee_test::Workbench;
using Vector = xt::xtensor<float, 1>;

Config small_config(int64_t n_shared_experts) {
  Config c;
  c.hidden_size = 37;
  c.moe_intermediate_size = 21;
  c.n_routed_experts = 12;
  c.n_shared_experts = n_shared_experts;
  c.n_group = 4;
  c.topk_group = 2;
  c.num_experts_per_tok = 3;
  c.norm_topk_prob = true;
  c.routed_scaling_factor = 2.5;
  return c;
}

// Random weights and the memory they live in.
struct Layer {
  std::deque<std::vector<float>> memory;
  MoeWeights w;

  Matrix matrix(int64_t rows, int64_t cols) {
    memory.push_back(random_floats(rows * cols, static_cast<uint32_t>(memory.size()) + 100, 0.3F));
    return matrix_of(memory.back(), rows, cols);
  }
  FfnWeights ffn(int64_t hidden, int64_t size) {
    return {matrix(size, hidden), matrix(size, hidden), matrix(hidden, size)};
  }

  explicit Layer(const Config& c) {
    w.gate = matrix(c.n_routed_experts, c.hidden_size);
    w.e_score_correction_bias = random_floats(c.n_routed_experts, 99, 0.2F);
    for (int64_t e = 0; e < c.n_routed_experts; ++e) {
      w.experts.push_back(ffn(c.hidden_size, c.moe_intermediate_size));
    }
    if (c.n_shared_experts > 0) {
      w.shared_experts = ffn(c.hidden_size, c.moe_intermediate_size * c.n_shared_experts);
    }
  }
};

Vector times(const Matrix& m, const Vector& x) {
  const auto rows = static_cast<size_t>(m.rows);
  const auto cols = static_cast<size_t>(m.cols);
  const auto w = xt::adapt(static_cast<const float*>(m.data), rows * cols, xt::no_ownership(),
                           std::array<size_t, 2>{rows, cols});
  return xt::sum(w * x, 1);
}

Vector swiglu(const FfnWeights& f, const Vector& x) {
  const Vector gate = times(f.gate_proj, x);
  const Vector hidden = gate / (1.0F + xt::exp(-gate)) * times(f.up_proj, x);
  return times(f.down_proj, hidden);
}

// One token after the formula, expert by expert.
Vector oracle(const Config& c, const MoeWeights& w, const Vector& x) {
  Vector logits = times(w.gate, x);
  std::vector<float> choice(logits.size());
  std::vector<float> groups(static_cast<size_t>(c.n_group));
  std::vector<int32_t> experts(static_cast<size_t>(c.num_experts_per_tok));
  std::vector<float> weights(experts.size());
  route_token(c, w.e_score_correction_bias.data(), logits.data(), {choice.data(), groups.data()},
              experts.data(), weights.data());
  Vector y = xt::zeros<float>({static_cast<size_t>(c.hidden_size)});
  for (size_t k = 0; k < experts.size(); ++k) {
    y += weights[k] * swiglu(w.experts[static_cast<size_t>(experts[k])], x);
  }
  if (c.n_shared_experts > 0) y += swiglu(w.shared_experts, x);
  return y;
}

void check_layer(int64_t n_shared_experts, int64_t n, const KernelTable& kernels) {
  const Config c = small_config(n_shared_experts);
  const Layer layer(c);
  const Workbench bench(kernels);
  Arena measure;
  (void)MoeScratch::layout(measure, c, n);
  Arena arena = *Arena::create(measure.used());
  const MoeScratch scratch = MoeScratch::layout(arena, c, n);
  const auto hidden = static_cast<size_t>(c.hidden_size);
  const auto x = random_floats(n * c.hidden_size, 7);
  std::vector<float> out(x.size(), NAN);
  moe(bench.compute(), c, layer.w, scratch, n, x.data(), out.data());
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    const Vector token =
        xt::adapt(std::vector<float>(x.begin() + static_cast<long>(i * hidden),
                                     x.begin() + static_cast<long>((i + 1) * hidden)),
                  std::array<size_t, 1>{hidden});
    const Vector expected = oracle(c, layer.w, token);
    const std::span<const float> row(out.data() + i * hidden, hidden);
    CHECK(golden::max_difference({expected.data(), hidden}, row) < 2e-4F);
  }
}

TEST_CASE("a layer equals its formula, expert by expert, for one token and for many") {
  for (const KernelTable* kernels : compiled_kernels()) {
    for (const int64_t n : {1, 2, 9, 90}) {
      CAPTURE(n);
      check_layer(1, n, *kernels);
    }
  }
}

TEST_CASE("there may be two shared experts, or none") {
  check_layer(2, 5, best_kernels());
  check_layer(0, 5, best_kernels());
}

}  // namespace
}  // namespace pensee
