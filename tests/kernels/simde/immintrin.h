// Stands in for the compiler's <immintrin.h> when *_avx512.cpp is compiled for the tests without
// AVX-512: SIMDe carries the intrinsics out with what the machine has, this file adds those that
// SIMDe 0.7.4 lacks, and the table gets a name of its own.
#ifndef PENSEE_TESTS_SIMDE_IMMINTRIN_H
#  define PENSEE_TESTS_SIMDE_IMMINTRIN_H

#  define SIMDE_ENABLE_NATIVE_ALIASES
#  include <simde/x86/avx512.h>
#  include <simde/x86/f16c.h>
#  include <string.h>

typedef simde__mmask8 __mmask8;
typedef simde__mmask16 __mmask16;
typedef simde__mmask32 __mmask32;
typedef simde__mmask64 __mmask64;

static inline simde__m512 pensee_cvtph_ps(simde__m256i halves) {
  simde__m128i lower = simde_mm256_extracti128_si256(halves, 0);
  simde__m128i upper = simde_mm256_extracti128_si256(halves, 1);
  simde__m256 parts[2] = {simde_mm256_cvtph_ps(lower), simde_mm256_cvtph_ps(upper)};
  simde__m512 result;
  memcpy(&result, parts, sizeof result);
  return result;
}
#  define _mm512_cvtph_ps(a) pensee_cvtph_ps(a)

// Numbers as wider ones.
#  define PENSEE_WIDEN(name, vector, narrow, wide)         \
    static inline simde__m512i name(vector numbers) {      \
      narrow from[sizeof(vector) / sizeof(narrow)];        \
      wide to[64 / sizeof(wide)];                          \
      memcpy(from, &numbers, sizeof from);                 \
      for (int i = 0; i < (int)(64 / sizeof(wide)); ++i) { \
        to[i] = from[i];                                   \
      }                                                    \
      return simde_mm512_loadu_si512(to);                  \
    }
PENSEE_WIDEN(pensee_cvtepu8_epi16, simde__m256i, uint8_t, uint16_t)
PENSEE_WIDEN(pensee_cvtepu8_epi32, simde__m128i, uint8_t, uint32_t)
PENSEE_WIDEN(pensee_cvtepu8_epi64, simde__m128i, uint8_t, uint64_t)
PENSEE_WIDEN(pensee_cvtepu16_epi32, simde__m256i, uint16_t, uint32_t)
PENSEE_WIDEN(pensee_cvtepu16_epi64, simde__m128i, uint16_t, uint64_t)
PENSEE_WIDEN(pensee_cvtepi8_epi32, simde__m128i, int8_t, int32_t)
PENSEE_WIDEN(pensee_cvtepi16_epi32, simde__m256i, int16_t, int32_t)
#  define _mm512_cvtepi8_epi32(a) pensee_cvtepi8_epi32(a)
#  define _mm512_cvtepi16_epi32(a) pensee_cvtepi16_epi32(a)
#  define _mm512_cvtepu8_epi16(a) pensee_cvtepu8_epi16(a)
#  define _mm512_cvtepu8_epi32(a) pensee_cvtepu8_epi32(a)
#  define _mm512_cvtepu8_epi64(a) pensee_cvtepu8_epi64(a)
#  define _mm512_cvtepu16_epi32(a) pensee_cvtepu16_epi32(a)
#  define _mm512_cvtepu16_epi64(a) pensee_cvtepu16_epi64(a)

static inline simde__m512i pensee_cvtps_epi32(simde__m512 floats) {
  simde__m256 halves[2];
  simde__m256i parts[2];
  simde__m512i result;
  memcpy(halves, &floats, sizeof halves);
  parts[0] = simde_mm256_cvtps_epi32(halves[0]);
  parts[1] = simde_mm256_cvtps_epi32(halves[1]);
  memcpy(&result, parts, sizeof result);
  return result;
}
#  define _mm512_cvtps_epi32(a) pensee_cvtps_epi32(a)

static inline simde__m256i pensee_cvtepi32_epi16(simde__m512i words) {
  uint32_t from[16];
  uint16_t to[16];
  memcpy(from, &words, sizeof from);
  for (int i = 0; i < 16; ++i) to[i] = (uint16_t)from[i];
  return simde_mm256_loadu_si256(to);
}
#  define _mm512_cvtepi32_epi16(a) pensee_cvtepi32_epi16(a)

static inline simde__m512i pensee_srai_epi32(simde__m512i words, int count) {
  int32_t numbers[16];
  memcpy(numbers, &words, sizeof numbers);
  for (int i = 0; i < 16; ++i) numbers[i] >>= count;
  return simde_mm512_loadu_si512(numbers);
}
#  define _mm512_srai_epi32(a, count) pensee_srai_epi32(a, count)

// SIMDe gives this name to a function of four arguments.
#  undef _mm512_madd_epi16
#  define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)

#  define _mm512_shuffle_f32x4(a, b, control) simde_mm512_shuffle_f32x4(a, b, control)

static inline simde__mmask32 pensee_cmpeq_epi16_mask(simde__m512i a, simde__m512i b) {
  uint16_t x[32];
  uint16_t y[32];
  simde__mmask32 mask = 0;
  memcpy(x, &a, sizeof x);
  memcpy(y, &b, sizeof y);
  for (int i = 0; i < 32; ++i) mask |= (simde__mmask32)(x[i] == y[i]) << i;
  return mask;
}
#  undef _mm512_cmpeq_epi16_mask
#  define _mm512_cmpeq_epi16_mask(a, b) pensee_cmpeq_epi16_mask(a, b)

static inline simde__m512 pensee_cvtepi32_ps(simde__m512i words) {
  int32_t from[16];
  float to[16];
  memcpy(from, &words, sizeof from);
  for (int i = 0; i < 16; ++i) to[i] = (float)from[i];
  return simde_mm512_loadu_ps(to);
}
#  define _mm512_cvtepi32_ps(a) pensee_cvtepi32_ps(a)

// 32 numbers as bfloat16, rounded to nearest, ties to even; NaN stays NaN.
static inline simde__m512bh pensee_cvtne2ps_pbh(simde__m512 upper, simde__m512 lower) {
  uint32_t from[32];
  uint16_t to[32];
  simde__m512bh result;
  memcpy(from, &lower, sizeof lower);
  memcpy(from + 16, &upper, sizeof upper);
  for (int i = 0; i < 32; ++i) {
    const uint32_t is_nan = (from[i] & 0x7fffffffU) > 0x7f800000U;
    const uint32_t rounded = from[i] + 0x7fffU + ((from[i] >> 16) & 1U);
    to[i] = (uint16_t)(is_nan ? (from[i] >> 16) | 0x40U : rounded >> 16);
  }
  memcpy(&result, to, sizeof result);
  return result;
}
#  define _mm512_cvtne2ps_pbh(a, b) pensee_cvtne2ps_pbh(a, b)

#  define avx512 avx512_emulated
#  define __AVX512VNNI__ 1  // as the compiler would; SIMDe has asked by now

#  define PENSEE_TESTS_SIMDE_IMMINTRIN_DONE
#elif !defined(PENSEE_TESTS_SIMDE_IMMINTRIN_DONE)
#  include_next <immintrin.h>  // for SIMDe itself
#endif
