// Queries and tiles of latents as latents_avx512-inl.hpp multiplies them.
//
// Scales of 32 numbers would have to be applied too often: a tile's codes are rounded once more, to
// one scale for every group, and meet all queries of a block so.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "pensee/kernels/table.hpp"
#include "wide_avx512-inl.hpp"
#include "words_avx512-inl.hpp"

namespace pensee {
namespace {

constexpr int64_t kLatentPanel = 32;  // tokens, or columns of values, that are multiplied together
constexpr int64_t kPanelBytes = 4 * kLatentPanel;
constexpr int64_t kBatch = 16;            // tokens that are packed together
constexpr int64_t kLatentRowsAhead = 32;  // with which the cache is asked for
constexpr int64_t kBlockNumbers = 32;
constexpr int64_t kBlockBytes = 34;

inline int64_t latent_groups(const LatentShape* shape, int64_t numbers) {
  return (numbers + shape->group - 1) / shape->group;
}

// What op makes of all 16 words.
template <class Op>
inline int32_t join_words(__m512i v, Op&& op) {
  const __m256i half = op(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  __m128i q = op(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  q = op(q, _mm_shuffle_epi32(q, 0x4e));
  return _mm_cvtsi128_si32(op(q, _mm_shuffle_epi32(q, 0xb1)));
}
struct LargestWord {
  __m256i operator()(__m256i a, __m256i b) const { return _mm256_max_epu32(a, b); }
  __m128i operator()(__m128i a, __m128i b) const { return _mm_max_epu32(a, b); }
};
struct SumOfWords {
  __m256i operator()(__m256i a, __m256i b) const { return _mm256_add_epi32(a, b); }
  __m128i operator()(__m128i a, __m128i b) const { return _mm_add_epi32(a, b); }
};

// The largest magnitude; NaN if there is one.
inline float largest_magnitude(const float* x, int64_t n) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i largest = _mm512_setzero_si512();
  for (int64_t c = 0; c < n; c += 16) {
    largest = _mm512_max_epu32(largest, _mm512_and_si512(magnitude, load_512(x + c)));
  }
  const int32_t bits = join_words(largest, LargestWord{});
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline void pack_latent_queries(const LatentShape* shape, const float* x, int64_t m, float factor,
                                const LatentQueries* out) {
  constexpr float kLeast = 1e-30F;  // smaller ones count as zeros: their inverse has to be finite
  constexpr float kMost = 3e38F;
  const int64_t groups = latent_groups(shape, shape->key_size);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * shape->group;
      const int64_t rest = shape->key_size - begin;
      const int64_t count = rest < shape->group ? rest : shape->group;
      const float* from = x + i * shape->key_size + begin;
      float largest = largest_magnitude(from, count);
      if (!(largest <= kMost)) largest = __builtin_nanf("");
      const __m512 inverse = _mm512_set1_ps(largest < kLeast ? 0.0F : 127.0F / largest);
      __m512i sum = _mm512_setzero_si512();
      for (int64_t c = 0; c < count; c += 16) {
        const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + c), inverse));
        sum = _mm512_add_epi32(sum, code);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out->codes + i * shape->key_size + begin + c),
                         _mm512_cvtsepi32_epi8(code));
      }
      out->scales[i * groups + g] = factor * largest / 127.0F;
      out->offsets[i * groups + g] = -128 * join_words(sum, SumOfWords{});
    }
  }
}

// One row's codes with a scale for every group, scales[g * kLatentTokens].
inline void round_latents(const LatentShape* shape, const char* row, int8_t* codes, float* scales) {
  alignas(64) uint16_t halves[kLatentNumbers / kBlockNumbers] = {};
  alignas(64) int16_t ratios[kLatentNumbers / kBlockNumbers];
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const int64_t step = shape->group / kBlockNumbers;
  const int64_t blocks = shape->key_size / kBlockNumbers;
  for (int64_t b = 0; b < blocks; ++b) memcpy(halves + b, row + b * kBlockBytes, sizeof *halves);
  for (int64_t b = 0; b < blocks; b += 16) {
    const __m512 scale =
        _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(halves + b)));
    // Compared as integers: NaN is the largest.
    __m512i largest = _mm512_and_si512(_mm512_castps_si512(scale), _mm512_set1_epi32(0x7fffffff));
    for (int distance = 1; distance < step; distance *= 2) {
      const __m512i other = _mm512_xor_si512(lanes, _mm512_set1_epi32(distance));
      largest = _mm512_max_epu32(largest, _mm512_permutexvar_epi32(other, largest));
    }
    const __mmask16 some = _mm512_test_epi32_mask(largest, largest);
    const __m512 ratio = _mm512_maskz_div_ps(some, scale, _mm512_castsi512_ps(largest));
    const __m512i fixed = _mm512_cvtps_epi32(_mm512_mul_ps(ratio, _mm512_set1_ps(32767.0F)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(ratios + b), _mm512_cvtsepi32_epi16(fixed));
    alignas(64) float of_groups[16];
    _mm512_store_si512(of_groups, largest);
    for (int64_t i = 0; i < 16 && b + i < blocks; i += step) {
      scales[(b + i) / step * kLatentTokens] = of_groups[i];
    }
  }
  for (int64_t b = 0; b < blocks; ++b) {
    const __m256i from = load_256(row + b * kBlockBytes + 2);
    // (code * ratio + 2^14) >> 15
    const __m512i rounded =
        _mm512_mulhrs_epi16(_mm512_cvtepi8_epi16(from), _mm512_set1_epi16(ratios[b]));
    _mm256_store_si256(reinterpret_cast<__m256i*>(codes + b * kBlockNumbers),
                       _mm512_cvtepi16_epi8(rounded));
  }
}

// 16 words of 16 tokens' keys, transposed and without a sign.
inline void pack_latent_keys(const int8_t (&rows)[kBatch][kLatentNumbers], int64_t word,
                             int64_t words, uint8_t* out) {
  __m512i v[kBatch];
#pragma GCC unroll 16
  for (unsigned i = 0; i < kBatch; ++i) {
    v[i] = _mm512_xor_si512(load_512(rows[i] + 4 * word), _mm512_set1_epi8(-128));
  }
  transpose(v);
  const int64_t count = words - word < kBatch ? words - word : kBatch;
  for (int64_t i = 0; i < count; ++i) _mm512_storeu_si512(out + (word + i) * kPanelBytes, v[i]);
}

// 64 columns of the values of four tokens: words of a number of each, those of 16 columns a vector.
inline void pack_latent_values(const int8_t (*rows)[kLatentNumbers], int64_t column,
                               int64_t columns, int8_t* out) {
  __m512i v[4];
#pragma GCC unroll 4
  for (unsigned i = 0; i < 4; ++i) v[i] = load_512(rows[i] + column);
  const __m512i low01 = _mm512_unpacklo_epi8(v[0], v[1]);
  const __m512i high01 = _mm512_unpackhi_epi8(v[0], v[1]);
  const __m512i low23 = _mm512_unpacklo_epi8(v[2], v[3]);
  const __m512i high23 = _mm512_unpackhi_epi8(v[2], v[3]);
  // In 128-bit lane l of w[k] are columns 16 l + 4 k to 16 l + 4 k + 3.
  const __m512i w[4] = {_mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
                        _mm512_unpacklo_epi16(high01, high23),
                        _mm512_unpackhi_epi16(high01, high23)};
  const __m512i even_low = _mm512_shuffle_i32x4(w[0], w[1], 0x88);
  const __m512i odd_low = _mm512_shuffle_i32x4(w[0], w[1], 0xdd);
  const __m512i even_high = _mm512_shuffle_i32x4(w[2], w[3], 0x88);
  const __m512i odd_high = _mm512_shuffle_i32x4(w[2], w[3], 0xdd);
  v[0] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
  v[1] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
  v[2] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
  v[3] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
#pragma GCC unroll 4
  for (unsigned i = 0; i < 4; ++i) {
    const int64_t c = column + 16 * int64_t{i};
    if (c >= columns) break;
    _mm512_storeu_si512(
        out + c / kLatentPanel * (kLatentTokens * kLatentPanel) + c % kLatentPanel * 4, v[i]);
  }
}

// Of the first n tokens with these scales (groups of the key, kLatentTokens): factors (groups of
// the value, kLatentTokens), which bring weights of at most 1 to codes up to 255, and the largest
// scale of each group / 255, which a code is then worth.
inline void weight_factors(const LatentShape* shape, const float* scales, int64_t n, float* factors,
                           float* largest) {
  for (int64_t g = 0; g < latent_groups(shape, shape->value_size); ++g) {
    const float* of_group = scales + g * kLatentTokens;
    float most = 0.0F;
    for (int64_t t = 0; t < n; ++t) most = of_group[t] > most ? of_group[t] : most;
    const float inverse = most > 0.0F ? 255.0F / most : 0.0F;
    for (int64_t t = 0; t < kLatentTokens; ++t) {
      factors[g * kLatentTokens + t] = t < n ? of_group[t] * inverse : 0.0F;
    }
    largest[g] = most / 255.0F;
  }
}

inline void pack_latent_tile(const LatentShape* shape, const KernelMatrix* w, int64_t row_begin,
                             int64_t row_end, const LatentTile* out) {
  const int64_t n = row_end - row_begin;
  const int64_t words = shape->key_size / 4;
  const int64_t groups = latent_groups(shape, shape->key_size);
  alignas(64) int8_t rows[kBatch][kLatentNumbers] = {};
  for (int64_t r = 0; r < n || r % kLatentPanel != 0; r += kBatch) {
    for (int64_t i = 0; i < kBatch; ++i) {
      if (r + i < n) {
        const char* row = static_cast<const char*>(w->data) + (row_begin + r + i) * w->row_bytes;
        for (int64_t c = 0; c < w->row_bytes; c += 64) {
          __builtin_prefetch(row + kLatentRowsAhead * w->row_bytes + c);
        }
        round_latents(shape, row, rows[i], out->scales + r + i);
        continue;
      }
      memset(rows[i], 0, sizeof rows[i]);
      for (int64_t g = 0; g < groups; ++g) out->scales[g * kLatentTokens + r + i] = 0.0F;
    }
    uint8_t* keys = out->keys + r / kLatentPanel * words * kPanelBytes + r % kLatentPanel * 4;
    for (int64_t k = 0; k < words; k += kBatch) pack_latent_keys(rows, k, words, keys);
    for (int64_t i = 0; i < kBatch; i += 4) {
      int8_t* values = out->values + (r + i) / 4 * kPanelBytes;
      for (int64_t c = 0; c < shape->value_size; c += 64) {
        pack_latent_values(rows + i, c, shape->value_size, values);
      }
    }
  }
  weight_factors(shape, out->scales, n, out->factors, out->largest);
}

}  // namespace
}  // namespace pensee
