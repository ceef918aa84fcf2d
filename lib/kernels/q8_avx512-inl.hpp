// The AVX-512 (VNNI) side of q8-inl.hpp.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "blocks-inl.hpp"
#include "later-inl.hpp"
#include "narrow_rows-inl.hpp"
#include "panels_avx512-inl.hpp"
#include "pensee/kernels/table.hpp"
#include "wide_avx512-inl.hpp"

namespace pensee {
namespace {

// idot - kOffset * sum: the products of the codes without their offset.
template <class E>
inline __m512i without_offset(__m512i idot, __m512i sums) {
  if (E::kOffset == 0) return idot;
  return _mm512_sub_epi32(idot, _mm512_slli_epi32(sums, log2_of(E::kOffset)));
}

// An input's chunk in the order of a type.
template <Order kOrder>
[[gnu::always_inline]] inline void load_input(const Q8Chunk* x, __m512i (&out)[kWideVectors]) {
#pragma GCC unroll 4
  for (unsigned v = 0; v < kWideVectors; ++v) out[v] = load_512(x->codes + 64 * v);
  if (kOrder == Order::kColumns) return;
#pragma GCC unroll 2
  for (unsigned v = 0; v < kWideVectors; v += 2) {
    const __m512i second = _mm512_shuffle_i32x4(out[v], out[v + 1], 0xdd);
    out[v] = _mm512_shuffle_i32x4(out[v], out[v + 1], 0x88);
    out[v + 1] = second;
  }
}

// As of 256 bits.
template <int kLargest>
inline __m512i add_neighbours(__m512i a, __m512i b) {
  if (kLargest <= INT16_MAX) {
    return _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
  }
  const __m512 a_floats = _mm512_castsi512_ps(a);
  const __m512 b_floats = _mm512_castsi512_ps(b);
  return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(a_floats, b_floats, 0x88)),
                          _mm512_castps_si512(_mm512_shuffle_ps(a_floats, b_floats, 0xdd)));
}
// The sums of four words of each of four vectors: in word v of 128-bit lane l, those of lane l of
// vector v.
template <int kLargest>
inline __m512i sums_of_fours(const __m512i (&v)[4]) {
  return add_neighbours<2 * kLargest>(add_neighbours<kLargest>(v[0], v[1]),
                                      add_neighbours<kLargest>(v[2], v[3]));
}

// The products of a chunk's codes, four columns each, vector by vector.
inline void multiply(const __m512i (&codes)[kWideVectors], const __m512i (&x)[kWideVectors],
                     __m512i (&out)[kWideVectors]) {
#pragma GCC unroll 4
  for (unsigned v = 0; v < kWideVectors; ++v) {
    out[v] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes[v], x[v]);
  }
}

// The dot products of the eight groups of 32 of a chunk.
template <class E, Order kOrder = Wide<E>::kOrder>
[[gnu::always_inline]] inline __m256i dot_groups_of_32(const __m512i (&codes)[kWideVectors],
                                                       const __m512i (&x)[kWideVectors]) {
  if (kOrder == Order::kHalves) {
    __m512i dots[2];
#pragma GCC unroll 2
    for (unsigned k = 0; k < 2; ++k) {
      dots[k] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes[2 * k], x[2 * k]);
      dots[k] = _mm512_dpbusd_epi32(dots[k], codes[2 * k + 1], x[2 * k + 1]);
    }
    const __m512i twos = _mm512_add_epi32(_mm512_unpacklo_epi32(dots[0], dots[1]),
                                          _mm512_unpackhi_epi32(dots[0], dots[1]));
    const __m512i fours = _mm512_add_epi32(twos, _mm512_unpackhi_epi64(twos, twos));
    // Word k of 128-bit lane l: group 4 k + l.
    return _mm512_castsi512_si256(words_to_lanes(fours));
  }
  __m512i products[kWideVectors];
  multiply(codes, x, products);
  const __m512i fours = sums_of_fours<4 * kLargestProduct<E>>(products);
  const __m512i eights = _mm512_add_epi32(fours, _mm512_shuffle_i32x4(fours, fours, 0xb1));
  // Word v of 128-bit lane 2 h: half h of vector v.
  const __m512i in_order = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm512_castsi512_si256(_mm512_permutexvar_epi32(in_order, eights));
}

// A row and X inputs: the chunks of weights are decoded once. A lane of a sum is a group, of 32
// columns or of 16.
template <class E, unsigned X, int kGroups = E::kGroups>
struct WideRows {
  __m256 sums[X];

  void clear() {
    for (__m256& sum : sums) sum = _mm256_setzero_ps();
  }

  [[gnu::always_inline]] inline void add(const char* const (&w)[1], const Q8Chunk* x) {
    __m512i codes[kWideVectors];
    GroupScales s;
    Wide<E>::codes(w[0], codes);
    E::scales(w[0], s);
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) {
      const Q8Chunk* chunk = x + i;
      __m512i input[kWideVectors];
      load_input<Wide<E>::kOrder>(chunk, input);
      sums[i] = add_groups<E>(sums[i], dot_groups_of_32<E>(codes, input), s.d[0], s.m[0],
                              load_sums(chunk->sums_32), _mm256_loadu_ps(chunk->scales),
                              _mm256_loadu_ps(chunk->scaled_sums_32));
    }
  }

  [[nodiscard]] float total(unsigned i, unsigned /*r*/) const {
    return sum_of_tree(sums[i]);
  }
};

template <class E, unsigned X>
struct WideRows<E, X, 16> {
  __m512 sums[X];

  void clear() {
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
  }

  [[gnu::always_inline]] inline void add(const char* const (&w)[1], const Q8Chunk* x) {
    static_assert(Wide<E>::kOrder == Order::kColumns);
    const __m512i doubled = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    __m512i codes[kWideVectors];
    GroupScales s;
    Wide<E>::codes(w[0], codes);
    E::scales(w[0], s);
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) {
      const Q8Chunk* chunk = x + i;
      __m512i input[kWideVectors];
      load_input<Order::kColumns>(chunk, input);
      const __m512i x_sums =
          _mm512_cvtepi16_epi32(load_256(reinterpret_cast<const char*>(chunk->sums_16)));
      const __m512 x_scale = _mm512_castsi512_ps(_mm512_permutexvar_epi32(
          doubled, twice(load_256(reinterpret_cast<const char*>(chunk->scales)))));
      multiply(codes, input, input);
      const __m512i fours = sums_of_fours<4 * kLargestProduct<E>>(input);
      const __m512i dots = without_offset<E>(words_to_lanes(fours), x_sums);
      if (E::kHasMin) {
        const __m512 x_scaled_sums = _mm512_mul_ps(_mm512_cvtepi32_ps(x_sums), x_scale);
        sums[i] = _mm512_fnmadd_ps(join(s.m[0], s.m[1]), x_scaled_sums, sums[i]);
      }
      const __m512 scale = _mm512_mul_ps(join(s.d[0], s.d[1]), x_scale);
      sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scale, sums[i]);
    }
  }

  [[nodiscard]] float total(unsigned i, unsigned /*r*/) const {
    return sum_of_tree(_mm512_castps512_ps256(sums[i])) + sum_of_tree(upper_half(sums[i]));
  }
};

// What the products of group g need of an input.
template <class E>
struct GroupInput {
  int sum;
  float scale;
  float scaled_sum;
  [[gnu::always_inline]] GroupInput(const Q8Chunk& x, unsigned g)
      : sum(E::kGroups == 8 ? x.sums_32[g] : x.sums_16[g]),
        scale(x.scales[E::kGroups == 8 ? g : g / 2]),
        scaled_sum(E::kGroups == 8 ? x.scaled_sums_32[g] : static_cast<float>(sum) * scale) {}

  // total + the products of the group in 16 rows.
  [[gnu::always_inline]] __m512 add(__m512 total, __m512i dots, __m512 d, __m512 m) const {
    if (E::kHasMin) total = _mm512_fnmadd_ps(m, _mm512_set1_ps(scaled_sum), total);
    const __m512i dot = without_offset<E>(dots, _mm512_set1_epi32(sum));
    const __m512 scales = _mm512_mul_ps(d, _mm512_set1_ps(scale));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scales, total);
  }
};

// A chunk of 16 rows, transposed.
template <class E>
struct WidePanel {
  __m512i codes[kUnits];      // four columns of every row
  __m512 scales[E::kGroups];  // of every row
  __m512 mins[E::kHasMin ? E::kGroups : 1];

  void fill_rows(const char* const* rows) { fill(RowWords{rows}); }
  template <class Words>
  void fill(const Words& w) {
    PanelSource<E>::codes(w, codes);
    PanelSource<E>::scales(w, scales, mins);
  }

  // sums[i][p][g] += products of group g for P panels and X inputs.
  template <unsigned P, unsigned X>
  static void add(const WidePanel* panels, const Q8Chunk* const (&x)[X], Later& later,
                  __m512 (*sums)[P][E::kGroups]) {
    constexpr unsigned kGroupUnits = kUnits / E::kGroups;
#pragma GCC unroll 1
    for (unsigned g = 0; g < E::kGroups; ++g) {
      later.ask();
      __m512i dots[X][P];
#pragma GCC unroll 8
      for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 2
        for (unsigned p = 0; p < P; ++p) dots[i][p] = _mm512_setzero_si512();
      }
#pragma GCC unroll 8
      for (unsigned u = 0; u < kGroupUnits; ++u) {
        const unsigned unit = kGroupUnits * g + u;
#pragma GCC unroll 8
        for (unsigned i = 0; i < X; ++i) {
          const char* four = reinterpret_cast<const char*>(x[i]->codes) + unit * 4;
          const __m512i input = _mm512_set1_epi32(load_word<int32_t>(four));
#pragma GCC unroll 2
          for (unsigned p = 0; p < P; ++p) {
            dots[i][p] = _mm512_dpbusd_epi32(dots[i][p], panels[p].codes[unit], input);
          }
        }
      }
#pragma GCC unroll 8
      for (unsigned i = 0; i < X; ++i) {
        const GroupInput<E> input(*x[i], g);
#pragma GCC unroll 2
        for (unsigned p = 0; p < P; ++p) {
          sums[i][p][g] = input.add(sums[i][p][g], dots[i][p], panels[p].scales[g],
                                    panels[p].mins[E::kHasMin ? g : 0]);
        }
      }
    }
  }
};

}  // namespace
}  // namespace pensee
