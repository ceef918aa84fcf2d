/* Peak loops for AVX-512: F, VNNI and BF16, each used only where the machine has it; a read loop.
 */
#include <immintrin.h>

#include "peak.hpp"

enum { kChains = 16, kLanes = 16, kSums = 8, kBytes = 64, kAhead = 4096 };

uint64_t peak_f32_avx512(uint64_t rounds) {
  __m512 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 a = _mm512_set1_ps(0.5F);
  const __m512 b = _mm512_set1_ps(0.25F);
  for (uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_fmadd_ps(sum[i], a, b);
  }
  for (int i = 0; i < kChains; ++i) __asm__ volatile("" : : "v"(sum[i]));
  return rounds * kChains * kLanes * 2;
}

uint64_t peak_int8_avx512(uint64_t rounds) {
  __m512i sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_setzero_si512();
  const __m512i a = _mm512_set1_epi8(3);
  const __m512i b = _mm512_set1_epi8(5);
  for (uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
  }
  for (int i = 0; i < kChains; ++i) __asm__ volatile("" : : "v"(sum[i]));
  return rounds * kChains * kLanes * 4 * 2;
}

uint64_t peak_bf16_avx512(uint64_t rounds) {
  __m512 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_setzero_ps();
  const __m512 ones = _mm512_set1_ps(1.0F);
  const __m512bh a = _mm512_cvtne2ps_pbh(ones, ones);
  for (uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], a, a);
  }
  for (int i = 0; i < kChains; ++i) __asm__ volatile("" : : "v"(sum[i]));
  return rounds * kChains * kLanes * 2 * 2;
}

/* The processor's own read-ahead ends at each page of 4 KiB; the prefetches lead over it. */
uint64_t read_avx512(const void* data, uint64_t bytes) {
  const char* p = static_cast<const char*>(data);
  __m512i sum[kSums];
  for (int i = 0; i < kSums; ++i) sum[i] = _mm512_setzero_si512();
  for (uint64_t at = 0; at < bytes; at += kSums * kBytes, p += kSums * kBytes) {
#pragma GCC unroll 8
    for (int i = 0; i < kSums; ++i) {
      _mm_prefetch(p + kAhead + i * kBytes, _MM_HINT_T1);
      sum[i] = _mm512_add_epi64(sum[i], _mm512_loadu_si512(p + i * kBytes));
    }
  }
  __m512i total = sum[0];
  for (int i = 1; i < kSums; ++i) total = _mm512_add_epi64(total, sum[i]);
  uint64_t lanes[8];
  _mm512_storeu_si512(lanes, total);
  uint64_t all = 0;
  for (int i = 0; i < 8; ++i) all += lanes[i];
  return all;
}
