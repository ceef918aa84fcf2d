// Products of block-quantised weights with many inputs: panels of transposed weights are made once
// for all inputs. `V` has the vectors and fills the panels:
// gemm_q8_avx2-inl.hpp, gemm_q8_avx512-inl.hpp.
//
// A group's product of codes needs two factors, its scale in the weights and in the input. Applied
// in float32 they would keep the units busy that multiply the codes, for a quarter of the time. So
// scales are integers here, multiples of a unit that a row (or an input) has for a chunk: the
// products of two groups, narrowed to 16 bits, meet the products of their scales in one more
// instruction, and a chunk's sum becomes a float once. The roundings are of 12 bits (scales) and 15
// bits (products): far below those of the inputs' eight. They must not lean to one side, for the
// errors of a row's groups would then add up: codes are centred around zero, so that the products
// of the common types fit 16 bits as they are, and what is cut off elsewhere is rounded up at a tie
// in every other group, down in the rest.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "pensee/kernels/table.hpp"
#include "q8-inl.hpp"
#include "vector-inl.hpp"

namespace pensee {
namespace {

constexpr unsigned kTilePanels = 2;  // that meet some inputs together
// The largest levels: sums of 16 products of two such with their inputs' fit 32 bits.
constexpr int kScaleLevels = 32767;
constexpr int kMinLevels = 8191;
// Weights are read fastest in the order of their addresses, a tile of rows from end to end; but
// inputs that the L2 cache does not hold must meet many rows, a chunk of columns at a time.
constexpr int64_t kInputsInL2 = 512 * 1024;  // bytes
constexpr int64_t kGemmPanels = 8;           // that meet a chunk of such inputs

// How far the sum of a group's products is shifted to the right to fit 16 bits.
constexpr int log2_narrowing(int64_t largest_sum) {
  return largest_sum <= 32767 ? 0 : 1 + log2_narrowing(largest_sum / 2);
}

// How many units of a group fit 16 bits, as sums of pairs of products; one takes two. 0: none.
template <class E>
constexpr unsigned pair_units() {
  constexpr int kLargestPair = 2 * 127 * (E::kOffset + E::kLargest);
  unsigned units = kUnits / E::kGroups;
  while (units > 0 && units * kLargestPair > 32767) units /= 2;
  return units;
}

// What a tile needs to know of a type; types that agree in it share their tiles. kTypePairUnits: 0
// where pairs of products are not needed.
template <unsigned kTypeGroups, bool kTypeHasMin, int kTypeCentre, int kTypeShift,
          unsigned kTypePairUnits>
struct TileType {
  static constexpr unsigned kGroups = kTypeGroups;
  static constexpr bool kHasMin = kTypeHasMin;
  static constexpr int kCentre = kTypeCentre;
  static constexpr int kShift = kTypeShift;
  static constexpr unsigned kPairUnits = kTypePairUnits;
};

// Where there is a minimum, codes count from the middle of their range, for which the minimum makes
// up.
template <class E>
constexpr int kCentreOf = E::kHasMin ? (E::kLargest + 1) / 2 : E::kOffset;
template <class E>
constexpr int kShiftOf = log2_narrowing(int64_t{kQ8Columns / E::kGroups} * 127 *
                                        (E::kHasMin ? kCentreOf<E> : E::kLargest));
template <class V, class E>
using GemmType = TileType<E::kGroups, E::kHasMin, kCentreOf<E>, kShiftOf<E>,
                          V::kNeedsPairs ? pair_units<E>() : 0>;

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

// Where the products of X inputs' chunk start: minus what the centre of the codes adds, and half of
// what narrowing cuts off, one less in odd groups.
template <class T, unsigned X>
struct ProductStarts {
  alignas(32) int32_t numbers[X][T::kGroups];

  explicit ProductStarts(const Q8Chunk* const (&x)[X]) {
    constexpr int kHalf = T::kShift == 0 ? 0 : 1 << (T::kShift - 1);
    constexpr int kOdd = T::kShift == 0 ? 0 : kHalf - 1;
    const __m256i half = _mm256_setr_epi32(kHalf, kOdd, kHalf, kOdd, kHalf, kOdd, kHalf, kOdd);
    for (unsigned i = 0; i < X; ++i) {
      const int16_t* sums = T::kGroups == 8 ? x[i]->sums_32 : x[i]->sums_16;
#pragma GCC unroll 2
      for (unsigned g = 0; g < T::kGroups; g += 8) {
        const __m256i eight = load_sums(sums + g);
        const __m256i centre = _mm256_slli_epi32(eight, log2_of(T::kCentre));
        _mm256_store_si256(reinterpret_cast<__m256i*>(numbers[i] + g),
                           _mm256_sub_epi32(half, centre));
      }
    }
  }
};

template <class V>
inline typename V::Ints every_word(const void* p) {
  return V::words(load_word<int32_t>(static_cast<const char*>(p)));
}

// dots = what they start with and the products of group g, four columns at a time.
template <class V, class T, unsigned X>
[[gnu::always_inline]] inline void dot_group(const GemmPanel<V, T>* const (&panels)[kTilePanels],
                                             const Q8Chunk* const (&x)[X],
                                             const ProductStarts<T, X>& starts, unsigned g,
                                             typename V::Ints (&dots)[X][kTilePanels]) {
  constexpr unsigned kGroupUnits = kUnits / T::kGroups;
#pragma GCC unroll 4
  for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 2
    for (typename V::Ints& dot : dots[i]) dot = V::words(starts.numbers[i][g]);
  }
#pragma GCC unroll 8
  for (unsigned u = 0; u < kGroupUnits; ++u) {
    const unsigned unit = kGroupUnits * g + u;
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) {
      const typename V::Ints input = every_word<V>(x[i]->codes + 4 * unit);
#pragma GCC unroll 2
      for (unsigned p = 0; p < kTilePanels; ++p) {
        dots[i][p] = V::add_fours(dots[i][p], panels[p]->codes[unit], input);
      }
    }
  }
}

// The same without VNNI, where adding four products takes three instructions: pairs of them are
// added up in 16 bits, for which it is two. Few units at a time: GCC 12 would do more of them side
// by side than there are registers for.
template <class V, class T, unsigned X>
[[gnu::always_inline]] inline void dot_group_in_pairs(
    const GemmPanel<V, T>* const (&panels)[kTilePanels], const Q8Chunk* const (&x)[X],
    const ProductStarts<T, X>& starts, unsigned g, typename V::Ints (&dots)[X][kTilePanels]) {
  constexpr unsigned kGroupUnits = kUnits / T::kGroups;
#pragma GCC unroll 8
  for (unsigned first = 0; first < kGroupUnits; first += T::kPairUnits) {
    typename V::Ints pairs[X][kTilePanels];
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 2
      for (typename V::Ints& pair : pairs[i]) pair = V::words(0);
    }
#pragma GCC unroll 2
    for (unsigned u = 0; u < T::kPairUnits; ++u) {
      const unsigned unit = kGroupUnits * g + first + u;
#pragma GCC unroll 4
      for (unsigned i = 0; i < X; ++i) {
        const typename V::Ints input = every_word<V>(x[i]->codes + 4 * unit);
#pragma GCC unroll 2
        for (unsigned p = 0; p < kTilePanels; ++p) {
          pairs[i][p] =
              V::add_halves(pairs[i][p], V::multiply_pairs(panels[p]->codes[unit], input));
        }
      }
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 2
      for (unsigned p = 0; p < kTilePanels; ++p) {
        // Late: until now there is no register for them.
        if (first == 0) dots[i][p] = V::words(starts.numbers[i][g]);
        dots[i][p] = V::add_pairs(dots[i][p], pairs[i][p], V::halves(1));
      }
    }
  }
}

// The products of two groups, from number g on, narrowed: the first in the lower half of a word.
template <class V, class T, unsigned X>
[[gnu::always_inline]] inline void multiply_groups(
    const GemmPanel<V, T>* const (&panels)[kTilePanels], const Q8Chunk* const (&x)[X],
    const ProductStarts<T, X>& starts, unsigned g, typename V::Ints (&out)[X][kTilePanels]) {
  typename V::Ints dots[2][X][kTilePanels];
#pragma GCC unroll 2
  for (unsigned h = 0; h < 2; ++h) {
    if constexpr (T::kPairUnits > 0) {
      dot_group_in_pairs<V, T, X>(panels, x, starts, g + h, dots[h]);
    } else {
      dot_group<V, T, X>(panels, x, starts, g + h, dots[h]);
    }
  }
#pragma GCC unroll 4
  for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 2
    for (unsigned p = 0; p < kTilePanels; ++p) {
      out[i][p] = V::template narrow<T::kShift>(dots[0][i][p], dots[1][i][p]);
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

// y[i * ldy + row] (+)= panels . (input i) in one chunk, for X inputs and 32 rows, of which `rows`
// are written.
template <class S, class V, class T, unsigned X>
[[gnu::noinline]] void gemm_tile(const GemmPanel<V, T>* panel, const Q8Chunk* x, float* y,
                                 int64_t ldy, int64_t rows, bool is_first, Later& later) {
  const GemmPanel<V, T>* const panels[kTilePanels] = {panel, panel + 1};
  const Q8Chunk* inputs[X];
  typename V::Ints sums[X][kTilePanels];
#pragma GCC unroll 4
  for (unsigned i = 0; i < X; ++i) {
    inputs[i] = x + i;
#pragma GCC unroll 2
    for (typename V::Ints& sum : sums[i]) sum = V::words(0);
  }
  const ProductStarts<T, X> starts(inputs);
  // Those of the next tile, from the L2 cache into the first.
  constexpr int64_t kNextBytes = int64_t{X} * static_cast<int64_t>(sizeof(Q8Chunk));
  constexpr int64_t kStepBytes = kNextBytes / (T::kGroups / 2) / 64 * 64;
  const char* next_inputs = reinterpret_cast<const char*>(x + X);
#pragma GCC unroll 1
  for (unsigned g = 0; g < T::kGroups; g += 2) {
    later.ask();
    prefetch<kStepBytes>(next_inputs);
    next_inputs += kStepBytes;
    typename V::Ints products[X][kTilePanels];
    multiply_groups<V, T, X>(panels, inputs, starts, g, products);
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) {
      const typename V::Ints scale = T::kGroups == 8 ? every_word<V>(inputs[i]->scale_levels + g)
                                                     : V::halves(inputs[i]->scale_levels[g / 2]);
#pragma GCC unroll 2
      for (unsigned p = 0; p < kTilePanels; ++p) {
        const typename V::Ints scales = V::multiply_halves(panels[p]->levels.scales[g / 2], scale);
        sums[i][p] = V::add_pairs(sums[i][p], products[i][p], scales);
      }
    }
  }
  if (T::kHasMin) add_mins<V, T, X>(panels, inputs, sums);
#pragma GCC unroll 4
  for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 2
    for (unsigned p = 0; p < kTilePanels; ++p) {
      const int64_t count = rows - int64_t{V::kLanes} * p;
      if (count <= 0) break;
      float* to = y + int64_t{i} * ldy + V::kLanes * p;
      const typename S::Vec before = is_first ? S::zero() : load_lanes<S>(to, count, 0.0F);
      const typename S::Vec unit = S::mul(panels[p]->levels.unit, S::set1(inputs[i]->scale_unit));
      store_lanes<S>(to, count, S::fma(V::floats(sums[i][p]), unit, before));
    }
  }
}

// Panels of chunk c of rows [row_begin, row_end), an even number of them. Rows beyond the end are
// the last one again. Asks for the panels that come next, into the L1 cache: of the same chunk, the
// next one, or the next rows.
template <class V, class E>
struct RowPanels {
  static void fill(const KernelMatrix* w, int64_t row_begin, int64_t row_end, int64_t c,
                   GemmPanel<V, GemmType<V, E>>* panels) {
    constexpr int64_t kLanes = V::kLanes;
    constexpr int64_t kTileRows = kLanes * kTilePanels;
    const int64_t cols = w->cols - c * kQ8Columns;
    for (int64_t r = row_begin; r < row_end; r += kTileRows) {
      int64_t to_next = kTileRows * w->row_bytes;
      if (r + kTileRows >= row_end) {
        to_next = cols > kQ8Columns ? E::kBytes - (r - row_begin) * w->row_bytes
                                    : to_next - c * E::kBytes;
      }
      for (int64_t first = r; first < r + kTileRows; first += kLanes) {
        PaddedChunk<E> padded[V::kLanes];
        const char* bytes[V::kLanes];
        for (int64_t i = 0; i < kLanes; ++i) {
          const int64_t row = first + i < row_end ? first + i : row_end - 1;
          bytes[i] = static_cast<const char*>(w->data) + row * w->row_bytes + c * E::kBytes;
          prefetch<E::kBytes>(bytes[i] + to_next);
          if (kEndsInChunk<E> && cols < kQ8Columns) bytes[i] = padded[i].fill(bytes[i], cols);
        }
        V::template fill_rows<E>(bytes, *panels++);
      }
    }
  }
};

template <class S, class V, class E, class Panels = RowPanels<V, E>>
void gemm_q8(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const Q8Chunk* x,
             int64_t ldx, int64_t n, float* y, int64_t ldy, void* scratch) {
  using T = GemmType<V, E>;
  using Panel = GemmPanel<V, T>;
  constexpr int64_t kTileRows = int64_t{V::kLanes} * kTilePanels;
  static_assert(sizeof(Panel) * kGemmPanels <= kGemmQ8Scratch);
  static_assert(kGemmPanels % kTilePanels == 0);
  auto* panels = static_cast<Panel*>(scratch);
  const int64_t chunks = (w->cols + kQ8Columns - 1) / kQ8Columns;
  const bool fit_l2 = n * chunks * static_cast<int64_t>(sizeof(Q8Chunk)) <= kInputsInL2;
  const int64_t block = fit_l2 ? kTileRows : V::kLanes * kGemmPanels;
  const int64_t tiles = (n + V::kTileInputs - 1) / V::kTileInputs;
  const int64_t asks = tiles * (block / kTileRows) * (E::kGroups / 2);
  for (int64_t begin = row_begin; begin < row_end; begin += block) {
    const int64_t end = row_end - begin < block ? row_end : begin + block;
    Later later(w, end, row_end, block, chunks, asks);
    for (int64_t c = 0; c < chunks; ++c) {
      later.begin_chunk(c);
      Panels::fill(w, begin, end, c, panels);
      for (int64_t r = begin; r < end; r += kTileRows) {
        const Panel* panel = panels + (r - begin) / V::kLanes;
        float* out = y + (r - row_begin);
        int64_t i = 0;
        const auto take = [&](auto inputs) {
          constexpr unsigned kCount = decltype(inputs)::kCount;
          for (; i + kCount <= n; i += kCount) {
            gemm_tile<S, V, T, kCount>(panel, x + c * ldx + i, out + i * ldy, ldy, end - r, c == 0,
                                       later);
          }
        };
        take(Inputs<V::kTileInputs>{});
        if constexpr (V::kTileInputs == 4) {
          take(Inputs<3>{});
          take(Inputs<2>{});
        }
        take(Inputs<1>{});
      }
    }
  }
}

// Null for codes of eight bits where pairs of their products do not fit 16: dot_rows_q8 serves
// them.
template <class S, class V, class E>
constexpr GemmQ8Fn gemm_or_null() {
  if constexpr (V::kNeedsPairs && pair_units<E>() == 0) {
    return nullptr;
  } else {
    return gemm_q8<S, V, E>;
  }
}

}  // namespace
}  // namespace pensee
