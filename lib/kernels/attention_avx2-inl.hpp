// What attention-inl.hpp needs of AVX2: the numbers of caches as float32.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace pensee {
namespace {

struct CacheF32 {
  static constexpr int kBytes = 4;
  static constexpr bool kPadded = false;
  static __m256 load(const char* row, int64_t c) {
    return _mm256_castsi256_ps(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + c * kBytes)));
  }
};

struct CacheBF16 {
  static constexpr int kBytes = 2;
  static constexpr bool kPadded = false;
  static __m256 load(const char* row, int64_t c) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + c * kBytes));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
};

// Blocks of 32 codes behind a scale in float16.
struct CacheQ8 {
  static constexpr int kBytes = 1;
  static constexpr bool kPadded = true;
  static __m256 load(const char* row, int64_t c) {
    const char* block = row + c / 32 * 34;
    uint16_t scale;
    __builtin_memcpy(&scale, block, sizeof scale);
    const __m256 factor = _mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(scale)));
    const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + 2 + c % 32));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)), factor);
  }
};

}  // namespace
}  // namespace pensee
