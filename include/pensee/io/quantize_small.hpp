// Encodes the block types of 32 elements. The decoders in kernels/blocks.hpp define them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>

#include "pensee/base/dtype.hpp"
#include "pensee/io/quantize_fit.hpp"
#include "pensee/kernels/blocks.hpp"

namespace pensee::quantize_detail {

inline constexpr int kSmall = 32;  // elements a block

template <class T>
void store(uint8_t* at, T value) noexcept {
  std::memcpy(at, &value, sizeof value);
}

// The twin of blocks::nibble; the bytes must have been zeros.
inline void put_nibble(uint8_t* p, int e, int bytes, int value) noexcept {
  p[e < bytes ? e : e - bytes] |= static_cast<uint8_t>(e < bytes ? value : value << 4);
}

// `scale` as the nearest float16.
[[nodiscard]] inline float as_f16(float scale) noexcept {
  return f16_to_f32(f32_to_f16(scale));
}

// The float16 scale for x (kSmall): the fitted one, unless putting the peak at an end is better.
template <class Levels>
[[nodiscard]] float small_scale(const float* x) noexcept {
  const float fitted = as_f16(fit_scale<Levels>(x, kSmall));
  const float plain = as_f16(peak_of(x, kSmall) / static_cast<float>(Levels::kLeast));
  const bool is_better =
      scale_error<Levels>(x, kSmall, fitted) < scale_error<Levels>(x, kSmall, plain);
  return is_better ? fitted : plain;
}

// Q8_0: the scale is fine enough that no search helps.
inline void encode_q8_0(const float* x, uint8_t* b) noexcept {
  const float scale = as_f16(std::fabs(peak_of(x, kSmall)) / 127.0F);
  const float inverse = inverse_of(scale);
  store(b, f32_to_f16(scale));
  for (int e = 0; e < kSmall; ++e) {
    b[2 + e] =
        static_cast<uint8_t>(static_cast<int8_t>(Integers<-127, 127>::nearest(x[e] * inverse)));
  }
}

// Q4_0 and Q5_0: codes with an offset. b is zeros.
template <bool kFifthBit>
void encode_offset(const float* x, uint8_t* b) noexcept {
  constexpr int kOffset = kFifthBit ? 16 : 8;
  using Levels = Integers<-kOffset, kOffset - 1>;
  const float scale = small_scale<Levels>(x);
  const float inverse = inverse_of(scale);
  store(b, f32_to_f16(scale));
  uint32_t high = 0;
  for (int e = 0; e < kSmall; ++e) {
    const int code = static_cast<int>(Levels::nearest(x[e] * inverse)) + kOffset;
    put_nibble(b + (kFifthBit ? 6 : 2), e, 16, code & 15);
    high |= static_cast<uint32_t>(code >> 4) << e;
  }
  if (kFifthBit) store(b + 2, high);
}

// Q4_1 and Q5_1: codes with a minimum. b is zeros.
template <bool kFifthBit>
void encode_min(const float* x, uint8_t* b) noexcept {
  constexpr int kMost = kFifthBit ? 31 : 15;
  const auto rounded = [](ScaleMin fit) { return ScaleMin{as_f16(fit.scale), as_f16(fit.min)}; };
  const auto [low, high] = std::minmax_element(x, x + kSmall);
  ScaleMin best = rounded({(*high - *low) / kMost, *low});
  const ScaleMin fitted =
      rounded(fit_scale_min<kMost>(x, kSmall, std::numeric_limits<float>::max()));
  if (scale_min_error<kMost>(x, kSmall, fitted) < scale_min_error<kMost>(x, kSmall, best)) {
    best = fitted;
  }
  const float inverse = inverse_of(best.scale);
  store(b, f32_to_f16(best.scale));
  store(b + 2, f32_to_f16(best.min));
  uint32_t fifth = 0;
  for (int e = 0; e < kSmall; ++e) {
    const int code = static_cast<int>(Integers<0, kMost>::nearest((x[e] - best.min) * inverse));
    put_nibble(b + (kFifthBit ? 8 : 4), e, 16, code & 15);
    fifth |= static_cast<uint32_t>(code >> 4) << e;
  }
  if (kFifthBit) store(b + 4, fifth);
}

// b is zeros.
inline void encode_iq4_nl(const float* x, uint8_t* b) noexcept {
  const float scale = small_scale<Iq4Levels>(x);
  const float inverse = inverse_of(scale);
  store(b, f32_to_f16(scale));
  for (int e = 0; e < kSmall; ++e) put_nibble(b + 2, e, 16, Iq4Levels::index(x[e] * inverse));
}

// The nearest level of MXFP4 to x, which is in units of the scale: its index.
[[nodiscard]] inline int mxfp4_index(float x) noexcept {
  const auto distance = [&](int8_t value) { return std::fabs(x - static_cast<float>(value)); };
  const auto* nearest =
      std::min_element(std::begin(blocks::kMXFP4Values), std::end(blocks::kMXFP4Values),
                       [&](int8_t a, int8_t b) { return distance(a) < distance(b); });
  return static_cast<int>(nearest - std::begin(blocks::kMXFP4Values));
}

// The scale is 2^(byte - 128), one of those near the peak. b is zeros.
inline void encode_mxfp4(const float* x, uint8_t* b) noexcept {
  const float peak = std::fabs(peak_of(x, kSmall));
  if (peak < std::numeric_limits<float>::min()) return;
  const int middle = 127 - 2 + std::ilogb(peak);
  float best_error = std::numeric_limits<float>::max();
  int best = 0;
  for (int byte = std::max(middle - 1, 0); byte <= std::min(middle + 1, 254); ++byte) {
    const float scale = std::ldexp(1.0F, byte - 128);
    float error = 0.0F;
    for (int e = 0; e < kSmall; ++e) {
      const float level = blocks::kMXFP4Values[mxfp4_index(x[e] / scale)];
      error += (x[e] - scale * level) * (x[e] - scale * level);
    }
    if (!(error < best_error)) continue;
    best_error = error;
    best = byte;
  }
  b[0] = static_cast<uint8_t>(best);
  const float scale = std::ldexp(1.0F, best - 128);
  for (int e = 0; e < kSmall; ++e) put_nibble(b + 1, e, 16, mxfp4_index(x[e] / scale));
}

}  // namespace pensee::quantize_detail
