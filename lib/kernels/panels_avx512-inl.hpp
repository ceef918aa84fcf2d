// Chunks of 16 rows, transposed: lane r of a vector belongs to row r. For AVX-512.
//
// A PanelSource has
//   codes()   unsigned codes, four columns of every row a vector
//   scales()  scales of the groups, and minimums where the type has them, as Decoder's
// and, if rows of its type may be interleaved, PartCodes.
// In the common types the packed bytes are transposed and unpacked afterwards, which moves half as
// many of them or fewer; the others are unpacked row by row.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "blocks-inl.hpp"
#include "iq_avx512-inl.hpp"
#include "wide_avx512-inl.hpp"
#include "words_avx512-inl.hpp"

namespace pensee {
namespace {

// Where word t of vector v of Wide<E> belongs.
template <class E>
constexpr unsigned unit_of(unsigned v, unsigned t) {
  if (Wide<E>::kOrder == Order::kColumns) return 16 * v + t;
  return v / 2 * 32 + v % 2 * 4 + t / 4 * 8 + t % 4;
}

template <class E>
struct PanelSource {
  static void codes(const RowWords& source, __m512i (&out)[kUnits]) {
    const char* const* w = source.rows;
    __m512i by_row[kWideVectors][16];
    for (unsigned r = 0; r < 16; ++r) {
      __m512i vectors[kWideVectors];
      Wide<E>::codes(w[r], vectors);
#pragma GCC unroll 4
      for (unsigned v = 0; v < kWideVectors; ++v) by_row[v][r] = vectors[v];
    }
    for (unsigned v = 0; v < kWideVectors; ++v) {
#pragma GCC unroll 2
      for (unsigned h = 0; h < 16; h += 8) {
        const auto half = [&](unsigned r) {
          return h == 0 ? _mm512_castsi512_si256(by_row[v][r])
                        : _mm512_extracti64x4_epi64(by_row[v][r], 1);
        };
        __m512i words[8];
        transpose_256(half, words);
#pragma GCC unroll 8
        for (unsigned t = 0; t < 8; ++t) out[unit_of<E>(v, h + t)] = words[t];
      }
    }
  }

  template <unsigned kMins>
  static void scales(const RowWords& source, __m512 (&d)[E::kGroups], __m512 (&m)[kMins]) {
    const char* const* w = source.rows;
    GroupScales rows[16];
    for (unsigned r = 0; r < 16; ++r) E::scales(w[r], rows[r]);
#pragma GCC unroll 2
    for (unsigned g = 0; g < E::kGroups; g += 8) {
      __m512i words[8];
      transpose_256([&](unsigned r) { return _mm256_castps_si256(rows[r].d[g / 8]); }, words);
#pragma GCC unroll 8
      for (unsigned t = 0; t < 8; ++t) d[g + t] = _mm512_castsi512_ps(words[t]);
      if (!E::kHasMin) continue;
      transpose_256([&](unsigned r) { return _mm256_castps_si256(rows[r].m[g / 8]); }, words);
#pragma GCC unroll 8
      for (unsigned t = 0; t < 8; ++t) m[(g + t) % kMins] = _mm512_castsi512_ps(words[t]);
    }
  }
};

// Types of eight blocks with a scale each at the start of a block.
template <int kBlockBytes, class Words>
[[gnu::always_inline]] inline void block_scales(const Words& w, __m512 (&d)[8]) {
  __m512i words[4];
  w.template halves<kBlockBytes>(words);
#pragma GCC unroll 4
  for (unsigned k = 0; k < 4; ++k) {
    d[2 * k] = lower_floats(words[k]);
    d[2 * k + 1] = upper_floats(words[k]);
  }
}

// The codes of a type in four parts, of two runs of 32 columns each: part p has eight units from
// first(p) on and eight from second(p) on. Parts are read in order.
template <class E, class Words>
struct PartCodes;

template <class Words>
struct Parts {
  const Words& w;
  explicit Parts(const Words& words) : w(words) {}
  static constexpr unsigned first(unsigned p) { return 16 * p; }
  static constexpr unsigned second(unsigned p) { return 16 * p + 8; }
};

template <class Words>
struct PartCodes<Decoder<KernelType::kQ8_0>, Words> : Parts<Words> {
  using Parts<Words>::Parts;
  using Parts<Words>::w;
  [[gnu::always_inline]] void read(unsigned p, __m512i (&out)[2][8]) {
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; ++h) {
      w.template load_block<34>(2 * p + h, out[h]);
#pragma GCC unroll 8
      for (__m512i& word : out[h]) word = _mm512_xor_si512(word, _mm512_set1_epi8(-128));
    }
  }
};

template <class Words>
struct PartCodes<Decoder<KernelType::kQ4_0>, Words> : Parts<Words> {
  using Parts<Words>::Parts;
  using Parts<Words>::w;
  [[gnu::always_inline]] void read(unsigned p, __m512i (&out)[2][8]) {
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; ++h) {
      __m512i words[4];
      w.template load_block<18>(2 * p + h, words);
#pragma GCC unroll 4
      for (unsigned t = 0; t < 4; ++t) {
        out[h][t] = mask_bytes(words[t], 15);
        out[h][4 + t] = high_nibbles(words[t]);
      }
    }
  }
};

// Groups 2 p and 2 p + 1, whose codes are the lower and upper half bytes.
template <class Words>
struct PartCodes<Decoder<KernelType::kQ4_K>, Words> : Parts<Words> {
  using Parts<Words>::Parts;
  using Parts<Words>::w;
  [[gnu::always_inline]] void read(unsigned p, __m512i (&out)[2][8]) {
    __m512i words[8];
    w.load(static_cast<int>(16 + 32 * p), words);
#pragma GCC unroll 8
    for (unsigned t = 0; t < 8; ++t) {
      out[0][t] = mask_bytes(words[t], 15);
      out[1][t] = high_nibbles(words[t]);
    }
  }
};

template <class Words>
struct PartCodes<Decoder<KernelType::kQ5_K>, Words> : Parts<Words> {
  using Parts<Words>::Parts;
  using Parts<Words>::w;
  __m512i fifth[8];  // bit g of a byte: of group g
  [[gnu::always_inline]] void read(unsigned p, __m512i (&out)[2][8]) {
    if (p == 0) w.load(16, fifth);
    __m512i words[8];
    w.load(static_cast<int>(48 + 32 * p), words);
#pragma GCC unroll 8
    for (unsigned t = 0; t < 8; ++t) {
      // Bits 2 p and 2 p + 1, moved to bit 4.
      const __m512i bits = _mm512_srli_epi32(fifth[t], 2 * p);
      const __m512i even = _mm512_slli_epi16(bits, 4);
      const __m512i odd = _mm512_slli_epi16(bits, 3);
      out[0][t] = masked_or(even, 16, mask_bytes(words[t], 15));
      out[1][t] = masked_or(odd, 16, high_nibbles(words[t]));
    }
  }
};

template <class Words>
struct PartCodes<Decoder<KernelType::kQ6_K>, Words> : Parts<Words> {
  using Parts<Words>::Parts;
  using Parts<Words>::w;
  __m512i high[8];  // two bits each of columns 32 apart, of two parts
  static constexpr unsigned first(unsigned p) { return p / 2 * 32 + p % 2 * 8; }
  static constexpr unsigned second(unsigned p) { return first(p) + 16; }
  [[gnu::always_inline]] void read(unsigned p, __m512i (&out)[2][8]) {
    if (p % 2 == 0) w.load(static_cast<int>(128 + 16 * p), high);
    __m512i low[8];
    w.load(static_cast<int>(32 * p), low);
    const unsigned odd = p % 2;
#pragma GCC unroll 8
    for (unsigned t = 0; t < 8; ++t) {
      const __m512i third = odd != 0 ? _mm512_srli_epi16(high[t], 2) : high[t];
      const __m512i first_bits = _mm512_slli_epi16(high[t], odd != 0 ? 2 : 4);
      out[0][t] = masked_or(first_bits, 48, mask_bytes(low[t], 15));
      out[1][t] = masked_or(third, 48, high_nibbles(low[t]));
    }
  }
};

// All codes of such a type.
template <class E>
struct CodesOfParts {
  template <class Words>
  static void codes(const Words& w, __m512i (&out)[kUnits]) {
    PartCodes<E, Words> parts(w);
#pragma GCC unroll 4
    for (unsigned p = 0; p < 4; ++p) {
      __m512i part[2][8];
      parts.read(p, part);
#pragma GCC unroll 8
      for (unsigned t = 0; t < 8; ++t) {
        out[parts.first(p) + t] = part[0][t];
        out[parts.second(p) + t] = part[1][t];
      }
    }
  }
};

template <>
struct PanelSource<Decoder<KernelType::kQ8_0>> : CodesOfParts<Decoder<KernelType::kQ8_0>> {
  template <class Words>
  static void scales(const Words& w, __m512 (&d)[8], __m512 (&/*m*/)[1]) {
    block_scales<34>(w, d);
  }
};

template <>
struct PanelSource<Decoder<KernelType::kQ4_0>> : CodesOfParts<Decoder<KernelType::kQ4_0>> {
  template <class Words>
  static void scales(const Words& w, __m512 (&d)[8], __m512 (&/*m*/)[1]) {
    block_scales<18>(w, d);
  }
};

// Scales and minimums of Q4_K and Q5_K: whole numbers, times d and m.
struct PanelKScales {
  __m512 d;
  __m512 m;
  __m512i scales[2];  // bytes: of groups 0 to 3, and 4 to 7, as in k_scales
  __m512i mins[2];

  template <class Words>
  [[gnu::always_inline]] explicit PanelKScales(const Words& w) {
    __m512i head[4];
    w.load(0, head);
    d = lower_floats(head[0]);
    m = upper_floats(head[0]);
    scales[0] = mask_bytes(head[1], 63);
    scales[1] = masked_or(_mm512_srli_epi16(head[1], 2), 48, mask_bytes(head[3], 15));
    mins[0] = mask_bytes(head[2], 63);
    mins[1] = masked_or(_mm512_srli_epi16(head[2], 2), 48, high_nibbles(head[3]));
  }
};

template <class Words>
[[gnu::always_inline]] inline void panel_k_scales(const Words& w, __m512 (&d)[8], __m512 (&m)[8]) {
  const PanelKScales k(w);
  const auto byte = [](__m512i words, unsigned at) {
    const __m512i one = _mm512_and_si512(_mm512_srli_epi32(words, 8 * at), _mm512_set1_epi32(255));
    return _mm512_cvtepi32_ps(one);
  };
#pragma GCC unroll 8
  for (unsigned g = 0; g < 8; ++g) {
    d[g] = _mm512_mul_ps(k.d, byte(k.scales[g / 4], g % 4));
    m[g] = _mm512_mul_ps(k.m, byte(k.mins[g / 4], g % 4));
  }
}

template <>
struct PanelSource<Decoder<KernelType::kQ4_K>> : CodesOfParts<Decoder<KernelType::kQ4_K>> {
  template <class Words>
  static void scales(const Words& w, __m512 (&d)[8], __m512 (&m)[8]) {
    panel_k_scales(w, d, m);
  }
};

template <>
struct PanelSource<Decoder<KernelType::kQ5_K>> : CodesOfParts<Decoder<KernelType::kQ5_K>> {
  template <class Words>
  static void scales(const Words& w, __m512 (&d)[8], __m512 (&m)[8]) {
    panel_k_scales(w, d, m);
  }
};

// Bytes of four groups' scales each, to be multiplied by what it gives back.
template <class Words>
[[gnu::always_inline]] inline __m512 panel_q6_k_scales(const Words& w, __m512i (&bytes)[4]) {
  w.load(192, bytes);
  return w.template last_half<210>();
}

template <>
struct PanelSource<Decoder<KernelType::kQ6_K>> : CodesOfParts<Decoder<KernelType::kQ6_K>> {
  template <class Words>
  static void scales(const Words& w, __m512 (&d)[16], __m512 (&/*m*/)[1]) {
    __m512i bytes[4];
    const __m512 d_all = panel_q6_k_scales(w, bytes);
#pragma GCC unroll 16
    for (unsigned g = 0; g < 16; ++g) {
      const __m512i word = _mm512_slli_epi32(bytes[g / 4], 24 - 8 * (g % 4));
      d[g] = _mm512_mul_ps(d_all, _mm512_cvtepi32_ps(_mm512_srai_epi32(word, 24)));
    }
  }
};

}  // namespace
}  // namespace pensee
