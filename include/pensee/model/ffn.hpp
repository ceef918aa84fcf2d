// The SwiGLU feed-forward layer: down(silu(gate(x)) * up(x)).
#pragma once

#include <array>
#include <cstdint>

#include "pensee/model/linear.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// The input of down_proj: silu(gate_proj(x)) * up_proj(x), (n, intermediate).
[[nodiscard]] inline Product ffn_gate_up(const FfnWeights& w, const float* x, int64_t n,
                                         float* out) {
  return {&w.gate_proj, x, w.gate_proj.cols, n, out, w.gate_proj.rows, &w.up_proj};
}
// down_proj of h (n, intermediate): (n, hidden).
[[nodiscard]] inline Product ffn_down(const FfnWeights& w, const float* h, int64_t n, float* out) {
  return {&w.down_proj, h, w.down_proj.cols, n, out, w.down_proj.rows};
}

// out (n, hidden) = ffn(x (n, hidden)); `h` (n, intermediate) is scratch. `out` may be x.
inline void ffn(const Compute& compute, const FfnWeights& w, float* h, int64_t n, const float* x,
                float* out) {
  multiply(compute, std::array{ffn_gate_up(w, x, n, h)});
  multiply(compute, std::array{ffn_down(w, h, n, out)});
}

}  // namespace pensee
