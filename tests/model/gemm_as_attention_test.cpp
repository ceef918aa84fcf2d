#include "pensee/model/gemm_as_attention.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "compute.hpp"
#include "golden.hpp"
#include "pensee/base/dtype.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/model/linear.hpp"

namespace pensee {
namespace {

using pensee_test::matrix_of;
using pensee_test::product_in_double;
using pensee_test::random_floats;
using pensee_test::Workbench;

// All tables, as if this way were the fastest everywhere: in float32 where attention is.
std::vector<KernelTable> all_tables() {
  std::vector<KernelTable> tables;
  for (const KernelTable* table : compiled_kernels()) {
    tables.push_back(*table);
    tables.back().gemm_as_attention = 1;
  }
  return tables;
}

// Groups of rows, some left over; chunks of columns, the last one not whole.
constexpr int64_t kRows = 2 * kGemmPanel + kAttentionColumns + 11;
constexpr int64_t kCols = 2 * kAttentionGemmDepth + 133;

struct Weights {
  std::vector<uint16_t> bf16;
  std::vector<uint8_t> fp8;
  std::vector<float> scales;
  std::vector<float> of_bf16;  // what they say
  std::vector<float> of_fp8;
  Matrix matrices[2];

  Weights() {
    for (const float value : random_floats(kRows * kCols, 1)) {
      bf16.push_back(f32_to_bf16(value));
      of_bf16.push_back(bf16_to_f32(bf16.back()));
    }
    const int64_t scale_cols = ceil_div(kCols, kScaleBlock);
    scales = random_floats(ceil_div(kRows, kScaleBlock) * scale_cols, 2);
    uint32_t random = 1;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kCols; ++c) {
        random = random * 1664525 + 1013904223;
        const auto code = static_cast<uint8_t>(random >> 24 & 0xbf);  // at most 1.875
        fp8.push_back(code);
        const int64_t block = r / kScaleBlock * scale_cols + c / kScaleBlock;
        of_fp8.push_back(f8_e4m3_to_f32(code) * scales[static_cast<size_t>(block)]);
      }
    }
    matrices[0] = matrix_of(bf16, kRows, kCols);
    matrices[1] = {fp8.data(), scales.data(), DType::kF8E4M3, kRows, kCols, kCols};
  }
  [[nodiscard]] const std::vector<float>& values(const Matrix& w) const {
    return w.dtype == DType::kBF16 ? of_bf16 : of_fp8;
  }
};

std::vector<float> product(const Workbench& bench, const Matrix& w, const std::vector<float>& x,
                           int64_t n) {
  std::vector<float> y(static_cast<size_t>(n * kRows), NAN);
  const Product one{&w, x.data(), kCols, n, y.data(), kRows};
  CHECK(is_gemm_as_attention(bench.compute(), one, w) == (n >= kGemmRows && n < kTwoPartRows));
  multiply(bench.compute(), std::array{one});
  return y;
}

TEST_CASE("products of BF16 and FP8 weights by the kernels of attention are nearly exact") {
  const Weights weights;
  for (const KernelTable& kernels : all_tables()) {
    CAPTURE(std::string(kernels.name));
    for (const Matrix& w : weights.matrices) {
      CAPTURE(dtype_name(w.dtype));
      for (const int64_t n : {15, 16, 47, 127, 128}) {
        CAPTURE(n);
        const Workbench bench(kernels, 2, multiply_scratch(kernels, kCols, n));
        const auto x = random_floats(n * kCols, 3);
        const auto expected = product_in_double(weights.values(w), x, kRows, kCols, n);
        // Sums of some 650 products of numbers about 1; inputs in one part are 0.1 off.
        CHECK(golden::max_difference(expected, product(bench, w, x, n)) < 2e-3F);
        CHECK_FALSE(bench.failed());
      }
    }
  }
}

TEST_CASE("neither threads nor other inputs change a bit of such products") {
  constexpr int64_t kMost = 40;
  const Weights weights;
  const auto x = random_floats(kMost * kCols, 4);
  for (const KernelTable& kernels : all_tables()) {
    CAPTURE(std::string(kernels.name));
    const int64_t scratch = multiply_scratch(kernels, kCols, kMost);
    const Workbench bench(kernels, 1, scratch);
    const Workbench other(kernels, 3, scratch);
    for (const Matrix& w : weights.matrices) {
      const auto all = product(bench, w, x, kMost);
      CHECK(product(other, w, x, kMost) == all);
      const auto some = product(bench, w, x, kGemmRows);
      const auto end = all.begin() + kGemmRows * kRows;
      CHECK(std::vector<float>(all.begin(), end) == some);
    }
  }
}

}  // namespace
}  // namespace pensee
