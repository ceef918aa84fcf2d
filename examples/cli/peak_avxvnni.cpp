#include <immintrin.h>

#include "peak.hpp"

/* As many as 16 registers hold beside the operands, and more than the instruction takes cycles. */
enum { kChains = 12, kBytes = 32 };

uint64_t peak_int8_avxvnni(uint64_t rounds) {
  __m256i sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_setzero_si256();
  const __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5);
  for (uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = _mm256_dpbusd_avx_epi32(sum[i], a, b);
  }
  for (int i = 0; i < kChains; ++i) __asm__ volatile("" : : "x"(sum[i]));
  return rounds * kChains * kBytes * 2;
}
