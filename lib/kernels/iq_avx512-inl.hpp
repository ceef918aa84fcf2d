// The codes of the IQ types with grids in AVX-512 registers; see Wide in q8_avx512-inl.hpp.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "blocks-inl.hpp"
#include "wide_avx512-inl.hpp"

namespace pensee {
namespace {

// Eight entries of a grid whose indices are words of `low` and `high`, from the lowest one up.
template <unsigned kSize>
inline __m512i eight_entries(const Grid<kSize, uint64_t>& grid, uint64_t low, uint64_t high) {
  const auto four = [&grid](uint64_t words) {
    return four_of_8(grid.at[words & 0xffffU], grid.at[words >> 16 & 0xffffU],
                     grid.at[words >> 32 & 0xffffU], grid.at[words >> 48]);
  };
  return join(four(low), four(high));
}

// `f(v, lower half, upper half)` for the 128-bit lanes of `words`, as numbers.
template <class F>
inline void for_each_lane(__m512i words, F&& f) {
  const auto low = [](__m128i v) { return static_cast<uint64_t>(_mm_cvtsi128_si64(v)); };
  const auto high = [](__m128i v) { return static_cast<uint64_t>(_mm_extract_epi64(v, 1)); };
  const __m256i first = _mm512_castsi512_si256(words);
  const __m256i last = _mm512_extracti64x4_epi64(words, 1);
  const __m128i lanes[4] = {_mm256_castsi256_si128(first), _mm256_extracti128_si256(first, 1),
                            _mm256_castsi256_si128(last), _mm256_extracti128_si256(last, 1)};
#pragma GCC unroll 4
  for (unsigned v = 0; v < 4; ++v) f(v, low(lanes[v]), high(lanes[v]));
}

// The signs of a chunk, a bit for each column.
struct Signs {
  alignas(32) uint64_t of_vector[kWideVectors];

  // From 32 bytes that hold eight signs each.
  void set(__m256i bytes) { _mm256_store_si256(reinterpret_cast<__m256i*>(of_vector), bytes); }
  // From 32 bytes that hold seven signs each; the eighth makes the number of minuses even.
  void set_even(__m256i sevens) {
    const __m128i parity =
        _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0);
    const __m256i table = _mm256_broadcastsi128_si256(parity);
    const __m256i odd = _mm256_xor_si256(_mm256_shuffle_epi8(table, and_mask(sevens, 15)),
                                         _mm256_shuffle_epi8(table, high_nibbles(sevens)));
    set(_mm256_or_si256(sevens, odd));
  }
  // From eight words that hold four times seven signs each, from the lowest bit up.
  void set_even_words(__m256i words) {
    const auto field = [words](int shift, int mask) {
      return _mm256_and_si256(_mm256_slli_epi32(words, shift), _mm256_set1_epi32(mask));
    };
    set_even(_mm256_or_si256(_mm256_or_si256(field(0, 0x7f), field(1, 0x7f00)),
                             _mm256_or_si256(field(2, 0x7f0000), field(3, 0x7f000000))));
  }
};

// Codes with 128 added, from magnitudes with 128 added: 256 less the sum is the negative code.
inline __m512i with_signs(__m512i codes, uint64_t signs) {
  return _mm512_mask_sub_epi8(codes, signs, _mm512_setzero_si512(), codes);
}

constexpr uint8_t kIQ2Biased[4] = {128 + 8, 128 + 25, 128 + 43, 0};
constexpr uint8_t kIQ3XXSBiased[8] = {132, 140, 148, 156, 164, 172, 180, 190};
constexpr uint8_t kIQ3SBiased[8] = {129, 131, 133, 135, 137, 139, 141, 143};
constexpr auto kIQ2XXSWide = grid_of_8(kGridIQ2_XXS, kIQ2Biased);
constexpr auto kIQ2XSWide = grid_of_8(kGridIQ2_XS, kIQ2Biased);
constexpr auto kIQ2SWide = grid_of_8(kGridIQ2_S, kIQ2Biased);
constexpr auto kIQ3XXSWide = grid_of_4(kGridIQ3_XXS, kIQ3XXSBiased);
constexpr auto kIQ3SWide = grid_of_4(kGridIQ3_S, kIQ3SBiased);

// Word 4 i + j of the result is word i of `words`, shifted right by j times kBits, masked.
template <int kBits>
inline __m512i four_fields(__m512i spread, int mask) {
  const __m512i shifts =
      _mm512_set1_epi64(int64_t{kBits} << 16 | int64_t{2 * kBits} << 32 | int64_t{3 * kBits} << 48);
  return _mm512_and_si512(_mm512_srlv_epi16(spread, shifts),
                          _mm512_set1_epi16(static_cast<int16_t>(mask)));
}
// Eight numbers of 64 bits: the lowest word of each, four times.
inline __m512i four_times(__m512i numbers) {
  const __m128i lowest = _mm_setr_epi8(0, 1, 0, 1, 0, 1, 0, 1, 8, 9, 8, 9, 8, 9, 8, 9);
  return _mm512_shuffle_epi8(numbers, _mm512_broadcast_i32x4(lowest));
}

template <>
struct Wide<Decoder<KernelType::kIQ2_XXS>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    Signs signs;
    signs.set_even_words(Decoder<KernelType::kIQ2_XXS>::sign_words(w));
#pragma GCC unroll 4
    for (unsigned v = 0; v < kWideVectors; ++v) {
      const auto entries = [w, v](unsigned g) {
        const auto four = load_word<uint32_t>(w + 2 + 16 * v + 8 * g);
        const auto& grid = kIQ2XXSWide.at;
        return four_of_8(grid[four & 255U], grid[four >> 8 & 255U], grid[four >> 16 & 255U],
                         grid[four >> 24]);
      };
      out[v] = with_signs(join(entries(0), entries(1)), signs.of_vector[v]);
    }
  }
};

template <>
struct Wide<Decoder<KernelType::kIQ2_XS>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    const __m512i both = load_512(w + 2);
    Signs signs;
    signs.set_even(_mm512_cvtepi16_epi8(_mm512_srli_epi16(both, 9)));
    const __m512i index = _mm512_and_si512(both, _mm512_set1_epi16(511));
    for_each_lane(index, [&](unsigned v, uint64_t low, uint64_t high) {
      out[v] = with_signs(eight_entries(kIQ2XSWide, low, high), signs.of_vector[v]);
    });
  }
};

template <>
struct Wide<Decoder<KernelType::kIQ2_S>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    const __m512i high = four_fields<2>(four_times(_mm512_cvtepu8_epi64(load_64(w + 66))), 3);
    const __m512i low = _mm512_cvtepu8_epi16(load_256(w + 2));
    const __m512i index = _mm512_or_si512(low, _mm512_slli_epi16(high, 8));
    for_each_lane(index, [&](unsigned v, uint64_t first, uint64_t last) {
      out[v] =
          with_signs(eight_entries(kIQ2SWide, first, last), load_word<uint64_t>(w + 34 + 8 * v));
    });
  }
};

// Two entries of four for each of eight indices in pairs: bytes or words of kBits.
template <int kBits, unsigned kSize>
inline __m256i eight_quads(const Grid<kSize, uint32_t>& grid, uint64_t first, uint64_t second) {
  constexpr uint64_t kMask = (1U << kBits) - 1U;
  const auto pair = [&grid](uint64_t indices) {
    return two_of_4(grid.at[indices & kMask], grid.at[indices >> kBits & kMask]);
  };
  return four_of_8(pair(first), pair(first >> 2 * kBits), pair(second), pair(second >> 2 * kBits));
}

template <>
struct Wide<Decoder<KernelType::kIQ3_XXS>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    Signs signs;
    signs.set_even_words(load_256(w + 66));
#pragma GCC unroll 4
    for (unsigned v = 0; v < kWideVectors; ++v) {
      const auto half = [w, v](unsigned g) {
        const auto eight = load_word<uint64_t>(w + 2 + 16 * v + 8 * g);
        return eight_quads<8>(kIQ3XXSWide, eight, eight >> 32);
      };
      out[v] = with_signs(join(half(0), half(1)), signs.of_vector[v]);
    }
  }
};

template <>
struct Wide<Decoder<KernelType::kIQ3_S>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
#pragma GCC unroll 2
    for (unsigned h = 0; h < 2; ++h) {
      const __m512i low = _mm512_cvtepu8_epi16(load_256(w + 2 + 32 * h));
      const auto high = load_word<uint32_t>(w + 66 + 4 * h);
      const __m512i index =
          _mm512_or_si512(low, _mm512_and_si512(_mm512_movm_epi16(high), _mm512_set1_epi16(256)));
      __m256i halves[4];
      for_each_lane(index, [&](unsigned q, uint64_t first, uint64_t last) {
        halves[q] = eight_quads<16>(kIQ3SWide, first, last);
      });
      out[2 * h] = with_signs(join(halves[0], halves[1]), load_word<uint64_t>(w + 74 + 16 * h));
      out[2 * h + 1] = with_signs(join(halves[2], halves[3]), load_word<uint64_t>(w + 82 + 16 * h));
    }
  }
};

template <>
struct Wide<Decoder<KernelType::kIQ1_S>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    const __m128i words = load_128(w + 34);
    const __m512i high = four_fields<3>(four_times(_mm512_cvtepu16_epi64(words)), 7);
    const __m512i low = _mm512_cvtepu8_epi16(load_256(w + 2));
    const __m512i index = _mm512_or_si512(low, _mm512_slli_epi16(high, 8));
    // Where the shift is up, 2 more in both bytes of a word.
    const __m128i up = _mm_andnot_si128(_mm_srai_epi16(words, 15), _mm_set1_epi16(0x0202));
    const __m512i steps = _mm512_broadcast_i32x4(up);
    for_each_lane(index, [&](unsigned v, uint64_t first, uint64_t last) {
      const __m256i word = _mm256_set1_epi16(static_cast<int16_t>(4 * v | (4 * v + 1) << 8));
      const __m512i select = join(word, _mm256_add_epi8(word, _mm256_set1_epi8(2)));
      out[v] =
          _mm512_add_epi8(eight_entries(kIQ1Grid, first, last), _mm512_shuffle_epi8(steps, select));
    });
  }
};

template <>
struct Wide<Decoder<KernelType::kIQ1_M>> {
  static constexpr Order kOrder = Order::kColumns;
  [[gnu::always_inline]] static void codes(const char* w, __m512i (&out)[kWideVectors]) {
    // The lower four bits of a byte belong to one word, the upper ones to the next.
    const __m512i bytes = _mm512_cvtepu8_epi32(load_128(w + 32));
    const __m512i four_bits = _mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 12));
    const __m512i high = _mm512_and_si512(four_bits, _mm512_set1_epi16(7));
    const __m512i low = _mm512_cvtepu8_epi16(load_256(w));
    const __m512i index = _mm512_or_si512(low, _mm512_slli_epi16(high, 8));
    const uint32_t up = ~_mm512_test_epi16_mask(four_bits, _mm512_set1_epi16(8));
    for_each_lane(index, [&](unsigned v, uint64_t first, uint64_t last) {
      const __m512i down = eight_entries(kIQ1Grid, first, last);
      out[v] = _mm512_mask_add_epi64(down, static_cast<__mmask8>(up >> (8 * v)), down,
                                     _mm512_set1_epi8(2));
    });
  }
};

}  // namespace
}  // namespace pensee
