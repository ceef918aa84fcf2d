// What the bytes of block-quantised weights mean: the scalar decoders, which define the types.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "pensee/base/dtype.hpp"
#include "pensee/kernels/block_grids.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee::blocks {

inline constexpr int kMaxElements = 256;  // in a block
inline constexpr int kGroup = 16;         // elements that surely share a scale

// A decoded block: element e has the value scales[e / 16] * codes[e] - mins[e / 16], computed in
// float32 in this order. Types without minimums have zeros there.
struct Codes {
  int8_t codes[kMaxElements];
  float scales[kMaxElements / kGroup];
  float mins[kMaxElements / kGroup];
};

template <class T>
[[nodiscard]] inline T load_le(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}
[[nodiscard]] inline float load_f16(const uint8_t* p) {
  return f16_to_f32(load_le<uint16_t>(p));
}

// A four-bit code of every byte: the lower half of `bytes` bytes first, then the upper half.
[[nodiscard]] inline int nibble(const uint8_t* p, int e, int bytes) {
  return e < bytes ? p[e] & 15 : p[e - bytes] >> 4;
}

// The four-bit number i of a sequence, two a byte.
[[nodiscard]] inline int nibble_at(const uint8_t* p, int i) {
  return p[i / 2] >> (4 * (i % 2)) & 15;
}

// One decoder for each block type. `decode(b, out)` sets the codes and scales of the block at b;
// out.mins comes in as zeros.
template <int kType>
struct Decoder;

// The types of 32 elements: one scale, and one minimum or an offset of the codes.
template <int kOffset, bool kHasMin, bool kFifthBit>
struct Legacy {
  static void decode(const uint8_t* b, Codes& out) {
    const float d = load_f16(b);
    const uint8_t* rest = b + (kHasMin ? 4 : 2);
    const uint32_t high = kFifthBit ? load_le<uint32_t>(rest) : 0;
    const uint8_t* qs = rest + (kFifthBit ? 4 : 0);
    for (int e = 0; e < 32; ++e) {
      const int code = nibble(qs, e, 16) | static_cast<int>((high >> e) & 1U) << 4;
      out.codes[e] = static_cast<int8_t>(code - kOffset);
    }
    for (int g = 0; g < 2; ++g) {
      out.scales[g] = d;
      if (kHasMin) out.mins[g] = -load_f16(b + 2);
    }
  }
};
template <>
struct Decoder<KernelType::kQ4_0> : Legacy<8, false, false> {};
template <>
struct Decoder<KernelType::kQ4_1> : Legacy<0, true, false> {};
template <>
struct Decoder<KernelType::kQ5_0> : Legacy<16, false, true> {};
template <>
struct Decoder<KernelType::kQ5_1> : Legacy<0, true, true> {};

template <>
struct Decoder<KernelType::kQ8_0> {
  static void decode(const uint8_t* b, Codes& out) {
    std::memcpy(out.codes, b + 2, 32);
    out.scales[0] = out.scales[1] = load_f16(b);
  }
};

template <>
struct Decoder<KernelType::kQ2_K> {
  static void decode(const uint8_t* b, Codes& out) {
    const float d = load_f16(b + 80);
    const float min = load_f16(b + 82);
    for (int e = 0; e < 256; ++e) {
      const int two_bits = b[16 + e / 128 * 32 + e % 32] >> (2 * (e / 32 % 4));
      out.codes[e] = static_cast<int8_t>(two_bits & 3);
    }
    for (int g = 0; g < 16; ++g) {
      out.scales[g] = d * static_cast<float>(b[g] & 15);
      out.mins[g] = min * static_cast<float>(b[g] >> 4);
    }
  }
};

template <>
struct Decoder<KernelType::kQ3_K> {
  static void decode(const uint8_t* b, Codes& out) {
    const float d = load_f16(b + 108);
    for (int e = 0; e < 256; ++e) {
      const int two_bits = (b[32 + e / 128 * 32 + e % 32] >> (2 * (e / 32 % 4))) & 3;
      const int third = (b[e % 32] >> (e / 32)) & 1;
      out.codes[e] = static_cast<int8_t>(two_bits + 4 * third - 4);
    }
    for (int g = 0; g < 16; ++g) {
      const int low = nibble(b + 96, g, 8);
      const int high = (b[104 + g % 4] >> (2 * (g / 4))) & 3;
      out.scales[g] = d * static_cast<float>((low | high << 4) - 32);
    }
  }
};

// Six-bit scales and minimums of eight groups of 32, in 12 bytes.
inline void decode_k_scales(const uint8_t* b, Codes& out) {
  const float d = load_f16(b);
  const float min = load_f16(b + 2);
  const uint8_t* s = b + 4;
  for (int g = 0; g < 16; ++g) {
    const int i = g / 2 % 4;
    const bool is_late = g >= 8;
    const int scale = is_late ? (s[8 + i] & 15) | (s[i] >> 6) << 4 : s[i] & 63;
    const int minimum = is_late ? s[8 + i] >> 4 | (s[4 + i] >> 6) << 4 : s[4 + i] & 63;
    out.scales[g] = d * static_cast<float>(scale);
    out.mins[g] = min * static_cast<float>(minimum);
  }
}

template <>
struct Decoder<KernelType::kQ4_K> {
  static void decode(const uint8_t* b, Codes& out) {
    decode_k_scales(b, out);
    for (int e = 0; e < 256; ++e) {
      out.codes[e] = static_cast<int8_t>(nibble(b + 16 + e / 64 * 32, e % 64, 32));
    }
  }
};

template <>
struct Decoder<KernelType::kQ5_K> {
  static void decode(const uint8_t* b, Codes& out) {
    decode_k_scales(b, out);
    for (int e = 0; e < 256; ++e) {
      const int fifth = (b[16 + e % 32] >> (e / 32)) & 1;
      out.codes[e] = static_cast<int8_t>(nibble(b + 48 + e / 64 * 32, e % 64, 32) | fifth << 4);
    }
  }
};

template <>
struct Decoder<KernelType::kQ6_K> {
  static void decode(const uint8_t* b, Codes& out) {
    const float d = load_f16(b + 208);
    for (int e = 0; e < 256; ++e) {
      const int low = nibble(b + e / 128 * 64, e % 128, 64);
      const int high = (b[128 + e / 128 * 32 + e % 32] >> (2 * (e / 32 % 4))) & 3;
      out.codes[e] = static_cast<int8_t>((low | high << 4) - 32);
    }
    for (int g = 0; g < 16; ++g) {
      out.scales[g] = d * static_cast<float>(static_cast<int8_t>(b[192 + g]));
    }
  }
};

// Eight signs in seven bits: the eighth makes the number of minuses even.
[[nodiscard]] constexpr uint32_t even_signs(uint32_t seven) {
  return seven | (static_cast<uint32_t>(std::popcount(seven)) & 1U) << 7;
}

// Elements [e, e + 8): magnitudes of an IQ2 grid with a sign bit each.
inline void put_iq2(uint16_t grid, uint32_t signs, int e, Codes& out) {
  constexpr int kMagnitudes[4] = {8, 25, 43, 0};
  for (int j = 0; j < 8; ++j) {
    const int magnitude = kMagnitudes[(grid >> (2 * j)) & 3];
    out.codes[e + j] = static_cast<int8_t>((signs >> j & 1U) != 0 ? -magnitude : magnitude);
  }
}

[[nodiscard]] inline float iq2_scale(float d, uint32_t four_bits) {
  return d * (0.5F + static_cast<float>(four_bits)) * 0.25F;
}

template <>
struct Decoder<KernelType::kIQ2_XXS> {
  static void decode(const uint8_t* b, Codes& out) {
    const float d = load_f16(b);
    for (int g = 0; g < 8; ++g) {  // groups of 32
      const uint8_t* group = b + 2 + 8 * g;
      const auto signs = load_le<uint32_t>(group + 4);
      for (int i = 0; i < 4; ++i) {
        put_iq2(kGridIQ2_XXS[group[i]], even_signs((signs >> (7 * i)) & 127U), 32 * g + 8 * i, out);
      }
      out.scales[2 * g] = out.scales[2 * g + 1] = iq2_scale(d, signs >> 28);
    }
  }
};

template <>
struct Decoder<KernelType::kIQ2_XS> {
  static void decode(const uint8_t* b, Codes& out) {
    const float d = load_f16(b);
    for (int i = 0; i < 32; ++i) {
      const uint32_t q = load_le<uint16_t>(b + 2 + 2 * i);
      put_iq2(kGridIQ2_XS[q & 511U], even_signs(q >> 9), 8 * i, out);
    }
    for (int g = 0; g < 16; ++g) {
      out.scales[g] = iq2_scale(d, static_cast<uint32_t>(nibble_at(b + 66, g)));
    }
  }
};

template <>
struct Decoder<KernelType::kIQ2_S> {
  static void decode(const uint8_t* b, Codes& out) {
    const float d = load_f16(b);
    for (int i = 0; i < 32; ++i) {
      const uint32_t high = uint32_t{b[66 + i / 4]} >> (2 * (i % 4)) & 3U;
      put_iq2(kGridIQ2_S[b[2 + i] | high << 8], b[34 + i], 8 * i, out);
    }
    for (int g = 0; g < 16; ++g) {
      out.scales[g] = iq2_scale(d, static_cast<uint32_t>(nibble_at(b + 74, g)));
    }
  }
};

template <>
struct Decoder<KernelType::kIQ3_XXS> {
  static void decode(const uint8_t* b, Codes& out) {
    constexpr int kMagnitudes[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    const float d = load_f16(b);
    for (int g = 0; g < 8; ++g) {  // groups of 32
      const auto word = load_le<uint32_t>(b + 66 + 4 * g);
      for (int j = 0; j < 32; ++j) {
        const uint32_t grid = kGridIQ3_XXS[b[2 + 8 * g + j / 4]];
        const int magnitude = kMagnitudes[(grid >> (4 * (j % 4))) & 7U];
        const uint32_t signs = even_signs((word >> (7 * (j / 8))) & 127U);
        const bool is_negative = (signs >> (j % 8) & 1U) != 0;
        out.codes[32 * g + j] = static_cast<int8_t>(is_negative ? -magnitude : magnitude);
      }
      const float scale = d * (0.5F + static_cast<float>(word >> 28)) * 0.5F;
      out.scales[2 * g] = out.scales[2 * g + 1] = scale;
    }
  }
};

template <>
struct Decoder<KernelType::kIQ3_S> {
  static void decode(const uint8_t* b, Codes& out) {
    const float d = load_f16(b);
    for (int e = 0; e < 256; ++e) {
      const uint32_t high = uint32_t{b[66 + e / 32]} >> (e / 4 % 8) & 1U;
      const uint32_t grid = kGridIQ3_S[b[2 + e / 4] | high << 8];
      const int magnitude = static_cast<int>(2 * ((grid >> (4 * (e % 4))) & 7U) + 1);
      const bool is_negative = (b[74 + e / 8] >> (e % 8) & 1) != 0;
      out.codes[e] = static_cast<int8_t>(is_negative ? -magnitude : magnitude);
    }
    for (int g = 0; g < 16; ++g) {
      const int four_bits = nibble_at(b + 106, g / 2);
      out.scales[g] = d * static_cast<float>(1 + 2 * four_bits);
    }
  }
};

// Elements [e, e + 8): -1, 0 or 1 with an eighth added or taken away, all times 8.
inline void put_iq1(uint32_t index, bool is_down, int e, Codes& out) {
  const uint32_t grid = kGridIQ1_S[index];
  for (int j = 0; j < 8; ++j) {
    const int value = static_cast<int>((grid >> (2 * j)) & 3U) - 1;
    out.codes[e + j] = static_cast<int8_t>(8 * value + (is_down ? -1 : 1));
  }
}

// The scale of the codes above. The eighth is a power of two and changes no rounding.
[[nodiscard]] inline float iq1_scale(float d, uint32_t three_bits) {
  return d * static_cast<float>(2 * three_bits + 1) * 0.125F;
}

template <>
struct Decoder<KernelType::kIQ1_S> {
  static void decode(const uint8_t* b, Codes& out) {
    const float d = load_f16(b);
    for (int g = 0; g < 8; ++g) {  // groups of 32
      const uint32_t high = load_le<uint16_t>(b + 34 + 2 * g);
      for (int i = 0; i < 4; ++i) {
        const uint32_t index = b[2 + 4 * g + i] | (high >> (3 * i) & 7U) << 8;
        put_iq1(index, (high & 0x8000U) != 0, 32 * g + 8 * i, out);
      }
      out.scales[2 * g] = out.scales[2 * g + 1] = iq1_scale(d, high >> 12 & 7U);
    }
  }
};

template <>
struct Decoder<KernelType::kIQ1_M> {
  static void decode(const uint8_t* b, Codes& out) {
    // Each of four words holds four three-bit scales and four bits of the block's float16.
    uint32_t d_bits = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32_t word = load_le<uint16_t>(b + 48 + 2 * i);
      d_bits |= word >> 12 << (4 * i);
    }
    const float d = f16_to_f32(static_cast<uint16_t>(d_bits));
    for (int i = 0; i < 32; ++i) {
      const uint32_t high = uint32_t{b[32 + i / 2]} >> (4 * (i % 2)) & 15U;
      put_iq1(b[i] | (high & 7U) << 8, (high & 8U) != 0, 8 * i, out);
    }
    for (int g = 0; g < 16; ++g) {
      const uint32_t word = load_le<uint16_t>(b + 48 + 2 * (g / 4));
      out.scales[g] = iq1_scale(d, word >> (3 * (g % 4)) & 7U);
    }
  }
};

// What the four-bit codes of IQ4_NL and IQ4_XS, and of MXFP4 (times 2), stand for.
inline constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr int8_t kMXFP4Values[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

template <>
struct Decoder<KernelType::kIQ4_NL> {
  static void decode(const uint8_t* b, Codes& out) {
    for (int e = 0; e < 32; ++e) out.codes[e] = kIQ4Values[nibble(b + 2, e, 16)];
    out.scales[0] = out.scales[1] = load_f16(b);
  }
};

template <>
struct Decoder<KernelType::kIQ4_XS> {
  static void decode(const uint8_t* b, Codes& out) {
    const float d = load_f16(b);
    const uint32_t high = load_le<uint16_t>(b + 2);
    for (int g = 0; g < 8; ++g) {  // groups of 32
      for (int j = 0; j < 32; ++j) {
        out.codes[32 * g + j] = kIQ4Values[nibble(b + 8 + 16 * g, j, 16)];
      }
      const int six_bits = nibble_at(b + 4, g) | static_cast<int>(high >> (2 * g) & 3U) << 4;
      out.scales[2 * g] = d * static_cast<float>(six_bits - 32);
      out.scales[2 * g + 1] = out.scales[2 * g];
    }
  }
};

template <>
struct Decoder<KernelType::kMXFP4> {
  static void decode(const uint8_t* b, Codes& out) {
    for (int e = 0; e < 32; ++e) out.codes[e] = kMXFP4Values[nibble(b + 1, e, 16)];
    // 2^(b - 128): half of the power of two that the byte stands for, as the values are doubled.
    const uint32_t exponent = b[0];
    const uint32_t bits = exponent < 2 ? 0x00200000U << exponent : (exponent - 1) << 23;
    out.scales[0] = out.scales[1] = std::bit_cast<float>(bits);
  }
};

}  // namespace pensee::blocks
