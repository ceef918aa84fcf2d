// The weight-matrix kernels, written once for every instruction set. `S` gives the vector
// operations, `E` decodes one weight type; the file that includes this one defines both. All of it
// has internal linkage, so that two instruction sets can never share a symbol.
#pragma once

#include <stdint.h>

#include "later-inl.hpp"
#include "pensee/kernels/table.hpp"
#include "prefetch-inl.hpp"

namespace pensee {
namespace {

// Columns are taken kStepVectors vectors at a time. 128, the side of a scale block, is a multiple
// of such a step for every vector length, so a step has one scale.
constexpr unsigned kStepVectors = 4;
constexpr int64_t kScaleBlock = 128;

// Rows of weights that are worked on together: as many streams as hardware prefetchers follow well.
constexpr int64_t kRowGroup = 4;

template <class S>
constexpr int64_t kStep = int64_t{kStepVectors} * S::kLanes;

// How far ahead of a row's bytes memory is asked for, into the L2 cache.
constexpr int64_t kStepAhead = 4096;

// The last elements of a row, fewer than a step, followed by zeros: their products add nothing.
template <class T, uint64_t kCount>
struct PaddedStep {
  alignas(64) T values[kCount];
  static constexpr int64_t kBytes = static_cast<int64_t>(kCount * sizeof(T));

  void fill(const void* from, int64_t bytes) {
    const char* source = static_cast<const char*>(from);
    char* to = reinterpret_cast<char*>(values);
    for (int64_t i = 0; i < kBytes; ++i) {
      to[i] = i < bytes ? source[i] : '\0';
    }
  }
};
template <class S, class E>
using WeightStep = PaddedStep<char, kStep<S> * E::kBytes>;
template <class S>
using FloatStep = PaddedStep<float, kStep<S>>;
constexpr int64_t kFloatBytes = 4;

template <class E>
const char* element_address(const KernelMatrix* w, int64_t r, int64_t c) {
  return static_cast<const char*>(w->data) + r * w->row_bytes + c * E::kBytes;
}

// Columns that share a factor, and that factor: W[r, c] = decoded element * factor.
template <class E>
int64_t block_columns(const KernelMatrix* w) {
  return E::kScaled ? kScaleBlock : w->cols;
}
template <class E>
float block_factor(const KernelMatrix* w, int64_t r, int64_t c) {
  if (!E::kScaled) return 1.0F;
  if (w->scales == nullptr) return E::kFactor;
  return E::kFactor * w->scales[(r / kScaleBlock) * w->scale_stride + c / kScaleBlock];
}

// acc[r][i] += w[r] * x[i] over one step of columns.
template <class S, class E, unsigned R, unsigned X>
inline void dot_step(const char* const (&w)[R], const float* const (&x)[X],
                     typename S::Vec (&acc)[R][X]) {
#pragma GCC unroll 8
  for (unsigned r = 0; r < R; ++r) {
    typename S::Vec weight[kStepVectors];
    E::decode(w[r], weight);
#pragma GCC unroll 8
    for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 8
      for (unsigned v = 0; v < kStepVectors; ++v) {
        acc[r][i] = S::fma(weight[v], S::load(x[i] + v * S::kLanes), acc[r][i]);
      }
    }
  }
}

// The same with the `count` elements that are left, fewer than a step. Out of line: rare.
template <class S, class E, unsigned R, unsigned X>
[[gnu::noinline]] void dot_tail(const char* const (&w)[R], const float* const (&x)[X],
                                int64_t count, typename S::Vec (&acc)[R][X]) {
  WeightStep<S, E> w_steps[R];
  FloatStep<S> x_steps[X];
  const char* rows[R];
  const float* inputs[X];
  for (unsigned r = 0; r < R; ++r) {
    w_steps[r].fill(w[r], count * E::kBytes);
    rows[r] = w_steps[r].values;
  }
  for (unsigned i = 0; i < X; ++i) {
    x_steps[i].fill(x[i], count * kFloatBytes);
    inputs[i] = x_steps[i].values;
  }
  dot_step<S, E, R, X>(rows, inputs, acc);
}

// y[i * ldy + r] = W[r0 + r] . x[i] for R rows and X inputs. One accumulator for each result,
// and one more for each when there are scale blocks: the order of additions depends on cols alone.
template <class S, class E, unsigned R, unsigned X>
void dot_tile(const KernelMatrix* w, const ReadOrder& order, int64_t r0, const float* x,
              int64_t ldx, float* y, int64_t ldy) {
  using Vec = typename S::Vec;
  constexpr int64_t kBytes = kStep<S> * E::kBytes;
  const int64_t cols = w->cols;
  const int64_t block = block_columns<E>(w);
  const char* rows[R];
  const float* inputs[X];
  Vec total[R][X];
#pragma GCC unroll 8
  for (unsigned r = 0; r < R; ++r) {
    rows[r] = element_address<E>(w, r0 + r, 0);
#pragma GCC unroll 8
    for (unsigned i = 0; i < X; ++i) total[r][i] = S::zero();
  }
#pragma GCC unroll 8
  for (unsigned i = 0; i < X; ++i) inputs[i] = x + i * ldx;
  // Memory is asked for as one stream, also where several rows are read side by side.
  const char* later = rows[0] + (R == 1 ? kStepAhead : int64_t{R} * w->row_bytes);

  for (int64_t c = 0; c < cols;) {
    const int64_t begin = c;
    const int64_t end = c + block < cols ? c + block : cols;
    Vec acc[R][X];
#pragma GCC unroll 8
    for (unsigned r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (unsigned i = 0; i < X; ++i) acc[r][i] = S::zero();
    }
    const auto step = [&]() __attribute__((always_inline)) {
      prefetch<R * kBytes, Near::kL2>(order.at(later));
      later += R * kBytes;
      dot_step<S, E, R, X>(rows, inputs, acc);
#pragma GCC unroll 8
      for (const char*& row : rows) row += kBytes;
#pragma GCC unroll 8
      for (const float*& input : inputs) input += kStep<S>;
      c += kStep<S>;
    };
    if (E::kScaled && end - c == kScaleBlock) {
#pragma GCC unroll 8
      for (int64_t k = 0; k < kScaleBlock; k += kStep<S>) step();
    } else {
      while (c + kStep<S> <= end) step();
    }
    if (c < end) {
      Vec tail[R][X];  // a copy, so that the address of `acc` is never taken in the loop above
#pragma GCC unroll 8
      for (unsigned r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (unsigned i = 0; i < X; ++i) tail[r][i] = acc[r][i];
      }
      dot_tail<S, E, R, X>(rows, inputs, end - c, tail);
#pragma GCC unroll 8
      for (unsigned r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (unsigned i = 0; i < X; ++i) acc[r][i] = tail[r][i];
      }
      c = end;
    }
#pragma GCC unroll 8
    for (unsigned r = 0; r < R; ++r) {
      const Vec factor = S::set1(block_factor<E>(w, r0 + r, begin));
#pragma GCC unroll 8
      for (unsigned i = 0; i < X; ++i) total[r][i] = S::fma(acc[r][i], factor, total[r][i]);
    }
  }
#pragma GCC unroll 8
  for (unsigned r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (unsigned i = 0; i < X; ++i) y[i * ldy + r] = S::sum(total[r][i]);
  }
}

// `rows` rows, at most kRowGroup, against X inputs.
template <class S, class E, unsigned X>
void dot_group(const KernelMatrix* w, const ReadOrder& order, int64_t r0, int64_t rows,
               const float* x, int64_t ldx, float* y, int64_t ldy) {
  constexpr unsigned kTile = S::kDotTileRows[X];
  int64_t r = 0;
  for (; r + kTile <= rows; r += kTile) {
    dot_tile<S, E, kTile, X>(w, order, r0 + r, x, ldx, y + r, ldy);
  }
  for (; r < rows; ++r) dot_tile<S, E, 1, X>(w, order, r0 + r, x, ldx, y + r, ldy);
}

template <class S, class E>
void dot_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const float* x,
              int64_t ldx, int64_t n, float* y, int64_t ldy) {
  const ReadOrder order(w, row_end);
  for (int64_t r = row_begin; r < row_end; r += kRowGroup) {
    const int64_t rows = row_end - r < kRowGroup ? row_end - r : kRowGroup;
    float* out = y + (r - row_begin);
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
      dot_group<S, E, 4>(w, order, r, rows, x + i * ldx, ldx, out + i * ldy, ldy);
    }
    const float* rest = x + i * ldx;
    float* rest_out = out + i * ldy;
    if (n - i == 3) dot_group<S, E, 3>(w, order, r, rows, rest, ldx, rest_out, ldy);
    if (n - i == 2) dot_group<S, E, 2>(w, order, r, rows, rest, ldx, rest_out, ldy);
    if (n - i == 1) dot_group<S, E, 1>(w, order, r, rows, rest, ldx, rest_out, ldy);
  }
}

// y[i] += a[i][r] * W[r] over one step of columns, r in order.
template <class S, class E, unsigned R, unsigned X>
inline void add_step(const char* const (&w)[R], const float (&a)[X][R], float* const (&y)[X]) {
  using Vec = typename S::Vec;
  Vec sum[X][kStepVectors];
#pragma GCC unroll 8
  for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 8
    for (unsigned v = 0; v < kStepVectors; ++v) sum[i][v] = S::load(y[i] + v * S::kLanes);
  }
#pragma GCC unroll 8
  for (unsigned r = 0; r < R; ++r) {
    Vec weight[kStepVectors];
    E::decode(w[r], weight);
#pragma GCC unroll 8
    for (unsigned i = 0; i < X; ++i) {
      const Vec factor = S::set1(a[i][r]);
#pragma GCC unroll 8
      for (unsigned v = 0; v < kStepVectors; ++v) sum[i][v] = S::fma(weight[v], factor, sum[i][v]);
    }
  }
#pragma GCC unroll 8
  for (unsigned i = 0; i < X; ++i) {
#pragma GCC unroll 8
    for (unsigned v = 0; v < kStepVectors; ++v) S::store(y[i] + v * S::kLanes, sum[i][v]);
  }
}

template <class S, class E, unsigned R, unsigned X>
[[gnu::noinline]] void add_tail(const char* const (&w)[R], const float (&a)[X][R],
                                float* const (&y)[X], int64_t count) {
  WeightStep<S, E> w_steps[R];
  FloatStep<S> y_steps[X];
  const char* rows[R];
  float* outputs[X];
  for (unsigned r = 0; r < R; ++r) {
    w_steps[r].fill(w[r], count * E::kBytes);
    rows[r] = w_steps[r].values;
  }
  for (unsigned i = 0; i < X; ++i) {
    y_steps[i].fill(y[i], count * kFloatBytes);
    outputs[i] = y_steps[i].values;
  }
  add_step<S, E, R, X>(rows, a, outputs);
  for (unsigned i = 0; i < X; ++i) {
    for (int64_t k = 0; k < count; ++k) y[i][k] = outputs[i][k];
  }
}

// y[i] += sum over r < R of a[i][r] * W[r0 + r] for X outputs.
template <class S, class E, unsigned R, unsigned X>
void add_tile(const KernelMatrix* w, int64_t r0, const float* a, int64_t lda, float* y,
              int64_t ldy) {
  const int64_t cols = w->cols;
  const int64_t block = block_columns<E>(w);
  const char* rows[R];
  float* outputs[X];
#pragma GCC unroll 8
  for (unsigned r = 0; r < R; ++r) rows[r] = element_address<E>(w, r0 + r, 0);
#pragma GCC unroll 8
  for (unsigned i = 0; i < X; ++i) outputs[i] = y + i * ldy;

  for (int64_t c = 0; c < cols;) {
    const int64_t end = c + block < cols ? c + block : cols;
    float factors[X][R];
#pragma GCC unroll 8
    for (unsigned r = 0; r < R; ++r) {
      const float factor = block_factor<E>(w, r0 + r, c);
#pragma GCC unroll 8
      for (unsigned i = 0; i < X; ++i) factors[i][r] = a[i * lda + r] * factor;
    }
    for (; c + kStep<S> <= end; c += kStep<S>) {
      add_step<S, E, R, X>(rows, factors, outputs);
#pragma GCC unroll 8
      for (unsigned r = 0; r < R; ++r) rows[r] += kStep<S> * E::kBytes;
#pragma GCC unroll 8
      for (unsigned i = 0; i < X; ++i) outputs[i] += kStep<S>;
    }
    if (c < end) add_tail<S, E, R, X>(rows, factors, outputs, end - c);
    if (c < end) c = end;
  }
}

template <class S, class E, unsigned R>
void add_group(const KernelMatrix* w, int64_t r0, const float* a, int64_t lda, int64_t n, float* y,
               int64_t ldy) {
  constexpr unsigned kTile = S::kAddTileOutputs;
  int64_t i = 0;
  for (; i + kTile <= n; i += kTile) {
    add_tile<S, E, R, kTile>(w, r0, a + i * lda, lda, y + i * ldy, ldy);
  }
  for (; i < n; ++i) add_tile<S, E, R, 1>(w, r0, a + i * lda, lda, y + i * ldy, ldy);
}

template <class S, class E>
void add_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const float* a,
              int64_t lda, int64_t n, float* y, int64_t ldy) {
  int64_t r = row_begin;
  for (; r + kRowGroup <= row_end; r += kRowGroup) {
    add_group<S, E, kRowGroup>(w, r, a + (r - row_begin), lda, n, y, ldy);
  }
  for (; r < row_end; ++r) add_group<S, E, 1>(w, r, a + (r - row_begin), lda, n, y, ldy);
}

template <class S, class E>
inline void unpack_step(const char* w, float factor, float* out) {
  typename S::Vec weight[kStepVectors];
  E::decode(w, weight);
#pragma GCC unroll 8
  for (unsigned v = 0; v < kStepVectors; ++v) {
    if (E::kScaled) weight[v] = S::mul(weight[v], S::set1(factor));
    S::store(out + v * S::kLanes, weight[v]);
  }
}

template <class S, class E>
void unpack_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, float* out,
                 int64_t ldo) {
  const int64_t cols = w->cols;
  for (int64_t r = row_begin; r < row_end; ++r) {
    const char* row = element_address<E>(w, r, 0);
    float* to = out + (r - row_begin) * ldo;
    int64_t c = 0;
    for (; c + kStep<S> <= cols; c += kStep<S>) {
      unpack_step<S, E>(row + c * E::kBytes, block_factor<E>(w, r, c), to + c);
    }
    if (c == cols) continue;
    WeightStep<S, E> step;
    FloatStep<S> unpacked;
    step.fill(row + c * E::kBytes, (cols - c) * E::kBytes);
    unpack_step<S, E>(step.values, block_factor<E>(w, r, c), unpacked.values);
    for (int64_t k = c; k < cols; ++k) to[k] = unpacked.values[k - c];
  }
}

}  // namespace
}  // namespace pensee
