// Products of interleaved rows (kernels/interleave.hpp), for AVX-512: panels that are filled
// without transposing, and for few inputs a kernel that stores none. Results are those of plain
// rows, to the bit.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "gemm_q8_avx512-inl.hpp"
#include "matrix-inl.hpp"
#include "panels_avx512-inl.hpp"
#include "pensee/kernels/table.hpp"
#include "q8-inl.hpp"
#include "q8_avx512-inl.hpp"

namespace pensee {
namespace {

constexpr int64_t kTilesAhead = 6144;  // bytes, into the L2 cache

// As RowPanels, of interleaved rows.
template <class E>
struct TilePanels {
  static void fill(const KernelMatrix* w, int64_t row_begin, int64_t row_end, int64_t c,
                   GemmPanel<WideInts, GemmType<E>>* panels) {
    constexpr int64_t kLanes = WideInts::kLanes;
    constexpr int64_t kTileBytes = kLanes * E::kBytes;
    for (int64_t r = row_begin; r < row_end; r += kLanes * kTilePanels) {
      for (int64_t first = r; first < r + kLanes * kTilePanels; first += kLanes) {
        const int64_t row = first < row_end ? first : row_end - kLanes;
        const char* tile = static_cast<const char*>(w->data) + row * w->row_bytes + c * kTileBytes;
        prefetch<kTileBytes>(tile + kTileBytes);
        WideInts::fill<E>(TileWords{tile}, *panels++);
      }
    }
  }
};

// As RowPanelSource, of interleaved rows.
template <class S, class E, unsigned P>
struct TilePanelSource {
  template <class F>
  static void for_each(const KernelMatrix* w, int64_t r, int64_t /*row_end*/, F&& f) {
    WidePanel<E> panels[P];
    const char* tiles = static_cast<const char*>(w->data) + r * w->row_bytes;
    const int64_t chunks = w->cols / kQ8Columns;
    for (int64_t c = 0; c < chunks; ++c) {
      for (unsigned p = 0; p < P; ++p) {
        panels[p].fill(TileWords{tiles + 16 * (int64_t{p} * w->row_bytes + c * E::kBytes)});
      }
      f(c, panels);
    }
  }
};

// Whether the parts of a chunk are read in the order of their addresses.
template <class E>
constexpr bool kPartsInOrder = true;
template <>
constexpr bool kPartsInOrder<Decoder<KernelType::kQ6_K>> = false;

// 16 interleaved rows and X inputs: what panels compute, without storing any.
template <class E, unsigned X>
struct TileRows {
  static constexpr unsigned kGroups = E::kGroups;
  static constexpr int64_t kBytes = 16 * E::kBytes;  // of a chunk
  __m512 sums[X][kGroups];

  [[gnu::always_inline]] void clear() {
#pragma GCC unroll 4
    for (auto& input : sums) {
#pragma GCC unroll 16
      for (__m512& sum : input) sum = _mm512_setzero_ps();
    }
  }

  // A chunk; asks for what will be read after it.
  [[gnu::always_inline]] void add(const char* tile, const Q8Chunk* x, const ReadOrder& order) {
    const TileWords words{tile};
    __m512 d[kGroups];
    __m512 m[E::kHasMin ? kGroups : 1];
    PanelSource<E>::scales(words, d, m);
    PartCodes<E, TileWords> parts(words);
    const char* later = order.at(tile + kTilesAhead);
    if constexpr (kPartsInOrder<E>) {
      // A loop: hardware that asks memory ahead follows an instruction whose addresses are up to
      // 2 KB apart; those of a whole chunk are further.
#pragma GCC unroll 1
      for (unsigned p = 0; p < 4; ++p) {
        prefetch<kBytes / 4, Near::kL2>(later + p * (kBytes / 4));
        add_part(parts, p, x, d, m);
      }
    } else {
      // It does not follow these, and takes down not all of what is asked: so it is asked twice.
      const char* soon = order.at(tile + kTilesAhead / 2);
#pragma GCC unroll 4
      for (unsigned p = 0; p < 4; ++p) {
        prefetch<kBytes / 4, Near::kL2>(later + p * (kBytes / 4));
        prefetch<kBytes / 4, Near::kL2>(soon + p * (kBytes / 4));
        add_part(parts, p, x, d, m);
      }
    }
  }

  template <unsigned kMins>
  [[gnu::always_inline]] void add_part(PartCodes<E, TileWords>& parts, unsigned p, const Q8Chunk* x,
                                       const __m512 (&d)[kGroups], const __m512 (&m)[kMins]) {
    __m512i codes[2][8];
    parts.read(p, codes);
    add_run(codes[0], parts.first(p), x, d, m);
    add_run(codes[1], parts.second(p), x, d, m);
  }

  // 32 columns, from a unit on: a group or two.
  template <unsigned kMins>
  [[gnu::always_inline]] void add_run(const __m512i (&codes)[8], unsigned first, const Q8Chunk* x,
                                      const __m512 (&d)[kGroups], const __m512 (&m)[kMins]) {
    constexpr unsigned kGroupUnits = kUnits / kGroups;
#pragma GCC unroll 2
    for (unsigned from = 0; from < 8; from += kGroupUnits) {
      const unsigned g = (first + from) / kGroupUnits;
#pragma GCC unroll 4
      for (unsigned i = 0; i < X; ++i) {
        __m512i dots = _mm512_setzero_si512();
#pragma GCC unroll 8
        for (unsigned u = from; u < from + kGroupUnits; ++u) {
          const char* four = reinterpret_cast<const char*>(x[i].codes) + (first + u) * 4;
          dots = _mm512_dpbusd_epi32(dots, codes[u], _mm512_set1_epi32(load_word<int32_t>(four)));
        }
        sums[i][g] = GroupInput<E>(x[i], g).add(sums[i][g], dots, d[g], m[g % kMins]);
      }
    }
  }

  [[gnu::always_inline]] void store(float* y, int64_t ldy) {
#pragma GCC unroll 4
    for (unsigned i = 0; i < X; ++i) {
      add_as_tree(sums[i], [](__m512 a, __m512 b) { return _mm512_add_ps(a, b); });
      _mm512_storeu_ps(y + i * ldy, sums[i][0]);
    }
  }
};

// 16 interleaved rows from row r on.
template <class E, unsigned X>
void dot_tile_q8(const KernelMatrix* w, int64_t r, int64_t row_end, const Q8Chunk* x, int64_t ldx,
                 float* y, int64_t ldy) {
  const char* tile = static_cast<const char*>(w->data) + r * w->row_bytes;
  const ReadOrder order(w, row_end);
  TileRows<E, X> rows;
  rows.clear();
  for (int64_t c = 0; c < w->cols / kQ8Columns; ++c) {
    rows.add(tile, x + c * ldx, order);
    tile += TileRows<E, X>::kBytes;
  }
  rows.store(y, ldy);
}

template <class E, unsigned X>
void dot_tiles_few(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const Q8Chunk* x,
                   int64_t ldx, float* y, int64_t ldy) {
  for (int64_t r = row_begin; r < row_end; r += 16) {
    dot_tile_q8<E, X>(w, r, row_end, x, ldx, y + (r - row_begin), ldy);
  }
}

// Of interleaved rows; `row_begin` and `row_end` are multiples of 16, the columns whole chunks.
template <class S, class E>
void dot_tiles_q8(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const Q8Chunk* x,
                  int64_t ldx, int64_t n, float* y, int64_t ldy) {
  static_assert(S::template kPanelInputs<E> == 4);
  if (n == 1) return dot_tiles_few<E, 1>(w, row_begin, row_end, x, ldx, y, ldy);
  if (n == 2) return dot_tiles_few<E, 2>(w, row_begin, row_end, x, ldx, y, ldy);
  if (n == 3) return dot_tiles_few<E, 3>(w, row_begin, row_end, x, ldx, y, ldy);
  dot_rows_many<S, E, TilePanelSource>(w, row_begin, row_end, x, ldx, n, y, ldy);
}

}  // namespace
}  // namespace pensee
