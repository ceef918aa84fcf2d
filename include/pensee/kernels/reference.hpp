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
#include "pensee/kernels/table.hpp"

namespace pensee {

namespace reference {

// Rows of one weight type, as float32. A row may lie at any address, hence memcpy.
template <int kType>
struct RowReader {  // the block types
  static constexpr auto kDType = static_cast<DType>(kType);

  static void read(const char* row, int64_t cols, float* out) {
    constexpr int64_t kElements = dtype_block_elements(kDType);
    for (int64_t c = 0; c < cols; c += kElements) {
      blocks::Codes block;
      std::fill(std::begin(block.mins), std::end(block.mins), 0.0F);
      blocks::Decoder<kType>::decode(reinterpret_cast<const uint8_t*>(row), block);
      for (int64_t e = 0; e < kElements; ++e) {
        const int64_t group = e / blocks::kGroup;
        const float scaled = block.scales[group] * static_cast<float>(block.codes[e]);
        out[c + e] = scaled - block.mins[group];
      }
      row += dtype_block_bytes(kDType);
    }
  }
};

template <class T, class ToFloat>
inline void read_elements(const char* row, int64_t cols, float* out, ToFloat&& to_float) {
  for (int64_t c = 0; c < cols; ++c) {
    T value;
    std::memcpy(&value, row + c * static_cast<int64_t>(sizeof(T)), sizeof(T));
    out[c] = to_float(value);
  }
}
template <>
struct RowReader<KernelType::kF32> {
  static void read(const char* row, int64_t cols, float* out) {
    read_elements<float>(row, cols, out, [](float v) { return v; });
  }
};
template <>
struct RowReader<KernelType::kF16> {
  static void read(const char* row, int64_t cols, float* out) {
    read_elements<uint16_t>(row, cols, out, f16_to_f32);
  }
};
template <>
struct RowReader<KernelType::kBF16> {
  static void read(const char* row, int64_t cols, float* out) {
    read_elements<uint16_t>(row, cols, out, bf16_to_f32);
  }
};
template <>
struct RowReader<KernelType::kF8E4M3> {
  static void read(const char* row, int64_t cols, float* out) {
    read_elements<uint8_t>(row, cols, out, f8_e4m3_to_f32);
  }
};

inline constexpr int64_t kScaledSide = 128;  // rows and columns that share a scale
// Columns that are decoded at a time: whole blocks of every type.
inline constexpr int64_t kSpan = 256;

// out[k] = W[r, c + k] for `count` columns, at most kSpan; c is a multiple of kSpan.
template <int kType>
void load_span(const KernelMatrix& w, int64_t r, int64_t c, int64_t count, float* out) {
  const int64_t offset = dtype_row_bytes(static_cast<DType>(kType), c);
  RowReader<kType>::read(static_cast<const char*>(w.data) + r * w.row_bytes + offset, count, out);
  if (w.scales == nullptr) return;
  const float* scales = w.scales + (r / kScaledSide) * w.scale_stride;
  for (int64_t k = 0; k < count; ++k) out[k] *= scales[(c + k) / kScaledSide];
}

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

inline void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* y) {
  float sum = 0.0F;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  const float factor = 1.0F / std::sqrt(sum / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < n; ++i) y[i] = weight[i] * (x[i] * factor);
}

inline void silu_mul(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
}

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
      .rms_norm = ref::rms_norm,
      .silu_mul = ref::silu_mul,
      .softmax = ref::softmax,
  };
  return table;
}

}  // namespace pensee
