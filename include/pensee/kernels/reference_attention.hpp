// The scalar twin of the attention kernels, for all caches in float32: a word is a number.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "pensee/kernels/reference_rows.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee::reference {

inline void pack_left(const float* x, int64_t ldx, int64_t m, int64_t k, float factor,
                      uint32_t* left, int64_t ld) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t c = 0; c < k; ++c) {
      left[i * ld + c] = std::bit_cast<uint32_t>(factor * x[i * ldx + c]);
    }
  }
}

[[nodiscard]] constexpr int64_t whole_columns(int64_t n) noexcept {
  return (n + kAttentionColumns - 1) / kAttentionColumns * kAttentionColumns;
}

// put(r, c, number) for all numbers of the rows [row_begin, row_end), the first of which is row 0.
template <int kType, class Put>
void for_each_number(const KernelMatrix& w, int64_t row_begin, int64_t row_end, Put&& put) {
  float numbers[kSpan];
  for (int64_t r = row_begin; r < row_end; ++r) {
    for (int64_t c = 0; c < w.cols; c += kSpan) {
      const int64_t count = std::min(kSpan, w.cols - c);
      load_span<kType>(w, r, c, count, numbers);
      for (int64_t k = 0; k < count; ++k) {
        put(r - row_begin, c + k, std::bit_cast<uint32_t>(numbers[k]));
      }
    }
  }
}

template <int kType>
void pack_transposed(const KernelMatrix* w, int64_t row_begin, int64_t row_end, uint32_t* right,
                     int64_t ld) {
  const int64_t columns = whole_columns(row_end - row_begin);
  for (int64_t k = 0; k < w->cols; ++k) std::fill_n(right + k * ld, columns, 0U);
  for_each_number<kType>(*w, row_begin, row_end,
                         [&](int64_t r, int64_t c, uint32_t word) { right[c * ld + r] = word; });
}

template <int kType>
void pack_right(const KernelMatrix* w, int64_t row_begin, int64_t row_end, uint32_t* right,
                int64_t ld) {
  const int64_t columns = whole_columns(w->cols);
  for (int64_t r = 0; r < row_end - row_begin; ++r) std::fill_n(right + r * ld, columns, 0U);
  for_each_number<kType>(*w, row_begin, row_end,
                         [&](int64_t r, int64_t c, uint32_t word) { right[r * ld + c] = word; });
}

inline void multiply(int64_t m, int64_t n, int64_t k, const uint32_t* left, int64_t ldl,
                     const uint32_t* right, int64_t ldr, float* c, int64_t ldc, int add) {
  for (int64_t i = 0; i < m; ++i) {
    float* sums = c + i * ldc;
    if (add == 0) std::fill_n(sums, n, 0.0F);
    for (int64_t l = 0; l < k; ++l) {
      const auto a = std::bit_cast<float>(left[i * ldl + l]);
      for (int64_t j = 0; j < n; ++j) sums[j] += a * std::bit_cast<float>(right[l * ldr + j]);
    }
  }
}

inline void soften(int64_t m, int64_t n, const float* scores, int64_t lds, const int64_t* visible,
                   const AttentionState* state, uint32_t* left, int64_t ld) {
  for (int64_t i = 0; i < m; ++i) {
    const float* row = scores + i * lds;
    std::fill_n(left + i * ld, n, 0U);
    if (visible[i] <= 0) continue;
    float max = state->max[i];
    for (int64_t j = 0; j < visible[i]; ++j) max = std::fmax(max, row[j]);
    const float factor = std::exp(state->max[i] - max);
    float sum = factor * state->sum[i];
    for (int64_t j = 0; j < visible[i]; ++j) {
      const float weight = std::exp(row[j] - max);
      left[i * ld + j] = std::bit_cast<uint32_t>(weight);
      sum += weight;
    }
    state->max[i] = max;
    state->sum[i] = sum;
    float* out = state->out + i * state->ld;
    for (int64_t c = 0; c < state->ld; ++c) out[c] *= factor;
  }
}

inline constexpr AttentionKernels kAttention{
    .pair = 1,
    .pack_left = pack_left,
    .pack_left_rest = nullptr,
    .pack_transposed = {pack_transposed<KernelType::kBF16>, pack_transposed<KernelType::kF32>,
                        pack_transposed<KernelType::kQ8_0>},
    .pack_right = {pack_right<KernelType::kBF16>, pack_right<KernelType::kF32>,
                   pack_right<KernelType::kQ8_0>},
    .multiply = multiply,
    .score_rows = {},
    .add_values = {},
    .soften = soften};

}  // namespace pensee::reference
