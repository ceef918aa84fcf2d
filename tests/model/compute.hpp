// What layers need to compute, and random numbers to compute with.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "pensee/base/arena.hpp"
#include "pensee/base/dtype.hpp"
#include "pensee/io/quantize.hpp"
#include "pensee/model/linear.hpp"

namespace pensee_test {

// A Compute with enough scratch for the small shapes of the tests.
class Workbench {
 public:
  explicit Workbench(const pensee::KernelTable& kernels, int threads = 2,
                     int64_t scratch_size = int64_t{1} << 18, int64_t max_products = 64,
                     int64_t max_q8 = 4096)
      : pool_(std::move(*pensee::ThreadPool::create(threads))),
        scratch_(
            std::move(*pensee::Arena::create(static_cast<size_t>(threads * scratch_size) * 4))),
        plan_(static_cast<size_t>(max_products)),
        q8_(static_cast<size_t>(max_q8)),
        compute_{pool_.get(),  &kernels,     scratch_.take<float>(threads * scratch_size),
                 scratch_size, plan_.data(), max_products,
                 q8_.data(),   max_q8,       &failed_} {}

  [[nodiscard]] const pensee::Compute& compute() const { return compute_; }
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  std::unique_ptr<pensee::ThreadPool> pool_;
  pensee::Arena scratch_;
  std::vector<pensee::PlannedProduct> plan_;
  std::vector<pensee::Q8Chunk> q8_;
  std::atomic<bool> failed_{false};
  pensee::Compute compute_;
};

inline std::vector<float> random_floats(int64_t n, uint32_t seed, float spread = 1.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, spread);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& value : out) value = normal(random);
  return out;
}

// `values` (rows, cols) as rows of Q8_0.
inline std::vector<std::byte> q8_0_rows(const float* values, int64_t rows, int64_t cols) {
  const int64_t row_bytes = pensee::dtype_row_bytes(pensee::DType::kQ8_0, cols);
  std::vector<std::byte> bytes(static_cast<size_t>(rows * row_bytes));
  for (int64_t r = 0; r < rows; ++r) {
    pensee::quantize_row(pensee::DType::kQ8_0, values + r * cols, cols,
                         bytes.data() + r * row_bytes);
  }
  return bytes;
}

// A matrix (rows, cols) over such rows, which must outlive it.
inline pensee::Matrix matrix_of(const std::vector<std::byte>& q8_0, int64_t rows, int64_t cols) {
  constexpr auto kType = pensee::DType::kQ8_0;
  return {q8_0.data(), nullptr, kType, rows, cols, pensee::dtype_row_bytes(kType, cols)};
}

// A float32 matrix (rows, cols) over `values`, which must outlive it.
inline pensee::Matrix matrix_of(const std::vector<float>& values, int64_t rows, int64_t cols) {
  return {values.data(), nullptr, pensee::DType::kF32, rows, cols, cols * 4};
}

// A matrix (rows, cols) of BF16 over the upper halves of floats, which must outlive it.
inline pensee::Matrix matrix_of(const std::vector<uint16_t>& bf16, int64_t rows, int64_t cols) {
  return {bf16.data(), nullptr, pensee::DType::kBF16, rows, cols, cols * 2};
}

// W * x in double precision: (n, rows).
inline std::vector<float> product_in_double(const std::vector<float>& w,
                                            const std::vector<float>& x, int64_t rows, int64_t cols,
                                            int64_t n) {
  std::vector<float> y;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0.0;
      for (int64_t c = 0; c < cols; ++c) {
        sum += static_cast<double>(x[static_cast<size_t>(i * cols + c)]) *
               static_cast<double>(w[static_cast<size_t>(r * cols + c)]);
      }
      y.push_back(static_cast<float>(sum));
    }
  }
  return y;
}

// AttentionKernels::pack_left with inputs rounded to bfloat16, as words of float32: what AMX does
// to them, on any machine.
inline void pack_rounded(const float* x, int64_t ldx, int64_t m, int64_t k, float factor,
                         uint32_t* left, int64_t ld) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t c = 0; c < k; ++c) {
      left[i * ld + c] = uint32_t{pensee::f32_to_bf16(factor * x[i * ldx + c])} << 16;
    }
  }
}

}  // namespace pensee_test
