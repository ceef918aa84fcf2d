// What gemm_q8-inl.hpp multiplies: panels of a chunk's codes and levels, and the products of their
// groups with those of inputs.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "narrow_rows-inl.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

constexpr unsigned kTilePanels = 2;  // that meet some inputs together
// The largest levels: sums of 16 products of two such with their inputs' fit 32 bits.
constexpr int kScaleLevels = 32767;
constexpr int kMinLevels = 8191;

// How far the sum of a group's products is shifted to the right to fit 16 bits.
constexpr int log2_narrowing(int64_t largest_sum) {
  return largest_sum <= 32767 ? 0 : 1 + log2_narrowing(largest_sum / 2);
}

// What a tile needs to know of a type; types that agree in it share their tiles. kTypeShortUnits:
// as short_units() has it.
template <unsigned kTypeGroups, bool kTypeHasMin, int kTypeCentre, int kTypeShift,
          unsigned kTypeShortUnits>
struct TileType {
  static constexpr unsigned kGroups = kTypeGroups;
  static constexpr bool kHasMin = kTypeHasMin;
  static constexpr int kCentre = kTypeCentre;
  static constexpr int kShift = kTypeShift;
  static constexpr unsigned kShortUnits = kTypeShortUnits;
  // Whether a group's products stay in 16 bits: both halves of them, and together without the
  // centre of the codes.
  static constexpr bool kStaysShort = kShortUnits == kUnits / kGroups && kShift == 0;
  // What narrowing cuts off is rounded: half of it is added before, one less in odd groups.
  static constexpr int kHalf = (1 << kShift) / 2;
  static constexpr int kHalves[2] = {kHalf, kHalf == 0 ? 0 : kHalf - 1};
  // So that the centre can be taken off after narrowing.
  static_assert(kCentre % (1 << kShift) == 0);
};

// Where there is a minimum, codes count from the middle of their range, for which the minimum makes
// up.
template <class E>
constexpr int kCentreOf = E::kHasMin ? (E::kLargest + 1) / 2 : E::kOffset;
template <class E>
constexpr int kShiftOf = log2_narrowing(int64_t{kQ8Columns / E::kGroups} * 127 *
                                        (E::kHasMin ? kCentreOf<E> : E::kLargest));
template <class E>
using GemmType = TileType<E::kGroups, E::kHasMin, kCentreOf<E>, kShiftOf<E>, short_units<E>()>;

// A scale's product with an input's is the upper 17 of 32 bits: what it is worth, and a minimum, in
// units of a scale.
template <class E>
constexpr float kProductUnit = static_cast<float>(32768 << kShiftOf<E>);
template <class E>
constexpr int kMinUnitOf = (32768 << kShiftOf<E>) / kQ8SumUnit;

// Scales and minimums of a chunk of V::kLanes rows as integers: multiples of a unit that each row
// has, 16 bits each, those of two neighbouring groups in a word.
template <class V, unsigned kGroups, bool kHasMin>
struct PanelLevels {
  typename V::Ints scales[kGroups / 2];
  typename V::Ints mins[kHasMin ? kGroups / 2 : 1];
  typename V::Floats unit;  // of a scale; NaN where a number is not finite
};

// A chunk of V::kLanes rows.
template <class V, class T>
struct GemmPanel {
  typename V::Ints codes[kUnits];  // four columns of every row
  PanelLevels<V, T::kGroups, T::kHasMin> levels;
};

// What the centre of the codes adds to the narrowed products of X inputs' chunk, negative. Products
// with it may be longer than 16 bits; without it they are not, and the bits above cancel out.
template <class T, unsigned X>
struct CentreProducts {
  alignas(16) int16_t numbers[X][T::kGroups];

  explicit CentreProducts(const Q8Chunk* const (&x)[X]) {
    for (unsigned i = 0; i < X; ++i) {
      const int16_t* sums = T::kGroups == 8 ? x[i]->sums_32 : x[i]->sums_16;
#pragma GCC unroll 2
      for (unsigned g = 0; g < T::kGroups; g += 8) {
        const __m128i eight = load_128(reinterpret_cast<const char*>(sums + g));
        const __m128i centre = _mm_mullo_epi16(eight, _mm_set1_epi16(T::kCentre >> T::kShift));
        _mm_store_si128(reinterpret_cast<__m128i*>(numbers[i] + g),
                        _mm_sub_epi16(_mm_setzero_si128(), centre));
      }
    }
  }
};

template <class V>
inline typename V::Ints every_word(const void* p) {
  return V::words(load_word<int32_t>(static_cast<const char*>(p)));
}

// dots[h] = the products of group g + h, four columns at a time; of V::kGroupsAtOnce groups side by
// side.
template <class V, class T, unsigned X>
[[gnu::always_inline]] inline void dot_two_groups(
    const GemmPanel<V, T>* const (&panels)[kTilePanels], const Q8Chunk* const (&x)[X], unsigned g,
    typename V::Ints (&dots)[2][X][kTilePanels]) {
  constexpr unsigned kGroupUnits = kUnits / T::kGroups;
  constexpr unsigned kAtOnce = V::kGroupsAtOnce;
  int32_t halves[2] = {T::kHalves[0], T::kHalves[1]};
  V::spare_registers(halves);
#pragma GCC unroll 2
  for (unsigned first = 0; first < 2; first += kAtOnce) {
#pragma GCC unroll 2
    for (unsigned h = first; h < first + kAtOnce; ++h) {
#pragma GCC unroll 4
      for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 2
        for (typename V::Ints& dot : dots[h][i]) dot = V::words(halves[h]);
      }
    }
#pragma GCC unroll 8
    for (unsigned u = 0; u < kGroupUnits; ++u) {
#pragma GCC unroll 2
      for (unsigned h = first; h < first + kAtOnce; ++h) {
        const unsigned unit = kGroupUnits * (g + h) + u;
#pragma GCC unroll 4
        for (unsigned i = 0; i < X; ++i) {
          const typename V::Ints input = every_word<V>(x[i]->codes + 4 * unit);
#pragma GCC unroll 2
          for (unsigned p = 0; p < kTilePanels; ++p) {
            dots[h][i][p] = V::add_fours(dots[h][i][p], panels[p]->codes[unit], input);
          }
        }
      }
    }
  }
}

// Sums of pairs of products of as many units as fit 16 bits, without VNNI, where adding four
// products takes three instructions: for pairs it is two. Few units at a time: GCC 12 would do more
// of them side by side than there are registers for.
template <class V, class T, unsigned X>
[[gnu::always_inline]] inline void add_pair_units(
    const GemmPanel<V, T>* const (&panels)[kTilePanels], const Q8Chunk* const (&x)[X],
    unsigned first, typename V::Ints (&pairs)[X][kTilePanels]) {
#pragma GCC unroll 4
  for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 2
    for (typename V::Ints& pair : pairs[i]) pair = V::words(0);
  }
#pragma GCC unroll 2
  for (unsigned unit = first; unit < first + T::kShortUnits; ++unit) {
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) {
      const typename V::Ints input = every_word<V>(x[i]->codes + 4 * unit);
#pragma GCC unroll 2
      for (unsigned p = 0; p < kTilePanels; ++p) {
        pairs[i][p] = V::add_halves(pairs[i][p], V::multiply_pairs(panels[p]->codes[unit], input));
      }
    }
  }
}

// dots = the products of group g, to be narrowed with `half` of what is cut off.
template <class V, class T, unsigned X>
[[gnu::always_inline]] inline void dot_group_in_pairs(
    const GemmPanel<V, T>* const (&panels)[kTilePanels], const Q8Chunk* const (&x)[X], unsigned g,
    int half, typename V::Ints (&dots)[X][kTilePanels]) {
  constexpr unsigned kGroupUnits = kUnits / T::kGroups;
#pragma GCC unroll 8
  for (unsigned first = 0; first < kGroupUnits; first += T::kShortUnits) {
    typename V::Ints pairs[X][kTilePanels];
    add_pair_units<V, T, X>(panels, x, kGroupUnits * g + first, pairs);
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 2
      for (unsigned p = 0; p < kTilePanels; ++p) {
        // Late: until now there is no register for them.
        if (first == 0) dots[i][p] = V::words(half);
        dots[i][p] = V::add_pairs(dots[i][p], pairs[i][p], V::halves(1));
      }
    }
  }
}

// The products of two groups, from number g on, narrowed: the first in the lower half of a word.
template <class V, class T, unsigned X>
[[gnu::always_inline]] inline void multiply_groups(
    const GemmPanel<V, T>* const (&panels)[kTilePanels], const Q8Chunk* const (&x)[X],
    const CentreProducts<T, X>& centres, unsigned g, typename V::Ints (&out)[X][kTilePanels]) {
  typename V::Ints dots[2][X][kTilePanels];
  if constexpr (T::kShortUnits == 0) {
    dot_two_groups<V, T, X>(panels, x, g, dots);
  } else {
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; ++h) {
      if constexpr (T::kStaysShort) {
        add_pair_units<V, T, X>(panels, x, kUnits / T::kGroups * (g + h), dots[h]);
      } else {
        dot_group_in_pairs<V, T, X>(panels, x, g + h, T::kHalves[h], dots[h]);
      }
    }
  }
#pragma GCC unroll 4
  for (unsigned i = 0; i < X; ++i) {
    const typename V::Ints centre = every_word<V>(centres.numbers[i] + g);
#pragma GCC unroll 2
    for (unsigned p = 0; p < kTilePanels; ++p) {
      typename V::Ints both;
      if constexpr (T::kStaysShort) {
        both = V::add_crosswise(dots[0][i][p], dots[1][i][p]);
      } else {
        both = V::template narrow<T::kShift>(dots[0][i][p], dots[1][i][p]);
      }
      out[i][p] = V::add_halves(both, centre);
    }
  }
}

template <class V, class T, unsigned X>
[[gnu::always_inline]] inline void add_mins(const GemmPanel<V, T>* const (&panels)[kTilePanels],
                                            const Q8Chunk* const (&x)[X],
                                            typename V::Ints (&sums)[X][kTilePanels]) {
#pragma GCC unroll 8
  for (unsigned g = 0; g < T::kGroups; g += 2) {
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) {
      const typename V::Ints levels =
          every_word<V>((T::kGroups == 8 ? x[i]->sum_levels_32 : x[i]->sum_levels_16) + g);
#pragma GCC unroll 2
      for (unsigned p = 0; p < kTilePanels; ++p) {
        sums[i][p] = V::add_pairs(sums[i][p], panels[p]->levels.mins[g / 2], levels);
      }
    }
  }
}

}  // namespace
}  // namespace pensee
