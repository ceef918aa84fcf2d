// Activations of eight bits (Q8Chunk): the same numbers on every instruction set.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "blocks-inl.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

// Largest magnitude among the lanes, as bits: a NaN is above all numbers.
inline __m256i largest_lane(__m256i bits) {
  bits = _mm256_max_epi32(bits, _mm256_permute2x128_si256(bits, bits, 1));
  bits = _mm256_max_epi32(bits, _mm256_shuffle_epi32(bits, 0x4e));
  return _mm256_max_epi32(bits, _mm256_shuffle_epi32(bits, 0xb1));
}

// Of groups by the largest magnitudes of their numbers, a group a lane.
struct GroupFactors {
  __m256 scale;
  __m256 inverse;  // what numbers are multiplied by

  explicit GroupFactors(__m256 largest) {
    const __m256 most = _mm256_set1_ps(127.0F);
    const __m256 is_zero = _mm256_cmp_ps(largest, _mm256_set1_ps(1e-30F), _CMP_LT_OQ);
    scale = _mm256_div_ps(largest, most);
    // Infinity times zero is a NaN, a NaN remains one.
    scale = _mm256_add_ps(scale, _mm256_mul_ps(largest, _mm256_setzero_ps()));
    scale = _mm256_andnot_ps(is_zero, scale);
    inverse = _mm256_andnot_ps(is_zero, _mm256_div_ps(most, largest));
  }
};

// 32 numbers; `out` is their chunk, g their group in it.
inline void quantize_group(const float* x, Q8Chunk* out, int64_t g) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 v[4];
  __m256i largest = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (unsigned k = 0; k < 4; ++k) {
    v[k] = _mm256_loadu_ps(x + 8 * k);
    largest = _mm256_max_epi32(largest, _mm256_castps_si256(_mm256_and_ps(v[k], magnitude)));
  }
  const GroupFactors factors(_mm256_castsi256_ps(largest_lane(largest)));
  __m256i q[4];
#pragma GCC unroll 4
  for (unsigned k = 0; k < 4; ++k) q[k] = _mm256_cvtps_epi32(_mm256_mul_ps(v[k], factors.inverse));
  const __m256i words01 = _mm256_packs_epi32(q[0], q[1]);
  const __m256i words23 = _mm256_packs_epi32(q[2], q[3]);
  const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words01, words23),
                                                    _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out->codes + 32 * g), bytes);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
  __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  fours = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0x4e));
  fours = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0xb1));
  const int first = _mm256_cvtsi256_si32(fours);
  const int second = _mm_cvtsi128_si32(_mm256_extracti128_si256(fours, 1));
  out->sums_16[2 * g] = static_cast<int16_t>(first);
  out->sums_16[2 * g + 1] = static_cast<int16_t>(second);
  out->sums_32[g] = static_cast<int16_t>(first + second);
  out->scales[g] = _mm256_cvtss_f32(factors.scale);
}

// Two times eight numbers in 16 bits.
inline __m256i narrow(__m256i low, __m256i high) {
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
}

// What follows from all scales of a chunk.
inline void find_levels(Q8Chunk* chunk) {
  const __m256 scales = _mm256_loadu_ps(chunk->scales);
  _mm256_storeu_ps(chunk->scaled_sums_32,
                   _mm256_mul_ps(_mm256_cvtepi32_ps(load_sums(chunk->sums_32)), scales));
  const __m256i magnitudes =
      _mm256_and_si256(_mm256_castps_si256(scales), _mm256_set1_epi32(0x7fffffff));
  const __m256 largest = _mm256_castsi256_ps(largest_lane(magnitudes));
  // Also false for a NaN.
  const __m256 is_some = _mm256_cmp_ps(largest, _mm256_set1_ps(1e-30F), _CMP_GE_OQ);
  const __m256 is_zero = _mm256_cmp_ps(largest, _mm256_set1_ps(1e-30F), _CMP_LT_OQ);
  const __m256 most = _mm256_set1_ps(static_cast<float>(kQ8ScaleLevels));
  chunk->scale_unit = _mm256_cvtss_f32(_mm256_andnot_ps(is_zero, _mm256_div_ps(largest, most)));
  const __m256 inverse = _mm256_div_ps(most, largest);
  const __m256i levels = _mm256_and_si256(_mm256_cvtps_epi32(_mm256_mul_ps(scales, inverse)),
                                          _mm256_castps_si256(is_some));
  const __m256 in_units = _mm256_mul_ps(_mm256_cvtepi32_ps(levels),
                                        _mm256_set1_ps(1.0F / static_cast<float>(kQ8SumUnit)));
  const auto sum_levels = [](const int16_t* sums, __m256 factor) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(load_sums(sums)), factor));
  };
  const auto store = [](int16_t* to, __m256i numbers) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), numbers);
  };
  static_assert(offsetof(Q8Chunk, sum_levels_32) == offsetof(Q8Chunk, scale_levels) + 16);
  store(chunk->scale_levels, narrow(levels, sum_levels(chunk->sums_32, in_units)));
  const __m256i doubled = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  const __m256i second = _mm256_add_epi32(doubled, _mm256_set1_epi32(4));
  store(chunk->sum_levels_16,
        narrow(sum_levels(chunk->sums_16, _mm256_permutevar8x32_ps(in_units, doubled)),
               sum_levels(chunk->sums_16 + 8, _mm256_permutevar8x32_ps(in_units, second))));
}

// All of a chunk that does not follow from all of its scales.
inline void quantize_groups(const float* x, Q8Chunk* out) {
  for (int64_t g = 0; g < kQ8Columns / 32; ++g) quantize_group(x + 32 * g, out, g);
}

template <class S>
void quantize_q8(const float* x, int64_t cols, Q8Chunk* out, int64_t ldo) {
  for (int64_t c = 0; c < cols; c += kQ8Columns) {
    Q8Chunk* chunk = out + c / kQ8Columns * ldo;
    if (c + kQ8Columns <= cols) {
      S::quantize_groups(x + c, chunk);
    } else {
      float last[kQ8Columns];
      for (int64_t k = 0; k < kQ8Columns; ++k) last[k] = c + k < cols ? x[c + k] : 0.0F;
      S::quantize_groups(last, chunk);
    }
    find_levels(chunk);
  }
}

inline void quantize_q8_part(const float* x, int64_t first, int64_t count, Q8Chunk* chunk) {
  for (int64_t k = 0; k < count; k += 32) quantize_group(x + k, chunk, (first + k) / 32);
}

inline void find_q8_levels(Q8Chunk* chunks, int64_t n) {
  for (int64_t i = 0; i < n; ++i) find_levels(chunks + i);
}

}  // namespace
}  // namespace pensee
