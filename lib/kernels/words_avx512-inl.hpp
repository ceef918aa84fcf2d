// Words of 32 bits of 16 rows, a vector each: lane r is row r's. For AVX-512.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "decoder-inl.hpp"
#include "wide_avx512-inl.hpp"

namespace pensee {
namespace {

// Transposes 4 x 4 words in every 128-bit lane.
[[gnu::always_inline]] inline void transpose_lanes(__m512i* v) {
  const __m512i low01 = _mm512_unpacklo_epi32(v[0], v[1]);
  const __m512i high01 = _mm512_unpackhi_epi32(v[0], v[1]);
  const __m512i low23 = _mm512_unpacklo_epi32(v[2], v[3]);
  const __m512i high23 = _mm512_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm512_unpacklo_epi64(low01, low23);
  v[1] = _mm512_unpackhi_epi64(low01, low23);
  v[2] = _mm512_unpacklo_epi64(high01, high23);
  v[3] = _mm512_unpackhi_epi64(high01, high23);
}

// Transposes 16 x 16 words.
[[gnu::always_inline]] inline void transpose(__m512i (&rows)[16]) {
#pragma GCC unroll 4
  for (unsigned q = 0; q < 16; q += 4) transpose_lanes(rows + q);
  // rows[4 q + j]: word j of every 128-bit lane, of source rows 4 q to 4 q + 3
  __m512i t[16];
#pragma GCC unroll 4
  for (unsigned j = 0; j < 4; ++j) {
    t[j] = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0x88);
    t[4 + j] = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0xdd);
    t[8 + j] = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0xdd);
  }
#pragma GCC unroll 4
  for (unsigned j = 0; j < 4; ++j) {
    rows[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
    rows[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd);
    rows[4 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88);
    rows[12 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xdd);
  }
}

// The four words of 16 rows: row(r) has 128 bits.
template <class Row>
[[gnu::always_inline]] inline void transpose_128(Row&& row, __m512i (&out)[4]) {
#pragma GCC unroll 4
  for (unsigned r = 0; r < 4; ++r) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(row(r)), row(r + 4), 1);
    const __m256i high =
        _mm256_inserti128_si256(_mm256_castsi128_si256(row(r + 8)), row(r + 12), 1);
    out[r] = join(low, high);
  }
  transpose_lanes(out);
}

// The eight words of 16 rows: row(r) has 256 bits.
template <class Row>
[[gnu::always_inline]] inline void transpose_256(Row&& row, __m512i (&out)[8]) {
  __m512i first[4];
  __m512i last[4];
#pragma GCC unroll 4
  for (unsigned r = 0; r < 4; ++r) {
    first[r] = join(row(r), row(r + 4));
    last[r] = join(row(r + 8), row(r + 12));
  }
  transpose_lanes(first);
  transpose_lanes(last);
#pragma GCC unroll 4
  for (unsigned t = 0; t < 4; ++t) {
    out[t] = _mm512_shuffle_i32x4(first[t], last[t], 0x88);
    out[4 + t] = _mm512_shuffle_i32x4(first[t], last[t], 0xdd);
  }
}

// The float16 numbers in the lower or the upper half of every word.
inline __m512 lower_floats(__m512i words) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
}
inline __m512 upper_floats(__m512i words) {
  return lower_floats(_mm512_srli_epi32(words, 16));
}

// Where the words of a chunk of 16 rows come from; lane r of what is loaded is row r's.
//   load()        words from byte `at` of the chunk on
//   load_block()  the codes of a block of 32 columns
//   halves()      the float16 numbers of eight such blocks, two a word
//   last_half()   the float16 number in the last two bytes

// Rows as they lie in a file: words are transposed.
struct RowWords {
  const char* const* rows;

  [[gnu::always_inline]] void load(int at, __m512i (&out)[4]) const {
    transpose_128([this, at](unsigned r) { return load_128(rows[r] + at); }, out);
  }
  [[gnu::always_inline]] void load(int at, __m512i (&out)[8]) const {
    transpose_256([this, at](unsigned r) { return load_256(rows[r] + at); }, out);
  }
  template <int kBlockBytes, unsigned N>
  [[gnu::always_inline]] void load_block(unsigned block, __m512i (&out)[N]) const {
    load(kBlockBytes * static_cast<int>(block) + 2, out);
  }
  template <int kBlockBytes>
  [[gnu::always_inline]] void halves(__m512i (&out)[4]) const {
    transpose_128([this](unsigned r) { return block_halves<kBlockBytes>(rows[r]); }, out);
  }
  template <int kBytes>
  [[gnu::always_inline]] __m512 last_half() const {
    __m512i last[4];
    load(kBytes - 16, last);
    return upper_floats(last[3]);
  }
};

// Interleaved rows (kernels/interleave.hpp).
struct TileWords {
  const char* tile;

  template <unsigned N>
  [[gnu::always_inline]] void load(int at, __m512i (&out)[N]) const {
#pragma GCC unroll 8
    for (unsigned k = 0; k < N; ++k) out[k] = load_512(tile + 16 * at + 64 * k);
  }
  template <int kBlockBytes, unsigned N>
  [[gnu::always_inline]] void load_block(unsigned block, __m512i (&out)[N]) const {
    load(16 + (kBlockBytes - 2) * static_cast<int>(block), out);
  }
  template <int kBlockBytes>
  [[gnu::always_inline]] void halves(__m512i (&out)[4]) const {
    load(0, out);
  }
  template <int kBytes>
  [[gnu::always_inline]] __m512 last_half() const {
    return _mm512_cvtph_ps(load_256(tile + 16 * (kBytes - 2)));
  }
};

}  // namespace
}  // namespace pensee
