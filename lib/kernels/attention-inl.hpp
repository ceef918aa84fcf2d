// The kernels of attention, written once for every instruction set and both kinds of arithmetic.
// `A` says how numbers lie in words and how words are multiplied; vectors of words are those of
// floats, S = A::Simd.
#pragma once

#include <stdint.h>

#include "pensee/kernels/table.hpp"
#include "prefetch-inl.hpp"
#include "vector-inl.hpp"

namespace pensee {
namespace {

template <class A>
constexpr int64_t kWordLanes = A::Simd::kLanes;
// Numbers of a vector of words.
template <class A>
constexpr int64_t kWordNumbers = A::kPair* A::Simd::kLanes;

template <class A>
constexpr int64_t words(int64_t k) {
  return (k + A::kPair - 1) / A::kPair;
}

inline const float* as_floats(const uint32_t* words) {
  return reinterpret_cast<const float*>(words);  // only ever passed on to vector loads
}
inline float* as_floats(uint32_t* words) {
  return reinterpret_cast<float*>(words);
}

// Numbers c, c + 1, ... of row r as a vector of words, zeros beyond the row's end.
template <class A, class Source>
typename A::Simd::Vec load_words(const KernelMatrix* w, int64_t r, int64_t c) {
  const char* row = static_cast<const char*>(w->data) + r * w->row_bytes;
  if (Source::kPadded || c + kWordNumbers<A> <= w->cols) return A::load(Source{}, row, c);
  alignas(64) char padded[kWordNumbers<A> * Source::kBytes] = {};
  const int64_t bytes = (w->cols - c) * Source::kBytes;
  for (int64_t i = 0; i < bytes; ++i) padded[i] = row[c * Source::kBytes + i];
  return A::load(Source{}, padded, 0);
}

// Columns of a right operand that rounding up adds.
inline void clear_columns(uint32_t* right, int64_t rows, int64_t n, int64_t ld) {
  const int64_t end = (n + kAttentionColumns - 1) / kAttentionColumns * kAttentionColumns;
  for (int64_t k = 0; k < rows; ++k) {
    for (int64_t j = n; j < end; ++j) right[k * ld + j] = 0;
  }
}

// How far ahead rows of the cache are asked for: those of keys lie too far apart, and are read too
// little at a time, for the machine to foresee it.
constexpr int64_t kRowsAhead = 64;

// A vector of words of each of as many rows, transposed.
template <class A, class Source>
[[gnu::always_inline]] inline void load_square(const char* row, int64_t row_bytes, int64_t c,
                                               typename A::Simd::Vec (&v)[A::Simd::kLanes]) {
#pragma GCC unroll 16
  for (unsigned i = 0; i < A::Simd::kLanes; ++i) {
    v[i] = A::load(Source{}, row, c);
    prefetch<1, Near::kL2>(row + kRowsAhead * row_bytes + c * Source::kBytes);
    row += row_bytes;
  }
  A::Simd::transpose(v);
}

// That in the right operand.
template <class A, class Source>
inline void pack_full_square(const KernelMatrix* w, int64_t r, int64_t c, uint32_t* right,
                             int64_t ld) {
  using S = typename A::Simd;
  typename S::Vec v[S::kLanes];
  load_square<A, Source>(static_cast<const char*>(w->data) + r * w->row_bytes, w->row_bytes, c, v);
#pragma GCC unroll 16
  for (unsigned i = 0; i < S::kLanes; ++i) S::store(as_floats(right + i * ld), v[i]);
}
// The same with fewer rows, or at the end of the rows. Out of line: rare.
template <class A, class Source>
[[gnu::noinline]] void pack_square(const KernelMatrix* w, int64_t r, int64_t rows, int64_t c,
                                   uint32_t* right, int64_t ld) {
  using S = typename A::Simd;
  typename S::Vec v[S::kLanes];
  for (int64_t i = 0; i < S::kLanes; ++i) {
    v[i] = i < rows ? load_words<A, Source>(w, r + i, c) : S::zero();
  }
  S::transpose(v);
  const int64_t left_over = words<A>(w->cols - c);
  const int64_t count = left_over < S::kLanes ? left_over : S::kLanes;
  for (int64_t i = 0; i < count; ++i) S::store(as_floats(right + i * ld), v[i]);
}

template <class A, class Source>
void pack_transposed(const KernelMatrix* w, int64_t row_begin, int64_t row_end, uint32_t* right,
                     int64_t ld) {
  using S = typename A::Simd;
  const int64_t n = row_end - row_begin;
  const int64_t k_words = words<A>(w->cols);
  for (int64_t r = 0; r < n; r += S::kLanes) {
    const int64_t rows = n - r < S::kLanes ? n - r : S::kLanes;
    for (int64_t k = 0; k < k_words; k += S::kLanes) {
      uint32_t* out = right + k * ld + r;
      const int64_t c = k * A::kPair;
      if (rows == S::kLanes && c + kWordNumbers<A> <= w->cols) {
        pack_full_square<A, Source>(w, row_begin + r, c, out, ld);
      } else {
        pack_square<A, Source>(w, row_begin + r, rows, c, out, ld);
      }
    }
  }
  const int64_t written = (n + S::kLanes - 1) / S::kLanes * S::kLanes;
  clear_columns(right, k_words, written, ld);
}

// kPair rows, at most as many as there are, side by side. Out of line: rare.
template <class A, class Source>
[[gnu::noinline]] void pack_pair(const KernelMatrix* w, int64_t r, int64_t rows, int64_t c,
                                 uint32_t* right) {
  using S = typename A::Simd;
  typename S::Vec v[A::kPair];
  for (int64_t i = 0; i < A::kPair; ++i) {
    v[i] = i < rows && c < w->cols ? load_words<A, Source>(w, r + i, c) : S::zero();
  }
  A::interleave(v);
  for (int64_t i = 0; i < A::kPair; ++i) S::store(as_floats(right + c + i * S::kLanes), v[i]);
}

template <class A, class Source>
void pack_right(const KernelMatrix* w, int64_t row_begin, int64_t row_end, uint32_t* right,
                int64_t ld) {
  using S = typename A::Simd;
  const int64_t n = w->cols;
  const int64_t columns = (n + kAttentionColumns - 1) / kAttentionColumns * kAttentionColumns;
  const char* row = static_cast<const char*>(w->data) + row_begin * w->row_bytes;
  for (int64_t r = row_begin; r < row_end; r += A::kPair) {
    int64_t c = 0;
    if (r + A::kPair <= row_end) {
      for (; c + kWordNumbers<A> <= n; c += kWordNumbers<A>) {
        typename S::Vec v[A::kPair];
#pragma GCC unroll 2
        for (unsigned i = 0; i < A::kPair; ++i) {
          v[i] = A::load(Source{}, row + i * w->row_bytes, c);
          prefetch<1, Near::kL2>(row + (kRowsAhead + i) * w->row_bytes + c * Source::kBytes);
        }
        A::interleave(v);
#pragma GCC unroll 2
        for (unsigned i = 0; i < A::kPair; ++i) {
          S::store(as_floats(right + c + i * S::kLanes), v[i]);
        }
      }
    }
    for (; c < columns; c += kWordNumbers<A>) {
      pack_pair<A, Source>(w, r, row_end - r, c, right);
    }
    row += A::kPair * w->row_bytes;
    right += ld;
  }
}

// factor * x[c], x[c + 1], ..., as many as a vector of words has, zeros beyond k.
template <class A>
[[gnu::always_inline]] inline void load_numbers(const float* x, int64_t c, int64_t k,
                                                typename A::Simd::Vec factor,
                                                typename A::Simd::Vec (&v)[A::kPair]) {
  using S = typename A::Simd;
  for (int64_t p = 0; p < A::kPair; ++p) {
    const int64_t first = c + p * S::kLanes;
    v[p] = first >= k ? S::zero() : S::mul(load_lanes<S>(x + first, k - first, 0.0F), factor);
  }
}

template <class A>
void pack_left(const float* x, int64_t ldx, int64_t m, int64_t k, float factor, uint32_t* left,
               int64_t ld) {
  using S = typename A::Simd;
  const auto scale = S::set1(factor);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t c = 0; c < k; c += kWordNumbers<A>) {
      typename S::Vec v[A::kPair];
      load_numbers<A>(x + i * ldx, c, k, scale, v);
      const int64_t count = words<A>(k - c);
      store_lanes<S>(as_floats(left + i * ld + c / A::kPair), count, A::narrow(v));
    }
  }
}

template <class A>
void pack_left_rest(const float* x, int64_t ldx, int64_t m, int64_t k, float factor,
                    const uint32_t* left, uint32_t* rest, int64_t ld) {
  using S = typename A::Simd;
  const auto scale = S::set1(factor);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t c = 0; c < k; c += kWordNumbers<A>) {
      const int64_t at = i * ld + c / A::kPair;
      const int64_t count = words<A>(k - c);
      typename S::Vec v[A::kPair];
      typename S::Vec rounded[A::kPair];
      load_numbers<A>(x + i * ldx, c, k, scale, v);
      A::widen(load_lanes<S>(as_floats(left + at), count, 0.0F), rounded);
      for (int64_t p = 0; p < A::kPair; ++p) v[p] = S::sub(v[p], rounded[p]);
      store_lanes<S>(as_floats(rest + at), count, A::narrow(v));
    }
  }
}
template <class A>
constexpr auto rest_or_null() {
  if constexpr (A::kPair > 1) {
    return pack_left_rest<A>;
  } else {
    return nullptr;
  }
}

// c (M, V vectors) of a product; the sums stay in registers.
template <class A, unsigned M, unsigned V>
inline void multiply_tile(int64_t k_words, const uint32_t* left, int64_t ldl, const uint32_t* right,
                          int64_t ldr, float* c, int64_t ldc, bool add) {
  using S = typename A::Simd;
  typename S::Vec sum[M][V];
#pragma GCC unroll 8
  for (unsigned i = 0; i < M; ++i) {
#pragma GCC unroll 4
    for (unsigned j = 0; j < V; ++j) {
      sum[i][j] = add ? S::load(c + i * ldc + j * S::kLanes) : S::zero();
    }
  }
  for (int64_t k = 0; k < k_words; ++k) {
    typename S::Vec column[V];
#pragma GCC unroll 4
    for (unsigned j = 0; j < V; ++j) column[j] = S::load(as_floats(right + j * S::kLanes));
    right += ldr;
#pragma GCC unroll 8
    for (unsigned i = 0; i < M; ++i) {
      const auto row = A::broadcast(left + i * ldl + k);
#pragma GCC unroll 4
      for (unsigned j = 0; j < V; ++j) sum[i][j] = A::dot(sum[i][j], row, column[j]);
    }
  }
#pragma GCC unroll 8
  for (unsigned i = 0; i < M; ++i) {
#pragma GCC unroll 4
    for (unsigned j = 0; j < V; ++j) S::store(c + i * ldc + j * S::kLanes, sum[i][j]);
  }
}

// M rows of the left operand against kAttentionColumns columns.
template <class A, unsigned M>
void multiply_rows(int64_t k_words, const uint32_t* left, int64_t ldl, const uint32_t* right,
                   int64_t ldr, float* c, int64_t ldc, bool add) {
  constexpr unsigned kVectors = 2 * M <= A::Simd::kProductRows ? 4 : 2;
  constexpr int64_t kColumns = int64_t{kVectors} * A::Simd::kLanes;
  for (int64_t j = 0; j < kAttentionColumns; j += kColumns) {
    multiply_tile<A, M, kVectors>(k_words, left, ldl, right + j, ldr, c + j, ldc, add);
  }
}

template <class A, unsigned M>
void multiply_rest(int64_t m, int64_t k_words, const uint32_t* left, int64_t ldl,
                   const uint32_t* right, int64_t ldr, float* c, int64_t ldc, bool add) {
  if constexpr (M > 0) {
    if (m == M) return multiply_rows<A, M>(k_words, left, ldl, right, ldr, c, ldc, add);
    multiply_rest<A, M - 1>(m, k_words, left, ldl, right, ldr, c, ldc, add);
  }
}

template <class A>
void multiply(int64_t m, int64_t n, int64_t k, const uint32_t* left, int64_t ldl,
              const uint32_t* right, int64_t ldr, float* c, int64_t ldc, int add) {
  constexpr unsigned kRows = A::Simd::kProductRows;
  const int64_t k_words = words<A>(k);
  for (int64_t j = 0; j < n; j += kAttentionColumns) {
    int64_t i = 0;
    for (; i + kRows <= m; i += kRows) {
      multiply_rows<A, kRows>(k_words, left + i * ldl, ldl, right + j, ldr, c + i * ldc + j, ldc,
                              add != 0);
    }
    multiply_rest<A, kRows - 1>(m - i, k_words, left + i * ldl, ldl, right + j, ldr,
                                c + i * ldc + j, ldc, add != 0);
  }
}

// The values of query i that a state has so far, brought to a new maximum.
template <class S>
inline void rescale(const AttentionState* state, int64_t i, float factor) {
  if (factor == 1.0F) return;
  const auto scale = S::set1(factor);
  float* out = state->out + i * state->ld;
  for (int64_t c = 0; c < state->ld; c += S::kLanes) {
    S::store(out + c, S::mul(S::load(out + c), scale));
  }
}

template <class A>
void soften(int64_t m, int64_t n, const float* scores, int64_t lds, const int64_t* visible,
            const AttentionState* state, uint32_t* left, int64_t ld) {
  using S = typename A::Simd;
  using Vec = typename S::Vec;
  const float infinity = __builtin_inff();
  for (int64_t i = 0; i < m; ++i) {
    const float* row = scores + i * lds;
    uint32_t* weights = left + i * ld;
    const int64_t seen = visible[i];
    const float before = state->max[i];
    Vec largest = S::set1(before);
    for (int64_t j = 0; j < seen; j += S::kLanes) {
      largest = S::max(load_lanes<S>(row + j, seen - j, -infinity), largest);
    }
    const float now = S::max_lane(largest);
    const Vec max = S::set1(now);
    Vec sum = S::zero();
    for (int64_t j = 0; j < n; j += kWordNumbers<A>) {
      Vec e[A::kPair];
      for (int64_t p = 0; p < A::kPair; ++p) {
        const int64_t left_over = seen - j - p * S::kLanes;
        e[p] = S::zero();
        if (left_over <= 0) continue;
        const Vec score = load_lanes<S>(row + j + p * S::kLanes, left_over, -infinity);
        e[p] = exp<S>(S::sub(score, max));
        sum = S::add(sum, e[p]);
      }
      S::store(as_floats(weights + j / A::kPair), A::narrow(e));
    }
    if (seen <= 0) continue;
    float lanes[S::kLanes];
    S::store(lanes, exp<S>(S::sub(S::set1(before), max)));
    const float factor = lanes[0];
    state->sum[i] = state->sum[i] * factor + S::sum(sum);
    state->max[i] = now;
    rescale<S>(state, i, factor);
  }
}

// float32 as it is.
template <class S_>
struct Float32Math {
  using Simd = S_;
  static constexpr int64_t kPair = 1;
  using Vec = typename Simd::Vec;

  static Vec narrow(const Vec (&v)[1]) { return v[0]; }
  static void interleave(Vec (&)[1]) {}
  static Vec broadcast(const uint32_t* word) { return Simd::set1(*as_floats(word)); }
  static Vec dot(Vec sum, Vec a, Vec b) { return Simd::fma(a, b, sum); }
  template <class Source>
  static Vec load(Source, const char* row, int64_t c) {
    return Source::load(row, c);
  }
};

}  // namespace
}  // namespace pensee
