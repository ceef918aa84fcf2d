// Products of block-quantised weights with many inputs, for AVX-512 (VNNI): panels of transposed
// weights are made once for all inputs, and the sums of a tile of inputs stay in registers.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "pensee/kernels/table.hpp"
#include "q8-inl.hpp"
#include "q8_avx512-inl.hpp"
#include "vector-inl.hpp"

namespace pensee {
namespace {

constexpr int64_t kGemmChunks = 8;  // of columns in a panel
constexpr int64_t kGemmPanels =
    4;  // of 16 rows: with 8 chunks each they fit a part of the L2 cache
constexpr unsigned kGemmInputs = 12;  // 24 sums, the weights and an input: 32 registers hold them

// What gemm_tile reads of X inputs' chunk beside their codes: -offset times the sum of each group,
// where its product starts, and the sums times their scale, which minimums multiply.
template <unsigned kGroups, bool kHasMin, unsigned X>
struct InputSums {
  alignas(64) int32_t start[X][16];
  alignas(64) float sums[X][16];

  void load(const Q8Chunk* const (&x)[X], int log2_offset) {
    const __m512i doubled = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (unsigned i = 0; i < X; ++i) {
      const __m512i codes = kGroups == 8
                                ? twice(load_256(reinterpret_cast<const char*>(x[i]->sums_32)))
                                : load_512(x[i]->sums_16);
      __m512i scales = twice(load_256(reinterpret_cast<const char*>(x[i]->scales)));
      if (kGroups == 16) scales = _mm512_permutexvar_epi32(doubled, scales);
      const __m512i offset = log2_offset < 0
                                 ? _mm512_setzero_si512()
                                 : _mm512_sll_epi32(codes, _mm_cvtsi32_si128(log2_offset));
      _mm512_store_si512(start[i], _mm512_sub_epi32(_mm512_setzero_si512(), offset));
      if (!kHasMin) continue;
      _mm512_store_ps(sums[i],
                      _mm512_mul_ps(_mm512_cvtepi32_ps(codes), _mm512_castsi512_ps(scales)));
    }
  }
};

// y[i * ldy + row] (+)= panels . (input i), for X inputs and 16 rows, of which `rows` are written.
template <class S, unsigned kGroups, bool kHasMin, unsigned X>
[[gnu::noinline]] void gemm_tile(const PanelNumbers<kGroups, kHasMin>* panels, int64_t chunks,
                                 int log2_offset, const Q8Chunk* x, int64_t ldx, float* y,
                                 int64_t ldy, int64_t rows, bool is_first) {
  constexpr unsigned kGroupUnits = kUnits / kGroups;
  __m512 out[X];
#pragma GCC unroll 16
  for (unsigned i = 0; i < X; ++i) {
    out[i] = is_first ? _mm512_setzero_ps() : load_lanes<S>(y + int64_t{i} * ldy, rows, 0.0F);
  }
  for (int64_t c = 0; c < chunks; ++c) {
    const Q8Chunk* inputs[X];
#pragma GCC unroll 16
    for (unsigned i = 0; i < X; ++i) inputs[i] = x + int64_t{i} * ldx + c;
    InputSums<kGroups, kHasMin, X> in;
    in.load(inputs, log2_offset);
    const PanelNumbers<kGroups, kHasMin>& panel = panels[c];
#pragma GCC unroll 1
    for (unsigned g = 0; g < kGroups; ++g) {
      __m512i dots[X];
#pragma GCC unroll 16
      for (unsigned i = 0; i < X; ++i) dots[i] = _mm512_set1_epi32(in.start[i][g]);
#pragma GCC unroll 8
      for (unsigned u = 0; u < kGroupUnits; ++u) {
        const __m512i weights = panel.codes[kGroupUnits * g + u];
#pragma GCC unroll 16
        for (unsigned i = 0; i < X; ++i) {
          const char* codes = reinterpret_cast<const char*>(inputs[i]->codes);
          const auto four = load_word<int32_t>(codes + (kGroupUnits * g + u) * 4);
          dots[i] = _mm512_dpbusd_epi32(dots[i], weights, _mm512_set1_epi32(four));
        }
      }
#pragma GCC unroll 16
      for (unsigned i = 0; i < X; ++i) {
        const float x_scale = inputs[i]->scales[kGroups == 8 ? g : g / 2];
        const __m512 dot = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[i]), panel.scales[g]);
        out[i] = _mm512_fmadd_ps(dot, _mm512_set1_ps(x_scale), out[i]);
        if (kHasMin) {
          out[i] = _mm512_fnmadd_ps(panel.mins[g], _mm512_set1_ps(in.sums[i][g]), out[i]);
        }
      }
    }
  }
#pragma GCC unroll 16
  for (unsigned i = 0; i < X; ++i) store_lanes<S>(y + int64_t{i} * ldy, rows, out[i]);
}

// A part of the product: what gemm_tile is called with for every tile of inputs.
template <class S, class E>
struct GemmPart {
  const WidePanel<E>* panels;  // (kGemmPanels, kGemmChunks)
  int64_t rows;                // at most kGemmPanels * 16
  int64_t chunks;              // at most kGemmChunks
  bool is_first;
  static constexpr int kLog2Offset = E::kOffset == 0 ? -1 : log2_of(E::kOffset);

  template <unsigned X>
  void add(const Q8Chunk* x, int64_t ldx, float* y, int64_t ldy) const {
    for (int64_t r = 0; r < rows; r += 16) {
      gemm_tile<S, E::kGroups, E::kHasMin, X>(panels + r / 16 * kGemmChunks, chunks, kLog2Offset, x,
                                              ldx, y + r, ldy, rows - r, is_first);
    }
  }
};

// Panels of rows [row_begin, row_end) and of `chunks` chunks from chunk c on. Rows beyond the end
// are the last one again.
template <class E>
void fill_panels(const KernelMatrix* w, int64_t row_begin, int64_t row_end, int64_t c,
                 int64_t chunks, WidePanel<E>* panels) {
  for (int64_t r = row_begin; r < row_end; r += 16, panels += kGemmChunks) {
    for (int64_t k = 0; k < chunks; ++k) {
      PaddedChunk<E> padded[16];
      const char* bytes[16];
      const int64_t cols = w->cols - (c + k) * kQ8Columns;
      for (int64_t i = 0; i < 16; ++i) {
        const int64_t row = r + i < row_end ? r + i : row_end - 1;
        bytes[i] = static_cast<const char*>(w->data) + row * w->row_bytes + (c + k) * E::kBytes;
        if (cols < kQ8Columns) bytes[i] = padded[i].fill(bytes[i], cols);
      }
      for (const char* row : bytes) {
        if (cols > kQ8Columns) prefetch<E::kBytes>(row + E::kBytes);
      }
      panels[k].fill(bytes);
    }
  }
}

template <unsigned kInputs>
struct Inputs {
  static constexpr unsigned kCount = kInputs;
};

template <class S, class E>
void gemm_q8(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const Q8Chunk* x,
             int64_t ldx, int64_t n, float* y, int64_t ldy, void* scratch) {
  static_assert(sizeof(WidePanel<E>) * kGemmPanels * kGemmChunks <= kGemmQ8Scratch);
  auto* panels = static_cast<WidePanel<E>*>(scratch);
  constexpr int64_t kRows = kGemmPanels * 16;
  const int64_t all_chunks = (w->cols + kQ8Columns - 1) / kQ8Columns;
  for (int64_t r = row_begin; r < row_end; r += kRows) {
    const int64_t rows = row_end - r < kRows ? row_end - r : kRows;
    for (int64_t c = 0; c < all_chunks; c += kGemmChunks) {
      const int64_t chunks = all_chunks - c < kGemmChunks ? all_chunks - c : kGemmChunks;
      fill_panels(w, r, r + rows, c, chunks, panels);
      const GemmPart<S, E> part{panels, rows, chunks, c == 0};
      float* out = y + (r - row_begin);
      int64_t i = 0;
      const auto take = [&](auto inputs) {
        constexpr unsigned kCount = decltype(inputs)::kCount;
        for (; i + kCount <= n; i += kCount) {
          part.template add<kCount>(x + i * ldx + c, ldx, out + i * ldy, ldy);
        }
      };
      take(Inputs<kGemmInputs>{});
      take(Inputs<8>{});
      take(Inputs<4>{});
      take(Inputs<2>{});
      take(Inputs<1>{});
    }
  }
}

}  // namespace
}  // namespace pensee
