// The decoders of the types whose codes are numbers of values in a table: IQ4_NL, IQ4_XS, MXFP4.
// All of it has internal linkage.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "decoder-inl.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

// What four-bit codes of IQ4_NL and IQ4_XS, and of MXFP4, stand for, with the offsets added.
inline __m128i iq4_values() {
  return _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15);
}
inline __m128i mxfp4_values() {
  return _mm_setr_epi8(16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4);
}
inline __m256i look_up(__m128i values, const char* qs) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles(load_128(qs)));
}

template <>
struct Decoder<KernelType::kIQ4_NL> {
  static constexpr int kBytes = 8 * 18;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 127;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) out[g] = look_up(iq4_values(), w + 18 * g + 2);
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    out.d[0] = block_floats<18>(w);
  }
};

template <>
struct Decoder<KernelType::kIQ4_XS> {
  static constexpr int kBytes = 136;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 127;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) out[g] = look_up(iq4_values(), w + 8 + 16 * g);
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    const __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32(load_word<int32_t>(w + 4)),
                                          _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    const __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(load_word<uint16_t>(w + 2) << 4),
                                           _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    const __m256i six_bits = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(15)),
                                             _mm256_and_si256(high, _mm256_set1_epi32(48)));
    const __m256i centred = _mm256_sub_epi32(six_bits, _mm256_set1_epi32(32));
    out.d[0] = _mm256_mul_ps(_mm256_set1_ps(half_at(w)), _mm256_cvtepi32_ps(centred));
  }
};

template <>
struct Decoder<KernelType::kMXFP4> {
  static constexpr int kBytes = 8 * 17;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 16;
  static constexpr int kLargest = 12;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) out[g] = look_up(mxfp4_values(), w + 17 * g + 1);
  }
  // 2^(exponent - 128), whose two smallest values are denormal.
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    uint64_t bytes = 0;
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) bytes |= uint64_t{load_word<uint8_t>(w + 17 * g)} << (8 * g);
    const __m256i exponents = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(bytes)));
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(exponents, _mm256_set1_epi32(1)), 23);
    const __m256i denormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), exponents);
    const __m256i is_normal = _mm256_cmpgt_epi32(exponents, _mm256_set1_epi32(1));
    out.d[0] = _mm256_castsi256_ps(_mm256_blendv_epi8(denormal, normal, is_normal));
  }
};

}  // namespace
}  // namespace pensee
