// The scalar twin of every kernel: what the fast ones are tested against, and what header-only
// users run.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "pensee/base/dtype.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee {

// One element reader for each weight type. `load(row, c)` reads element c of a row that may lie at
// any address, hence memcpy.
namespace reference {

template <class T>
[[nodiscard]] inline T load_at(const char* row, int64_t c) {
  T value;
  std::memcpy(&value, row + c * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

struct F32 {
  static float load(const char* row, int64_t c) { return load_at<float>(row, c); }
};
struct F16 {
  static float load(const char* row, int64_t c) { return f16_to_f32(load_at<uint16_t>(row, c)); }
};
struct BF16 {
  static float load(const char* row, int64_t c) { return bf16_to_f32(load_at<uint16_t>(row, c)); }
};
struct F8E4M3 {
  static float load(const char* row, int64_t c) { return f8_e4m3_to_f32(load_at<uint8_t>(row, c)); }
};

inline constexpr int64_t kBlock = 128;  // rows and columns that share a scale

template <class Element>
[[nodiscard]] inline float weight_at(const KernelMatrix& w, int64_t r, int64_t c) {
  const char* row = static_cast<const char*>(w.data) + r * w.row_bytes;
  const float value = Element::load(row, c);
  if (w.scales == nullptr) return value;
  return value * w.scales[(r / kBlock) * w.scale_stride + c / kBlock];
}

template <class Element>
void dot_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const float* x,
              int64_t ldx, int64_t n, float* y, int64_t ldy) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = row_begin; r < row_end; ++r) {
      float sum = 0.0F;
      for (int64_t c = 0; c < w->cols; ++c) sum += x[i * ldx + c] * weight_at<Element>(*w, r, c);
      y[i * ldy + (r - row_begin)] = sum;
    }
  }
}

template <class Element>
void add_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, const float* a,
              int64_t lda, int64_t n, float* y, int64_t ldy) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = row_begin; r < row_end; ++r) {
      const float factor = a[i * lda + (r - row_begin)];
      for (int64_t c = 0; c < w->cols; ++c) {
        y[i * ldy + c] += factor * weight_at<Element>(*w, r, c);
      }
    }
  }
}

template <class Element>
void unpack_rows(const KernelMatrix* w, int64_t row_begin, int64_t row_end, float* out,
                 int64_t ldo) {
  for (int64_t r = row_begin; r < row_end; ++r) {
    for (int64_t c = 0; c < w->cols; ++c) {
      out[(r - row_begin) * ldo + c] = weight_at<Element>(*w, r, c);
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
      .dot_rows = {ref::dot_rows<ref::F32>, ref::dot_rows<ref::F16>, ref::dot_rows<ref::BF16>,
                   ref::dot_rows<ref::F8E4M3>},
      .add_rows = {ref::add_rows<ref::F32>, ref::add_rows<ref::F16>, ref::add_rows<ref::BF16>,
                   ref::add_rows<ref::F8E4M3>},
      .unpack_rows = {ref::unpack_rows<ref::F32>, ref::unpack_rows<ref::F16>,
                      ref::unpack_rows<ref::BF16>, ref::unpack_rows<ref::F8E4M3>},
      .rms_norm = ref::rms_norm,
      .silu_mul = ref::silu_mul,
      .softmax = ref::softmax,
  };
  static_assert(static_cast<int>(kKernelTypes) == kWeightTypes);
  return table;
}

}  // namespace pensee
