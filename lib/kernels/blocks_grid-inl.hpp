// The decoders of the types whose codes are places in a grid: IQ1, IQ2 and IQ3. All of it has
// internal linkage.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "decoder-inl.hpp"
#include "pensee/kernels/block_grids.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {
namespace {

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
