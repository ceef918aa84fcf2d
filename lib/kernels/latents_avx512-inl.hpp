// Attention of many queries over latents of eight bits, by AVX-512 (VNNI): LatentKernels of
// table.hpp. A product of codes takes half the time of one of bfloat16 numbers.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "attention_rows-inl.hpp"
#include "latents_pack_avx512-inl.hpp"
#include "pensee/kernels/table.hpp"
#include "vector-inl.hpp"

namespace pensee {
namespace {

constexpr int64_t kLatentRows = 16;  // queries that meet a panel before the next one is loaded

// A group of queries, and what is computed for it.
struct LatentBlock {
  const LatentShape* shape;
  LatentQueries queries;
  const LatentTile* tile;
  int64_t tokens;
  AttentionState state;
  alignas(64) float scores[kLatentRows][kLatentTokens];
  alignas(64) uint8_t weights[kLatentGroups][kLatentRows][kLatentTokens];
  float factors[kLatentGroups][kLatentRows];  // of the weights
};

// sum (M rows, 32 columns) += the products of words of rows and columns, a multiple of kWordStep.
// kSigned: columns have no sign and rows have one; otherwise it is the other way round.
constexpr int64_t kWordStep = 4;
template <unsigned M, bool kSigned>
[[gnu::always_inline]] inline void add_words(int64_t words, const void* columns, const void* rows,
                                             int64_t row_bytes, __m512i (&sum)[M][2]) {
  const char* from = static_cast<const char*>(columns);
  const char* left = static_cast<const char*>(rows);
  for (int64_t k = 0; k < words; k += kWordStep) {
#pragma GCC unroll 4
    for (int64_t u = 0; u < kWordStep; ++u) {
      const __m512i column[2] = {load_512(from + u * kPanelBytes),
                                 load_512(from + u * kPanelBytes + 64)};
#pragma GCC unroll 8
      for (unsigned i = 0; i < M; ++i) {
        int32_t word;
        memcpy(&word, left + i * row_bytes + 4 * u, sizeof word);
        const __m512i row = _mm512_set1_epi32(word);
#pragma GCC unroll 2
        for (unsigned v = 0; v < 2; ++v) {
          sum[i][v] = kSigned ? _mm512_dpbusd_epi32(sum[i][v], column[v], row)
                              : _mm512_dpbusd_epi32(sum[i][v], row, column[v]);
        }
      }
    }
    from += kWordStep * kPanelBytes;
    left += kWordStep * 4;
  }
}

// Scores of queries [i, i + M) and a panel of tokens.
template <unsigned M>
[[gnu::noinline]] void score_latents(LatentBlock& b, int64_t i, int64_t panel) {
  const int64_t size = b.shape->key_size;
  const int64_t groups = latent_groups(b.shape, size);
  const uint8_t* keys = b.tile->keys + panel * size * kLatentPanel;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t begin = g * b.shape->group;
    const int64_t count = size - begin < b.shape->group ? size - begin : b.shape->group;
    __m512i sum[M][2];
#pragma GCC unroll 8
    for (unsigned r = 0; r < M; ++r) {
      const __m512i offset = _mm512_set1_epi32(b.queries.offsets[(i + r) * groups + g]);
      sum[r][0] = offset;
      sum[r][1] = offset;
    }
    add_words<M, true>(count / 4, keys + begin * kLatentPanel, b.queries.codes + i * size + begin,
                       size, sum);
    const float* scales = b.tile->scales + g * kLatentTokens + panel * kLatentPanel;
    const __m512 scale[2] = {_mm512_loadu_ps(scales), _mm512_loadu_ps(scales + 16)};
#pragma GCC unroll 8
    for (unsigned r = 0; r < M; ++r) {
      const __m512 query = _mm512_set1_ps(b.queries.scales[(i + r) * groups + g]);
      float* out = b.scores[i + r] + panel * kLatentPanel;
#pragma GCC unroll 2
      for (unsigned v = 0; v < 2; ++v) {
        const __m512 factor = _mm512_mul_ps(scale[v], query);
        const __m512 before = g == 0 ? _mm512_setzero_ps() : _mm512_load_ps(out + 16 * v);
        _mm512_store_ps(out + 16 * v,
                        _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][v]), factor, before));
      }
    }
  }
}

// state->out of queries [i, i + M) += the weights times 32 columns of the values.
template <unsigned M>
[[gnu::noinline]] void add_latents(LatentBlock& b, int64_t i, int64_t column) {
  const int64_t g = column / b.shape->group;
  __m512i sum[M][2] = {};
  add_words<M, false>((b.tokens + kBatch - 1) / kBatch * kWordStep,
                      b.tile->values + column * kLatentTokens, b.weights[g][i], kLatentTokens, sum);
#pragma GCC unroll 8
  for (unsigned r = 0; r < M; ++r) {
    const __m512 factor = _mm512_set1_ps(b.factors[g][i + r]);
    float* out = b.state.out + (i + r) * b.state.ld + column;
#pragma GCC unroll 2
    for (unsigned v = 0; v < 2; ++v) {
      const __m512 before = _mm512_loadu_ps(out + 16 * v);
      _mm512_storeu_ps(out + 16 * v,
                       _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][v]), factor, before));
    }
  }
}

// 64 numbers times as many factors, rounded.
inline __m512i to_bytes(const __m512* x, const float* factors) {
  __m512i v[4];
#pragma GCC unroll 4
  for (unsigned k = 0; k < 4; ++k) {
    v[k] = _mm512_cvtps_epi32(_mm512_mul_ps(x[k], _mm512_loadu_ps(factors + 16 * k)));
  }
  const __m512i lanes =
      _mm512_packus_epi16(_mm512_packus_epi32(v[0], v[1]), _mm512_packus_epi32(v[2], v[3]));
  // Word k of 128-bit lane l holds numbers 16 k + 4 l to 16 k + 4 l + 3.
  return _mm512_permutexvar_epi32(
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), lanes);
}

// The weights of query i, which sees so many tokens, and its state brought to their maximum.
// Weights are in eight bits with the largest weight of the tile, times the largest scale of a
// group, for scale.
template <class S>
void soften_latents(LatentBlock& b, int64_t i, int64_t seen) {
  const int64_t groups = latent_groups(b.shape, b.shape->value_size);
  if (seen <= 0) {
    for (int64_t g = 0; g < groups; ++g) {
      memset(b.weights[g][i], 0, sizeof b.weights[g][i]);
      b.factors[g][i] = 0.0F;
    }
    return;
  }
  constexpr unsigned kVectors = kLatentTokens / 16;
  float* scores = b.scores[i];
  for (int64_t j = seen; j < kLatentTokens; ++j) scores[j] = -__builtin_inff();
  __m512 e[kVectors];
  __m512 most = _mm512_set1_ps(-__builtin_inff());
#pragma GCC unroll 8
  for (unsigned v = 0; v < kVectors; ++v) {
    e[v] = _mm512_load_ps(scores + 16 * v);
    most = _mm512_max_ps(e[v], most);
  }
  const float largest = S::max_lane(most);
  const float before = b.state.max[i];
  const float now = before > largest ? before : largest;
  const __m512 max = _mm512_set1_ps(largest);
  __m512 sum = _mm512_setzero_ps();
#pragma GCC unroll 8
  for (unsigned v = 0; v < kVectors; ++v) {
    e[v] = exp<S>(_mm512_sub_ps(e[v], max));
    sum = _mm512_add_ps(sum, e[v]);
  }
  for (int64_t g = 0; g < groups; ++g) {
    const float* weights = b.tile->factors + g * kLatentTokens;
#pragma GCC unroll 2
    for (unsigned v = 0; v < kVectors; v += 4) {
      _mm512_store_si512(b.weights[g][i] + 16 * v, to_bytes(e + v, weights + 16 * v));
    }
  }
  alignas(64) float factors[16];
  const float differences[2] = {before - now, largest - now};
  _mm512_store_ps(factors, exp<S>(load_lanes<S>(differences, 2, 0.0F)));
  for (int64_t g = 0; g < groups; ++g) b.factors[g][i] = factors[1] * b.tile->largest[g];
  b.state.sum[i] = b.state.sum[i] * factors[0] + S::sum(sum) * factors[1];
  b.state.max[i] = now;
  if (factors[0] == 1.0F) return;
  const __m512 rescale = _mm512_set1_ps(factors[0]);
  float* out = b.state.out + i * b.state.ld;
  for (int64_t c = 0; c < b.state.ld; c += 16) {
    _mm512_storeu_ps(out + c, _mm512_mul_ps(_mm512_loadu_ps(out + c), rescale));
  }
}

// f(Rows<M>, i) for groups of 8, 4, 2 and 1 rows, which make up m.
template <class F>
inline void for_latent_rows(int64_t m, F&& f) {
  int64_t i = 0;
  for (; i + 8 <= m; i += 8) f(FewRows<8>{}, i);
  if ((m & 4) != 0) f(FewRows<4>{}, i), i += 4;
  if ((m & 2) != 0) f(FewRows<2>{}, i), i += 2;
  if ((m & 1) != 0) f(FewRows<1>{}, i);
}

template <class S>
void attend_latents(const LatentShape* shape, int64_t m, const LatentQueries* queries,
                    const LatentTile* tile, int64_t tokens, const int64_t* visible,
                    const AttentionState* state) {
  const int64_t groups = latent_groups(shape, shape->key_size);
  LatentBlock b;
  b.shape = shape;
  b.tile = tile;
  b.tokens = tokens;
  for (int64_t i = 0; i < m; i += kLatentRows) {
    const int64_t rows = m - i < kLatentRows ? m - i : kLatentRows;
    b.queries = {queries->codes + i * shape->key_size, queries->scales + i * groups,
                 queries->offsets + i * groups};
    b.state = {state->max + i, state->sum + i, state->out + i * state->ld, state->ld};
    for (int64_t panel = 0; panel * kLatentPanel < tokens; ++panel) {
      for_latent_rows(rows, [&](auto count, int64_t r) {
        score_latents<decltype(count)::kCount>(b, r, panel);
      });
    }
    for (int64_t r = 0; r < rows; ++r) soften_latents<S>(b, r, visible[i + r]);
    for (int64_t column = 0; column < shape->value_size; column += kLatentPanel) {
      for_latent_rows(
          rows, [&](auto count, int64_t r) { add_latents<decltype(count)::kCount>(b, r, column); });
    }
  }
}

template <class S>
constexpr LatentKernels kLatentKernels{pack_latent_queries, pack_latent_tile, attend_latents<S>};

}  // namespace
}  // namespace pensee
