/* Peak and read loops for AVX2 and FMA. */
#include <immintrin.h>

#include "peak.hpp"

/* Twelve chains hide the latency of two units; with the operands they fill the 16 registers. */
enum { kChains = 12, kLanes = 8, kChainsInt8 = 6, kBytes = 32, kSums = 8, kAhead = 4096 };

uint64_t peak_f32_avx2(uint64_t rounds) {
  __m256 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 a = _mm256_set1_ps(0.5F);
  const __m256 b = _mm256_set1_ps(0.25F);
  for (uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = _mm256_fmadd_ps(sum[i], a, b);
  }
  for (int i = 0; i < kChains; ++i) __asm__ volatile("" : : "x"(sum[i]));
  return rounds * kChains * kLanes * 2;
}

/* Named sums: an array would not stay in registers beside the barrier. */
uint64_t peak_int8_avx2(uint64_t rounds) {
  __m256i sum0 = _mm256_setzero_si256();
  __m256i sum1 = sum0, sum2 = sum0, sum3 = sum0, sum4 = sum0, sum5 = sum0;
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5);
  const __m256i ones = _mm256_set1_epi16(1);
  const auto next = [&](__m256i sum) {
    __asm__ volatile("" : "+x"(a)); /* a product is not to be reused */
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
  };
  for (uint64_t round = 0; round < rounds; ++round) {
    sum0 = next(sum0);
    sum1 = next(sum1);
    sum2 = next(sum2);
    sum3 = next(sum3);
    sum4 = next(sum4);
    sum5 = next(sum5);
  }
  __asm__ volatile("" : : "x"(sum0), "x"(sum1), "x"(sum2), "x"(sum3), "x"(sum4), "x"(sum5));
  return rounds * kChainsInt8 * kBytes * 2;
}

/* The processor's own read-ahead ends at each page of 4 KiB; the prefetches lead over it. */
uint64_t read_avx2(const void* data, uint64_t bytes) {
  const char* p = static_cast<const char*>(data);
  __m256i sum[kSums];
  for (int i = 0; i < kSums; ++i) sum[i] = _mm256_setzero_si256();
  for (uint64_t at = 0; at < bytes; at += kSums * kBytes, p += kSums * kBytes) {
    for (int i = 0; i < kSums; i += 2) _mm_prefetch(p + kAhead + i * kBytes, _MM_HINT_T1);
#pragma GCC unroll 8
    for (int i = 0; i < kSums; ++i) {
      const __m256i* words = reinterpret_cast<const __m256i*>(p + i * kBytes);
      sum[i] = _mm256_add_epi64(sum[i], _mm256_loadu_si256(words));
    }
  }
  __m256i total = sum[0];
  for (int i = 1; i < kSums; ++i) total = _mm256_add_epi64(total, sum[i]);
  uint64_t lanes[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), total);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}
