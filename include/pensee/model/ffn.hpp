// The SwiGLU feed-forward layer: down(silu(gate(x)) * up(x)).
#pragma once

#include <array>
#include <cstdint>

#include "pensee/base/arena.hpp"
#include "pensee/model/linear.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// A rough price of one silu(gate) * up, in multiply-adds.
inline constexpr int64_t kSiluCost = 16;

struct FfnScratch {
  float* gate = nullptr;  // (chunk, intermediate)
  float* up = nullptr;    // (chunk, intermediate)

  static FfnScratch layout(Arena& arena, int64_t chunk, int64_t intermediate) {
    FfnScratch scratch;
    scratch.gate = arena.take<float>(chunk * intermediate);
    scratch.up = arena.take<float>(chunk * intermediate);
    return scratch;
  }
};

// out (n, hidden) = ffn(x (n, hidden)).
inline void ffn(const Compute& compute, const FfnWeights& w, const FfnScratch& scratch, int64_t n,
                const float* x, float* out) {
  const int64_t hidden = w.gate_proj.cols;
  const int64_t size = w.gate_proj.rows;
  multiply(compute, std::array{Product{&w.gate_proj, x, hidden, n, scratch.gate, size},
                               Product{&w.up_proj, x, hidden, n, scratch.up, size}});
  for_each_row(compute, n, size * kSiluCost, [&](int64_t i) {
    float* gate = scratch.gate + i * size;
    compute.kernels->silu_mul(gate, scratch.up + i * size, size, gate);
  });
  multiply(compute, std::array{Product{&w.down_proj, scratch.gate, size, n, out, hidden}});
}

}  // namespace pensee
