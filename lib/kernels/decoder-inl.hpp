// What a decoder of a block type is, and what decoders are made of. All of it has internal linkage.
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
// Eight sums of an input's codes.
inline __m256i load_sums(const int16_t* p) {
  return _mm256_cvtepi16_epi32(load_128(reinterpret_cast<const char*>(p)));
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

}  // namespace
}  // namespace pensee
