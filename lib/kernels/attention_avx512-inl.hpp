// What attention-inl.hpp needs of AVX-512: the numbers of caches as float32 and as bfloat16, and
// arithmetic in bfloat16.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace pensee {
namespace {

struct CacheF32 {
  static constexpr int kBytes = 4;
  static constexpr bool kPadded = false;
  static __m512 load(const char* row, int64_t c) {
    return _mm512_castsi512_ps(_mm512_loadu_si512(row + c * kBytes));
  }
};

struct CacheBF16 {
  static constexpr int kBytes = 2;
  static constexpr bool kPadded = false;
  static __m512 load(const char* row, int64_t c) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + c * kBytes));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
};

// Blocks of 32 codes behind a scale in float16.
struct CacheQ8 {
  static constexpr int kBytes = 1;
  static constexpr bool kPadded = true;
  static __m512 load(const char* row, int64_t c) {
    const char* block = row + c / 32 * 34;
    uint16_t scale;
    __builtin_memcpy(&scale, block, sizeof scale);
    const __m512 factor = _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(scale)));
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 2 + c % 32));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)), factor);
  }
};

template <class S_>
struct Bfloat16Math {
  using Simd = S_;
  static constexpr int64_t kPair = 2;

  static __m512 narrow(const __m512 (&v)[2]) { return (__m512)_mm512_cvtne2ps_pbh(v[1], v[0]); }
  static void widen(__m512 words, __m512 (&v)[2]) {
    const __m512i bits = _mm512_castps_si512(words);
    const __m512i first = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(bits));
    const __m512i second = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(bits, 1));
    v[0] = _mm512_castsi512_ps(_mm512_slli_epi32(first, 16));
    v[1] = _mm512_castsi512_ps(_mm512_slli_epi32(second, 16));
  }
  // Two rows of 32 numbers to 32 words, each with a number of either row.
  static void interleave(__m512 (&v)[2]) {
    const __m512i a = _mm512_castps_si512(v[0]);
    const __m512i b = _mm512_castps_si512(v[1]);
    // Number i of the first row is 16-bit lane i of the two, that of the second lane 32 + i.
    const __m512i first = _mm512_set_epi32(
        0x2f000f, 0x2e000e, 0x2d000d, 0x2c000c, 0x2b000b, 0x2a000a, 0x290009, 0x280008, 0x270007,
        0x260006, 0x250005, 0x240004, 0x230003, 0x220002, 0x210001, 0x200000);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(0x100010));
    v[0] = _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, first, b));
    v[1] = _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, second, b));
  }
  static __m512i broadcast(const uint32_t* word) {
    return _mm512_set1_epi32(static_cast<int32_t>(*word));
  }
  static __m512 dot(__m512 sum, __m512i a, __m512 b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }

  static __m512 load(CacheBF16, const char* row, int64_t c) {
    return _mm512_castsi512_ps(_mm512_loadu_si512(row + c * CacheBF16::kBytes));
  }
  template <class Source>
  static __m512 load(Source, const char* row, int64_t c) {
    const __m512 halves[2] = {Source::load(row, c), Source::load(row, c + Simd::kLanes)};
    return narrow(halves);
  }
};

}  // namespace
}  // namespace pensee
