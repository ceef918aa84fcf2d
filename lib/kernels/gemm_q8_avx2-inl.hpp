// The AVX2 side of gemm_q8-inl.hpp, with AVX-VNNI or without.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "gemm_q8-inl.hpp"
#include "q8_avx2-inl.hpp"

namespace pensee {
namespace {

struct NarrowInts {
  static constexpr unsigned kLanes = 8;
  // With two panels and two inputs, the sums of two groups' products, and those of chunks: 16
  // registers. Without VNNI more inputs pay though these sums do not stay in registers: within a
  // group the pairs do.
  static constexpr unsigned kTileInputs = kHasVnni ? 2 : 4;
  static constexpr unsigned kGroupsAtOnce = 1;
  // The numbers stay in memory until they are needed.
  static void spare_registers(int32_t (&numbers)[2]) { asm("" : "+m"(numbers)); }
  using Ints = __m256i;
  using Floats = __m256;

  static Ints words(int32_t v) { return _mm256_set1_epi32(v); }
  static Ints halves(int16_t v) { return _mm256_set1_epi16(v); }
  static Floats floats(Ints v) { return _mm256_cvtepi32_ps(v); }
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
  static Ints add_fours(Ints sum, Ints a, Ints b) {
    return vnni_fours(sum, a, b);
  }
  static Ints add_pairs(Ints sum, Ints a, Ints b) {
    return vnni_pairs(sum, a, b);
  }
#else
  static Ints multiply_pairs(Ints a, Ints b) {
    return _mm256_maddubs_epi16(a, b);
  }
  // In the lower half of a word the sum of the halves of `even`, in the upper one that of `odd`.
  static Ints add_crosswise(Ints even, Ints odd) {
    return _mm256_add_epi16(_mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa),
                            _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xaa));
  }
  static Ints add_pairs(Ints sum, Ints a, Ints b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
#endif
  static Ints add_halves(Ints a, Ints b) {
    return _mm256_add_epi16(a, b);
  }
  static Ints multiply_halves(Ints a, Ints b) {
    return _mm256_mulhrs_epi16(a, b);
  }
  template <unsigned kShift>
  static Ints narrow(Ints even, Ints odd) {
    return _mm256_blend_epi16(_mm256_srli_epi32(even, kShift), _mm256_slli_epi32(odd, 16 - kShift),
                              0xaa);
  }
  template <class E>
  static void fill_rows(const char* const* w, GemmPanel<NarrowInts, GemmType<E>>& panel);
};

// The largest magnitudes of the groups' numbers; NaN where one is not finite.
template <unsigned kGroups>
[[gnu::always_inline]] inline __m256 largest_of(const __m256 (&numbers)[kGroups]) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i largest = _mm256_setzero_si256();  // as bits: those of a NaN are above all numbers'
#pragma GCC unroll 16
  for (const __m256 value : numbers) {
    largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(value), magnitude));
  }
  const __m256 value = _mm256_castsi256_ps(largest);
  return _mm256_fmadd_ps(value, _mm256_setzero_ps(), value);
}

template <unsigned kGroups>
[[gnu::always_inline]] inline void find_levels(const __m256 (&numbers)[kGroups], __m256 inverse,
                                               __m256i (&pairs)[kGroups / 2]) {
#pragma GCC unroll 8
  for (unsigned g = 0; g < kGroups; g += 2) {
    const __m256i even = _mm256_cvtps_epi32(_mm256_mul_ps(numbers[g], inverse));
    const __m256i odd = _mm256_cvtps_epi32(_mm256_mul_ps(numbers[g + 1], inverse));
    pairs[g / 2] = _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa);
  }
}

template <class E>
void NarrowInts::fill_rows(const char* const* w, GemmPanel<NarrowInts, GemmType<E>>& panel) {
  constexpr unsigned kGroups = E::kGroups;
  __m256 scales[kGroups];
  __m256 mins[E::kHasMin ? kGroups : 1];
  NarrowPanel<E>::fill(w, panel.codes, scales, mins);
  auto& levels = panel.levels;
  __m256 unit = _mm256_mul_ps(largest_of(scales), _mm256_set1_ps(1.0F / kScaleLevels));
  if constexpr (E::kHasMin) {
    constexpr float kLargest = static_cast<float>(kMinLevels) * kMinUnitOf<E>;
    const __m256 centre = _mm256_set1_ps(static_cast<float>(GemmType<E>::kCentre));
#pragma GCC unroll 16
    for (unsigned g = 0; g < kGroups; ++g) mins[g] = _mm256_fnmadd_ps(scales[g], centre, mins[g]);
    const __m256 of_mins = _mm256_mul_ps(largest_of(mins), _mm256_set1_ps(1.0F / kLargest));
    unit = _mm256_fmadd_ps(of_mins, _mm256_setzero_ps(), _mm256_max_ps(unit, of_mins));
  }
  const __m256 is_some = _mm256_cmp_ps(unit, _mm256_set1_ps(1e-30F), _CMP_GE_OQ);
  const __m256 inverse = _mm256_and_ps(is_some, _mm256_div_ps(_mm256_set1_ps(1.0F), unit));
  find_levels(scales, inverse, levels.scales);
  if constexpr (E::kHasMin) {
    find_levels(mins, _mm256_mul_ps(inverse, _mm256_set1_ps(-1.0F / kMinUnitOf<E>)), levels.mins);
  }
  levels.unit = _mm256_mul_ps(unit, _mm256_set1_ps(kProductUnit<E>));
}

}  // namespace
}  // namespace pensee
