// The decoders of Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1. All of it has internal linkage.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "decoder-inl.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

template <>
struct Decoder<KernelType::kQ8_0> {
  static constexpr int kBytes = 8 * 34;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 128;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      out[g] = _mm256_xor_si256(load_256(w + g * 34 + 2), _mm256_set1_epi8(-128));
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    out.d[0] = block_floats<34>(w);
  }
};

// Q4_0, Q4_1, Q5_0, Q5_1
template <bool kMin, bool kFifthBit>
struct Legacy {
  static constexpr int kBlockBytes = 2 + (kMin ? 2 : 0) + (kFifthBit ? 4 : 0) + 16;
  static constexpr int kBytes = 8 * kBlockBytes;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = kMin;
  static constexpr int kOffset = kMin ? 0 : kFifthBit ? 16 : 8;
  static constexpr int kLargest = kMin ? (kFifthBit ? 31 : 15) : kOffset;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      const char* rest = w + g * kBlockBytes + (kMin ? 4 : 2);
      out[g] = nibbles(load_128(rest + (kFifthBit ? 4 : 0)));
      if (!kFifthBit) continue;
      const __m256i fifth = bits_to_bytes(load_word<uint32_t>(rest));
      out[g] = _mm256_or_si256(out[g], and_mask(fifth, 16));
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    out.d[0] = block_floats<kBlockBytes>(w);
    if (kMin) out.m[0] = _mm256_sub_ps(_mm256_setzero_ps(), block_floats<kBlockBytes>(w + 2));
  }
};
template <>
struct Decoder<KernelType::kQ4_0> : Legacy<false, false> {};
template <>
struct Decoder<KernelType::kQ4_1> : Legacy<true, false> {};
template <>
struct Decoder<KernelType::kQ5_0> : Legacy<false, true> {};
template <>
struct Decoder<KernelType::kQ5_1> : Legacy<true, true> {};

}  // namespace
}  // namespace pensee
