// Products of some inputs and weights of BF16 and FP8 by the kernels of attention: in bfloat16,
// which represents such weights and rounds the inputs, with sums in float32.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>

#include "pensee/model/product.hpp"

namespace pensee {

// Columns that are packed at a time: with them a right operand stays in the L1 cache.
inline constexpr int64_t kAttentionGemmDepth = 256;
static_assert(kAttentionGemmDepth % kScaleBlock == 0 && kGemmPanel == kScaleBlock &&
              kGemmPanel % kAttentionColumns == 0);

// Floats of scratch that multiply_as_attention() needs for `max_n` inputs at most: its operands,
// and the rows of one unpacked.
[[nodiscard]] constexpr int64_t attention_gemm_scratch(const KernelTable& kernels,
                                                       int64_t max_n) noexcept {
  if (kernels.gemm_as_attention == 0) return 0;
  const int64_t words = kAttentionGemmDepth / kernels.attention.pair;
  const int64_t n = std::min(max_n, kTwoPartRows);
  return (kAttentionColumns + 2 * n) * words + kAttentionColumns * kAttentionGemmDepth;
}

// packed (n, words) = `count` numbers of each row of x, each times the scale of its kScaleBlock
// columns, if there are scales. And `rest`, likewise, what rounding leaves over, unless null.
inline void pack_inputs(const KernelTable& kernels, const float* x, int64_t ldx, int64_t n,
                        int64_t count, const float* scales, uint32_t* packed, uint32_t* rest,
                        int64_t words) {
  const AttentionKernels& math = kernels.attention;
  const int64_t step = scales == nullptr ? count : kScaleBlock;
  for (int64_t c = 0; c < count; c += step) {
    const float scale = scales == nullptr ? 1.0F : scales[c / kScaleBlock];
    const int64_t numbers = std::min(step, count - c);
    const int64_t word = c / math.pair;
    math.pack_left(x + c, ldx, n, numbers, scale, packed + word, words);
    if (rest == nullptr) continue;
    math.pack_left_rest(x + c, ldx, n, numbers, scale, packed + word, rest + word, words);
  }
}

// right (words, kAttentionColumns) = `count` columns, from `first` on, of as many rows of W,
// without their scales. `unpacked` has room for them.
inline void pack_weights(const KernelTable& kernels, const Matrix& w, int64_t row, int64_t first,
                         int64_t count, float* unpacked, uint32_t* right) {
  KernelMatrix part = kernel_matrix(w);
  part.data = static_cast<const char*>(part.data) + first * (w.dtype == DType::kBF16 ? 2 : 1);
  part.scales = nullptr;
  part.cols = count;
  int64_t end = row + kAttentionColumns;
  auto storage = CacheStorage::kBF16;
  if (w.dtype != DType::kBF16) {
    kernels.unpack_rows[static_cast<size_t>(w.dtype)](&part, row, end, unpacked,
                                                      kAttentionGemmDepth);
    part = {unpacked, nullptr, kAttentionGemmDepth * int64_t{sizeof(float)}, 0, count};
    storage = CacheStorage::kF32;
    end -= row;
    row = 0;
  }
  kernels.attention.pack_transposed[storage](&part, row, end, right, kAttentionColumns);
}

// y (n, end - begin) = x * W^T for rows [begin, end) of W, of which the first begins a scale block.
// FP8 weights are packed without their scales, which the inputs take.
inline void multiply_as_attention(const Compute& compute, const Product& p, const Matrix& matrix,
                                  int64_t begin, int64_t end, float* y, int64_t ldy,
                                  float* scratch) {
  const KernelTable& kernels = *compute.kernels;
  const KernelMatrix w = kernel_matrix(matrix);
  const float* scales =
      w.scales == nullptr ? nullptr : w.scales + begin / kScaleBlock * w.scale_stride;
  assert(begin % kScaleBlock == 0 && end - begin <= kScaleBlock);
  const int64_t words = kAttentionGemmDepth / kernels.attention.pair;
  float* unpacked = scratch;  // (kAttentionColumns, kAttentionGemmDepth)
  auto* right = reinterpret_cast<uint32_t*>(unpacked + kAttentionColumns * kAttentionGemmDepth);
  uint32_t* left = right + kAttentionColumns * words;  // (p.n, words)
  uint32_t* rest = kernels.attention.pack_left_rest == nullptr ? nullptr : left + p.n * words;
  const int64_t whole = begin + (end - begin) / kAttentionColumns * kAttentionColumns;
  for (int64_t first = 0; first < w.cols && begin < whole; first += kAttentionGemmDepth) {
    const int64_t count = std::min(kAttentionGemmDepth, w.cols - first);
    pack_inputs(kernels, p.x + first, p.ldx, p.n, count,
                scales == nullptr ? nullptr : scales + first / kScaleBlock, left, rest, words);
    for (int64_t row = begin; row < whole; row += kAttentionColumns) {
      pack_weights(kernels, matrix, row, first, count, unpacked, right);
      float* out = y + (row - begin);
      const auto add = [&](const uint32_t* part, bool is_first) {
        kernels.attention.multiply(p.n, kAttentionColumns, count, part, words, right,
                                   kAttentionColumns, out, ldy, is_first ? 0 : 1);
      };
      add(left, first == 0);
      if (rest != nullptr) add(rest, false);
    }
  }
  if (whole < end) {
    const auto type = static_cast<size_t>(matrix.dtype);
    kernels.dot_rows[type](&w, whole, end, p.x, p.ldx, p.n, y + (whole - begin), ldy);
  }
}

}  // namespace pensee
