// The decoders of the K types: Q2_K to Q6_K. All of it has internal linkage.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "decoder-inl.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

template <>
struct Decoder<KernelType::kQ2_K> {
  static constexpr int kBytes = 84;
  static constexpr int kGroups = 16;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0;
  static constexpr int kLargest = 3;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; ++h) {
      const __m256i q = load_256(w + 16 + 32 * h);
      out[4 * h] = and_mask(q, 3);
      out[4 * h + 1] = and_mask(_mm256_srli_epi16(q, 2), 3);
      out[4 * h + 2] = and_mask(_mm256_srli_epi16(q, 4), 3);
      out[4 * h + 3] = and_mask(_mm256_srli_epi16(q, 6), 3);
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    const __m128i both = load_128(w);
    const __m128i d = _mm_and_si128(both, _mm_set1_epi8(15));
    const __m128i m = _mm_and_si128(_mm_srli_epi16(both, 4), _mm_set1_epi8(15));
    const __m256 d_all = _mm256_set1_ps(half_at(w + 80));
    const __m256 m_all = _mm256_set1_ps(half_at(w + 82));
    out.d[0] = _mm256_mul_ps(d_all, unsigned_bytes(d));
    out.d[1] = _mm256_mul_ps(d_all, unsigned_bytes(upper_half(d)));
    out.m[0] = _mm256_mul_ps(m_all, unsigned_bytes(m));
    out.m[1] = _mm256_mul_ps(m_all, unsigned_bytes(upper_half(m)));
  }
};

template <>
struct Decoder<KernelType::kQ3_K> {
  static constexpr int kBytes = 110;
  static constexpr int kGroups = 16;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 4;
  static constexpr int kLargest = 4;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
    Decoder<KernelType::kQ2_K>::codes(w + 16, out);
    const __m256i third = load_256(w);  // bit g of byte i: column i of group g
    out[0] = _mm256_or_si256(out[0], and_mask(_mm256_slli_epi16(third, 2), 4));
    out[1] = _mm256_or_si256(out[1], and_mask(_mm256_slli_epi16(third, 1), 4));
    out[2] = _mm256_or_si256(out[2], and_mask(third, 4));
    out[3] = _mm256_or_si256(out[3], and_mask(_mm256_srli_epi16(third, 1), 4));
    out[4] = _mm256_or_si256(out[4], and_mask(_mm256_srli_epi16(third, 2), 4));
    out[5] = _mm256_or_si256(out[5], and_mask(_mm256_srli_epi16(third, 3), 4));
    out[6] = _mm256_or_si256(out[6], and_mask(_mm256_srli_epi16(third, 4), 4));
    out[7] = _mm256_or_si256(out[7], and_mask(_mm256_srli_epi16(third, 5), 4));
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0f;
    constexpr uint64_t kHigh = 0x3030303030303030;
    const auto low = load_word<uint64_t>(w + 96);
    const uint64_t high = load_word<uint32_t>(w + 104);
    // Two high bits of scales 0 to 3, then of 4 to 7; the next ones four bits above.
    const uint64_t spread = high << 4 | high << 34;
    const uint64_t first = (low & kLow) | (spread & kHigh);
    const uint64_t last = (low >> 4 & kLow) | (((high | high >> 2 << 32) & kHigh));
    const __m128i all = _mm_set_epi64x(static_cast<int64_t>(last), static_cast<int64_t>(first));
    const __m128i centred = _mm_sub_epi8(all, _mm_set1_epi8(32));
    const __m256 d = _mm256_set1_ps(half_at(w + 108));
    out.d[0] = _mm256_mul_ps(d, signed_bytes(centred));
    out.d[1] = _mm256_mul_ps(d, signed_bytes(upper_half(centred)));
  }
};

// Scales and minimums of Q4_K and Q5_K.
[[gnu::always_inline]] inline void k_scales(const char* w, GroupScales& out) {
  const uint32_t s0 = load_word<uint32_t>(w + 4);
  const uint32_t s1 = load_word<uint32_t>(w + 8);
  const uint32_t s2 = load_word<uint32_t>(w + 12);
  const uint32_t d_late = (s2 & 0x0f0f0f0fU) | (s0 >> 2 & 0x30303030U);
  const uint32_t m_late = (s2 >> 4 & 0x0f0f0f0fU) | (s1 >> 2 & 0x30303030U);
  const uint64_t d = (s0 & 0x3f3f3f3fU) | uint64_t{d_late} << 32;
  const uint64_t m = (s1 & 0x3f3f3f3fU) | uint64_t{m_late} << 32;
  const __m128 halves = _mm_cvtph_ps(_mm_cvtsi32_si128(load_word<int32_t>(w)));
  const __m256 d_all = _mm256_broadcastss_ps(halves);
  const __m256 m_all = _mm256_broadcastss_ps(_mm_movehdup_ps(halves));
  out.d[0] = _mm256_mul_ps(d_all, unsigned_bytes(_mm_cvtsi64_si128(static_cast<int64_t>(d))));
  out.m[0] = _mm256_mul_ps(m_all, unsigned_bytes(_mm_cvtsi64_si128(static_cast<int64_t>(m))));
}

template <>
struct Decoder<KernelType::kQ4_K> {
  static constexpr int kBytes = 144;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0;
  static constexpr int kLargest = 15;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 4
    for (unsigned c = 0; c < 4; ++c) {
      const __m256i q = load_256(w + 16 + 32 * c);
      out[2 * c] = and_mask(q, 15);
      out[2 * c + 1] = high_nibbles(q);
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    k_scales(w, out);
  }
};

template <>
struct Decoder<KernelType::kQ5_K> {
  static constexpr int kBytes = 176;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0;
  static constexpr int kLargest = 31;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
    Decoder<KernelType::kQ4_K>::codes(w + 32, out);
    const __m256i fifth = load_256(w + 16);  // bit g of byte i: column i of group g
    out[0] = _mm256_or_si256(out[0], and_mask(_mm256_slli_epi16(fifth, 4), 16));
    out[1] = _mm256_or_si256(out[1], and_mask(_mm256_slli_epi16(fifth, 3), 16));
    out[2] = _mm256_or_si256(out[2], and_mask(_mm256_slli_epi16(fifth, 2), 16));
    out[3] = _mm256_or_si256(out[3], and_mask(_mm256_slli_epi16(fifth, 1), 16));
    out[4] = _mm256_or_si256(out[4], and_mask(fifth, 16));
    out[5] = _mm256_or_si256(out[5], and_mask(_mm256_srli_epi16(fifth, 1), 16));
    out[6] = _mm256_or_si256(out[6], and_mask(_mm256_srli_epi16(fifth, 2), 16));
    out[7] = _mm256_or_si256(out[7], and_mask(_mm256_srli_epi16(fifth, 3), 16));
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) { k_scales(w, out); }
};

template <>
struct Decoder<KernelType::kQ6_K> {
  static constexpr int kBytes = 210;
  static constexpr int kGroups = 16;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 32;
  static constexpr int kLargest = 32;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; ++h) {
      const __m256i q0 = load_256(w + 64 * h);
      const __m256i q1 = load_256(w + 64 * h + 32);
      const __m256i high = load_256(w + 128 + 32 * h);
      const __m256i high0 = and_mask(_mm256_slli_epi16(high, 4), 48);
      const __m256i high1 = and_mask(_mm256_slli_epi16(high, 2), 48);
      const __m256i high3 = and_mask(_mm256_srli_epi16(high, 2), 48);
      out[4 * h] = _mm256_or_si256(and_mask(q0, 15), high0);
      out[4 * h + 1] = _mm256_or_si256(and_mask(q1, 15), high1);
      out[4 * h + 2] = _mm256_or_si256(high_nibbles(q0), and_mask(high, 48));
      out[4 * h + 3] = _mm256_or_si256(high_nibbles(q1), high3);
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    const __m128i all = load_128(w + 192);
    const __m256 d = _mm256_set1_ps(half_at(w + 208));
    out.d[0] = _mm256_mul_ps(d, signed_bytes(all));
    out.d[1] = _mm256_mul_ps(d, signed_bytes(upper_half(all)));
  }
};

}  // namespace
}  // namespace pensee
