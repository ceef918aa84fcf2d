// The kernel table for AVX-512 (F, BW, DQ, VL, VNNI, BF16). Weights of single elements are widened
// exactly and summed in float32, as in the reference.
#include <immintrin.h>
#include <stdint.h>

#include "attention_avx512-inl.hpp"
#include "attention_rows-inl.hpp"
#include "gemm_q8_avx512-inl.hpp"
#include "latents_avx512-inl.hpp"
#include "make_table-inl.hpp"
#include "matrix-inl.hpp"
#include "pensee/kernels/table.hpp"
#include "q8-inl.hpp"
#include "q8_avx512-inl.hpp"
#include "quantize_avx512-inl.hpp"
#include "tiles_avx512-inl.hpp"
#include "vector-inl.hpp"

namespace pensee::avx512 {
namespace {

struct Simd {
  using Vec = __m512;
  static constexpr unsigned kLanes = 16;
  // Rows of a dot-product tile by the number of inputs: 4 to 16 accumulators of the 32 registers.
  static constexpr unsigned kDotTileRows[] = {0, 4, 4, 4, 4};
  // For q8-inl.hpp: how many panels and inputs are multiplied together.
  static constexpr unsigned kPanels = 2;
  static constexpr unsigned kPanelTileInputs = 4;
  template <class E, unsigned R, unsigned X>
  using Rows = WideRows<E, X>;
  // Memory gives one row after the other faster than two side by side.
  template <class E>
  static constexpr bool kPairsPay = false;
  template <class E>
  static constexpr int64_t kPanelInputs = 4;
  template <class E>
  using Panel = WidePanel<E>;
  static constexpr unsigned kAddTileOutputs = 4;
  // For attention-inl.hpp: rows of a left operand that are multiplied together.
  static constexpr unsigned kProductRows = 8;

  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec set1(float v) { return _mm512_set1_ps(v); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  static Vec sqrt(Vec v) { return _mm512_sqrt_ps(v); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  // Of a NaN and a number, both give the second argument.
  static Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }

  // kLanes codes, from the lower end of a vector, without their offset.
  static Vec code_floats(__m128i codes, int offset) {
    return _mm512_cvtepi32_ps(
        _mm512_sub_epi32(_mm512_cvtepu8_epi32(codes), _mm512_set1_epi32(offset)));
  }
  static void quantize_groups(const float* x, Q8Chunk* out) { quantize_groups_wide(x, out); }

  static __m256 lower(Vec v) { return _mm512_castps512_ps256(v); }
  static __m256 upper(Vec v) {
    return _mm256_castsi256_ps(_mm512_extracti64x4_epi64(_mm512_castps_si512(v), 1));
  }
  static float sum(Vec v) {
    const __m256 h = _mm256_add_ps(lower(v), upper(v));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float max_lane(Vec v) {
    const __m256 h = _mm256_max_ps(lower(v), upper(v));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  static void transpose(Vec (&v)[kLanes]) {
    __m512i words[kLanes];
#pragma GCC unroll 16
    for (unsigned i = 0; i < kLanes; ++i) words[i] = _mm512_castps_si512(v[i]);
    pensee::transpose(words);
#pragma GCC unroll 16
    for (unsigned i = 0; i < kLanes; ++i) v[i] = _mm512_castsi512_ps(words[i]);
  }
  static Vec scale_by_power_of_two(Vec v, Vec k) {
    return _mm512_scalef_ps(v, k);
  }
};

struct F32 {
  static constexpr int kBytes = 4;
  static constexpr bool kScaled = false;
  static constexpr float kFactor = 1.0F;
  static void decode(const char* p, __m512 (&out)[kStepVectors]) {
#pragma GCC unroll 8
    for (unsigned v = 0; v < kStepVectors; ++v) {
      out[v] = _mm512_castsi512_ps(_mm512_loadu_si512(p + v * 64));
    }
  }
};

struct F16 {
  static constexpr int kBytes = 2;
  static constexpr bool kScaled = false;
  static constexpr float kFactor = 1.0F;
  static void decode(const char* p, __m512 (&out)[kStepVectors]) {
#pragma GCC unroll 8
    for (unsigned v = 0; v < kStepVectors; ++v) {
      out[v] = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p) + v));
    }
  }
};

struct BF16 {
  static constexpr int kBytes = 2;
  static constexpr bool kScaled = false;
  static constexpr float kFactor = 1.0F;
  static void decode(const char* p, __m512 (&out)[kStepVectors]) {
#pragma GCC unroll 8
    for (unsigned v = 0; v < kStepVectors; ++v) {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p) + v);
      out[v] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
    }
  }
};

// FP8 e4m3fn by way of binary16: sign, exponent and mantissa move to the same fields there, whose
// exponent bias is 8 more, so the numbers come out 2^-8 too small, denormals included.
struct F8E4M3 {
  static constexpr int kBytes = 1;
  static constexpr bool kScaled = true;
  static constexpr float kFactor = 256.0F;
  static void decode(const char* p, __m512 (&out)[kStepVectors]) {
    const __m512i codes = _mm512_or_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
    const bool has_nan = _mm512_cmpeq_epi8_mask(codes, _mm512_set1_epi8(-1)) != 0;
#pragma GCC unroll 8
    for (unsigned v = 0; v < kStepVectors; v += 2) {
      const __m256i half_codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + v * 16));
      // Sign-extended and shifted, the sign is in bits 15 and 14, exponent and mantissa follow.
      const __m512i moved = _mm512_slli_epi16(_mm512_cvtepi8_epi16(half_codes), 7);
      __m512i half = _mm512_and_si512(moved, _mm512_set1_epi16(~0x4000));
      if (__builtin_expect(has_nan, 0)) half = with_nans(half);
      out[v] = _mm512_cvtph_ps(_mm512_castsi512_si256(half));
      out[v + 1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1));
    }
  }

 private:
  // The largest magnitude stands for NaN.
  static __m512i with_nans(__m512i halves) {
    const __m512i magnitude = _mm512_and_si512(halves, _mm512_set1_epi16(0x3f80));
    const __mmask32 is_nan = _mm512_cmpeq_epi16_mask(magnitude, _mm512_set1_epi16(0x3f80));
    return _mm512_mask_mov_epi16(halves, is_nan, _mm512_set1_epi16(0x7fff));
  }
};

// The kernels of each weight type.
template <int kType>
struct WideKernels : BlockKernels<Simd, Decoder<kType>, F32> {
  static constexpr GemmQ8Fn kGemmQ8 = gemm_q8<Simd, WideInts, Decoder<kType>>;
};
// Of those whose rows may be interleaved.
template <int kType>
struct TileKernels : WideKernels<kType> {
  using E = Decoder<kType>;
  static constexpr DotRowsQ8Fn kDotTiles = dot_tiles_q8<Simd, E>;
  static constexpr GemmQ8Fn kGemmTiles = gemm_q8<Simd, WideInts, E, TilePanels<E>>;
};
template <int kType>
struct Kernels : WideKernels<kType> {};
template <>
struct Kernels<KernelType::kQ8_0> : TileKernels<KernelType::kQ8_0> {};
template <>
struct Kernels<KernelType::kQ4_0> : TileKernels<KernelType::kQ4_0> {};
template <>
struct Kernels<KernelType::kQ4_K> : TileKernels<KernelType::kQ4_K> {};
template <>
struct Kernels<KernelType::kQ5_K> : TileKernels<KernelType::kQ5_K> {};
template <>
struct Kernels<KernelType::kQ6_K> : TileKernels<KernelType::kQ6_K> {};
template <>
struct Kernels<KernelType::kF32> : ElementKernels<Simd, F32> {};
template <>
struct Kernels<KernelType::kF16> : ElementKernels<Simd, F16> {};
template <>
struct Kernels<KernelType::kBF16> : ElementKernels<Simd, BF16> {};
template <>
struct Kernels<KernelType::kF8E4M3> : ElementKernels<Simd, F8E4M3> {};

constexpr KernelTable make_whole() {
  KernelTable table = make_table<Simd, Kernels>(
      "avx512", make_attention<Float32Math<Simd>, Caches::kF32, CacheF32, CacheBF16, CacheQ8>(),
      make_attention<Bfloat16Math<Simd>, Caches::kOthers, CacheF32, CacheBF16, CacheQ8>(),
      kLatentKernels<Simd>);
  table.gemm_as_attention = 1;
  return table;
}
constexpr KernelTable kWhole = make_whole();

// For processors that carry out operations on 512 bits in two halves: with 256 bits, codes are
// spread out in fewer steps, and the sums of lanes take as many.
struct HalvedSimd : Simd {
  template <class E, unsigned R, unsigned X>
  using Rows = NarrowRows<E, R, X>;
  template <class E>
  static constexpr bool kPairsPay = E::kGroups == 8;
};
template <int... kTypes>
constexpr KernelTable with_halved_rows(KernelTable table) {
  ((table.dot_rows_q8[kTypes] = dot_rows_q8<Simd, Decoder<kTypes>, HalvedSimd>), ...);
  return table;
}

// For processors that have AMX, which oneDNN uses. Interleaved rows would lead past it, and give
// other results than plain ones.
constexpr KernelTable with_tiles(KernelTable table) {
  table.name = "amx";
  table.has_tiles = 1;
  for (DotRowsQ8Fn& kernel : table.dot_tiles_q8) kernel = nullptr;
  for (GemmQ8Fn& kernel : table.gemm_tiles_q8) kernel = nullptr;
  return table;
}

}  // namespace

// The same results, to the bit.
extern const KernelTable kTable;
extern const KernelTable kHalvedTable;
const KernelTable kTable = kWhole;
const KernelTable kHalvedTable =
    with_halved_rows<KernelType::kQ8_0, KernelType::kQ4_K, KernelType::kQ5_K, KernelType::kQ6_K>(
        kWhole);
extern const KernelTable kTiledTable;
const KernelTable kTiledTable = with_tiles(kWhole);

}  // namespace pensee::avx512
