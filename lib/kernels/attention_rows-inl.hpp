// Attention of few queries, as when one token is decoded: products with the rows of the cache as
// they lie there. Packing them first would take longer than the products themselves. `A` is that
// of attention-inl.hpp, whose results these are to the bit.
#pragma once

#include <stdint.h>

#include "attention-inl.hpp"
#include "pensee/kernels/table.hpp"
#include "prefetch-inl.hpp"

namespace pensee {
namespace {

template <class A>
constexpr unsigned kRegisters = 4 * A::Simd::kProductRows;

// c (M, G vectors) = left (M, k) times the transpose of as many rows of W.
template <class A, class Source, unsigned M, unsigned G>
void score_tile(const uint32_t* left, int64_t ldl, const KernelMatrix* w, const char* row, float* c,
                int64_t ldc) {
  using S = typename A::Simd;
  typename S::Vec sum[M][G];
#pragma GCC unroll 8
  for (unsigned i = 0; i < M; ++i) {
#pragma GCC unroll 2
    for (unsigned g = 0; g < G; ++g) sum[i][g] = S::zero();
  }
  for (int64_t k = 0; k < w->cols; k += kWordNumbers<A>) {
#pragma GCC unroll 2
    for (unsigned g = 0; g < G; ++g) {
      typename S::Vec column[S::kLanes];
      load_square<A, Source>(row + g * S::kLanes * w->row_bytes, w->row_bytes, k, column);
#pragma GCC unroll 16
      for (unsigned j = 0; j < S::kLanes; ++j) {
#pragma GCC unroll 8
        for (unsigned i = 0; i < M; ++i) {
          const auto query = A::broadcast(left + i * ldl + k / A::kPair + j);
          sum[i][g] = A::dot(sum[i][g], query, column[j]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (unsigned i = 0; i < M; ++i) {
#pragma GCC unroll 2
    for (unsigned g = 0; g < G; ++g) S::store(c + i * ldc + g * S::kLanes, sum[i][g]);
  }
}

// c (M, V vectors) += left (M, rows) * the columns of W from `row` on.
template <class A, class Source, unsigned M, unsigned V>
void value_tile(const uint32_t* left, int64_t ldl, const KernelMatrix* w, const char* row,
                int64_t rows, int64_t column, float* c, int64_t ldc) {
  using S = typename A::Simd;
  typename S::Vec sum[M][V];
#pragma GCC unroll 8
  for (unsigned i = 0; i < M; ++i) {
#pragma GCC unroll 4
    for (unsigned j = 0; j < V; ++j) sum[i][j] = S::load(c + i * ldc + j * S::kLanes);
  }
  for (int64_t k = 0; k < rows / A::kPair; ++k) {
    typename S::Vec words[V / A::kPair][A::kPair];
#pragma GCC unroll 4
    for (unsigned j = 0; j < V / A::kPair; ++j) {
      const int64_t first = column + j * kWordNumbers<A>;
#pragma GCC unroll 2
      for (unsigned p = 0; p < A::kPair; ++p) {
        words[j][p] = A::load(Source{}, row + p * w->row_bytes, first);
        prefetch<1, Near::kL2>(row + (kRowsAhead + p) * w->row_bytes + first * Source::kBytes);
      }
      A::interleave(words[j]);
    }
    row += A::kPair * w->row_bytes;
#pragma GCC unroll 8
    for (unsigned i = 0; i < M; ++i) {
      const auto weight = A::broadcast(left + i * ldl + k);
#pragma GCC unroll 4
      for (unsigned j = 0; j < V; ++j) {
        sum[i][j] = A::dot(sum[i][j], weight, words[j / A::kPair][j % A::kPair]);
      }
    }
  }
#pragma GCC unroll 8
  for (unsigned i = 0; i < M; ++i) {
#pragma GCC unroll 4
    for (unsigned j = 0; j < V; ++j) S::store(c + i * ldc + j * S::kLanes, sum[i][j]);
  }
}

template <class A, class Source, unsigned M>
void score_few(const uint32_t* left, int64_t ldl, const KernelMatrix* w, int64_t row_begin,
               int64_t row_end, float* c, int64_t ldc) {
  // Two squares at once, if beside one of them the sums of both leave registers to transpose it.
  constexpr bool kFits = 2 * M + 4 + A::Simd::kLanes <= kRegisters<A>;
  constexpr unsigned kSquares = kFits && !Source::kPadded ? 2 : 1;
  constexpr int64_t kRows = int64_t{kSquares} * A::Simd::kLanes;
  for (int64_t r = row_begin; r < row_end; r += kRows) {
    const char* row = static_cast<const char*>(w->data) + r * w->row_bytes;
    score_tile<A, Source, M, kSquares>(left, ldl, w, row, c + r - row_begin, ldc);
  }
}

template <class A, class Source, unsigned M>
void value_few(const uint32_t* left, int64_t ldl, const KernelMatrix* w, int64_t row_begin,
               int64_t row_end, float* c, int64_t ldc) {
  // As many sums as leave registers for a row's words and a weight.
  constexpr unsigned kVectors = 4 * M + 6 <= kRegisters<A> ? 4 : 2 * M + 3 <= kRegisters<A> ? 2 : 1;
  constexpr int64_t kColumns = int64_t{kVectors} * A::Simd::kLanes;
  const char* row = static_cast<const char*>(w->data) + row_begin * w->row_bytes;
  for (int64_t column = 0; column < w->cols; column += kColumns) {
    value_tile<A, Source, M, kVectors>(left, ldl, w, row, row_end - row_begin, column, c + column,
                                       ldc);
  }
}

// The most rows of the left operand that are taken at once.
constexpr unsigned kFewRows = 8;

template <unsigned kRows>
struct FewRows {
  static constexpr unsigned kCount = kRows;
};

// f(FewRows<n>, i) for groups of n rows from row i on, as large as possible, which make up [i, m).
template <unsigned M, class F>
inline void for_few_rows(int64_t i, int64_t m, F&& f) {
  if constexpr (M > 0) {
    for (; i + M <= m; i += M) f(FewRows<M>{}, i);
    if (i < m) for_few_rows<M - 1>(i, m, f);
  }
}

template <class A, class Source>
void score_rows(int64_t m, const uint32_t* left, int64_t ldl, const KernelMatrix* w,
                int64_t row_begin, int64_t row_end, float* c, int64_t ldc) {
  for_few_rows<kFewRows>(0, m, [&](auto rows, int64_t i) {
    score_few<A, Source, decltype(rows)::kCount>(left + i * ldl, ldl, w, row_begin, row_end,
                                                 c + i * ldc, ldc);
  });
}
template <class A, class Source>
void add_values(int64_t m, const uint32_t* left, int64_t ldl, const KernelMatrix* w,
                int64_t row_begin, int64_t row_end, float* c, int64_t ldc) {
  for_few_rows<kFewRows>(0, m, [&](auto rows, int64_t i) {
    value_few<A, Source, decltype(rows)::kCount>(left + i * ldl, ldl, w, row_begin, row_end,
                                                 c + i * ldc, ldc);
  });
}

// For which caches a set of kernels serves.
enum class Caches { kAll, kF32, kOthers };

template <class A, Caches kFor, class F32, class BF16, class Q8>
constexpr AttentionKernels make_attention() {
  AttentionKernels k{.pair = A::kPair,
                     .pack_left = pack_left<A>,
                     .pack_left_rest = rest_or_null<A>(),
                     .pack_transposed = {pack_transposed<A, BF16>, pack_transposed<A, F32>,
                                         pack_transposed<A, Q8>},
                     .pack_right = {pack_right<A, BF16>, pack_right<A, F32>, pack_right<A, Q8>},
                     .multiply = multiply<A>,
                     .score_rows = {},
                     .add_values = {},
                     .soften = soften<A>};
  // Many functions: no more than are needed.
  if constexpr (kFor != Caches::kOthers) {
    k.score_rows[CacheStorage::kF32] = score_rows<A, F32>;
    k.add_values[CacheStorage::kF32] = add_values<A, F32>;
  }
  if constexpr (kFor != Caches::kF32) {
    k.score_rows[CacheStorage::kBF16] = score_rows<A, BF16>;
    k.add_values[CacheStorage::kBF16] = add_values<A, BF16>;
    k.score_rows[CacheStorage::kQ8] = score_rows<A, Q8>;
    k.add_values[CacheStorage::kQ8] = add_values<A, Q8>;
  }
  return k;
}

}  // namespace
}  // namespace pensee
