// A borrowed view of one stored tensor, and of a weight matrix as the kernels read it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "pensee/base/dtype.hpp"

namespace pensee {

inline constexpr int kMaxRank = 4;
inline constexpr int64_t kMaxTensorDim = int64_t{1} << 40;  // keeps later products in int64

// Up to kMaxRank dimensions, outermost first.
struct Shape {
  std::array<int64_t, kMaxRank> dims{};
  int rank = 0;

  [[nodiscard]] std::span<const int64_t> span() const noexcept {
    return {dims.data(), static_cast<size_t>(rank)};
  }
  [[nodiscard]] int64_t operator[](int i) const noexcept { return dims[static_cast<size_t>(i)]; }
  bool operator==(const Shape&) const = default;
  // "(7168, 1536)", for messages.
  [[nodiscard]] std::string to_string() const {
    std::string text = "(";
    for (int i = 0; i < rank; ++i) {
      if (i > 0) text += ", ";
      text += std::to_string(dims[static_cast<size_t>(i)]);
    }
    return text + ")";
  }
};

// One tensor of a checkpoint. The bytes live as long as the checkpoint; they may lie at any
// alignment.
struct TensorView {
  std::string_view name;
  std::string_view file;  // path, for messages
  DType dtype = DType::kF32;
  Shape shape;
  const std::byte* data = nullptr;
  size_t bytes = 0;
};

inline constexpr int64_t kScaleBlock = 128;  // rows and columns that share one FP8 scale

[[nodiscard]] constexpr int64_t ceil_div(int64_t a, int64_t b) noexcept {
  return (a + b - 1) / b;
}

// A weight matrix of any weight type, row-major, rows = output features. FP8 matrices have
// `scales` (ceil(rows/128), ceil(cols/128)): value = element * scale of its block.
struct Matrix {
  const void* data = nullptr;     // (rows, cols), any alignment
  const float* scales = nullptr;  // null unless FP8 with block scales
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_bytes = 0;        // distance between rows
  bool is_interleaved = false;  // kernels/interleave.hpp; for multiply() alone
};

}  // namespace pensee
