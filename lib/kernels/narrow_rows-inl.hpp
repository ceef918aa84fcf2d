// Products of rows in vectors of 256 bits: for AVX2, and for AVX-512 where it pays. It has internal
// linkage.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "blocks-inl.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

#if defined(__AVXVNNI__) || defined(__AVX512VNNI__)
constexpr bool kHasVnni = true;
#else
constexpr bool kHasVnni = false;
#endif

// Without VNNI, pairs of products must stay within 16 bits: where codes take eight bits, the sign
// of the weight moves to the input.
template <class E>
constexpr bool kSignedCodes = !kHasVnni && E::kOffset == 128;

template <class E>
inline __m256i centred(__m256i codes) {
  return kSignedCodes<E> ? _mm256_xor_si256(codes, _mm256_set1_epi8(-128)) : codes;
}

// sum + the products of four neighbouring bytes each, or of two neighbouring words.
#if defined(__AVX512VNNI__)
inline __m256i vnni_fours(__m256i sum, __m256i a, __m256i b) {
  return _mm256_dpbusd_epi32(sum, a, b);
}
inline __m256i vnni_pairs(__m256i sum, __m256i a, __m256i b) {
  return _mm256_dpwssd_epi32(sum, a, b);
}
#elif defined(__AVXVNNI__)
inline __m256i vnni_fours(__m256i sum, __m256i a, __m256i b) {
  return _mm256_dpbusd_avx_epi32(sum, a, b);
}
inline __m256i vnni_pairs(__m256i sum, __m256i a, __m256i b) {
  return _mm256_dpwssd_avx_epi32(sum, a, b);
}
#endif

// The sums of two neighbouring products each, in words of 16 bits.
template <class E>
inline __m256i pair_products(__m256i codes, __m256i x) {
  return kSignedCodes<E> ? _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes))
                         : _mm256_maddubs_epi16(codes, x);
}

// The sums of two neighbouring words of 16 bits each.
inline __m256i pair_sums(__m256i words) {
  return _mm256_madd_epi16(words, _mm256_set1_epi16(1));
}

// sum + the products of four neighbouring codes each, which are exact.
template <class E>
inline __m256i add_fours(__m256i sum, __m256i codes, __m256i x) {
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
  return vnni_fours(sum, codes, x);
#else
  return _mm256_add_epi32(sum, pair_sums(pair_products<E>(codes, x)));
#endif
}

// What is left of the offset: dot - kOffset * sum.
template <class E>
inline __m256i without_offset(__m256i dot, __m256i sums) {
  if (E::kOffset == 0 || kSignedCodes<E>) return dot;
  return _mm256_sub_epi32(dot, _mm256_slli_epi32(sums, log2_of(E::kOffset)));
}

// The largest product of a code and an input.
template <class E>
constexpr int kLargestProduct = (E::kOffset + E::kLargest) * 127;

// In each number of 128 bits two of a's four words and two of b's: the even ones, or the odd ones.
inline __m256i even_words(__m256i a, __m256i b) {
  return _mm256_castps_si256(
      _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88));
}
inline __m256i odd_words(__m256i a, __m256i b) {
  return _mm256_castps_si256(
      _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xdd));
}

// In each number of 128 bits the sums of neighbouring words: two of a, then two of b. No word is
// larger than kLargest: many fit 16 bits, in which this is less work.
template <int kLargest>
inline __m256i add_neighbours(__m256i a, __m256i b) {
  if (kLargest <= INT16_MAX) return pair_sums(_mm256_packs_epi32(a, b));
  return _mm256_add_epi32(even_words(a, b), odd_words(a, b));
}
// The sums of four words of each of four vectors: word v of a half is that half of vector v.
template <int kLargest>
inline __m256i sums_of_fours(const __m256i* v) {
  return add_neighbours<2 * kLargest>(add_neighbours<kLargest>(v[0], v[1]),
                                      add_neighbours<kLargest>(v[2], v[3]));
}

// How many products are added up in words of 16 bits. Without VNNI as many as fit: making longer
// words of them takes the units that multiply.
template <class E>
constexpr int short_products() {
  constexpr int kProduct = kLargestProduct<E>;
  int count = kHasVnni ? 1 : 16;
  while (count > 1 && count * kProduct > INT16_MAX) count /= 2;
  return count;
}

// The same in units of four codes, whose two sums they are; at most those of a group, 0: none.
template <class E>
constexpr unsigned short_units() {
  constexpr unsigned kGroupUnits = kUnits / E::kGroups;
  constexpr unsigned kFit = short_products<E>() / 2;
  return kFit < kGroupUnits ? kFit : kGroupUnits;
}

// The products of four vectors of codes and of an input: word v of a half is that half of vector v;
// from 8 short products on, two short words are.
template <class E>
inline __m256i dot_vectors(const __m256i* codes, const char* x) {
  __m256i v[4];
#pragma GCC unroll 4
  for (unsigned k = 0; k < 4; ++k) {
    const __m256i input = load_256(x + 32 * k);
    v[k] = short_products<E>() < 4 ? add_fours<E>(_mm256_setzero_si256(), codes[k], input)
                                   : pair_products<E>(codes[k], input);
  }
  if constexpr (short_products<E>() < 4) return sums_of_fours<4 * kLargestProduct<E>>(v);
  // In each half two words of a, then of b.
  const auto add_words = [](__m256i a, __m256i b) {
    return _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
  };
  const __m256i a = add_words(v[0], v[1]);
  const __m256i b = add_words(v[2], v[3]);
  if constexpr (short_products<E>() < 8) {
    return add_neighbours<8 * kLargestProduct<E>>(pair_sums(a), pair_sums(b));
  }
  return _mm256_add_epi16(even_words(a, b), odd_words(a, b));
}

template <class E>
inline __m256i whole_words(__m256i words) {
  return short_products<E>() < 8 ? words : pair_sums(words);
}

// Word v: the halves' words v of `first` together, then of `last`.
template <class E>
inline __m256i whole_vectors(__m256i first, __m256i last) {
  constexpr bool kFit = short_products<E>() == 16;
  if (!kFit) {
    first = whole_words<E>(first);
    last = whole_words<E>(last);
  }
  const __m256i a = _mm256_blend_epi32(first, last, 0xf0);
  const __m256i b = _mm256_permute2x128_si256(first, last, 0x21);
  return kFit ? pair_sums(_mm256_add_epi16(a, b)) : _mm256_add_epi32(a, b);
}

// total + the products of eight groups, of scales d and minimums m. The minimums come first, since
// the dot products are known last.
template <class E>
inline __m256 add_groups(__m256 total, __m256i dots, __m256 d, __m256 m, __m256i x_sums,
                         __m256 x_scales, __m256 x_scaled_sums) {
  if (E::kHasMin) total = _mm256_fnmadd_ps(m, x_scaled_sums, total);
  const __m256 products = _mm256_cvtepi32_ps(without_offset<E>(dots, x_sums));
  return _mm256_fmadd_ps(products, _mm256_mul_ps(d, x_scales), total);
}

// R rows and X inputs: the chunks of weights are decoded once. A lane of a sum is a group.
template <class E, unsigned R, unsigned X>
struct NarrowRows {
  static constexpr unsigned kSums = E::kGroups / 8;
  __m256 sums[X][R][kSums];

  void clear() {
    for (auto& input : sums) {
      for (auto& row : input) {
        for (__m256& sum : row) sum = _mm256_setzero_ps();
      }
    }
  }

  [[gnu::always_inline]] inline void add(const char* const (&w)[R], const Q8Chunk* x) {
#pragma GCC unroll 2
    for (unsigned r = 0; r < R; ++r) {
      __m256i codes[kChunkVectors];
      GroupScales s;
      E::codes(w[r], codes);
      E::scales(w[r], s);
#pragma GCC unroll 8
      for (__m256i& code : codes) code = centred<E>(code);
#pragma GCC unroll 4
      for (unsigned i = 0; i < X; ++i) add_input(codes, s, x + i, sums[i][r]);
    }
  }

  [[gnu::always_inline]] static inline void add_input(const __m256i (&codes)[kChunkVectors],
                                                      const GroupScales& s, const Q8Chunk* x,
                                                      __m256 (&sum)[kSums]) {
    const char* const x_codes = reinterpret_cast<const char*>(x->codes);
    const __m256i first = dot_vectors<E>(codes, x_codes);
    const __m256i last = dot_vectors<E>(codes + 4, x_codes + 128);
    const __m256 x_scale = _mm256_loadu_ps(x->scales);
    if (E::kGroups == 8) {
      sum[0] = add_groups<E>(sum[0], whole_vectors<E>(first, last), s.d[0], s.m[0],
                             load_sums(x->sums_32), x_scale, _mm256_loadu_ps(x->scaled_sums_32));
      return;
    }
    // Group 2 v + h is in lane v of half h.
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256 first_scales =
        _mm256_permutevar8x32_ps(x_scale, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    const __m256 last_scales =
        _mm256_permutevar8x32_ps(x_scale, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
    const __m256i first_sums = load_sums(x->sums_16);
    const __m256i last_sums = load_sums(x->sums_16 + 8);
    sum[0] = add_groups<E>(sum[0], _mm256_permutevar8x32_epi32(whole_words<E>(first), in_order),
                           s.d[0], s.m[0], first_sums, first_scales,
                           _mm256_mul_ps(_mm256_cvtepi32_ps(first_sums), first_scales));
    sum[kSums - 1] = add_groups<E>(
        sum[kSums - 1], _mm256_permutevar8x32_epi32(whole_words<E>(last), in_order), s.d[1], s.m[1],
        last_sums, last_scales, _mm256_mul_ps(_mm256_cvtepi32_ps(last_sums), last_scales));
  }

  [[nodiscard]] float total(unsigned i, unsigned r) const {
    const float first = sum_of_tree(sums[i][r][0]);
    return kSums == 2 ? first + sum_of_tree(sums[i][r][kSums - 1]) : first;
  }
};

}  // namespace
}  // namespace pensee
