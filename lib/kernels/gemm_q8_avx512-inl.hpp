// The AVX-512 side of gemm_q8-inl.hpp: its vectors, and the levels of 16 rows' chunks.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "gemm_q8-inl.hpp"
#include "panels_avx512-inl.hpp"

namespace pensee {
namespace {

struct WideInts {
  static constexpr unsigned kLanes = 16;
  // With two panels, the sums of two groups' products, and those of chunks: 32 registers.
  static constexpr unsigned kTileInputs = 4;
  // More sums: adding to one takes longer than eight of them would keep the units busy.
  static constexpr unsigned kGroupsAtOnce = 2;
  static void spare_registers(int32_t (&)[2]) {}
  using Ints = __m512i;
  using Floats = __m512;

  static Ints words(int32_t v) { return _mm512_set1_epi32(v); }
  static Ints halves(int16_t v) { return _mm512_set1_epi16(v); }
  static Floats floats(Ints v) { return _mm512_cvtepi32_ps(v); }
  // sum + products of four unsigned and signed bytes, or of two numbers of 16 bits.
  static Ints add_fours(Ints sum, Ints a, Ints b) { return _mm512_dpbusd_epi32(sum, a, b); }
  static Ints add_pairs(Ints sum, Ints a, Ints b) { return _mm512_dpwssd_epi32(sum, a, b); }
  static Ints add_halves(Ints a, Ints b) { return _mm512_add_epi16(a, b); }
  // Of numbers of 16 bits, divided by 32768 and rounded.
  static Ints multiply_halves(Ints a, Ints b) { return _mm512_mulhrs_epi16(a, b); }
  // Both shifted to the right, side by side in 16 bits.
  template <unsigned kShift>
  static Ints narrow(Ints even, Ints odd) {
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(even, kShift),
                                   _mm512_slli_epi32(odd, 16 - kShift));
  }
  template <class E>
  static void fill_rows(const char* const* rows, GemmPanel<WideInts, GemmType<E>>& panel) {
    fill<E>(RowWords{rows}, panel);
  }
  template <class E, class Words>
  static void fill(const Words& w, GemmPanel<WideInts, GemmType<E>>& panel);
};

// 1 / x, and 0 where x is too small to count, or NaN.
inline __m512 inverse_of(__m512 x) {
  const __mmask16 is_some =
      _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(1e-30F), _CMP_GE_OQ);
  return _mm512_maskz_div_ps(is_some, _mm512_set1_ps(1.0F), x);
}

// The largest magnitudes of the groups' numbers; NaN where one is not finite.
template <unsigned kGroups>
[[gnu::always_inline]] inline __m512 largest_of(const __m512 (&numbers)[kGroups]) {
  __m512i largest = _mm512_setzero_si512();  // as bits: those of a NaN are above all numbers'
#pragma GCC unroll 16
  for (const __m512 value : numbers) {
    largest = _mm512_max_epi32(largest, _mm512_castps_si512(_mm512_abs_ps(value)));
  }
  const __m512 value = _mm512_castsi512_ps(largest);
  return _mm512_fmadd_ps(value, _mm512_setzero_ps(), value);
}

template <unsigned kGroups>
[[gnu::always_inline]] inline void find_levels(const __m512 (&numbers)[kGroups], __m512 inverse,
                                               __m512i (&pairs)[kGroups / 2]) {
#pragma GCC unroll 8
  for (unsigned g = 0; g < kGroups; g += 2) {
    const __m512i even = _mm512_cvtps_epi32(_mm512_mul_ps(numbers[g], inverse));
    const __m512i odd = _mm512_cvtps_epi32(_mm512_mul_ps(numbers[g + 1], inverse));
    pairs[g / 2] = _mm512_mask_blend_epi16(0xaaaaaaaa, even, _mm512_slli_epi32(odd, 16));
  }
}

// find() gives the levels of a chunk, in units of a scale; those of minimums, which kMinUnit
// divides, have the sign turned, and make up for codes that count from kCentre.
template <class E>
struct FloatLevels {
  template <int kCentre, int kMinUnit, class Words>
  [[gnu::noinline]] static void find(const Words& w,
                                     PanelLevels<WideInts, E::kGroups, E::kHasMin>& out) {
    constexpr unsigned kGroups = E::kGroups;
    __m512 scales[kGroups];
    __m512 mins[E::kHasMin ? kGroups : 1];
    PanelSource<E>::scales(w, scales, mins);
    out.unit = _mm512_mul_ps(largest_of(scales), _mm512_set1_ps(1.0F / kScaleLevels));
    if constexpr (E::kHasMin) {
      constexpr float kLargest = static_cast<float>(kMinLevels) * kMinUnit;
      const __m512 centre = _mm512_set1_ps(static_cast<float>(kCentre));
#pragma GCC unroll 16
      for (unsigned g = 0; g < kGroups; ++g) {
        mins[g] = _mm512_fnmadd_ps(scales[g], centre, mins[g]);
      }
      const __m512 of_mins = _mm512_mul_ps(largest_of(mins), _mm512_set1_ps(1.0F / kLargest));
      out.unit = _mm512_max_ps(out.unit, of_mins);
      out.unit = _mm512_fmadd_ps(of_mins, _mm512_setzero_ps(), out.unit);
    }
    const __m512 inverse = inverse_of(out.unit);
    find_levels(scales, inverse, out.scales);
    if constexpr (E::kHasMin) {
      find_levels(mins, _mm512_mul_ps(inverse, _mm512_set1_ps(-1.0F / kMinUnit)), out.mins);
    }
  }
};

template <class E>
struct LevelSource : FloatLevels<E> {};

// The same number in both halves of a word.
inline __m512i in_halves(__m512i numbers) {
  return _mm512_or_si512(numbers, _mm512_slli_epi32(numbers, 16));
}

// Bytes 0 and 1 of every word, or 2 and 3, times 256 in 16 bits each.
inline __m512i raised_pair(__m512i bytes, unsigned second) {
  const __m128i first_pairs =
      _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
  const __m128i pairs =
      second == 0 ? first_pairs
                  : _mm_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15);
  return _mm512_shuffle_epi8(bytes, _mm512_broadcast_i32x4(pairs));
}

// The largest byte of every word.
inline __m512 largest_byte(__m512i bytes) {
  bytes = _mm512_max_epu8(bytes, _mm512_srli_epi32(bytes, 16));
  bytes = _mm512_max_epu8(bytes, _mm512_srli_epi32(bytes, 8));
  return _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(255)));
}

// Where scales are a float times whole numbers, levels are those numbers times a factor, which is
// as exact and less work. The factor counts on a largest number of 32 at least, which keeps it, and
// the factors that minimums have, within 16 bits.
constexpr float kLeastLargest = 32.0F;

// Q4_K and Q5_K. False where m is much larger than d, or one of them is not finite.
template <int kCentre, int kMinUnit, class Words>
[[gnu::always_inline]] inline bool find_k_levels(const Words& w,
                                                 PanelLevels<WideInts, 8, true>& out) {
  static_assert(kCentre * 128 == 32 * kMinUnit);
  constexpr float kMost = 256.0F;
  const PanelKScales k(w);
  const __m512 d = _mm512_abs_ps(k.d);
  const __m512 m_in_d = _mm512_div_ps(k.m, k.d);
  const __m512 ratio = _mm512_abs_ps(m_in_d);
  const __mmask16 is_large = _mm512_cmp_ps_mask(d, _mm512_set1_ps(1e-20F), _CMP_GE_OQ);
  const __mmask16 is_near = _mm512_cmp_ps_mask(ratio, _mm512_set1_ps(kMost), _CMP_LE_OQ);
  if ((is_large & is_near) != 0xffff) {
    return false;
  }
  const auto largest = [](const __m512i(&bytes)[2]) {
    return _mm512_max_ps(largest_byte(_mm512_max_epu8(bytes[0], bytes[1])),
                         _mm512_set1_ps(kLeastLargest));
  };
  // What numbers in units of d come to at most, in levels.
  const __m512 of_scales = largest(k.scales);
  const __m512 of_centres = _mm512_mul_ps(of_scales, _mm512_set1_ps(static_cast<float>(kCentre)));
  const __m512 of_mins = _mm512_fmadd_ps(ratio, largest(k.mins), of_centres);
  const __m512 most =
      _mm512_max_ps(_mm512_mul_ps(of_scales, _mm512_set1_ps(1.0F / kScaleLevels)),
                    _mm512_mul_ps(of_mins, _mm512_set1_ps(1.0F / (kMinLevels * kMinUnit))));
  // A multiple of four: what it adds to minimums then is exact.
  const __m512i fours =
      _mm512_cvtps_epi32(_mm512_floor_ps(_mm512_div_ps(_mm512_set1_ps(0.25F), most)));
  const __m512i factor = _mm512_slli_epi32(fours, 2);
  const __m512 factor_float = _mm512_cvtepi32_ps(factor);
  out.unit = _mm512_div_ps(k.d, factor_float);

  const __m512i of_scale = in_halves(factor);
  const __m512i of_centre = _mm512_slli_epi16(of_scale, 5);
  const __m512 min_factor = _mm512_mul_ps(factor_float, _mm512_set1_ps(128.0F / kMinUnit));
  const __m512i of_min = in_halves(_mm512_and_si512(
      _mm512_cvtps_epi32(_mm512_mul_ps(m_in_d, min_factor)), _mm512_set1_epi32(65535)));
#pragma GCC unroll 4
  for (unsigned p = 0; p < 4; ++p) {
    const __m512i scales = raised_pair(k.scales[p / 2], p % 2);
    const __m512i mins = raised_pair(k.mins[p / 2], p % 2);
    out.scales[p] = _mm512_mullo_epi16(_mm512_srli_epi16(scales, 8), of_scale);
    out.mins[p] =
        _mm512_sub_epi16(_mm512_mulhrs_epi16(scales, of_centre), _mm512_mulhrs_epi16(mins, of_min));
  }
  return true;
}

template <>
struct LevelSource<Decoder<KernelType::kQ4_K>> {
  template <int kCentre, int kMinUnit, class Words>
  [[gnu::always_inline]] static void find(const Words& w, PanelLevels<WideInts, 8, true>& out) {
    if (find_k_levels<kCentre, kMinUnit>(w, out)) return;
    FloatLevels<Decoder<KernelType::kQ4_K>>::find<kCentre, kMinUnit>(w, out);
  }
};

template <>
struct LevelSource<Decoder<KernelType::kQ5_K>> {
  template <int kCentre, int kMinUnit, class Words>
  [[gnu::always_inline]] static void find(const Words& w, PanelLevels<WideInts, 8, true>& out) {
    if (find_k_levels<kCentre, kMinUnit>(w, out)) return;
    FloatLevels<Decoder<KernelType::kQ5_K>>::find<kCentre, kMinUnit>(w, out);
  }
};

template <>
struct LevelSource<Decoder<KernelType::kQ6_K>> {
  template <int kCentre, int kMinUnit, class Words>
  static void find(const Words& w, PanelLevels<WideInts, 16, false>& out) {
    __m512i bytes[4];
    const __m512 d = panel_q6_k_scales(w, bytes);
    __m512i largest = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (const __m512i word : bytes) largest = _mm512_max_epu8(largest, _mm512_abs_epi8(word));
    const __m512 most = _mm512_max_ps(largest_byte(largest), _mm512_set1_ps(kLeastLargest));
    const __m512 factor = _mm512_floor_ps(_mm512_div_ps(_mm512_set1_ps(kScaleLevels), most));
    out.unit = _mm512_fmadd_ps(d, _mm512_setzero_ps(), _mm512_div_ps(d, factor));
    const __m512i of_scale = in_halves(_mm512_cvtps_epi32(factor));
#pragma GCC unroll 8
    for (unsigned p = 0; p < 8; ++p) {
      const __m512i scales = _mm512_srai_epi16(raised_pair(bytes[p / 2], p % 2), 8);
      out.scales[p] = _mm512_mullo_epi16(scales, of_scale);
    }
  }
};

template <class E, class Words>
void WideInts::fill(const Words& w, GemmPanel<WideInts, GemmType<E>>& panel) {
  LevelSource<E>::template find<GemmType<E>::kCentre, kMinUnitOf<E>>(w, panel.levels);
  panel.levels.unit = _mm512_mul_ps(panel.levels.unit, _mm512_set1_ps(kProductUnit<E>));
  PanelSource<E>::codes(w, panel.codes);
}

}  // namespace
}  // namespace pensee
