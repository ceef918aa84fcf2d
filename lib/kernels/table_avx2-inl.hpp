// The kernel table for AVX2 with FMA and F16C, and with what else the file that includes this one
// is compiled for: AVX-VNNI.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "attention_avx2-inl.hpp"
#include "attention_rows-inl.hpp"
#include "gemm_q8_avx2-inl.hpp"
#include "make_table-inl.hpp"
#include "matrix-inl.hpp"
#include "pensee/kernels/table.hpp"
#include "q8-inl.hpp"
#include "q8_avx2-inl.hpp"
#include "quantize-inl.hpp"
#include "vector-inl.hpp"

namespace pensee {
namespace {

struct Simd {
  using Vec = __m256;
  static constexpr unsigned kLanes = 8;
  // Rows of a dot-product tile by the number of inputs: at most 8 accumulators, so that with one
  // step of decoded weights everything stays in 16 registers.
  static constexpr unsigned kDotTileRows[] = {0, 4, 4, 2, 2};
  // For q8-inl.hpp: how many panels and inputs are multiplied together.
  static constexpr unsigned kPanels = 1;
  static constexpr unsigned kPanelTileInputs = kHasVnni ? 4 : 2;
  template <class E, unsigned R, unsigned X>
  using Rows = NarrowRows<E, R, X>;
  template <class E>
  static constexpr bool kPairsPay = E::kGroups == 8 && short_products<E>() >= 8;
  // Rows, whose many additions in 16 bits take the place of multiplications without VNNI, pay
  // longer.
  template <class E>
  static constexpr int64_t kPanelInputs = short_products<E>() >= 8 ? 5 : 4;
  template <class E>
  using Panel = NarrowPanel<E>;
  static constexpr unsigned kAddTileOutputs = 2;
  // For attention-inl.hpp: rows of a left operand that are multiplied together.
  static constexpr unsigned kProductRows = 4;

  static Vec zero() { return _mm256_setzero_ps(); }
  static Vec set1(float v) { return _mm256_set1_ps(v); }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
  static Vec sqrt(Vec v) { return _mm256_sqrt_ps(v); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  // Of a NaN and a number, both give the second argument.
  static Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }

  // kLanes codes, from the lower end of a vector, without their offset.
  static Vec code_floats(__m128i codes, int offset) {
    return _mm256_cvtepi32_ps(
        _mm256_sub_epi32(_mm256_cvtepu8_epi32(codes), _mm256_set1_epi32(offset)));
  }
  static void quantize_groups(const float* x, Q8Chunk* out) { pensee::quantize_groups(x, out); }

  static float sum(Vec v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float max_lane(Vec v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }

  static void transpose(Vec (&v)[kLanes]) {
    __m256i words[kLanes];
#pragma GCC unroll 16
    for (unsigned i = 0; i < kLanes; ++i) words[i] = _mm256_castps_si256(v[i]);
    pensee::transpose(words);
#pragma GCC unroll 16
    for (unsigned i = 0; i < kLanes; ++i) v[i] = _mm256_castsi256_ps(words[i]);
  }

  // v * 2^k for whole k in [-152, 130], with denormal and infinite results: in two factors, as 2^k
  // itself need not be a normal number.
  static Vec scale_by_power_of_two(Vec v, Vec k) {
    const __m256i whole = _mm256_cvtps_epi32(k);
    const __m256i half = _mm256_srai_epi32(whole, 1);
    return mul(mul(v, power_of_two(half)), power_of_two(_mm256_sub_epi32(whole, half)));
  }
  static Vec power_of_two(__m256i k) {
    const __m256i biased = _mm256_add_epi32(k, _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  }
};

struct F32 {
  static constexpr int kBytes = 4;
  static constexpr bool kScaled = false;
  static constexpr float kFactor = 1.0F;
  static void decode(const char* p, __m256 (&out)[kStepVectors]) {
#pragma GCC unroll 8
    for (unsigned v = 0; v < kStepVectors; ++v) {
      out[v] = _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p) + v));
    }
  }
};

struct F16 {
  static constexpr int kBytes = 2;
  static constexpr bool kScaled = false;
  static constexpr float kFactor = 1.0F;
  static void decode(const char* p, __m256 (&out)[kStepVectors]) {
#pragma GCC unroll 8
    for (unsigned v = 0; v < kStepVectors; ++v) {
      out[v] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + v));
    }
  }
};

struct BF16 {
  static constexpr int kBytes = 2;
  static constexpr bool kScaled = false;
  static constexpr float kFactor = 1.0F;
  static void decode(const char* p, __m256 (&out)[kStepVectors]) {
#pragma GCC unroll 8
    for (unsigned v = 0; v < kStepVectors; ++v) {
      const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + v);
      out[v] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
    }
  }
};

// FP8 e4m3fn by way of binary16: sign, exponent and mantissa move to the same fields there, whose
// exponent bias is 8 more, so the numbers come out 2^-8 too small, denormals included.
struct F8E4M3 {
  static constexpr int kBytes = 1;
  static constexpr bool kScaled = true;
  static constexpr float kFactor = 256.0F;
  static void decode(const char* p, __m256 (&out)[kStepVectors]) {
#pragma GCC unroll 8
    for (unsigned v = 0; v < kStepVectors; v += 2) {
      const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + v * 8));
      // Sign-extended and shifted, the sign is in bits 15 and 14, exponent and mantissa follow.
      const __m256i moved = _mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7);
      const __m256i magnitude = _mm256_and_si256(moved, _mm256_set1_epi16(0x3f80));
      const __m256i is_nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x3f80));
      const __m256i number = _mm256_and_si256(moved, _mm256_set1_epi16(~0x4000));
      const __m256i half = _mm256_or_si256(number, is_nan);
      out[v] = _mm256_cvtph_ps(_mm256_castsi256_si128(half));
      out[v + 1] = _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1));
    }
  }
};

// The kernels of each weight type.
template <int kType>
struct Kernels : BlockKernels<Simd, Decoder<kType>, F32> {
  static constexpr GemmQ8Fn kGemmQ8 = gemm_or_null<Simd, NarrowInts, Decoder<kType>>();
};
template <>
struct Kernels<KernelType::kF32> : ElementKernels<Simd, F32> {};
template <>
struct Kernels<KernelType::kF16> : ElementKernels<Simd, F16> {};
template <>
struct Kernels<KernelType::kBF16> : ElementKernels<Simd, BF16> {};
template <>
struct Kernels<KernelType::kF8E4M3> : ElementKernels<Simd, F8E4M3> {};

constexpr KernelTable make_narrow_table(const char* name) {
  constexpr AttentionKernels kAttention =
      make_attention<Float32Math<Simd>, Caches::kAll, CacheF32, CacheBF16, CacheQ8>();
  return make_table<Simd, Kernels>(name, kAttention, kAttention, {});
}

}  // namespace
}  // namespace pensee
