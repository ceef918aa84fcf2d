// How the block types are decoded in AVX2 registers, for the kernels of q8-inl.hpp. What the bytes
// mean is written in pensee/kernels/blocks.hpp. All of it has internal linkage.
//
// A chunk is 256 columns of a row: one block, or eight blocks of 32. A decoder has
//   kBytes     of a chunk
//   kGroups    in a chunk that have a scale each: 8 of 32 columns or 16 of 16
//   kHasMin    whether there are minimums; value = scale * (code - kOffset) - minimum
//   kOffset    what is added to codes so that they are unsigned; 0 or a power of two
//   kLargest   the largest magnitude of a code without the offset
//   codes()    unsigned codes, 32 columns a vector
//   scales()   scale and minimum of every group, as float32, with the reference's roundings
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "matrix-inl.hpp"
#include "pensee/kernels/block_grids.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

constexpr unsigned kChunkVectors = 8;        // of 32 codes
constexpr unsigned kUnits = kQ8Columns / 4;  // of four codes in a chunk

// Group g of kGroups / 8 times 8: lane g % 8 of vector g / 8.
struct GroupScales {
  __m256 d[2];
  __m256 m[2];
};

template <int kType>
struct Decoder;

constexpr int log2_of(int power) {
  return power <= 1 ? 0 : 1 + log2_of(power / 2);
}

// Rows that will be needed after those that a kernel works on. Memory gives them fastest in the
// order of their addresses, a few lines at a time between multiplications, so that memory and
// processor work at the same time; into the L2 cache, for they come later.
class Later {
 public:
  // At most `rows` rows from row `begin` on, or of what follows the last row; asked for over
  // `chunks` chunks of the rows before them, `asks` times in each.
  Later(const KernelMatrix* w, int64_t begin, int64_t row_end, int64_t rows, int64_t chunks,
        int64_t asks)
      : first_(static_cast<const char*>(w->next)), bytes_(w->next_bytes), chunks_(chunks) {
    if (begin < row_end) {
      first_ = static_cast<const char*>(w->data) + begin * w->row_bytes;
      bytes_ = (row_end - begin) * w->row_bytes;
    }
    if (bytes_ > rows * w->row_bytes) bytes_ = rows * w->row_bytes;
    next_ = first_;
    step_ = bytes_ / (chunks * asks) + 1;
  }

  void begin_chunk(int64_t c) { end_ = first_ + bytes_ * (c + 1) / chunks_; }

  [[gnu::always_inline]] void ask() {
    if (next_ >= end_) return;
    for (const char* stop = next_ + step_; next_ < stop; next_ += 64) {
      _mm_prefetch(next_, _MM_HINT_T1);
    }
  }

 private:
  const char* first_;
  int64_t bytes_;
  int64_t chunks_;
  int64_t step_;
  const char* next_;
  const char* end_ = nullptr;
};

// Neighbours, then neighbouring pairs, then the two fours.
inline float sum_of_tree(__m256 v) {
  v = _mm256_add_ps(v, _mm256_permute_ps(v, 0xb1));
  v = _mm256_add_ps(v, _mm256_permute_ps(v, 0x4e));
  return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
}

template <class T>
inline T load_word(const char* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}
inline __m128i load_128(const char* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline __m256i load_256(const char* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline __m128i load_64(const char* p) {
  return _mm_cvtsi64_si128(load_word<int64_t>(p));
}
inline float half_at(const char* p) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load_word<uint16_t>(p))));
}
inline __m256 unsigned_bytes(__m128i v) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v));
}
inline __m256 signed_bytes(__m128i v) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v));
}
inline __m128i upper_half(__m128i v) {
  return _mm_unpackhi_epi64(v, v);
}
inline __m256i and_mask(__m256i v, char mask) {
  return _mm256_and_si256(v, _mm256_set1_epi8(mask));
}
// Sixteen bytes as 32 codes: the lower halves first.
inline __m256i nibbles(__m128i v) {
  const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1);
  return and_mask(both, 15);
}
inline __m256i high_nibbles(__m256i v) {
  return and_mask(_mm256_srli_epi16(v, 4), 15);
}
// Byte i is all ones where bit i is set.
inline __m256i bits_to_bytes(uint32_t bits) {
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(static_cast<int>(bits)),
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i each = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  return _mm256_cmpeq_epi8(_mm256_and_si256(spread, each), each);
}

// The float16 numbers at the start of eight blocks.
template <int kStride>
inline __m128i block_halves(const char* w) {
  const auto at = [w](int i) { return uint64_t{load_word<uint16_t>(w + i * kStride)}; };
  const uint64_t first = at(0) | at(1) << 16 | at(2) << 32 | at(3) << 48;
  const uint64_t last = at(4) | at(5) << 16 | at(6) << 32 | at(7) << 48;
  return _mm_set_epi64x(static_cast<int64_t>(last), static_cast<int64_t>(first));
}
template <int kStride>
inline __m256 block_floats(const char* w) {
  return _mm256_cvtph_ps(block_halves<kStride>(w));
}

template <>
struct Decoder<KernelType::kQ8_0> {
  static constexpr int kBytes = 8 * 34;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 128;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      out[g] = _mm256_xor_si256(load_256(w + g * 34 + 2), _mm256_set1_epi8(-128));
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    out.d[0] = block_floats<34>(w);
  }
};

// Q4_0, Q4_1, Q5_0, Q5_1
template <bool kMin, bool kFifthBit>
struct Legacy {
  static constexpr int kBlockBytes = 2 + (kMin ? 2 : 0) + (kFifthBit ? 4 : 0) + 16;
  static constexpr int kBytes = 8 * kBlockBytes;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = kMin;
  static constexpr int kOffset = kMin ? 0 : kFifthBit ? 16 : 8;
  static constexpr int kLargest = kMin ? (kFifthBit ? 31 : 15) : kOffset;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      const char* rest = w + g * kBlockBytes + (kMin ? 4 : 2);
      out[g] = nibbles(load_128(rest + (kFifthBit ? 4 : 0)));
      if (!kFifthBit) continue;
      const __m256i fifth = bits_to_bytes(load_word<uint32_t>(rest));
      out[g] = _mm256_or_si256(out[g], and_mask(fifth, 16));
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    out.d[0] = block_floats<kBlockBytes>(w);
    if (kMin) out.m[0] = _mm256_sub_ps(_mm256_setzero_ps(), block_floats<kBlockBytes>(w + 2));
  }
};
template <>
struct Decoder<KernelType::kQ4_0> : Legacy<false, false> {};
template <>
struct Decoder<KernelType::kQ4_1> : Legacy<true, false> {};
template <>
struct Decoder<KernelType::kQ5_0> : Legacy<false, true> {};
template <>
struct Decoder<KernelType::kQ5_1> : Legacy<true, true> {};

template <>
struct Decoder<KernelType::kQ2_K> {
  static constexpr int kBytes = 84;
  static constexpr int kGroups = 16;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0;
  static constexpr int kLargest = 3;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; ++h) {
      const __m256i q = load_256(w + 16 + 32 * h);
      out[4 * h] = and_mask(q, 3);
      out[4 * h + 1] = and_mask(_mm256_srli_epi16(q, 2), 3);
      out[4 * h + 2] = and_mask(_mm256_srli_epi16(q, 4), 3);
      out[4 * h + 3] = and_mask(_mm256_srli_epi16(q, 6), 3);
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    const __m128i both = load_128(w);
    const __m128i d = _mm_and_si128(both, _mm_set1_epi8(15));
    const __m128i m = _mm_and_si128(_mm_srli_epi16(both, 4), _mm_set1_epi8(15));
    const __m256 d_all = _mm256_set1_ps(half_at(w + 80));
    const __m256 m_all = _mm256_set1_ps(half_at(w + 82));
    out.d[0] = _mm256_mul_ps(d_all, unsigned_bytes(d));
    out.d[1] = _mm256_mul_ps(d_all, unsigned_bytes(upper_half(d)));
    out.m[0] = _mm256_mul_ps(m_all, unsigned_bytes(m));
    out.m[1] = _mm256_mul_ps(m_all, unsigned_bytes(upper_half(m)));
  }
};

template <>
struct Decoder<KernelType::kQ3_K> {
  static constexpr int kBytes = 110;
  static constexpr int kGroups = 16;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 4;
  static constexpr int kLargest = 4;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
    Decoder<KernelType::kQ2_K>::codes(w + 16, out);
    const __m256i third = load_256(w);  // bit g of byte i: column i of group g
    out[0] = _mm256_or_si256(out[0], and_mask(_mm256_slli_epi16(third, 2), 4));
    out[1] = _mm256_or_si256(out[1], and_mask(_mm256_slli_epi16(third, 1), 4));
    out[2] = _mm256_or_si256(out[2], and_mask(third, 4));
    out[3] = _mm256_or_si256(out[3], and_mask(_mm256_srli_epi16(third, 1), 4));
    out[4] = _mm256_or_si256(out[4], and_mask(_mm256_srli_epi16(third, 2), 4));
    out[5] = _mm256_or_si256(out[5], and_mask(_mm256_srli_epi16(third, 3), 4));
    out[6] = _mm256_or_si256(out[6], and_mask(_mm256_srli_epi16(third, 4), 4));
    out[7] = _mm256_or_si256(out[7], and_mask(_mm256_srli_epi16(third, 5), 4));
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0f;
    constexpr uint64_t kHigh = 0x3030303030303030;
    const auto low = load_word<uint64_t>(w + 96);
    const uint64_t high = load_word<uint32_t>(w + 104);
    // Two high bits of scales 0 to 3, then of 4 to 7; the next ones four bits above.
    const uint64_t spread = high << 4 | high << 34;
    const uint64_t first = (low & kLow) | (spread & kHigh);
    const uint64_t last = (low >> 4 & kLow) | (((high | high >> 2 << 32) & kHigh));
    const __m128i all = _mm_set_epi64x(static_cast<int64_t>(last), static_cast<int64_t>(first));
    const __m128i centred = _mm_sub_epi8(all, _mm_set1_epi8(32));
    const __m256 d = _mm256_set1_ps(half_at(w + 108));
    out.d[0] = _mm256_mul_ps(d, signed_bytes(centred));
    out.d[1] = _mm256_mul_ps(d, signed_bytes(upper_half(centred)));
  }
};

// Scales and minimums of Q4_K and Q5_K.
[[gnu::always_inline]] inline void k_scales(const char* w, GroupScales& out) {
  const uint32_t s0 = load_word<uint32_t>(w + 4);
  const uint32_t s1 = load_word<uint32_t>(w + 8);
  const uint32_t s2 = load_word<uint32_t>(w + 12);
  const uint32_t d_late = (s2 & 0x0f0f0f0fU) | (s0 >> 2 & 0x30303030U);
  const uint32_t m_late = (s2 >> 4 & 0x0f0f0f0fU) | (s1 >> 2 & 0x30303030U);
  const uint64_t d = (s0 & 0x3f3f3f3fU) | uint64_t{d_late} << 32;
  const uint64_t m = (s1 & 0x3f3f3f3fU) | uint64_t{m_late} << 32;
  const __m128 halves = _mm_cvtph_ps(_mm_cvtsi32_si128(load_word<int32_t>(w)));
  const __m256 d_all = _mm256_broadcastss_ps(halves);
  const __m256 m_all = _mm256_broadcastss_ps(_mm_movehdup_ps(halves));
  out.d[0] = _mm256_mul_ps(d_all, unsigned_bytes(_mm_cvtsi64_si128(static_cast<int64_t>(d))));
  out.m[0] = _mm256_mul_ps(m_all, unsigned_bytes(_mm_cvtsi64_si128(static_cast<int64_t>(m))));
}

template <>
struct Decoder<KernelType::kQ4_K> {
  static constexpr int kBytes = 144;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0;
  static constexpr int kLargest = 15;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 4
    for (unsigned c = 0; c < 4; ++c) {
      const __m256i q = load_256(w + 16 + 32 * c);
      out[2 * c] = and_mask(q, 15);
      out[2 * c + 1] = high_nibbles(q);
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    k_scales(w, out);
  }
};

template <>
struct Decoder<KernelType::kQ5_K> {
  static constexpr int kBytes = 176;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0;
  static constexpr int kLargest = 31;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
    Decoder<KernelType::kQ4_K>::codes(w + 32, out);
    const __m256i fifth = load_256(w + 16);  // bit g of byte i: column i of group g
    out[0] = _mm256_or_si256(out[0], and_mask(_mm256_slli_epi16(fifth, 4), 16));
    out[1] = _mm256_or_si256(out[1], and_mask(_mm256_slli_epi16(fifth, 3), 16));
    out[2] = _mm256_or_si256(out[2], and_mask(_mm256_slli_epi16(fifth, 2), 16));
    out[3] = _mm256_or_si256(out[3], and_mask(_mm256_slli_epi16(fifth, 1), 16));
    out[4] = _mm256_or_si256(out[4], and_mask(fifth, 16));
    out[5] = _mm256_or_si256(out[5], and_mask(_mm256_srli_epi16(fifth, 1), 16));
    out[6] = _mm256_or_si256(out[6], and_mask(_mm256_srli_epi16(fifth, 2), 16));
    out[7] = _mm256_or_si256(out[7], and_mask(_mm256_srli_epi16(fifth, 3), 16));
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) { k_scales(w, out); }
};

template <>
struct Decoder<KernelType::kQ6_K> {
  static constexpr int kBytes = 210;
  static constexpr int kGroups = 16;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 32;
  static constexpr int kLargest = 32;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; ++h) {
      const __m256i q0 = load_256(w + 64 * h);
      const __m256i q1 = load_256(w + 64 * h + 32);
      const __m256i high = load_256(w + 128 + 32 * h);
      const __m256i high0 = and_mask(_mm256_slli_epi16(high, 4), 48);
      const __m256i high1 = and_mask(_mm256_slli_epi16(high, 2), 48);
      const __m256i high3 = and_mask(_mm256_srli_epi16(high, 2), 48);
      out[4 * h] = _mm256_or_si256(and_mask(q0, 15), high0);
      out[4 * h + 1] = _mm256_or_si256(and_mask(q1, 15), high1);
      out[4 * h + 2] = _mm256_or_si256(high_nibbles(q0), and_mask(high, 48));
      out[4 * h + 3] = _mm256_or_si256(high_nibbles(q1), high3);
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    const __m128i all = load_128(w + 192);
    const __m256 d = _mm256_set1_ps(half_at(w + 208));
    out.d[0] = _mm256_mul_ps(d, signed_bytes(all));
    out.d[1] = _mm256_mul_ps(d, signed_bytes(upper_half(all)));
  }
};

// What four-bit codes of IQ4_NL and IQ4_XS, and of MXFP4, stand for, with the offsets added.
inline __m128i iq4_values() {
  return _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15);
}
inline __m128i mxfp4_values() {
  return _mm_setr_epi8(16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4);
}
inline __m256i look_up(__m128i values, const char* qs) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles(load_128(qs)));
}

template <>
struct Decoder<KernelType::kIQ4_NL> {
  static constexpr int kBytes = 8 * 18;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 127;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) out[g] = look_up(iq4_values(), w + 18 * g + 2);
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    out.d[0] = block_floats<18>(w);
  }
};

template <>
struct Decoder<KernelType::kIQ4_XS> {
  static constexpr int kBytes = 136;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 127;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) out[g] = look_up(iq4_values(), w + 8 + 16 * g);
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    const __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32(load_word<int32_t>(w + 4)),
                                          _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    const __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(load_word<uint16_t>(w + 2) << 4),
                                           _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    const __m256i six_bits = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(15)),
                                             _mm256_and_si256(high, _mm256_set1_epi32(48)));
    const __m256i centred = _mm256_sub_epi32(six_bits, _mm256_set1_epi32(32));
    out.d[0] = _mm256_mul_ps(_mm256_set1_ps(half_at(w)), _mm256_cvtepi32_ps(centred));
  }
};

template <>
struct Decoder<KernelType::kMXFP4> {
  static constexpr int kBytes = 8 * 17;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 16;
  static constexpr int kLargest = 12;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) out[g] = look_up(mxfp4_values(), w + 17 * g + 1);
  }
  // 2^(exponent - 128), whose two smallest values are denormal.
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    uint64_t bytes = 0;
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) bytes |= uint64_t{load_word<uint8_t>(w + 17 * g)} << (8 * g);
    const __m256i exponents = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(bytes)));
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(exponents, _mm256_set1_epi32(1)), 23);
    const __m256i denormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), exponents);
    const __m256i is_normal = _mm256_cmpgt_epi32(exponents, _mm256_set1_epi32(1));
    out.d[0] = _mm256_castsi256_ps(_mm256_blendv_epi8(denormal, normal, is_normal));
  }
};

// The grids with one byte an element.
template <unsigned kSize, class Entry>
struct Grid {
  Entry at[kSize];
};
template <unsigned kSize>
constexpr Grid<kSize, uint64_t> grid_of_8(const uint16_t (&packed)[kSize],
                                          const uint8_t (&values)[4]) {
  Grid<kSize, uint64_t> grid{};
  for (unsigned i = 0; i < kSize; ++i) {
    for (int j = 0; j < 8; ++j) {
      grid.at[i] |= uint64_t{values[uint32_t{packed[i]} >> (2 * j) & 3U]} << (8 * j);
    }
  }
  return grid;
}
template <unsigned kSize>
constexpr Grid<kSize, uint32_t> grid_of_4(const uint16_t (&packed)[kSize],
                                          const uint8_t (&values)[8]) {
  Grid<kSize, uint32_t> grid{};
  for (unsigned i = 0; i < kSize; ++i) {
    for (int j = 0; j < 4; ++j) {
      grid.at[i] |= uint32_t{values[uint32_t{packed[i]} >> (4 * j) & 7U]} << (8 * j);
    }
  }
  return grid;
}
// Eight signs in seven bits, as bits: the eighth makes the number of minuses even.
struct EvenSigns {
  uint8_t at[128];
};
constexpr EvenSigns even_signs() {
  EvenSigns signs{};
  for (int i = 0; i < 128; ++i) {
    signs.at[i] = static_cast<uint8_t>(i | (__builtin_popcount(static_cast<unsigned>(i)) & 1) << 7);
  }
  return signs;
}
constexpr auto kEvenSigns = even_signs();
constexpr uint8_t kIQ2Values[4] = {8, 25, 43, 0};
constexpr uint8_t kIQ3XXSValues[8] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr uint8_t kIQ3SValues[8] = {1, 3, 5, 7, 9, 11, 13, 15};
constexpr uint8_t kIQ1Values[4] = {7, 15, 23, 0};  // 8 * {-1, 0, 1} - 1 + 16
constexpr auto kIQ2XXSGrid = grid_of_8(kGridIQ2_XXS, kIQ2Values);
constexpr auto kIQ2XSGrid = grid_of_8(kGridIQ2_XS, kIQ2Values);
constexpr auto kIQ2SGrid = grid_of_8(kGridIQ2_S, kIQ2Values);
constexpr auto kIQ1Grid = grid_of_8(kGridIQ1_S, kIQ1Values);
constexpr auto kIQ3XXSGrid = grid_of_4(kGridIQ3_XXS, kIQ3XXSValues);
constexpr auto kIQ3SGrid = grid_of_4(kGridIQ3_S, kIQ3SValues);

inline uint32_t even_signs_of(uint32_t four_times_seven) {
  const auto at = [four_times_seven](int i) {
    return uint32_t{kEvenSigns.at[four_times_seven >> (7 * i) & 127U]} << (8 * i);
  };
  return at(0) | at(1) | at(2) | at(3);
}

// Magnitudes with a sign bit each, and 128 added.
inline __m256i signed_codes(__m256i magnitudes, uint32_t signs) {
  const __m256i minus = bits_to_bytes(signs);
  const __m256i value = _mm256_sub_epi8(_mm256_xor_si256(magnitudes, minus), minus);
  return _mm256_xor_si256(value, _mm256_set1_epi8(-128));
}

inline __m256i four_of_8(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return _mm256_setr_epi64x(static_cast<int64_t>(a), static_cast<int64_t>(b),
                            static_cast<int64_t>(c), static_cast<int64_t>(d));
}

inline uint32_t byte_at(const char* p) {
  return load_word<uint8_t>(p);
}

// d * (0.5 + scale) * factor, in this order.
inline __m256 iq_scales(float d, __m256i scale, float factor) {
  const __m256 sum = _mm256_add_ps(_mm256_set1_ps(0.5F), _mm256_cvtepi32_ps(scale));
  return _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(d), sum), _mm256_set1_ps(factor));
}

template <>
struct Decoder<KernelType::kIQ2_XXS> {
  static constexpr int kBytes = 66;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 43;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      const auto both = load_word<uint64_t>(w + 2 + 8 * g);
      const auto& grid = kIQ2XXSGrid.at;
      const __m256i magnitudes = four_of_8(grid[both & 255U], grid[both >> 8 & 255U],
                                           grid[both >> 16 & 255U], grid[both >> 24 & 255U]);
      out[g] = signed_codes(magnitudes, even_signs_of(static_cast<uint32_t>(both >> 32)));
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    out.d[0] = iq_scales(half_at(w), _mm256_srli_epi32(sign_words(w), 28), 0.25F);
  }
  // Of every group: four times seven signs, and the scale in the highest four bits.
  static __m256i sign_words(const char* w) {
    const __m256 first = _mm256_castsi256_ps(load_256(w + 2));
    const __m256 last = _mm256_castsi256_ps(load_256(w + 34));
    const __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(first, last, 0xdd));
    return _mm256_permute4x64_epi64(odd, 0xd8);
  }
};

// Sixteen four-bit scales of IQ2_XS and IQ2_S.
inline void iq2_scales(const char* w, const char* nibble_pairs, GroupScales& out) {
  const __m128i pairs = load_64(nibble_pairs);
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i all =
      _mm_unpacklo_epi8(_mm_and_si128(pairs, mask), _mm_and_si128(_mm_srli_epi16(pairs, 4), mask));
  const float d = half_at(w);
  out.d[0] = iq_scales(d, _mm256_cvtepu8_epi32(all), 0.25F);
  out.d[1] = iq_scales(d, _mm256_cvtepu8_epi32(upper_half(all)), 0.25F);
}

template <>
struct Decoder<KernelType::kIQ2_XS> {
  static constexpr int kBytes = 74;
  static constexpr int kGroups = 16;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 43;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
    const auto& grid = kIQ2XSGrid.at;
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      const auto four = load_word<uint64_t>(w + 2 + 8 * g);
      const __m256i magnitudes = four_of_8(grid[four & 511U], grid[four >> 16 & 511U],
                                           grid[four >> 32 & 511U], grid[four >> 48 & 511U]);
      const auto signs = [four](int i) {
        return uint32_t{kEvenSigns.at[four >> (16 * i + 9) & 127U]} << (8 * i);
      };
      out[g] = signed_codes(magnitudes, signs(0) | signs(1) | signs(2) | signs(3));
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    iq2_scales(w, w + 66, out);
  }
};

template <>
struct Decoder<KernelType::kIQ2_S> {
  static constexpr int kBytes = 82;
  static constexpr int kGroups = 16;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 43;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      const uint32_t high = byte_at(w + 66 + g);
      const auto magnitude = [w, g, high](unsigned i) {
        return kIQ2SGrid.at[byte_at(w + 2 + 4 * g + i) | (high >> (2 * i) & 3U) << 8];
      };
      const __m256i magnitudes = four_of_8(magnitude(0), magnitude(1), magnitude(2), magnitude(3));
      out[g] = signed_codes(magnitudes, load_word<uint32_t>(w + 34 + 4 * g));
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    iq2_scales(w, w + 74, out);
  }
};

// Eight magnitudes of IQ3 grids.
inline uint64_t two_of_4(uint32_t a, uint32_t b) {
  return a | uint64_t{b} << 32;
}

template <>
struct Decoder<KernelType::kIQ3_XXS> {
  static constexpr int kBytes = 98;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 62;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      const auto eight = load_word<uint64_t>(w + 2 + 8 * g);
      const auto pair = [eight](int i) {
        return two_of_4(kIQ3XXSGrid.at[eight >> (16 * i) & 255U],
                        kIQ3XXSGrid.at[eight >> (16 * i + 8) & 255U]);
      };
      const uint32_t signs = even_signs_of(load_word<uint32_t>(w + 66 + 4 * g));
      out[g] = signed_codes(four_of_8(pair(0), pair(1), pair(2), pair(3)), signs);
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    out.d[0] = iq_scales(half_at(w), _mm256_srli_epi32(load_256(w + 66), 28), 0.5F);
  }
};

template <>
struct Decoder<KernelType::kIQ3_S> {
  static constexpr int kBytes = 110;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 128;
  static constexpr int kLargest = 15;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      const uint32_t high = byte_at(w + 66 + g) << 8;
      const auto index = [w, g, high](unsigned i) {
        return byte_at(w + 2 + 8 * g + i) | (high >> i & 256U);
      };
      const auto pair = [&index](unsigned i) {
        return two_of_4(kIQ3SGrid.at[index(2 * i)], kIQ3SGrid.at[index(2 * i + 1)]);
      };
      const auto signs = load_word<uint32_t>(w + 74 + 4 * g);
      out[g] = signed_codes(four_of_8(pair(0), pair(1), pair(2), pair(3)), signs);
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    const __m256i all = _mm256_srlv_epi32(_mm256_set1_epi32(load_word<int32_t>(w + 106)),
                                          _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    const __m256i four_bits = _mm256_and_si256(all, _mm256_set1_epi32(15));
    const __m256i odd =
        _mm256_add_epi32(_mm256_add_epi32(four_bits, four_bits), _mm256_set1_epi32(1));
    out.d[0] = _mm256_mul_ps(_mm256_set1_ps(half_at(w)), _mm256_cvtepi32_ps(odd));
  }
};

// d * (2 * scale + 1), for codes of eighths.
inline __m256 iq1_scales(float d, __m256i scale) {
  const __m256i odd = _mm256_add_epi32(_mm256_add_epi32(scale, scale), _mm256_set1_epi32(1));
  const __m256 whole = _mm256_mul_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(odd));
  return _mm256_mul_ps(whole, _mm256_set1_ps(0.125F));
}

template <>
struct Decoder<KernelType::kIQ1_S> {
  static constexpr int kBytes = 50;
  static constexpr int kGroups = 8;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 16;
  static constexpr int kLargest = 9;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      const auto low = load_word<uint32_t>(w + 2 + 4 * g);
      const uint32_t high = load_word<uint16_t>(w + 34 + 2 * g);
      const auto grid = [low, high](int i) {
        return kIQ1Grid.at[(low >> (8 * i) & 255U) | (high >> (3 * i) & 7U) << 8];
      };
      const __m256i down = four_of_8(grid(0), grid(1), grid(2), grid(3));
      const auto step = static_cast<char>(2U - (high >> 15) * 2U);  // 2 where the shift is up
      out[g] = _mm256_add_epi8(down, _mm256_set1_epi8(step));
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    const __m128i three_bits =
        _mm_and_si128(_mm_srli_epi16(load_128(w + 34), 12), _mm_set1_epi16(7));
    out.d[0] = iq1_scales(half_at(w), _mm256_cvtepu16_epi32(three_bits));
  }
};

template <>
struct Decoder<KernelType::kIQ1_M> {
  static constexpr int kBytes = 56;
  static constexpr int kGroups = 16;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 16;
  static constexpr int kLargest = 9;

  [[gnu::always_inline]] static void codes(const char* w, __m256i (&out)[kChunkVectors]) {
#pragma GCC unroll 8
    for (unsigned g = 0; g < kChunkVectors; ++g) {
      const auto low = load_word<uint32_t>(w + 4 * g);
      const uint32_t high = load_word<uint16_t>(w + 32 + 2 * g);
      const auto grid = [low, high](int i) {
        const uint32_t four_bits = high >> (4 * i);
        const uint64_t step = (four_bits & 8U) != 0 ? 0 : 0x0202020202020202;
        return kIQ1Grid.at[(low >> (8 * i) & 255U) | (four_bits & 7U) << 8] + step;
      };
      out[g] = four_of_8(grid(0), grid(1), grid(2), grid(3));
    }
  }
  [[gnu::always_inline]] static void scales(const char* w, GroupScales& out) {
    const auto words = load_word<uint64_t>(w + 48);
    const uint64_t d_bits = (words >> 12 & 15U) | (words >> 24 & 0xf0U) | (words >> 36 & 0xf00U) |
                            (words >> 48 & 0xf000U);
    const float d = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(d_bits))));
    // Four three-bit scales in each of the four words.
    const __m256i shifts = _mm256_setr_epi32(0, 3, 6, 9, 16, 19, 22, 25);
    const __m256i first = _mm256_set1_epi32(static_cast<int>(words & 0xffffffffU));
    const __m256i last = _mm256_set1_epi32(static_cast<int>(words >> 32));
    const __m256i mask = _mm256_set1_epi32(7);
    out.d[0] = iq1_scales(d, _mm256_and_si256(_mm256_srlv_epi32(first, shifts), mask));
    out.d[1] = iq1_scales(d, _mm256_and_si256(_mm256_srlv_epi32(last, shifts), mask));
  }
};

}  // namespace
}  // namespace pensee
