// The AVX2 side of q8-inl.hpp.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "blocks-inl.hpp"
#include "later-inl.hpp"
#include "narrow_rows-inl.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

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

  // The products of group g for X inputs; without VNNI in words of 16 bits as long as they fit.
  template <unsigned X>
  [[gnu::always_inline]] void dot_group(const Q8Chunk* const (&x)[X], unsigned g,
                                        __m256i (&dots)[X]) const {
    constexpr unsigned kGroupUnits = kUnits / E::kGroups;
    constexpr unsigned kShortUnits = short_units<E>();
    const auto input = [&](unsigned i, unsigned unit) {
      const char* four = reinterpret_cast<const char*>(x[i]->codes) + 4 * unit;
      return _mm256_set1_epi32(load_word<int32_t>(four));
    };
#pragma GCC unroll 8
    for (unsigned i = 0; i < X; ++i) dots[i] = _mm256_setzero_si256();
    if constexpr (kShortUnits < 2) {
#pragma GCC unroll 8
      for (unsigned unit = kGroupUnits * g; unit < kGroupUnits * (g + 1); ++unit) {
#pragma GCC unroll 8
        for (unsigned i = 0; i < X; ++i) {
          dots[i] = add_fours<E>(dots[i], codes[unit], input(i, unit));
        }
      }
    } else {
#pragma GCC unroll 4
      for (unsigned first = kGroupUnits * g; first < kGroupUnits * (g + 1); first += kShortUnits) {
        __m256i pairs[X];
#pragma GCC unroll 8
        for (unsigned i = 0; i < X; ++i) pairs[i] = pair_products<E>(codes[first], input(i, first));
#pragma GCC unroll 8
        for (unsigned unit = first + 1; unit < first + kShortUnits; ++unit) {
#pragma GCC unroll 8
          for (unsigned i = 0; i < X; ++i) {
            pairs[i] = _mm256_add_epi16(pairs[i], pair_products<E>(codes[unit], input(i, unit)));
          }
        }
#pragma GCC unroll 8
        for (unsigned i = 0; i < X; ++i) dots[i] = _mm256_add_epi32(dots[i], pair_sums(pairs[i]));
      }
    }
  }

  // sums[i][0][g] += products of group g for X inputs.
  template <unsigned P, unsigned X>
  static void add(const NarrowPanel* panels, const Q8Chunk* const (&x)[X], Later& later,
                  __m256 (*sums)[P][E::kGroups]) {
    static_assert(P == 1);
    const NarrowPanel& panel = *panels;
    constexpr bool kWideGroups = E::kGroups == 8;
#pragma GCC unroll 1
    for (unsigned g = 0; g < E::kGroups; ++g) {
      later.ask();
      __m256i dots[X];
      panel.template dot_group<X>(x, g, dots);
#pragma GCC unroll 8
      for (unsigned i = 0; i < X; ++i) {
        const int sum = kWideGroups ? x[i]->sums_32[g] : x[i]->sums_16[g];
        const float x_scale = x[i]->scales[kWideGroups ? g : g / 2];
        const float scaled =
            kWideGroups ? x[i]->scaled_sums_32[g] : static_cast<float>(sum) * x_scale;
        sums[i][0][g] =
            add_groups<E>(sums[i][0][g], dots[i], panel.scales[g], panel.mins[E::kHasMin ? g : 0],
                          _mm256_set1_epi32(sum), _mm256_set1_ps(x_scale), _mm256_set1_ps(scaled));
      }
    }
  }
};

}  // namespace
}  // namespace pensee
