// The AVX2 side of q8-inl.hpp.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "blocks-inl.hpp"
#include "later-inl.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

#ifdef __AVXVNNI__
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
// sum + the products of four neighbouring codes each, which are exact.
template <class E>
inline __m256i add_fours(__m256i sum, __m256i codes, __m256i x) {
#ifdef __AVXVNNI__
  return _mm256_dpbusd_avx_epi32(sum, codes, x);
#else
  const __m256i pairs =
      kSignedCodes<E> ? _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes))
                      : _mm256_maddubs_epi16(codes, x);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

// What is left of the offset: dot - kOffset * sum.
template <class E>
inline __m256i without_offset(__m256i dot, __m256i sums) {
  if (E::kOffset == 0 || kSignedCodes<E>) return dot;
  return _mm256_sub_epi32(dot, _mm256_slli_epi32(sums, log2_of(E::kOffset)));
}

// Four lanes of a, b, c, d each, in both halves: their sums side by side.
inline __m256i sums_of_fours(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
  return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}

// A row and X inputs: the chunks of weights are decoded once. A lane of a sum is a group.
template <class E, unsigned R, unsigned X>
struct NarrowRows {
  static_assert(R == 1);
  static constexpr unsigned kSums = E::kGroups / 8;
  __m256 sums[X][kSums];

  void clear() {
    for (auto& input : sums) {
      for (__m256& sum : input) sum = _mm256_setzero_ps();
    }
  }

  [[gnu::always_inline]] inline void add(const char* const (&w)[R], const Q8Chunk* x) {
    __m256i codes[kChunkVectors];
    GroupScales s;
    E::codes(w[0], codes);
    E::scales(w[0], s);
#pragma GCC unroll 8
    for (__m256i& code : codes) code = centred<E>(code);
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) add_input(codes, s, x + i, sums[i]);
  }

  [[gnu::always_inline]] static inline void add_input(const __m256i (&codes)[kChunkVectors],
                                                      const GroupScales& s, const Q8Chunk* x,
                                                      __m256 (&sum)[kSums]) {
    __m256i fours[kChunkVectors];
#pragma GCC unroll 8
    for (unsigned v = 0; v < kChunkVectors; ++v) {
      const __m256i input = load_256(reinterpret_cast<const char*>(x->codes) + 32 * v);
      fours[v] = add_fours<E>(_mm256_setzero_si256(), codes[v], input);
    }
    const __m256i first = sums_of_fours(fours[0], fours[1], fours[2], fours[3]);
    const __m256i last = sums_of_fours(fours[4], fours[5], fours[6], fours[7]);
    const __m256 x_scale = _mm256_loadu_ps(x->scales);
    if (E::kGroups == 8) {
      const __m256i dots = _mm256_add_epi32(_mm256_permute2x128_si256(first, last, 0x20),
                                            _mm256_permute2x128_si256(first, last, 0x31));
      sum[0] = with_group_sums(sum[0], dots, load_sums(x->sums_32), x_scale, s.d[0], s.m[0]);
      return;
    }
    // Group 2 v + h is in lane v of half h.
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256 first_scale =
        _mm256_permutevar8x32_ps(x_scale, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    const __m256 last_scale =
        _mm256_permutevar8x32_ps(x_scale, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
    sum[0] = with_group_sums(sum[0], _mm256_permutevar8x32_epi32(first, in_order),
                             load_sums(x->sums_16), first_scale, s.d[0], s.m[0]);
    sum[kSums - 1] = with_group_sums(sum[kSums - 1], _mm256_permutevar8x32_epi32(last, in_order),
                                     load_sums(x->sums_16 + 8), last_scale, s.d[1], s.m[1]);
  }

  static __m256 with_group_sums(__m256 total, __m256i dots, __m256i x_sums, __m256 x_scale,
                                __m256 d, __m256 m) {
    const __m256 products = _mm256_cvtepi32_ps(without_offset<E>(dots, x_sums));
    total = _mm256_fmadd_ps(products, _mm256_mul_ps(d, x_scale), total);
    if (!E::kHasMin) return total;
    return _mm256_fnmadd_ps(m, _mm256_mul_ps(_mm256_cvtepi32_ps(x_sums), x_scale), total);
  }

  [[nodiscard]] float total(unsigned i, unsigned /*r*/) const {
    const float first = sum_of_tree(sums[i][0]);
    return kSums == 2 ? first + sum_of_tree(sums[i][kSums - 1]) : first;
  }
};

// Transposes 8 x 8 words.
[[gnu::always_inline]] inline void transpose(__m256i (&rows)[8]) {
  __m256i t[8];
#pragma GCC unroll 8
  for (unsigned i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 8
  for (unsigned i = 0; i < 8; i += 4) {
    rows[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    rows[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    rows[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    rows[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 8
  for (unsigned j = 0; j < 4; ++j) {
    t[j] = _mm256_permute2x128_si256(rows[j], rows[4 + j], 0x20);
    t[4 + j] = _mm256_permute2x128_si256(rows[j], rows[4 + j], 0x31);
  }
#pragma GCC unroll 8
  for (unsigned j = 0; j < 8; ++j) rows[j] = t[j];
}

// A chunk of 8 rows, transposed.
template <class E>
struct NarrowPanel {
  __m256i codes[kUnits];  // four columns of every row
  __m256 scales[E::kGroups];
  __m256 mins[E::kHasMin ? E::kGroups : 1];

  void fill_rows(const char* const* w) { fill(w, codes, scales, mins); }

  template <unsigned kMins>
  static void fill(const char* const* w, __m256i (&codes)[kUnits], __m256 (&scales)[E::kGroups],
                   __m256 (&mins)[kMins]) {
    __m256i by_row[kChunkVectors][8];
    __m256i numbers[4][8];
    for (unsigned r = 0; r < 8; ++r) {
      __m256i vectors[kChunkVectors];
      E::codes(w[r], vectors);
#pragma GCC unroll 8
      for (unsigned v = 0; v < kChunkVectors; ++v) by_row[v][r] = centred<E>(vectors[v]);
      GroupScales s;
      E::scales(w[r], s);
      for (unsigned h = 0; h < E::kGroups / 8; ++h) {
        numbers[h][r] = _mm256_castps_si256(s.d[h]);
        if (E::kHasMin) numbers[2 + h][r] = _mm256_castps_si256(s.m[h]);
      }
    }
    for (unsigned v = 0; v < kChunkVectors; ++v) {
      transpose(by_row[v]);
#pragma GCC unroll 8
      for (unsigned t = 0; t < 8; ++t) codes[8 * v + t] = by_row[v][t];
    }
    for (unsigned h = 0; h < E::kGroups / 8; ++h) {
      transpose(numbers[h]);
      if (E::kHasMin) transpose(numbers[2 + h]);
#pragma GCC unroll 8
      for (unsigned g = 0; g < 8; ++g) {
        scales[8 * h + g] = _mm256_castsi256_ps(numbers[h][g]);
        if (E::kHasMin) mins[(8 * h + g) % kMins] = _mm256_castsi256_ps(numbers[2 + h][g]);
      }
    }
  }

  // sums[i][0][g] += products of group g for X inputs.
  template <unsigned P, unsigned X>
  static void add(const NarrowPanel* panels, const Q8Chunk* const (&x)[X], Later& later,
                  __m256 (*sums)[P][E::kGroups]) {
    static_assert(P == 1);
    const NarrowPanel& panel = *panels;
    constexpr unsigned kGroupUnits = kUnits / E::kGroups;
    constexpr bool kWideGroups = E::kGroups == 8;
#pragma GCC unroll 1
    for (unsigned g = 0; g < E::kGroups; ++g) {
      later.ask();
      __m256i dots[X];
#pragma GCC unroll 8
      for (unsigned i = 0; i < X; ++i) dots[i] = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (unsigned u = 0; u < kGroupUnits; ++u) {
        const __m256i weights = panel.codes[kGroupUnits * g + u];
#pragma GCC unroll 8
        for (unsigned i = 0; i < X; ++i) {
          const char* four = reinterpret_cast<const char*>(x[i]->codes) + (kGroupUnits * g + u) * 4;
          const __m256i input = _mm256_set1_epi32(load_word<int32_t>(four));
          dots[i] = add_fours<E>(dots[i], weights, input);
        }
      }
#pragma GCC unroll 8
      for (unsigned i = 0; i < X; ++i) {
        const int sum = kWideGroups ? x[i]->sums_32[g] : x[i]->sums_16[g];
        const float x_scale = x[i]->scales[kWideGroups ? g : g / 2];
        sums[i][0][g] = NarrowRows<E, 1, 1>::with_group_sums(
            sums[i][0][g], dots[i], _mm256_set1_epi32(sum), _mm256_set1_ps(x_scale),
            panel.scales[g], panel.mins[E::kHasMin ? g : 0]);
      }
    }
  }
};

}  // namespace
}  // namespace pensee
