// Products of block-quantised weights with many inputs: panels of transposed weights are made once
// for all inputs, and multiplied as gemm_groups-inl.hpp does. `V` has the vectors and fills the
// panels: gemm_q8_avx2-inl.hpp, gemm_q8_avx512-inl.hpp.
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

#include "gemm_groups-inl.hpp"
#include "pensee/kernels/table.hpp"
#include "q8-inl.hpp"
#include "vector-inl.hpp"

namespace pensee {
namespace {

// Weights are read fastest in the order of their addresses, a tile of rows from end to end; but
// inputs that the L2 cache does not hold must meet many rows, a chunk of columns at a time.
constexpr int64_t kInputsInL2 = 512 * 1024;  // bytes
constexpr int64_t kGemmPanels = 8;           // that meet a chunk of such inputs

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
  const CentreProducts<T, X> centres(inputs);
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
    multiply_groups<V, T, X>(panels, inputs, centres, g, products);
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
                   GemmPanel<V, GemmType<E>>* panels) {
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

template <unsigned kInputs>
struct Inputs {
  static constexpr unsigned kCount = kInputs;
};

template <class S, class V, class E, class Panels = RowPanels<V, E>>
void gemm_q8(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const Q8Chunk* x,
             int64_t ldx, int64_t n, float* y, int64_t ldy, void* scratch) {
  using T = GemmType<E>;
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
  if constexpr (!kHasVnni && short_units<E>() == 0) {
    return nullptr;
  } else {
    return gemm_q8<S, V, E>;
  }
}

}  // namespace
}  // namespace pensee
