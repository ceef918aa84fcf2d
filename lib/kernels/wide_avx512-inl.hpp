// The codes of a chunk in AVX-512 registers.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "blocks-inl.hpp"

namespace pensee {
namespace {

constexpr unsigned kWideVectors = 4;  // of 64 codes in a chunk

inline __m512i join(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
inline __m512 join(__m256 low, __m256 high) {
  return _mm512_castsi512_ps(join(_mm256_castps_si256(low), _mm256_castps_si256(high)));
}
inline __m256 upper_half(__m512 v) {
  return _mm256_castsi256_ps(_mm512_extracti64x4_epi64(_mm512_castps_si512(v), 1));
}
inline __m512i load_512(const void* p) {
  return _mm512_loadu_si512(p);
}
inline __m512i twice(__m256i v) {
  return _mm512_broadcast_i64x4(v);
}
// Word v of 128-bit lane l becomes word l of lane v.
inline __m512i words_to_lanes(__m512i v) {
  const __m512i from = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(from, v);
}
inline __m512i mask_bytes(__m512i v, char mask) {
  return _mm512_and_si512(v, _mm512_set1_epi8(mask));
}
inline __m512i high_nibbles(__m512i v) {
  return mask_bytes(_mm512_srli_epi16(v, 4), 15);
}
// (v & mask) | other
inline __m512i masked_or(__m512i v, char mask, __m512i other) {
  return _mm512_ternarylogic_epi32(v, _mm512_set1_epi8(mask), other, 0xea);
}

// Which columns of a chunk the four vectors of 64 codes hold; each type takes the order that is
// least work.
enum class Order {
  kColumns,  // groups of 32 columns {0, 1}, {2, 3}, {4, 5}, {6, 7}
  kHalves,   // the first halves of groups 0 to 3, the second ones, the same of groups 4 to 7
};

template <class E>
struct Wide {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    __m256i halves[kChunkVectors];
    E::codes(w, halves);
#pragma GCC unroll 4
    for (unsigned v = 0; v < kWideVectors; ++v) out[v] = join(halves[2 * v], halves[2 * v + 1]);
  }
};

template <>
struct Wide<Decoder<KernelType::kQ8_0>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
#pragma GCC unroll 4
    for (unsigned v = 0; v < kWideVectors; ++v) {
      const char* two = w + 68 * v + 2;
      out[v] = _mm512_xor_si512(join(load_256(two), load_256(two + 34)), _mm512_set1_epi8(-128));
    }
  }
};

template <>
struct Wide<Decoder<KernelType::kQ4_K>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    const __m512i right = join(_mm256_setzero_si256(), _mm256_set1_epi16(4));
#pragma GCC unroll 4
    for (unsigned v = 0; v < kWideVectors; ++v) {
      const __m512i q = twice(load_256(w + 16 + 32 * v));
      out[v] = mask_bytes(_mm512_srlv_epi16(q, right), 15);
    }
  }
};

template <>
struct Wide<Decoder<KernelType::kQ5_K>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    Wide<Decoder<KernelType::kQ4_K>>::codes(w + 32, out);
    const __m512i fifth = twice(load_256(w + 16));
    const __m256i zero = _mm256_setzero_si256();
    const __m256i one = _mm256_set1_epi16(1);
    const __m256i two = _mm256_set1_epi16(2);
    const __m256i three = _mm256_set1_epi16(3);
    const __m256i four = _mm256_set1_epi16(4);
    out[0] = masked_or(_mm512_sllv_epi16(fifth, join(four, three)), 16, out[0]);
    out[1] = masked_or(_mm512_sllv_epi16(fifth, join(two, one)), 16, out[1]);
    out[2] = masked_or(_mm512_srlv_epi16(fifth, join(zero, one)), 16, out[2]);
    out[3] = masked_or(_mm512_srlv_epi16(fifth, join(two, three)), 16, out[3]);
  }
};

template <>
struct Wide<Decoder<KernelType::kQ6_K>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    const __m512i left = join(_mm256_set1_epi16(4), _mm256_set1_epi16(2));
    const __m512i right = join(_mm256_setzero_si256(), _mm256_set1_epi16(2));
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; ++h) {
      const __m512i q = load_512(w + 64 * h);
      const __m512i high = twice(load_256(w + 128 + 32 * h));
      out[2 * h] = masked_or(_mm512_sllv_epi16(high, left), 48, mask_bytes(q, 15));
      out[2 * h + 1] = masked_or(_mm512_srlv_epi16(high, right), 48, high_nibbles(q));
    }
  }
};

template <>
struct Wide<Decoder<KernelType::kQ2_K>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    const __m512i first = join(_mm256_setzero_si256(), _mm256_set1_epi16(2));
    const __m512i second = join(_mm256_set1_epi16(4), _mm256_set1_epi16(6));
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; ++h) {
      const __m512i q = twice(load_256(w + 16 + 32 * h));
      out[2 * h] = mask_bytes(_mm512_srlv_epi16(q, first), 3);
      out[2 * h + 1] = mask_bytes(_mm512_srlv_epi16(q, second), 3);
    }
  }
};

template <>
struct Wide<Decoder<KernelType::kQ3_K>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    Wide<Decoder<KernelType::kQ2_K>>::codes(w + 16, out);
    const __m512i third = twice(load_256(w));
    const __m256i zero = _mm256_setzero_si256();
    const __m256i one = _mm256_set1_epi16(1);
    const __m256i two = _mm256_set1_epi16(2);
    const __m256i three = _mm256_set1_epi16(3);
    const __m256i four = _mm256_set1_epi16(4);
    const __m256i five = _mm256_set1_epi16(5);
    out[0] = masked_or(_mm512_sllv_epi16(third, join(two, one)), 4, out[0]);
    out[1] = masked_or(_mm512_srlv_epi16(third, join(zero, one)), 4, out[1]);
    out[2] = masked_or(_mm512_srlv_epi16(third, join(two, three)), 4, out[2]);
    out[3] = masked_or(_mm512_srlv_epi16(third, join(four, five)), 4, out[3]);
  }
};

// Four-bit codes of four blocks, 16 bytes each.
inline __m512i load_four(const char* first, int stride) {
  const __m256i low =
      _mm256_inserti128_si256(_mm256_castsi128_si256(load_128(first)), load_128(first + stride), 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(load_128(first + 2 * stride)),
                                               load_128(first + 3 * stride), 1);
  return join(low, high);
}
template <int kStride>
inline void halves_of_nibbles(const char* qs, __m512i (&out)[kWideVectors]) {
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512i q =
        kStride == 16 ? load_512(qs + 64 * h) : load_four(qs + 4 * kStride * h, kStride);
    out[2 * h] = mask_bytes(q, 15);
    out[2 * h + 1] = high_nibbles(q);
  }
}

template <>
struct Wide<Decoder<KernelType::kQ4_0>> {
  static constexpr Order kOrder = Order::kHalves;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    halves_of_nibbles<18>(w + 2, out);
  }
};

template <>
struct Wide<Decoder<KernelType::kQ4_1>> {
  static constexpr Order kOrder = Order::kHalves;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    halves_of_nibbles<20>(w + 4, out);
  }
};

// Codes of five bits: the fifth of 32 columns, then the half bytes of the first and the last 16.
template <int kStride>
inline void columns_of_fives(const char* first, __m512i (&out)[kWideVectors]) {
  constexpr int64_t kFour = 0x0004000400040004;
  const __m512i right = _mm512_setr_epi64(0, 0, kFour, kFour, 0, 0, kFour, kFour);
#pragma GCC unroll 4
  for (unsigned v = 0; v < kWideVectors; ++v) {
    const char* one = first + 2 * kStride * v;
    const char* two = one + kStride;
    const __m512i q = join(_mm256_broadcastsi128_si256(load_128(one + 4)),
                           _mm256_broadcastsi128_si256(load_128(two + 4)));
    const __m512i low = mask_bytes(_mm512_srlv_epi16(q, right), 15);
    const __mmask64 fifth = load_word<uint32_t>(one) | uint64_t{load_word<uint32_t>(two)} << 32;
    out[v] = _mm512_mask_add_epi8(low, fifth, low, _mm512_set1_epi8(16));
  }
}

template <>
struct Wide<Decoder<KernelType::kQ5_0>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    columns_of_fives<22>(w + 2, out);
  }
};

template <>
struct Wide<Decoder<KernelType::kQ5_1>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    columns_of_fives<24>(w + 4, out);
  }
};

// Types whose four-bit codes stand for the entries of a table.
template <int kStride>
inline void halves_of_table(const char* qs, __m128i table, __m512i (&out)[kWideVectors]) {
  halves_of_nibbles<kStride>(qs, out);
#pragma GCC unroll 4
  for (unsigned v = 0; v < kWideVectors; ++v) {
    out[v] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), out[v]);
  }
}

template <>
struct Wide<Decoder<KernelType::kIQ4_NL>> {
  static constexpr Order kOrder = Order::kHalves;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    halves_of_table<18>(w + 2, iq4_values(), out);
  }
};

template <>
struct Wide<Decoder<KernelType::kIQ4_XS>> {
  static constexpr Order kOrder = Order::kHalves;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    halves_of_table<16>(w + 8, iq4_values(), out);
  }
};

template <>
struct Wide<Decoder<KernelType::kMXFP4>> {
  static constexpr Order kOrder = Order::kHalves;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    halves_of_table<17>(w + 1, mxfp4_values(), out);
  }
};

}  // namespace
}  // namespace pensee
