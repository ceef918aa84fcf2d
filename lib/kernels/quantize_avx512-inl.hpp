// The AVX-512 side of quantize-inl.hpp: the groups of a chunk side by side.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "pensee/kernels/table.hpp"
#include "q8_avx512-inl.hpp"
#include "quantize-inl.hpp"

namespace pensee {
namespace {

// The largest word of each of eight vectors.
[[gnu::always_inline]] inline __m256i largest_words(const __m512i (&v)[8]) {
  __m512i fours[2];  // words of every 128-bit lane: of four vectors
#pragma GCC unroll 2
  for (unsigned h = 0; h < 2; ++h) {
    __m512i twos[2];
#pragma GCC unroll 2
    for (unsigned p = 0; p < 2; ++p) {
      const __m512i a = v[4 * h + 2 * p];
      const __m512i b = v[4 * h + 2 * p + 1];
      twos[p] = _mm512_max_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    }
    fours[h] = _mm512_max_epi32(_mm512_unpacklo_epi64(twos[0], twos[1]),
                                _mm512_unpackhi_epi64(twos[0], twos[1]));
  }
  const __m512i lanes = _mm512_max_epi32(_mm512_shuffle_i32x4(fours[0], fours[1], 0x88),
                                         _mm512_shuffle_i32x4(fours[0], fours[1], 0xdd));
  const __m512i all = _mm512_max_epi32(lanes, _mm512_shuffle_i32x4(lanes, lanes, 0xb1));
  return _mm512_castsi512_si256(_mm512_shuffle_i32x4(all, all, 0x08));
}

// Sums of 16 codes and of 32.
[[gnu::always_inline]] inline void store_sums(const __m512i (&codes)[kWideVectors], Q8Chunk* out) {
  __m512i fours[kWideVectors];
#pragma GCC unroll 4
  for (unsigned v = 0; v < kWideVectors; ++v) {
    fours[v] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), codes[v]);
  }
  const __m512i sums = words_to_lanes(sums_of_fours<4 * 128>(fours));
  const __m256i sums_16 = _mm512_cvtepi32_epi16(sums);
  const __m256i sums_32 = _mm256_madd_epi16(sums_16, _mm256_set1_epi16(1));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out->sums_16), sums_16);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(out->sums_32),
      _mm_packs_epi32(_mm256_castsi256_si128(sums_32), _mm256_extracti128_si256(sums_32, 1)));
}

// As quantize_groups().
inline void quantize_groups_wide(const float* x, Q8Chunk* out) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i largest[8];
#pragma GCC unroll 8
  for (unsigned g = 0; g < 8; ++g) {
    largest[g] = _mm512_max_epi32(_mm512_and_si512(_mm512_loadu_si512(x + 32 * g), magnitude),
                                  _mm512_and_si512(_mm512_loadu_si512(x + 32 * g + 16), magnitude));
  }
  const GroupFactors factors(_mm256_castsi256_ps(largest_words(largest)));
  _mm256_storeu_ps(out->scales, factors.scale);
  const __m512 inverses = _mm512_castps256_ps512(factors.inverse);
  __m512i codes[kWideVectors];
#pragma GCC unroll 4
  for (unsigned v = 0; v < kWideVectors; ++v) {
    __m512i words[4];
#pragma GCC unroll 4
    for (unsigned k = 0; k < 4; ++k) {
      const int group = static_cast<int>(2 * v + k / 2);
      const __m512 inverse = _mm512_permutexvar_ps(_mm512_set1_epi32(group), inverses);
      const __m512 numbers = _mm512_loadu_ps(x + 64 * v + 16 * k);
      words[k] = _mm512_cvtps_epi32(_mm512_mul_ps(numbers, inverse));
    }
    const __m512i mixed = _mm512_packs_epi16(_mm512_packs_epi32(words[0], words[1]),
                                             _mm512_packs_epi32(words[2], words[3]));
    codes[v] = words_to_lanes(mixed);
    _mm512_storeu_si512(out->codes + 64 * v, codes[v]);
  }
  store_sums(codes, out);
}

}  // namespace
}  // namespace pensee
