#include "pensee/model/linear.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "compute.hpp"
#include "golden.hpp"
#include "pensee/kernels/dispatch.hpp"
#include "pensee/kernels/reference.hpp"

namespace pensee {
namespace {

using pensee_test::matrix_of;
using pensee_test::product_in_double;
using pensee_test::q8_0_rows;
using pensee_test::random_floats;
using pensee_test::Workbench;

TEST_CASE("one product equals the sum in double precision, for any number of rows") {
  const int64_t rows = 301;
  const int64_t cols = 133;
  const auto weights = random_floats(rows * cols, 1);
  const Matrix w = matrix_of(weights, rows, cols);
  for (const KernelTable* kernels : compiled_kernels()) {
    const Workbench bench(*kernels);
    for (const int64_t n : {1, 2, 5, 15, 16, 17, 40}) {
      CAPTURE(n);
      const auto x = random_floats(n * cols, 2);
      std::vector<float> y(static_cast<size_t>(n * rows), NAN);
      multiply(bench.compute(), std::array{Product{&w, x.data(), cols, n, y.data(), rows}});
      CHECK(golden::max_difference(product_in_double(weights, x, rows, cols, n), y) < 1e-4F);
    }
  }
}

TEST_CASE("the number of threads changes no bit of a product, long rows included") {
  const int64_t rows = 1032;  // few threads could have wider panels than many
  const int64_t cols = 2048;
  const auto weights = random_floats(rows * cols, 10);
  const auto blocks = q8_0_rows(weights.data(), rows, cols);
  for (const int64_t n : {3, 20}) {
    CAPTURE(n);
    const auto x = random_floats(n * cols, 11);
    for (const Matrix& w : {matrix_of(weights, rows, cols), matrix_of(blocks, rows, cols)}) {
      std::vector<float> expected;
      for (const int threads : {1, 3, 8}) {
        CAPTURE(threads);
        const Workbench bench(best_kernels(), threads, multiply_scratch(best_kernels(), cols, n));
        std::vector<float> y(static_cast<size_t>(n * rows), NAN);
        multiply(bench.compute(), std::array{Product{&w, x.data(), cols, n, y.data(), rows}});
        if (expected.empty()) expected = y;
        CHECK(y == expected);
      }
    }
  }
}

// Where AMX is missing, oneDNN multiplies the panels by other means.
TEST_CASE("oneDNN's products of panels equal the sum in double precision") {
  const int64_t rows = 2 * PanelMatmul::kRows + 44;
  const int64_t cols = PanelMatmul::kDepth + 160;
  const auto weights = random_floats(rows * cols, 20);
  const auto gate_rows = q8_0_rows(weights.data(), rows, cols);
  const Matrix gate = matrix_of(gate_rows, rows, cols);
  std::vector<float> rounded(weights.size());  // what the rows of Q8_0 say
  const KernelMatrix of_blocks = kernel_matrix(gate);
  reference_kernels().unpack_rows[KernelType::kQ8_0](&of_blocks, 0, rows, rounded.data(), cols);
  for (const KernelTable* table : compiled_kernels()) {
    CAPTURE(table->name);
    KernelTable kernels = *table;
    kernels.has_tiles = 1;
    const bool in_bfloat16 = kernels.attention.pair == 2;
    const auto panels = PanelMatmul::create(in_bfloat16).value();
    if (in_bfloat16 && panels == nullptr) continue;  // an oneDNN that cannot
    REQUIRE(panels != nullptr);
    // Of a sum of `cols` products of numbers that are rounded to eight bits, or to 24.
    const float tolerance = in_bfloat16 ? 0.4F : 1e-3F;
    for (const int64_t n : {32, 47, 160, 700}) {
      CAPTURE(n);
      const Workbench bench(kernels, 2, multiply_scratch(kernels, cols, n));
      Compute compute = bench.compute();
      compute.panels = panels.get();
      const auto x = random_floats(n * cols, 21);
      std::vector<float> y(static_cast<size_t>(n * rows), NAN);
      const Product product{&gate, x.data(), cols, n, y.data(), rows};
      CHECK(is_panel_matmul(compute, product, gate));
      Product in_float32 = product;
      in_float32.in_float32 = true;
      CHECK_FALSE(is_panel_matmul(compute, in_float32, gate));
      multiply(compute, std::array{product});
      const auto expected = product_in_double(rounded, x, rows, cols, n);
      CHECK(golden::max_difference(expected, y) < tolerance);
      CHECK_FALSE(bench.failed());
    }
  }
}

TEST_CASE("products of different shapes, empty ones among them, are all computed") {
  const Workbench bench(best_kernels(), 3);
  const int64_t cols = 96;
  const auto small = random_floats(5 * cols, 3);
  const auto large = random_floats(700 * cols, 4);
  const Matrix w_small = matrix_of(small, 5, cols);
  const Matrix w_large = matrix_of(large, 700, cols);
  const auto x = random_floats(20 * cols, 5);
  std::vector<float> y_small(3 * 5, NAN);
  std::vector<float> y_large(20 * 700, NAN);
  multiply(bench.compute(), std::array{Product{&w_small, x.data(), cols, 3, y_small.data(), 5},
                                       Product{&w_large, x.data(), cols, 0, nullptr, 700},
                                       Product{&w_large, x.data(), cols, 20, y_large.data(), 700}});
  CHECK(golden::max_difference(product_in_double(small, x, 5, cols, 3), y_small) < 1e-4F);
  CHECK(golden::max_difference(product_in_double(large, x, 700, cols, 20), y_large) < 1e-4F);
}

TEST_CASE("the scratch that a pass has is enough for a product of some of its rows") {
  const int64_t rows = 300;
  const int64_t cols = 128;
  const int64_t n = 20;
  const int64_t pass_rows = 90;
  const Workbench bench(best_kernels(), 1, multiply_scratch(best_kernels(), cols, pass_rows));
  const auto weights = random_floats(rows * cols, 8);
  const Matrix w = matrix_of(weights, rows, cols);
  const auto x = random_floats(n * cols, 9);
  std::vector<float> y(static_cast<size_t>(n * rows), NAN);
  Product product{&w, x.data(), cols, n, y.data(), rows};
  product.pass_rows = pass_rows;
  multiply(bench.compute(), std::array{product});
  CHECK(golden::max_difference(product_in_double(weights, x, rows, cols, n), y) < 1e-4F);
}

TEST_CASE("results that their threads quantise are those that are quantised afterwards") {
  const int64_t cols = 64;
  for (const int64_t rows : {32, 320, 1184}) {  // of a part of a chunk, and of several
    const auto gate_rows = q8_0_rows(random_floats(rows * cols, 10, 0.2F).data(), rows, cols);
    const auto up_rows = q8_0_rows(random_floats(rows * cols, 11, 0.2F).data(), rows, cols);
    const auto down_rows = q8_0_rows(random_floats(rows * cols, 12, 0.2F).data(), cols, rows);
    const Matrix gate = matrix_of(gate_rows, rows, cols);
    const Matrix up = matrix_of(up_rows, rows, cols);
    const Matrix down = matrix_of(down_rows, cols, rows);
    for (const KernelTable* kernels : compiled_kernels()) {
      const Workbench bench(*kernels);
      for (const int64_t n : {1, 5, 20}) {
        CAPTURE(n);
        const auto x = random_floats(n * cols, 13);
        std::vector<float> h(static_cast<size_t>(n * rows), NAN);
        std::vector<float> expected(static_cast<size_t>(n * cols), NAN);
        Product first{&gate, x.data(), cols, n, h.data(), rows, &up};
        multiply(bench.compute(), std::array{first});
        multiply(bench.compute(),
                 std::array{Product{&down, h.data(), rows, n, expected.data(), cols}});

        std::vector<Q8Chunk> h_q8(static_cast<size_t>(n * q8_chunks(rows)));
        std::memset(static_cast<void*>(h_q8.data()), 0x55, h_q8.size() * sizeof(Q8Chunk));
        std::vector<float> found(expected.size(), NAN);
        first.y = nullptr;
        first.y_q8 = h_q8.data();
        multiply(bench.compute(), std::array{first});
        Product second{&down, nullptr, rows, n, found.data(), cols};
        second.x_q8 = h_q8.data();
        multiply(bench.compute(), std::array{second});
        CHECK(found == expected);
      }
    }
  }
}

TEST_CASE("the distances between rows are respected, and nothing beyond is written") {
  const Workbench bench(best_kernels());
  const int64_t rows = 70;
  const int64_t cols = 24;
  const auto weights = random_floats(rows * cols, 6);
  const Matrix w = matrix_of(weights, rows, cols);
  for (const int64_t n : {4, 18}) {
    const int64_t ldx = cols + 3;
    const int64_t ldy = rows + 2;
    const auto x = random_floats(n * ldx, 7);
    std::vector<float> y(static_cast<size_t>(n * ldy), -1.0F);
    multiply(bench.compute(), std::array{Product{&w, x.data(), ldx, n, y.data(), ldy}});
    std::vector<float> dense;
    for (int64_t i = 0; i < n; ++i) {
      dense.insert(dense.end(), x.begin() + i * ldx, x.begin() + i * ldx + cols);
    }
    const auto expected = product_in_double(weights, dense, rows, cols, n);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t r = 0; r < ldy; ++r) {
        const float found = y[static_cast<size_t>(i * ldy + r)];
        if (r < rows) {
          CHECK(std::fabs(found - expected[static_cast<size_t>(i * rows + r)]) < 1e-4F);
        } else {
          CHECK(found == -1.0F);
        }
      }
    }
  }
}

}  // namespace
}  // namespace pensee
