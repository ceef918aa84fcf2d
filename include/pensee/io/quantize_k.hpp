// Encodes the block types of 256 elements: groups with small whole scales, and one float16 scale
// for those. The decoders in kernels/blocks.hpp define them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "pensee/base/dtype.hpp"
#include "pensee/io/quantize_fit.hpp"
#include "pensee/io/quantize_small.hpp"
#include "pensee/kernels/blocks.hpp"

namespace pensee::quantize_detail {

inline constexpr int kLarge = 256;  // elements a block

// Groups without minimums. Codes: the scales of groups, in units of d.
template <class Levels, class Codes, size_t kGroups>
struct ScaledGroups {
  static constexpr int kElements = kLarge / static_cast<int>(kGroups);
  float d = 0.0F;
  std::array<int, kGroups> codes{};

  // Fits x (kLarge).
  explicit ScaledGroups(const float* x) noexcept {
    std::array<float, kGroups> fits{};
    for (size_t g = 0; g < kGroups; ++g) fits[g] = fit_scale<Levels>(group(x, g), kElements);
    // The largest scale at the end that reaches farther.
    d = as_f16(peak_of(fits.data(), static_cast<int>(kGroups)) / static_cast<float>(Codes::kLeast));
    const float inverse = inverse_of(d);
    for (size_t g = 0; g < kGroups; ++g) {
      codes[g] = best_code(group(x, g), static_cast<int>(Codes::nearest(fits[g] * inverse)));
    }
  }
  [[nodiscard]] float scale(int e) const noexcept {
    return d * static_cast<float>(codes[static_cast<size_t>(e / kElements)]);
  }

 private:
  [[nodiscard]] static const float* group(const float* x, size_t g) noexcept {
    return x + g * kElements;
  }
  // The fitted scale lies between two codes; the nearer one is not always better.
  [[nodiscard]] int best_code(const float* x, int near) const noexcept {
    int best = near;
    float best_error = scale_error<Levels>(x, kElements, d * static_cast<float>(near));
    for (const int code : {near - 1, near + 1}) {
      if (code < Codes::kLeast || code > Codes::kMost) continue;
      const float error = scale_error<Levels>(x, kElements, d * static_cast<float>(code));
      if (!(error < best_error)) continue;
      best = code;
      best_error = error;
    }
    return best;
  }
};

// Groups with minimums: element = d * scale * q - dmin * min, q whole from 0 to kMost.
template <int kMost, int kMostCode, size_t kGroups>
struct MinGroups {
  static constexpr int kElements = kLarge / static_cast<int>(kGroups);
  float d = 0.0F;
  float dmin = 0.0F;
  std::array<int, kGroups> scales{};
  std::array<int, kGroups> mins{};

  // Fits x (kLarge).
  explicit MinGroups(const float* x) noexcept {
    std::array<ScaleMin, kGroups> fits{};
    float largest_scale = 0.0F;
    float largest_min = 0.0F;
    for (size_t g = 0; g < kGroups; ++g) {
      fits[g] = fit_scale_min<kMost>(group(x, g), kElements, 0.0F);
      largest_scale = std::max(largest_scale, fits[g].scale);
      largest_min = std::max(largest_min, -fits[g].min);
    }
    d = as_f16(largest_scale / kMostCode);
    dmin = as_f16(largest_min / kMostCode);
    for (size_t g = 0; g < kGroups; ++g) choose_codes(group(x, g), g, fits[g]);
  }
  [[nodiscard]] int q(const float* x, int e) const noexcept {
    const ScaleMin fit =
        value(scales[static_cast<size_t>(e / kElements)], mins[static_cast<size_t>(e / kElements)]);
    return static_cast<int>(Integers<0, kMost>::nearest((x[e] - fit.min) * inverse_of(fit.scale)));
  }

 private:
  [[nodiscard]] static const float* group(const float* x, size_t g) noexcept {
    return x + g * kElements;
  }
  [[nodiscard]] ScaleMin value(int scale, int min) const noexcept {
    return {d * static_cast<float>(scale), -dmin * static_cast<float>(min)};
  }
  // The codes next to `fit` that are best together.
  void choose_codes(const float* x, size_t g, ScaleMin fit) noexcept {
    using Code = Integers<0, kMostCode>;
    const int scale = static_cast<int>(Code::nearest(fit.scale * inverse_of(d)));
    const int min = static_cast<int>(Code::nearest(-fit.min * inverse_of(dmin)));
    float best_error = std::numeric_limits<float>::max();
    for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, kMostCode); ++s) {
      for (int m = std::max(min - 1, 0); m <= std::min(min + 1, kMostCode); ++m) {
        const float error = scale_min_error<kMost>(x, kElements, value(s, m));
        if (!(error < best_error)) continue;
        best_error = error;
        scales[g] = s;
        mins[g] = m;
      }
    }
  }
};

// The level of element e, in whole numbers.
template <class Levels, class Groups>
[[nodiscard]] int level_of(const Groups& groups, const float* x, int e) noexcept {
  return static_cast<int>(Levels::nearest(x[e] * inverse_of(groups.scale(e))));
}

// All functions below take x (kLarge) and a block of zeros.

inline void encode_q2_k(const float* x, uint8_t* b) noexcept {
  const MinGroups<3, 15, 16> groups(x);
  for (int g = 0; g < 16; ++g) {
    b[g] = static_cast<uint8_t>(groups.scales[static_cast<size_t>(g)] |
                                groups.mins[static_cast<size_t>(g)] << 4);
  }
  for (int e = 0; e < kLarge; ++e) {
    b[16 + e / 128 * 32 + e % 32] |= static_cast<uint8_t>(groups.q(x, e) << (2 * (e / 32 % 4)));
  }
  store(b + 80, f32_to_f16(groups.d));
  store(b + 82, f32_to_f16(groups.dmin));
}

inline void encode_q3_k(const float* x, uint8_t* b) noexcept {
  using Levels = Integers<-4, 3>;
  const ScaledGroups<Levels, Integers<-32, 31>, 16> groups(x);
  for (int e = 0; e < kLarge; ++e) {
    const int code = level_of<Levels>(groups, x, e) + 4;
    b[e % 32] |= static_cast<uint8_t>((code >> 2) << (e / 32));
    b[32 + e / 128 * 32 + e % 32] |= static_cast<uint8_t>((code & 3) << (2 * (e / 32 % 4)));
  }
  for (int g = 0; g < 16; ++g) {
    const int code = groups.codes[static_cast<size_t>(g)] + 32;
    put_nibble(b + 96, g, 8, code & 15);
    b[104 + g % 4] |= static_cast<uint8_t>((code >> 4) << (2 * (g / 4)));
  }
  store(b + 108, f32_to_f16(groups.d));
}

// Q4_K and Q5_K.
template <bool kFifthBit>
void encode_q45_k(const float* x, uint8_t* b) noexcept {
  const MinGroups<kFifthBit ? 31 : 15, 63, 8> groups(x);
  store(b, f32_to_f16(groups.d));
  store(b + 2, f32_to_f16(groups.dmin));
  uint8_t* s = b + 4;  // the twin of blocks::decode_k_scales
  for (int g = 0; g < 8; ++g) {
    const int scale = groups.scales[static_cast<size_t>(g)];
    const int min = groups.mins[static_cast<size_t>(g)];
    if (g < 4) {
      s[g] |= static_cast<uint8_t>(scale);
      s[4 + g] |= static_cast<uint8_t>(min);
    } else {
      s[4 + g] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
      s[g - 4] |= static_cast<uint8_t>((scale >> 4) << 6);
      s[g] |= static_cast<uint8_t>((min >> 4) << 6);
    }
  }
  for (int e = 0; e < kLarge; ++e) {
    const int q = groups.q(x, e);
    put_nibble(b + (kFifthBit ? 48 : 16) + e / 64 * 32, e % 64, 32, q & 15);
    if (kFifthBit) b[16 + e % 32] |= static_cast<uint8_t>((q >> 4) << (e / 32));
  }
}

inline void encode_q6_k(const float* x, uint8_t* b) noexcept {
  using Levels = Integers<-32, 31>;
  const ScaledGroups<Levels, Integers<-128, 127>, 16> groups(x);
  for (int e = 0; e < kLarge; ++e) {
    const int code = level_of<Levels>(groups, x, e) + 32;
    put_nibble(b + e / 128 * 64, e % 128, 64, code & 15);
    b[128 + e / 128 * 32 + e % 32] |= static_cast<uint8_t>((code >> 4) << (2 * (e / 32 % 4)));
  }
  for (int g = 0; g < 16; ++g) {
    b[192 + g] = static_cast<uint8_t>(static_cast<int8_t>(groups.codes[static_cast<size_t>(g)]));
  }
  store(b + 208, f32_to_f16(groups.d));
}

inline void encode_iq4_xs(const float* x, uint8_t* b) noexcept {
  const ScaledGroups<Iq4Levels, Integers<-32, 31>, 8> groups(x);
  store(b, f32_to_f16(groups.d));
  uint32_t high = 0;
  for (int g = 0; g < 8; ++g) {
    const int code = groups.codes[static_cast<size_t>(g)] + 32;
    b[4 + g / 2] |= static_cast<uint8_t>((code & 15) << (4 * (g % 2)));
    high |= static_cast<uint32_t>(code >> 4) << (2 * g);
  }
  store(b + 2, static_cast<uint16_t>(high));
  for (int e = 0; e < kLarge; ++e) {
    const int index = Iq4Levels::index(x[e] * inverse_of(groups.scale(e)));
    put_nibble(b + 8 + 16 * (e / 32), e % 32, 16, index);
  }
}

}  // namespace pensee::quantize_detail
