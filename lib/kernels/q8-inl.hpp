// Products of block-quantised weights and activations of eight bits: what the instruction sets
// share. `S` has the rest: q8_avx2-inl.hpp, q8_avx512-inl.hpp.
//
// Every (row, input) has one accumulator for each group of a chunk, 8 or 16; chunks are added in
// order, and the accumulators as a tree at the end. The dot product of a group is exact. Two ways
// compute this, to the same bits:
//   rows      One or two, for few inputs. Codes are multiplied as they come, lanes are summed
//             crosswise: a lane is a group.
//   a panel   Of S::kLanes rows, or S::kPanels of them, from S::kPanelInputs inputs on. Codes of a
//             chunk are transposed, so that a lane is a row and four codes of an input serve all
//             lanes.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "blocks-inl.hpp"
#include "later-inl.hpp"
#include "matrix-inl.hpp"
#include "pensee/kernels/table.hpp"
#include "vector-inl.hpp"

namespace pensee {
namespace {

constexpr int64_t kWideInputs = 8;    // as many inputs make several panels at once pay
constexpr int64_t kReadAhead = 7168;  // bytes, into the L2 cache; more crowds out what is due
constexpr int64_t kShortTile = 4096;  // bytes; longer ones are further apart than hardware looks

// Whether rows of a type may end within a chunk.
template <class E>
constexpr bool kEndsInChunk = true;
#define PENSEE_X(enumerator, bytes, elements, name) \
  template <>                                       \
  constexpr bool kEndsInChunk<Decoder<KernelType::enumerator>> = elements < kQ8Columns;
PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)
#undef PENSEE_X

// The last columns of a row, fewer than a chunk: its blocks, of 32 columns each, then zeros.
template <class E>
struct PaddedChunk {
  char bytes[E::kBytes];
  const char* fill(const char* from, int64_t cols) {
    constexpr int kBlockBytes = E::kBytes / 8;
    for (int64_t b = 0; b < 8; ++b) {
      char* to = bytes + b * kBlockBytes;
      if (32 * b < cols) {
        memcpy(to, from + b * kBlockBytes, kBlockBytes);
      } else {
        memset(to, 0, kBlockBytes);
      }
    }
    return bytes;
  }
};

// `f(chunk index, chunk of each row, columns)` for all chunks of rows [r, r + R), where rows beyond
// the end are the last one again.
template <class E, unsigned R, class F>
inline void for_each_chunk(const KernelMatrix* w, int64_t r, int64_t row_end, F&& f) {
  const char* rows[R];
  for (unsigned k = 0; k < R; ++k) {
    const int64_t row = r + int64_t{k} < row_end ? r + int64_t{k} : row_end - 1;
    rows[k] = static_cast<const char*>(w->data) + row * w->row_bytes;
  }
  const int64_t chunks = w->cols / kQ8Columns;
  for (int64_t c = 0; c < chunks; ++c) {
    f(c, rows, kQ8Columns);
#pragma GCC unroll 32
    for (unsigned k = 0; k < R; ++k) rows[k] += E::kBytes;
  }
  if constexpr (kEndsInChunk<E>) {
    const int64_t rest = w->cols % kQ8Columns;
    if (rest == 0) return;
    PaddedChunk<E> padded[R];
    for (unsigned k = 0; k < R; ++k) rows[k] = padded[k].fill(rows[k], rest);
    f(chunks, rows, rest);
  }
}

// R rows from row r on and X inputs.
template <class S, class E, unsigned R, unsigned X>
inline void dot_tile_q8(const KernelMatrix* w, int64_t r, int64_t row_end, const Q8Chunk* x,
                        int64_t ldx, float* y, int64_t ldy) {
  typename S::template Rows<E, R, X> rows;
  rows.clear();
  const ReadOrder order(w, row_end);
  // Memory is asked for as one stream, also where two rows are read side by side.
  const char* later = static_cast<const char*>(w->data) + r * w->row_bytes + kReadAhead;
  for_each_chunk<E, R>(
      w, r, row_end,
      [&](int64_t c, const char* const(&chunk)[R], int64_t) __attribute__((always_inline)) {
        prefetch<R * E::kBytes, Near::kL2>(order.at(later));
        later += R * E::kBytes;
        rows.add(chunk, x + c * ldx);
      });
  const int64_t count = row_end - r < R ? row_end - r : R;
  for (unsigned i = 0; i < X; ++i) {
    for (unsigned k = 0; k < count; ++k) y[i * ldy + k] = rows.total(i, k);
  }
}

template <class S, class E, unsigned X>
void dot_rows_few(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const Q8Chunk* x,
                  int64_t ldx, float* y, int64_t ldy) {
  int64_t r = row_begin;
  if constexpr (S::template kPairsPay<E>) {
    const bool is_short = 2 * w->row_bytes <= kShortTile;
    for (; is_short && r < row_end; r += 2) {
      dot_tile_q8<S, E, 2, X>(w, r, row_end, x, ldx, y + (r - row_begin), ldy);
    }
  }
  for (; r < row_end; ++r) {
    dot_tile_q8<S, E, 1, X>(w, r, row_end, x, ldx, y + (r - row_begin), ldy);
  }
}

// sums[i][p] += products of P panels and X inputs.
template <class S, class E, unsigned P, unsigned X>
inline void add_inputs(const typename S::template Panel<E>* panels, const Q8Chunk* x, Later& later,
                       typename S::Vec (*sums)[P][E::kGroups]) {
  const Q8Chunk* inputs[X];
#pragma GCC unroll 8
  for (unsigned i = 0; i < X; ++i) inputs[i] = x + i;
  S::template Panel<E>::template add<P, X>(panels, inputs, later, sums);
}

// Inputs whose accumulators stay in the nearer caches, and on the stack.
template <class E>
constexpr int64_t kPanelInputTile = 512 / E::kGroups;

// `f(chunk index, panels)` for the chunks of P panels from row r on.
template <class S, class E, unsigned P>
struct RowPanelSource {
  template <class F>
  static void for_each(const KernelMatrix* w, int64_t r, int64_t row_end, F&& f) {
    typename S::template Panel<E> panels[P];
    for_each_chunk<E, P * S::kLanes>(
        w, r, row_end, [&](int64_t c, const char* const(&rows)[P * S::kLanes], int64_t /*cols*/) {
          for (unsigned p = 0; p < P; ++p) panels[p].fill_rows(rows + p * S::kLanes);
          f(c, panels);
        });
  }
};

// The sum of all is in the first afterwards.
template <unsigned kCount, class Vec, class Add>
[[gnu::always_inline]] inline void add_as_tree(Vec (&sums)[kCount], Add&& add) {
#pragma GCC unroll 4
  for (unsigned step = 1; step < kCount; step *= 2) {
#pragma GCC unroll 8
    for (unsigned k = 0; k < kCount; k += 2 * step) sums[k] = add(sums[k], sums[k + step]);
  }
}

// Rows [r, min(r + P * S::kLanes, row_end)) and up to kPanelInputTile inputs.
template <class S, class E, unsigned P, class Source>
void dot_panels(const KernelMatrix* w, int64_t r, int64_t row_end, const Q8Chunk* x, int64_t ldx,
                int64_t n, float* y, int64_t ldy) {
  constexpr unsigned kGroups = E::kGroups;
  constexpr unsigned kInputs = S::kPanelTileInputs;
  constexpr unsigned kRows = P * S::kLanes;
  typename S::Vec sums[kPanelInputTile<E>][P][kGroups];
  for (int64_t i = 0; i < n; ++i) {
    for (auto& panel_sums : sums[i]) {
      for (typename S::Vec& sum : panel_sums) sum = S::zero();
    }
  }
  const int64_t chunks = (w->cols + kQ8Columns - 1) / kQ8Columns;
  Later later(w, r + kRows, row_end, kRows, chunks, (n / kInputs + n % kInputs) * kGroups);
  Source::for_each(w, r, row_end, [&](int64_t c, const auto& panels) {
    later.begin_chunk(c);
    int64_t i = 0;
    for (; i + kInputs <= n; i += kInputs) {
      add_inputs<S, E, P, kInputs>(panels, x + c * ldx + i, later, sums + i);
    }
    for (; i < n; ++i) add_inputs<S, E, P, 1>(panels, x + c * ldx + i, later, sums + i);
  });
  for (int64_t i = 0; i < n; ++i) {
    for (unsigned p = 0; p < P; ++p) {
      add_as_tree(sums[i][p], S::add);
      const int64_t first = int64_t{p} * S::kLanes;
      const int64_t left = row_end - r - first;
      const int64_t count = left < S::kLanes ? left : S::kLanes;
      if (count > 0) store_lanes<S>(y + i * ldy + first, count, sums[i][p][0]);
    }
  }
}

// All rows, by panels.
template <class S, class E, template <class, class, unsigned> class Source>
void dot_rows_many(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const Q8Chunk* x,
                   int64_t ldx, int64_t n, float* y, int64_t ldy) {
  constexpr int64_t kLanes = S::kLanes;
  int64_t r = row_begin;
  while (r < row_end) {
    const bool is_wide = S::kPanels > 1 && n >= kWideInputs && row_end - r > kLanes;
    for (int64_t i = 0; i < n; i += kPanelInputTile<E>) {
      const int64_t inputs = n - i < kPanelInputTile<E> ? n - i : kPanelInputTile<E>;
      float* to = y + i * ldy + (r - row_begin);
      if (is_wide) {
        dot_panels<S, E, S::kPanels, Source<S, E, S::kPanels>>(w, r, row_end, x + i, ldx, inputs,
                                                               to, ldy);
      } else {
        dot_panels<S, E, 1, Source<S, E, 1>>(w, r, row_end, x + i, ldx, inputs, to, ldy);
      }
    }
    r += is_wide ? S::kPanels * kLanes : kLanes;
  }
}

// With `Few`'s rows for few inputs.
template <class S, class E, class Few = S>
void dot_rows_q8(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const Q8Chunk* x,
                 int64_t ldx, int64_t n, float* y, int64_t ldy) {
  if (n == 1) return dot_rows_few<Few, E, 1>(w, row_begin, row_end, x, ldx, y, ldy);
  if (n == 2) return dot_rows_few<Few, E, 2>(w, row_begin, row_end, x, ldx, y, ldy);
  if (n == 3) return dot_rows_few<Few, E, 3>(w, row_begin, row_end, x, ldx, y, ldy);
  constexpr int64_t kPanelInputs = S::template kPanelInputs<E>;
  static_assert(kPanelInputs == 4 || kPanelInputs == 5);
  if constexpr (kPanelInputs == 5) {
    if (n == 4) return dot_rows_few<Few, E, 4>(w, row_begin, row_end, x, ldx, y, ldy);
  }
  dot_rows_many<S, E, RowPanelSource>(w, row_begin, row_end, x, ldx, n, y, ldy);
}

// `cols` columns of a chunk as float32.
template <class S, class E>
[[gnu::noinline]] void unpack_chunk(const char* w, int64_t cols, float* out) {
  __m256i codes[kChunkVectors];
  GroupScales s;
  alignas(32) float d[16];
  alignas(32) float m[16];
  E::codes(w, codes);
  E::scales(w, s);
#pragma GCC unroll 2
  for (unsigned h = 0; h < E::kGroups / 8; ++h) {
    _mm256_store_ps(d + 8 * h, s.d[h]);
    if (E::kHasMin) _mm256_store_ps(m + 8 * h, s.m[h]);
  }
#pragma GCC unroll 8
  for (unsigned v = 0; v < kChunkVectors; ++v) {
    if (32 * int64_t{v} >= cols) return;
    const __m128i halves[2] = {_mm256_castsi256_si128(codes[v]),
                               _mm256_extracti128_si256(codes[v], 1)};
#pragma GCC unroll 4
    for (unsigned k = 0; k < 32; k += S::kLanes) {
      const unsigned group = E::kGroups == 8 ? v : 2 * v + k / 16;
      const __m128i half = halves[k / 16];
      const __m128i lanes = k % 16 == 0 ? half : upper_half(half);
      typename S::Vec value = S::mul(S::set1(d[group]), S::code_floats(lanes, E::kOffset));
      if (E::kHasMin) value = S::sub(value, S::set1(m[group]));
      S::store(out + 32 * v + k, value);
    }
  }
}

template <class S, class E>
void unpack_block_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, float* out,
                       int64_t ldo) {
  for (int64_t r = row_begin; r < row_end; ++r) {
    float* to = out + (r - row_begin) * ldo;
    for_each_chunk<E, 1>(w, r, row_end, [&](int64_t c, const char* const(&row)[1], int64_t cols) {
      unpack_chunk<S, E>(row[0], cols, to + c * kQ8Columns);
    });
  }
}

// `f(first row, rows, first column, their weights as a matrix)` for the pieces of rows [row_begin,
// row_end): for what meets block types in float32.
template <class S, class E, class F>
inline void for_each_unpacked(const KernelMatrix* w, int64_t row_begin, int64_t row_end, F&& f) {
  constexpr int64_t kRows = kRowGroup;
  alignas(64) float values[kRowGroup * kQ8Columns];
  for (int64_t r = row_begin; r < row_end; r += kRows) {
    const int64_t count = row_end - r < kRows ? row_end - r : kRows;
    for_each_chunk<E, kRows>(
        w, r, row_end, [&](int64_t c, const char* const(&rows)[kRows], int64_t cols) {
          for (int64_t k = 0; k < count; ++k) {
            unpack_chunk<S, E>(rows[k], cols, values + k * kQ8Columns);
          }
          const KernelMatrix piece = {values, nullptr, kQ8Columns * kFloatBytes, 0, cols};
          f(r, count, c * kQ8Columns, piece);
        });
  }
}

template <class S, class E, class Float>
void dot_block_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const float* x,
                    int64_t ldx, int64_t n, float* y, int64_t ldy) {
  for_each_unpacked<S, E>(w, row_begin, row_end,
                          [&](int64_t r, int64_t count, int64_t column, const KernelMatrix& piece) {
                            for (int64_t i = 0; i < n; ++i) {
                              float sums[kRowGroup];
                              dot_rows<S, Float>(&piece, 0, count, x + i * ldx + column, ldx, 1,
                                                 sums, kRowGroup);
                              float* to = y + i * ldy + (r - row_begin);
                              for (int64_t k = 0; k < count; ++k)
                                to[k] = column == 0 ? sums[k] : to[k] + sums[k];
                            }
                          });
}

template <class S, class E, class Float>
void add_block_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const float* a,
                    int64_t lda, int64_t n, float* y, int64_t ldy) {
  for_each_unpacked<S, E>(w, row_begin, row_end,
                          [&](int64_t r, int64_t count, int64_t column, const KernelMatrix& piece) {
                            add_rows<S, Float>(&piece, 0, count, a + (r - row_begin), lda, n,
                                               y + column, ldy);
                          });
}

}  // namespace
}  // namespace pensee
