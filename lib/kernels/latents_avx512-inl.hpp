// Attention of many queries over latents of eight bits, by AVX-512 (VNNI): LatentKernels of
// table.hpp. A product of codes takes half the time of one of bfloat16 numbers.
//
// The weights of a query are codes, too, relative to its largest one in the tile. Eight bits are
// enough where many tokens share the weight; where few have most of it, which may be one that all
// queries look at, the others would vanish: there weights have a second digit of eight bits.
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

constexpr float kFewTokens = 8.0F;  // as many of the largest weight do without a second digit

// A group of queries, and what is computed for it.
struct LatentBlock {
  const LatentShape* shape;
  LatentQueries queries;
  const LatentTile* tile;
  int64_t tokens;
  AttentionState state;
  uint32_t with_low;  // a bit for each query that has second digits
  alignas(64) float scores[kLatentRows][kLatentTokens];
  alignas(64) uint8_t high[kLatentGroups][kLatentRows][kLatentTokens];
  alignas(64) uint8_t low[kLatentGroups][kLatentRows][kLatentTokens];
  float units[kLatentGroups][kLatentRows];  // what 1 of `high` is worth
  // As in a tile, of fewer tokens: what a query does not see must not change it.
  int64_t seen;
  alignas(64) float factors[kLatentGroups * kLatentTokens];
  float largest[kLatentGroups];
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

// state->out of queries [i, i + M) += a digit of the weights (of all groups), which is worth
// `digit` times its unit, times 32 columns of the values.
template <unsigned M>
[[gnu::noinline]] void add_latents(LatentBlock& b, int64_t i, int64_t column,
                                   const uint8_t (*weights)[kLatentRows][kLatentTokens],
                                   float digit) {
  const int64_t g = column / b.shape->group;
  __m512i sum[M][2] = {};
  add_words<M, false>((b.tokens + kBatch - 1) / kBatch * kWordStep,
                      b.tile->values + column * kLatentTokens, weights[g][i], kLatentTokens, sum);
#pragma GCC unroll 8
  for (unsigned r = 0; r < M; ++r) {
    const __m512 factor = _mm512_set1_ps(b.units[g][i + r] * digit);
    float* out = b.state.out + (i + r) * b.state.ld + column;
#pragma GCC unroll 2
    for (unsigned v = 0; v < 2; ++v) {
      const __m512 before = _mm512_loadu_ps(out + 16 * v);
      _mm512_storeu_ps(out + 16 * v,
                       _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][v]), factor, before));
    }
  }
}

// 64 words, none above 255, as bytes.
inline __m512i to_bytes(const __m512i (&v)[4]) {
  return words_to_lanes(
      _mm512_packus_epi16(_mm512_packus_epi32(v[0], v[1]), _mm512_packus_epi32(v[2], v[3])));
}

// e (kLatentTokens) * factors (kLatentTokens), whole numbers and 1/256 of them if kTwo.
template <bool kTwo>
inline void write_digits(const __m512* e, const float* factors, uint8_t* high, uint8_t* low) {
#pragma GCC unroll 2
  for (unsigned j = 0; j < kLatentTokens / 16; j += 4) {
    __m512i digits[2][4];
#pragma GCC unroll 4
    for (unsigned v = 0; v < 4; ++v) {
      __m512 weight = _mm512_mul_ps(e[j + v], _mm512_loadu_ps(factors + 16 * (j + v)));
      if (kTwo) weight = _mm512_mul_ps(weight, _mm512_set1_ps(256.0F));
      const __m512i code = _mm512_cvtps_epi32(weight);
      digits[0][v] = kTwo ? _mm512_srli_epi32(code, 8) : code;
      digits[1][v] = _mm512_and_si512(code, _mm512_set1_epi32(255));
    }
    _mm512_store_si512(high + 16 * j, to_bytes(digits[0]));
    _mm512_store_si512(low + 16 * j, kTwo ? to_bytes(digits[1]) : _mm512_setzero_si512());
  }
}

// e (kLatentTokens), the weights relative to the largest one, as digits.
inline void round_weights(LatentBlock& b, int64_t i, int64_t seen, const __m512* e, bool two) {
  const float* factors = b.tile->factors;
  const float* largest = b.tile->largest;
  if (seen < b.tokens) {
    if (seen != b.seen) {
      b.seen = seen;
      weight_factors(b.shape, b.tile->scales, seen, b.factors, b.largest);
    }
    factors = b.factors;
    largest = b.largest;
  }
  for (int64_t g = 0; g < latent_groups(b.shape, b.shape->value_size); ++g) {
    if (two) {
      write_digits<true>(e, factors + g * kLatentTokens, b.high[g][i], b.low[g][i]);
    } else {
      write_digits<false>(e, factors + g * kLatentTokens, b.high[g][i], b.low[g][i]);
    }
    b.units[g][i] = largest[g];
  }
  if (two) b.with_low |= 1U << i;
}

// The weights of query i, which sees so many tokens, and its state brought to their maximum.
template <class S>
void soften_latents(LatentBlock& b, int64_t i, int64_t seen) {
  const int64_t groups = latent_groups(b.shape, b.shape->value_size);
  if (seen <= 0) {
    for (int64_t g = 0; g < groups; ++g) {
      memset(b.high[g][i], 0, sizeof b.high[g][i]);
      memset(b.low[g][i], 0, sizeof b.low[g][i]);
      b.units[g][i] = 0.0F;
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
  __m512 sums = _mm512_setzero_ps();
#pragma GCC unroll 8
  for (unsigned v = 0; v < kVectors; ++v) {
    e[v] = exp<S>(_mm512_sub_ps(e[v], max));
    sums = _mm512_add_ps(sums, e[v]);
  }
  const float sum = S::sum(sums);
  round_weights(b, i, seen, e, sum < kFewTokens);
  alignas(64) float factors[16];
  const float differences[2] = {before - now, largest - now};
  _mm512_store_ps(factors, exp<S>(load_lanes<S>(differences, 2, 0.0F)));
  for (int64_t g = 0; g < groups; ++g) b.units[g][i] *= factors[1];
  b.state.sum[i] = b.state.sum[i] * factors[0] + sum * factors[1];
  b.state.max[i] = now;
  rescale<S>(&b.state, i, factors[0]);
}

// f(FewRows<M>, i) for groups of M = 8, 4, 2 and 1 rows, which make up m: fewer functions than
// for_few_rows() needs.
template <class F>
inline void for_latent_rows(int64_t m, F&& f) {
  int64_t i = 0;
  for (; i + 8 <= m; i += 8) f(FewRows<8>{}, i);
  if ((m & 4) != 0) f(FewRows<4>{}, i), i += 4;
  if ((m & 2) != 0) f(FewRows<2>{}, i), i += 2;
  if ((m & 1) != 0) f(FewRows<1>{}, i);
}

// The first m queries of a block.
template <class S>
void attend_latent_block(LatentBlock& b, int64_t m, const int64_t* visible) {
  b.with_low = 0;
  for (int64_t panel = 0; panel * kLatentPanel < b.tokens; ++panel) {
    for_latent_rows(
        m, [&](auto rows, int64_t i) { score_latents<decltype(rows)::kCount>(b, i, panel); });
  }
  for (int64_t i = 0; i < m; ++i) soften_latents<S>(b, i, visible[i]);
  for (int64_t column = 0; column < b.shape->value_size; column += kLatentPanel) {
    for_latent_rows(m, [&](auto rows, int64_t i) {
      constexpr unsigned kCount = decltype(rows)::kCount;
      add_latents<kCount>(b, i, column, b.high, 1.0F);
      // Zeros change nothing for the others of them.
      const bool has_low = (b.with_low >> i & ((1U << kCount) - 1)) != 0;
      if (has_low) add_latents<kCount>(b, i, column, b.low, 1.0F / 256.0F);
    });
  }
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
  b.seen = -1;
  for (int64_t i = 0; i < m; i += kLatentRows) {
    b.queries = {queries->codes + i * shape->key_size, queries->scales + i * groups,
                 queries->offsets + i * groups};
    b.state = {state->max + i, state->sum + i, state->out + i * state->ld, state->ld};
    attend_latent_block<S>(b, m - i < kLatentRows ? m - i : kLatentRows, visible + i);
  }
}

template <class S>
constexpr LatentKernels kLatentKernels{pack_latent_queries, pack_latent_tile, attend_latents<S>};

}  // namespace
}  // namespace pensee
