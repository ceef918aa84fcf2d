// The scalar twin of every kernel: what the fast ones are tested against, and what header-only
// users run.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>

#include "pensee/base/dtype.hpp"
#include "pensee/kernels/blocks.hpp"
#include "pensee/kernels/reference_attention.hpp"
#include "pensee/kernels/reference_rows.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {

namespace reference {

template <int kType>
void dot_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const float* x,
              int64_t ldx, int64_t n, float* y, int64_t ldy) {
  float weights[kSpan];
  for (int64_t r = row_begin; r < row_end; ++r) {
    for (int64_t i = 0; i < n; ++i) y[i * ldy + (r - row_begin)] = 0.0F;
    for (int64_t c = 0; c < w->cols; c += kSpan) {
      const int64_t count = std::min(kSpan, w->cols - c);
      load_span<kType>(*w, r, c, count, weights);
      for (int64_t i = 0; i < n; ++i) {
        float sum = y[i * ldy + (r - row_begin)];
        for (int64_t k = 0; k < count; ++k) sum += x[i * ldx + c + k] * weights[k];
        y[i * ldy + (r - row_begin)] = sum;
      }
    }
  }
}

template <int kType>
void add_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const float* a,
              int64_t lda, int64_t n, float* y, int64_t ldy) {
  float weights[kSpan];
  for (int64_t r = row_begin; r < row_end; ++r) {
    for (int64_t c = 0; c < w->cols; c += kSpan) {
      const int64_t count = std::min(kSpan, w->cols - c);
      load_span<kType>(*w, r, c, count, weights);
      for (int64_t i = 0; i < n; ++i) {
        const float factor = a[i * lda + (r - row_begin)];
        for (int64_t k = 0; k < count; ++k) y[i * ldy + c + k] += factor * weights[k];
      }
    }
  }
}

template <int kType>
void unpack_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, float* out,
                 int64_t ldo) {
  for (int64_t r = row_begin; r < row_end; ++r) {
    for (int64_t c = 0; c < w->cols; c += kSpan) {
      const int64_t count = std::min(kSpan, w->cols - c);
      load_span<kType>(*w, r, c, count, out + (r - row_begin) * ldo + c);
    }
  }
}

// 32 numbers as group g of a chunk.
inline void quantize_group(const float* x, int64_t count, Q8Chunk& out, int64_t g) {
  float largest = 0.0F;
  bool is_finite = true;
  for (int64_t k = 0; k < count; ++k) {
    largest = std::fmax(largest, std::fabs(x[k]));
    is_finite = is_finite && std::isfinite(x[k]);
  }
  const bool is_zero = largest < 1e-30F || !is_finite;
  const float inverse = is_zero ? 0.0F : 127.0F / largest;
  out.scales[g] = !is_finite ? std::numeric_limits<float>::quiet_NaN()
                  : is_zero  ? 0.0F
                             : largest / 127.0F;
  int sums[2] = {0, 0};
  for (int64_t k = 0; k < 32; ++k) {
    const float value = k < count && !is_zero ? std::nearbyint(x[k] * inverse) : 0.0F;
    out.codes[32 * g + k] = static_cast<int8_t>(value);
    sums[k / 16] += out.codes[32 * g + k];
  }
  out.sums_16[2 * g] = static_cast<int16_t>(sums[0]);
  out.sums_16[2 * g + 1] = static_cast<int16_t>(sums[1]);
  out.sums_32[g] = static_cast<int16_t>(sums[0] + sums[1]);
}

// What follows from all scales of a chunk.
inline void find_levels(Q8Chunk& chunk) {
  float largest = 0.0F;
  bool is_finite = true;
  for (const float scale : chunk.scales) {
    largest = std::fmax(largest, scale);
    is_finite = is_finite && !std::isnan(scale);
  }
  const bool is_zero = largest < 1e-30F || !is_finite;
  const float inverse = is_zero ? 0.0F : static_cast<float>(kQ8ScaleLevels) / largest;
  chunk.scale_unit = !is_finite ? std::numeric_limits<float>::quiet_NaN()
                     : is_zero  ? 0.0F
                                : largest / static_cast<float>(kQ8ScaleLevels);
  const auto rounded = [](float value) { return static_cast<int16_t>(std::nearbyint(value)); };
  for (int64_t g = 0; g < 8; ++g) {
    const int16_t level = is_zero ? int16_t{0} : rounded(chunk.scales[g] * inverse);
    const float in_units = static_cast<float>(level) * (1.0F / static_cast<float>(kQ8SumUnit));
    chunk.scaled_sums_32[g] = static_cast<float>(chunk.sums_32[g]) * chunk.scales[g];
    chunk.scale_levels[g] = level;
    chunk.sum_levels_32[g] = rounded(static_cast<float>(chunk.sums_32[g]) * in_units);
    for (int64_t h = 2 * g; h < 2 * g + 2; ++h) {
      chunk.sum_levels_16[h] = rounded(static_cast<float>(chunk.sums_16[h]) * in_units);
    }
  }
}

inline void quantize_q8(const float* x, int64_t cols, Q8Chunk* out, int64_t ldo) {
  const int64_t padded = (cols + kQ8Columns - 1) / kQ8Columns * kQ8Columns;
  for (int64_t c = 0; c < padded; c += 32) {
    const int64_t count = std::clamp<int64_t>(cols - c, 0, 32);
    quantize_group(x + std::min(c, cols), count, out[c / kQ8Columns * ldo], c % kQ8Columns / 32);
  }
  for (int64_t c = 0; c < padded; c += kQ8Columns) find_levels(out[c / kQ8Columns * ldo]);
}

inline void quantize_q8_part(const float* x, int64_t first, int64_t count, Q8Chunk* chunk) {
  for (int64_t k = 0; k < count; k += 32) quantize_group(x + k, 32, *chunk, (first + k) / 32);
}

inline void find_q8_levels(Q8Chunk* chunks, int64_t n) {
  for (int64_t i = 0; i < n; ++i) find_levels(chunks[i]);
}

// A block times the columns [c, c + elements) of an input.
inline float dot_block(const blocks::Codes& block, int64_t elements, const Q8Chunk* x, int64_t ldx,
                       int64_t c) {
  float sum = 0.0F;
  for (int64_t e = 0; e < elements; e += blocks::kGroup) {
    const Q8Chunk& chunk = x[(c + e) / kQ8Columns * ldx];
    const int64_t first = (c + e) % kQ8Columns;
    int32_t dot = 0;
    for (int64_t k = 0; k < blocks::kGroup; ++k) {
      dot += int32_t{block.codes[e + k]} * chunk.codes[first + k];
    }
    const int64_t group = e / blocks::kGroup;
    const float scale = chunk.scales[first / 32];
    const auto codes = static_cast<float>(chunk.sums_16[first / blocks::kGroup]);
    sum += static_cast<float>(dot) * (block.scales[group] * scale);
    sum -= block.mins[group] * (codes * scale);
  }
  return sum;
}

template <int kType>
void dot_rows_q8(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const Q8Chunk* x,
                 int64_t ldx, int64_t n, float* y, int64_t ldy) {
  constexpr int64_t kElements = dtype_block_elements(static_cast<DType>(kType));
  for (int64_t r = row_begin; r < row_end; ++r) {
    for (int64_t i = 0; i < n; ++i) y[i * ldy + (r - row_begin)] = 0.0F;
    const char* row = static_cast<const char*>(w->data) + r * w->row_bytes;
    for (int64_t c = 0; c < w->cols; c += kElements) {
      blocks::Codes block;
      std::fill(std::begin(block.mins), std::end(block.mins), 0.0F);
      blocks::Decoder<kType>::decode(reinterpret_cast<const uint8_t*>(row), block);
      for (int64_t i = 0; i < n; ++i) {
        y[i * ldy + (r - row_begin)] += dot_block(block, kElements, x + i, ldx, c);
      }
      row += dtype_block_bytes(static_cast<DType>(kType));
    }
  }
}
// Null for the types of single elements.
template <int kType>
constexpr DotRowsQ8Fn dot_rows_q8_or_null() {
  if constexpr (is_block_type(static_cast<DType>(kType))) return dot_rows_q8<kType>;
  return nullptr;
}

inline void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* y) {
  float sum = 0.0F;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  const float factor = 1.0F / std::sqrt(sum / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < n; ++i) y[i] = weight[i] * (x[i] * factor);
}

inline void silu_mul(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
}

inline void block_max(const float* x, int64_t n, float* out) {
  for (int64_t begin = 0; begin < n; begin += kLogitBlock) {
    float max = -std::numeric_limits<float>::infinity();
    for (int64_t i = begin; i < std::min(begin + kLogitBlock, n); ++i) max = std::fmax(max, x[i]);
    *out++ = max;
  }
}

inline void block_sum_exp(const float* x, int64_t n, float max, float scale, float* out) {
  for (int64_t begin = 0; begin < n; begin += kLogitBlock) {
    float sum = 0.0F;
    for (int64_t i = begin; i < std::min(begin + kLogitBlock, n); ++i) {
      sum += std::exp((x[i] - max) * scale);
    }
    *out++ = sum;
  }
}

// x[i] = exp(scale * x[i] - max) / sum, in place; n >= 1, scale > 0. An element of -infinity
// becomes 0; at least one element must be finite.
inline void softmax(float* x, float scale, int64_t n) {
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) max = std::fmax(max, scale * x[i]);
  float sum = 0.0F;
  for (int64_t i = 0; i < n; ++i) {
    x[i] = std::exp(scale * x[i] - max);
    sum += x[i];
  }
  for (int64_t i = 0; i < n; ++i) x[i] /= sum;
}

}  // namespace reference

[[nodiscard]] inline const KernelTable& reference_kernels() {
  namespace ref = reference;
  static constexpr KernelTable table{
      .name = "reference",
#define PENSEE_X(enumerator, bytes, elements, name) ref::dot_rows<KernelType::enumerator>,
      .dot_rows = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
#define PENSEE_X(enumerator, bytes, elements, name) ref::add_rows<KernelType::enumerator>,
      .add_rows = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
#define PENSEE_X(enumerator, bytes, elements, name) ref::unpack_rows<KernelType::enumerator>,
      .unpack_rows = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
#define PENSEE_X(enumerator, bytes, elements, name) \
  ref::dot_rows_q8_or_null<KernelType::enumerator>(),
      .dot_rows_q8 = {PENSEE_WEIGHT_TYPE_LIST(PENSEE_X)},
#undef PENSEE_X
      .gemm_q8 = {},
      .dot_tiles_q8 = {},
      .gemm_tiles_q8 = {},
      .quantize_q8 = ref::quantize_q8,
      .quantize_q8_part = ref::quantize_q8_part,
      .find_q8_levels = ref::find_q8_levels,
      .rms_norm = ref::rms_norm,
      .silu_mul = ref::silu_mul,
      .block_max = ref::block_max,
      .block_sum_exp = ref::block_sum_exp,
      .attention_f32 = ref::kAttention,
      .attention = ref::kAttention,
      .latents = {},
      .has_tiles = 0,
      .gemm_as_attention = 0,
  };
  return table;
}

}  // namespace pensee
