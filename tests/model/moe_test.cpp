#include "pensee/model/moe.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <deque>
#include <string>
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
using pensee_test::q8_0_rows;
using pensee_test::random_floats;
using pensee_test::Workbench;
using Vector = xt::xtensor<float, 1>;

Config small_config(int64_t n_shared_experts, bool blocks = false) {
  Config c;
  c.hidden_size = blocks ? 96 : 37;
  c.moe_intermediate_size = blocks ? 64 : 21;
  c.n_routed_experts = 12;
  c.n_shared_experts = n_shared_experts;
  c.n_group = 4;
  c.topk_group = 2;
  c.num_experts_per_tok = 3;
  c.norm_topk_prob = true;
  c.routed_scaling_factor = 2.5;
  return c;
}

// Random weights and the memory they live in; with `blocks`, experts of Q8_0 and what they stand
// for.
struct Layer {
  std::deque<std::vector<float>> memory;
  std::deque<std::vector<std::byte>> block_memory;
  MoeWeights w;
  MoeWeights exact;

  Matrix matrix(int64_t rows, int64_t cols) {
    memory.push_back(random_floats(rows * cols, static_cast<uint32_t>(memory.size()) + 100, 0.3F));
    return matrix_of(memory.back(), rows, cols);
  }
  FfnWeights ffn(int64_t hidden, int64_t size) {
    return {matrix(size, hidden), matrix(size, hidden), matrix(hidden, size)};
  }

  Matrix as_blocks(Matrix& of) {
    const std::vector<std::byte>& bytes =
        block_memory.emplace_back(q8_0_rows(static_cast<const float*>(of.data), of.rows, of.cols));
    std::vector<float>& floats = memory.emplace_back(static_cast<size_t>(of.rows * of.cols));
    const Matrix blocks = matrix_of(bytes, of.rows, of.cols);
    const KernelMatrix view = kernel_matrix(blocks);
    reference_kernels().unpack_rows[KernelType::kQ8_0](&view, 0, of.rows, floats.data(), of.cols);
    of.data = floats.data();
    return blocks;
  }
  FfnWeights as_blocks(FfnWeights& of) {
    return {as_blocks(of.gate_proj), as_blocks(of.up_proj), as_blocks(of.down_proj)};
  }

  explicit Layer(const Config& c, bool blocks = false) {
    w.gate = matrix(c.n_routed_experts, c.hidden_size);
    w.e_score_correction_bias = random_floats(c.n_routed_experts, 99, 0.2F);
    for (int64_t e = 0; e < c.n_routed_experts; ++e) {
      w.experts.push_back(ffn(c.hidden_size, c.moe_intermediate_size));
    }
    if (c.n_shared_experts > 0) {
      w.shared_experts = ffn(c.hidden_size, c.moe_intermediate_size * c.n_shared_experts);
    }
    exact = w;
    if (!blocks) return;
    for (size_t e = 0; e < w.experts.size(); ++e) w.experts[e] = as_blocks(exact.experts[e]);
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

void check_layer(int64_t n_shared_experts, int64_t n, const KernelTable& kernels,
                 bool blocks = false) {
  const Config c = small_config(n_shared_experts, blocks);
  const Layer layer(c, blocks);
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
    const Vector expected = oracle(c, layer.exact, token);
    const std::span<const float> row(out.data() + i * hidden, hidden);
    // Of blocks, inputs have eight bits.
    const float tolerance = blocks ? 0.02F * xt::amax(xt::abs(expected))() : 2e-4F;
    CHECK(golden::max_difference({expected.data(), hidden}, row) < tolerance);
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

// Passes of 16 tokens and more, and experts of 6 rows and more, take other kernels than smaller
// ones.
TEST_CASE("experts of a block type read the rows of their tokens") {
  for (const KernelTable* kernels : compiled_kernels()) {
    for (const int64_t n : {1, 2, 15, 16, 24, 90}) {
      CAPTURE(n);
      check_layer(1, n, *kernels, true);
    }
  }
}

TEST_CASE("experts are chosen from inputs in float32 even where panels round theirs") {
  Config c = small_config(0);
  c.hidden_size = 256;
  c.n_routed_experts = PanelMatmul::kRows;
  Layer layer(c);
  std::vector<uint16_t> gate;
  for (const float value : layer.memory[0]) gate.push_back(f32_to_bf16(value));
  layer.w.gate = {gate.data(),        nullptr,       DType::kBF16,
                  c.n_routed_experts, c.hidden_size, c.hidden_size * 2};
  const int64_t n = kPanelMatmulRows;
  const auto x = random_floats(n * c.hidden_size, 7);
  Arena measure;
  (void)MoeScratch::layout(measure, c, n);
  for (const KernelTable* table : compiled_kernels()) {
    CAPTURE(std::string(table->name));
    KernelTable kernels = *table;
    kernels.has_tiles = 1;
    if (kernels.attention.pair == 1) kernels.attention.pack_left = pensee_test::pack_rounded;
    const auto panels = PanelMatmul::create(kernels.attention.pair == 2).value();
    if (kernels.attention.pair == 2 && panels == nullptr) continue;  // an oneDNN that cannot
    Arena arena = *Arena::create(measure.used());
    const MoeScratch scratch = MoeScratch::layout(arena, c, n);
    const Workbench bench(kernels, 2, multiply_scratch(kernels, c.hidden_size, n));
    const auto scores = [&](const PanelMatmul* rounded) {
      Compute compute = bench.compute();
      compute.panels = rounded;
      route(compute, c, layer.w, scratch, n, x.data());
      return std::vector<float>(scratch.scores, scratch.scores + n * c.n_routed_experts);
    };
    CHECK(scores(panels.get()) == scores(nullptr));
  }
}

TEST_CASE("there may be two shared experts, or none") {
  check_layer(2, 5, best_kernels());
  check_layer(0, 5, best_kernels());
}

}  // namespace
}  // namespace pensee
