/* Peak and read loops for AVX2 and FMA. */
#include <immintrin.h>

#include "peak.hpp"

/* Twelve chains hide the latency of two units; with the operands they fill the 16 registers. */
enum {
  kChains = 12,
  kLanes = 8,
  kChainsInt8 = 4,
  kPairs = 8,
  kBytes = 32,
  kSums = 8,
  kAhead = 4096
};

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

/* Products of codes of up to four bits, the fastest: eight sums of two fit a word of 16 bits. Named
 * sums: an array would not stay in registers beside the barrier. */
uint64_t peak_int8_avx2(uint64_t rounds) {
  __m256i sum0 = _mm256_setzero_si256();
  __m256i sum1 = sum0, sum2 = sum0, sum3 = sum0;
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5);
  const __m256i ones = _mm256_set1_epi16(1);
  const auto add_product = [&](__m256i pairs) {
    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(a, b));
    __asm__ volatile("" : "+x"(a), "+x"(pairs)); /* no product reused, no addition put off */
    return pairs;
  };
  for (uint64_t round = 0; round < rounds; ++round) {
    __m256i pairs0 = _mm256_setzero_si256();
    __m256i pairs1 = pairs0, pairs2 = pairs0, pairs3 = pairs0;
#pragma GCC unroll 8
    for (int k = 0; k < kPairs; ++k) {
      pairs0 = add_product(pairs0);
      pairs1 = add_product(pairs1);
      pairs2 = add_product(pairs2);
      pairs3 = add_product(pairs3);
    }
    sum0 = _mm256_add_epi32(sum0, _mm256_madd_epi16(pairs0, ones));
    sum1 = _mm256_add_epi32(sum1, _mm256_madd_epi16(pairs1, ones));
    sum2 = _mm256_add_epi32(sum2, _mm256_madd_epi16(pairs2, ones));
    sum3 = _mm256_add_epi32(sum3, _mm256_madd_epi16(pairs3, ones));
  }
  __asm__ volatile("" : : "x"(sum0), "x"(sum1), "x"(sum2), "x"(sum3));
  return rounds * kChainsInt8 * kPairs * kBytes * 2;
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
