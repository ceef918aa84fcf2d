// The SwiGLU feed-forward layer: down(silu(gate(x)) * up(x)).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "pensee/model/linear.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// What lies between the two products, h, is (n, intermediate) floats. Where down_proj reads it
// quantised, the threads that make it quantise it while it is in their caches: it then is
// (q8_chunks(intermediate), n), in the same memory, of which wide ones take half. (Rows of blocks
// are a multiple of kQ8Group.)
[[nodiscard]] inline bool has_quantized_h(const FfnWeights& w) noexcept {
  return is_block_type(w.down_proj.dtype);
}

// Floats of h for a token: enough for either, and a multiple of what a chunk is aligned to.
[[nodiscard]] constexpr int64_t h_floats(int64_t intermediate) noexcept {
  constexpr auto kChunk = static_cast<int64_t>(sizeof(Q8Chunk) / sizeof(float));
  constexpr auto kAligned = static_cast<int64_t>(alignof(Q8Chunk) / sizeof(float));
  return std::max(ceil_div(intermediate, kAligned) * kAligned, q8_chunks(intermediate) * kChunk);
}

// h (n, h_floats(intermediate)) = silu(gate_proj(x)) * up_proj(x).
[[nodiscard]] inline Product ffn_gate_up(const FfnWeights& w, const float* x, int64_t n, float* h) {
  Product p{&w.gate_proj, x, w.gate_proj.cols, n, h, w.gate_proj.rows, &w.up_proj};
  if (has_quantized_h(w)) {
    p.y = nullptr;
    p.y_q8 = reinterpret_cast<Q8Chunk*>(h);
  }
  return p;
}
// out (n, hidden) = down_proj(h).
[[nodiscard]] inline Product ffn_down(const FfnWeights& w, const float* h, int64_t n, float* out) {
  Product p{&w.down_proj, h, w.down_proj.cols, n, out, w.down_proj.rows};
  if (has_quantized_h(w)) {
    p.x = nullptr;
    p.x_q8 = reinterpret_cast<const Q8Chunk*>(h);
  }
  return p;
}

// out (n, hidden) = ffn(x (n, hidden)); `h` (n, h_floats(intermediate)) is scratch. `out` may be x.
inline void ffn(const Compute& compute, const FfnWeights& w, float* h, int64_t n, const float* x,
                float* out) {
  multiply(compute, std::array{ffn_gate_up(w, x, n, h)});
  multiply(compute, std::array{ffn_down(w, h, n, out)});
}

}  // namespace pensee
