// What layers need to compute, and random numbers to compute with.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "pensee/model/linear.hpp"

namespace pensee_test {

// A Compute with enough scratch for the small shapes of the tests.
class Workbench {
 public:
  explicit Workbench(const pensee::KernelTable& kernels, int threads = 2,
                     int64_t scratch_size = int64_t{1} << 18, int64_t max_products = 64)
      : pool_(std::move(*pensee::ThreadPool::create(threads))),
        scratch_(static_cast<size_t>(threads * scratch_size)),
        task_ends_(static_cast<size_t>(max_products)),
        compute_{pool_.get(),       &kernels,     scratch_.data(), scratch_size,
                 task_ends_.data(), max_products, &failed_} {}

  [[nodiscard]] const pensee::Compute& compute() const { return compute_; }
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  std::unique_ptr<pensee::ThreadPool> pool_;
  std::vector<float> scratch_;
  std::vector<int64_t> task_ends_;
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

// A float32 matrix (rows, cols) over `values`, which must outlive it.
inline pensee::Matrix matrix_of(const std::vector<float>& values, int64_t rows, int64_t cols) {
  return {values.data(), nullptr, pensee::DType::kF32, rows, cols, cols * 4};
}

}  // namespace pensee_test
