// Rows of matrices of any type as float32: what the scalar kernels read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "pensee/base/dtype.hpp"
#include "pensee/kernels/blocks.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee::reference {

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

}  // namespace pensee::reference
