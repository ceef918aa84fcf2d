// Every fast table against the reference: the kernels on weight matrices.
#include "pensee/kernels/table.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "kernels/tables.hpp"

namespace pensee::test {
namespace {

constexpr float kGuard = 12345.0F;

// Rounding of a sum of `terms` numbers whose magnitudes add up to `magnitude`, two orders of
// addition apart. Random signs let the errors grow like the square root.
float rounding(int64_t terms, float magnitude) {
  const float epsilon = std::numeric_limits<float>::epsilon();
  return 2.0F * epsilon * (4.0F + std::sqrt(static_cast<float>(terms))) * magnitude + 1e-37F;
}

std::vector<float> unpacked(int type, const KernelMatrix* w, int64_t begin, int64_t end) {
  std::vector<float> rows(static_cast<size_t>((end - begin) * w->cols));
  reference_kernels().unpack_rows[type](w, begin, end, rows.data(), w->cols);
  return rows;
}

struct Case {
  int type;
  MatrixShape shape;
  int64_t begin;
  int64_t end;
  int64_t n;
};

std::string describe(const NamedTable& table, const Case& c) {
  return table.name + " " + type_name(c.type) + " cols " + std::to_string(c.shape.cols) + " rows " +
         std::to_string(c.begin) + ".." + std::to_string(c.end) + " n " + std::to_string(c.n) +
         " misaligned by " + std::to_string(c.shape.misaligned_by);
}

// Lengths up to 300, every one around the steps of all instruction sets and the scale blocks.
std::vector<int64_t> odd_lengths() {
  std::vector<int64_t> lengths;
  for (int64_t n = 1; n <= 70; ++n) lengths.push_back(n);
  for (int64_t n = 71; n < 125; n += 9) lengths.push_back(n);
  for (int64_t n = 125; n <= 131; ++n) lengths.push_back(n);
  for (const int64_t n : {159, 160, 161, 191, 192, 193, 255, 256, 257, 300}) lengths.push_back(n);
  return lengths;
}

void check_dot(const NamedTable& table, const Case& c, uint32_t seed) {
  const RandomMatrix w(c.type, c.shape, seed);
  const int64_t rows = c.end - c.begin;
  const int64_t ldx = c.shape.cols + 3;
  const int64_t ldy = rows + 2;
  // The first float is left out, so inputs and results are not aligned to vectors either.
  const std::vector<float> x = random_floats(1 + (c.n - 1) * ldx + c.shape.cols, seed + 1);
  std::vector<float> expected(static_cast<size_t>(1 + c.n * ldy), kGuard);
  std::vector<float> got = expected;
  reference_kernels().dot_rows[c.type](w.view(), c.begin, c.end, x.data() + 1, ldx, c.n,
                                       expected.data() + 1, ldy);
  table.table->dot_rows[c.type](w.view(), c.begin, c.end, x.data() + 1, ldx, c.n, got.data() + 1,
                                ldy);
  const std::vector<float> weights = unpacked(c.type, w.view(), c.begin, c.end);
  bool close = true;
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t r = 0; r < ldy; ++r) {
      const auto at = static_cast<size_t>(1 + i * ldy + r);
      if (r >= rows) {  // between the results nothing may be written
        close = close && got[at] == kGuard;
        continue;
      }
      float magnitude = 0.0F;
      for (int64_t k = 0; k < c.shape.cols; ++k) {
        magnitude += std::fabs(x[static_cast<size_t>(1 + i * ldx + k)] *
                               weights[static_cast<size_t>(r * c.shape.cols + k)]);
      }
      close = close && std::fabs(got[at] - expected[at]) <= rounding(c.shape.cols, magnitude);
    }
  }
  CHECK_MESSAGE(close, describe(table, c));
  CHECK(got[0] == kGuard);
}

void check_add(const NamedTable& table, const Case& c, uint32_t seed) {
  const RandomMatrix w(c.type, c.shape, seed);
  const int64_t rows = c.end - c.begin;
  const int64_t lda = rows + 1;
  const int64_t ldy = c.shape.cols + 3;
  const std::vector<float> a = random_floats((c.n - 1) * lda + rows, seed + 1);
  std::vector<float> expected = random_floats(1 + (c.n - 1) * ldy + c.shape.cols, seed + 2);
  std::vector<float> got = expected;
  std::vector<float> magnitudes = expected;
  for (float& value : magnitudes) value = std::fabs(value);
  reference_kernels().add_rows[c.type](w.view(), c.begin, c.end, a.data(), lda, c.n,
                                       expected.data() + 1, ldy);
  table.table->add_rows[c.type](w.view(), c.begin, c.end, a.data(), lda, c.n, got.data() + 1, ldy);
  const std::vector<float> weights = unpacked(c.type, w.view(), c.begin, c.end);
  bool close = same(got[0], expected[0]);
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t k = 0; k < ldy; ++k) {
      const auto at = static_cast<size_t>(1 + i * ldy + k);
      if (at >= got.size()) continue;
      if (k >= c.shape.cols) {  // between the results nothing may be written
        close = close && same(got[at], expected[at]);
        continue;
      }
      for (int64_t r = 0; r < rows; ++r) {
        magnitudes[at] += std::fabs(a[static_cast<size_t>(i * lda + r)] *
                                    weights[static_cast<size_t>(r * c.shape.cols + k)]);
      }
      close = close && std::fabs(got[at] - expected[at]) <= rounding(rows, magnitudes[at]);
    }
  }
  CHECK_MESSAGE(close, describe(table, c));
}

void check_unpack(const NamedTable& table, const Case& c, uint32_t seed) {
  const RandomMatrix w(c.type, c.shape, seed);
  const int64_t ldo = c.shape.cols + 2;
  std::vector<float> expected(static_cast<size_t>(1 + (c.end - c.begin) * ldo), kGuard);
  std::vector<float> got = expected;
  reference_kernels().unpack_rows[c.type](w.view(), c.begin, c.end, expected.data() + 1, ldo);
  table.table->unpack_rows[c.type](w.view(), c.begin, c.end, got.data() + 1, ldo);
  CHECK_MESSAGE(std::equal(got.begin(), got.end(), expected.begin(), same), describe(table, c));
}

void check_all(const NamedTable& table, const Case& c, uint32_t seed) {
  check_dot(table, c, seed);
  check_add(table, c, seed);
  check_unpack(table, c, seed);
}

}  // namespace

TEST_CASE("Matrix kernels agree with the reference at odd lengths and any alignment") {
  for (const NamedTable& table : fast_tables()) {
    for (int type = 0; type < kElementTypes; ++type) {
      uint32_t seed = 1;
      for (const int64_t cols : odd_lengths()) {
        const int64_t n = 1 + seed % 5;
        const int64_t misaligned_by = seed % 4;
        const MatrixShape shape{.rows = 1 + seed % 7,
                                .cols = cols,
                                .misaligned_by = misaligned_by,
                                .row_padding = seed % 3,
                                .scaled = type == KernelType::kF8E4M3 && seed % 4 != 0};
        check_all(table, {type, shape, 0, shape.rows, n}, seed);
        ++seed;
      }
    }
  }
}

TEST_CASE("Matrix kernels agree with the reference for every number of inputs") {
  for (const NamedTable& table : fast_tables()) {
    for (int type = 0; type < kElementTypes; ++type) {
      for (const int64_t n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17}) {
        for (const int64_t misaligned_by : {0, 1, 2, 3}) {
          const MatrixShape shape{.rows = 11,
                                  .cols = 157,
                                  .misaligned_by = misaligned_by,
                                  .scaled = type == KernelType::kF8E4M3};
          check_all(table, {type, shape, 1, 11, n}, static_cast<uint32_t>(n + misaligned_by));
        }
      }
    }
  }
}

TEST_CASE("Block types agree with the reference as float32, too") {
  for (const NamedTable& table : fast_tables()) {
    for (int type = kElementTypes; type < kKernelTypes; ++type) {
      const int64_t elements = dtype_block_elements(static_cast<DType>(type));
      uint32_t seed = 1;
      for (const int64_t blocks : {1, 2, 3, 7, 8, 9, 19}) {
        const MatrixShape shape{.rows = 1 + seed % 7,
                                .cols = blocks * elements,
                                .misaligned_by = seed % 4,
                                .row_padding = seed % 3};
        check_all(table, {type, shape, seed % 2, shape.rows, 1 + seed % 5}, seed);
        ++seed;
      }
    }
  }
}

TEST_CASE("Row ranges may begin and end anywhere among the scale blocks") {
  const int64_t ranges[][2] = {{0, 1},     {127, 129}, {126, 131}, {128, 256},
                               {255, 257}, {125, 261}, {3, 3},     {0, 300}};
  for (const NamedTable& table : fast_tables()) {
    for (const auto& range : ranges) {
      const MatrixShape shape{.rows = 300, .cols = 261, .misaligned_by = 3, .scaled = true};
      check_all(table, {KernelType::kF8E4M3, shape, range[0], range[1], 3}, 7);
    }
  }
}

TEST_CASE("Long rows agree with the reference") {
  for (const NamedTable& table : fast_tables()) {
    for (int type = 0; type < kElementTypes; ++type) {
      const MatrixShape shape{.rows = 9, .cols = 7168, .scaled = type == KernelType::kF8E4M3};
      check_all(table, {type, shape, 0, 9, 5}, 11);
    }
  }
}

TEST_CASE("A dot product does not depend on the partition, the other rows or the other inputs") {
  for (const NamedTable& table : fast_tables()) {
    for (int type = 0; type < kElementTypes; ++type) {
      for (const int64_t cols : {5, 128, 333}) {
        const int64_t rows = 139;
        const int64_t n = 7;
        const bool scaled = type == KernelType::kF8E4M3;
        const RandomMatrix w(type, {.rows = rows, .cols = cols, .scaled = scaled}, 3);
        const std::vector<float> x = random_floats(n * cols, 4);
        const auto dot_rows = table.table->dot_rows[type];
        std::vector<float> whole(static_cast<size_t>(n * rows));
        dot_rows(w.view(), 0, rows, x.data(), cols, n, whole.data(), rows);
        const auto whole_at = [&](int64_t i, int64_t r) {
          return whole[static_cast<size_t>(i * rows + r)];
        };
        for (const int64_t piece : {1, 2, 3, 5, 64}) {
          for (const int64_t inputs : {1, 2, 3, 4, 5}) {
            bool equal = true;
            for (int64_t begin = 0; begin < rows; begin += piece) {
              const int64_t end = std::min(rows, begin + piece);
              for (int64_t i = 0; i + inputs <= n; i += inputs) {
                std::vector<float> part(static_cast<size_t>(inputs * piece));
                dot_rows(w.view(), begin, end, x.data() + i * cols, cols, inputs, part.data(),
                         piece);
                for (int64_t k = 0; k < inputs * (end - begin); ++k) {
                  const int64_t input = k / (end - begin);
                  const int64_t row = k % (end - begin);
                  equal = equal && same(part[static_cast<size_t>(input * piece + row)],
                                        whole_at(i + input, begin + row));
                }
              }
            }
            CHECK_MESSAGE(equal, table.name, " ", type_name(type), " cols ", cols, " pieces of ",
                          piece, " rows, ", inputs, " inputs");
          }
        }
      }
    }
  }
}

TEST_CASE("Every 16-bit and 8-bit code unpacks to the reference's value") {
  for (const NamedTable& table : fast_tables()) {
    for (const int type :
         {int{KernelType::kF16}, int{KernelType::kBF16}, int{KernelType::kF8E4M3}}) {
      const int64_t codes = type == KernelType::kF8E4M3 ? 256 : 65536;
      std::vector<uint16_t> wide(static_cast<size_t>(codes));
      std::vector<uint8_t> narrow(static_cast<size_t>(codes));
      for (size_t i = 0; i < wide.size(); ++i) {
        wide[i] = static_cast<uint16_t>(i);
        narrow[i] = static_cast<uint8_t>(i);
      }
      const bool is_narrow = type == KernelType::kF8E4M3;
      const std::vector<float> scales = {0.37F, 1.9e-3F};
      for (const bool scaled : {false, true}) {
        if (scaled && !is_narrow) continue;
        const KernelMatrix w{
            .data = is_narrow ? static_cast<const void*>(narrow.data()) : wide.data(),
            .scales = scaled ? scales.data() : nullptr,
            .row_bytes = dtype_row_bytes(static_cast<DType>(type), codes),
            .scale_stride = 2,
            .cols = codes};
        std::vector<float> expected(static_cast<size_t>(codes));
        std::vector<float> got(static_cast<size_t>(codes));
        reference_kernels().unpack_rows[type](&w, 0, 1, expected.data(), codes);
        table.table->unpack_rows[type](&w, 0, 1, got.data(), codes);
        CHECK_MESSAGE(std::equal(got.begin(), got.end(), expected.begin(), same), table.name, " ",
                      type_name(type));
      }
    }
  }
}

TEST_CASE("A NaN code among the weights reaches its row and column, and no other") {
  for (const NamedTable& table : fast_tables()) {
    for (const uint8_t code : {uint8_t{0x7f}, uint8_t{0xff}}) {
      for (const int64_t at : {0, 17, 31, 40, 63, 140, 199}) {
        for (const int64_t n : {1, 2, 3, 4}) {
          const MatrixShape shape{.rows = 6, .cols = 200, .scaled = true};
          RandomMatrix w(KernelType::kF8E4M3, shape, 5);
          *w.element(KernelType::kF8E4M3, 2, at) = static_cast<char>(code);
          const std::vector<float> x(static_cast<size_t>(n * shape.cols), 0.0F);
          std::vector<float> y(static_cast<size_t>(n * shape.rows));
          table.table->dot_rows[KernelType::kF8E4M3](w.view(), 0, 6, x.data(), 200, n, y.data(), 6);
          std::vector<float> sums(static_cast<size_t>(n * shape.cols));
          table.table->add_rows[KernelType::kF8E4M3](w.view(), 0, 6, x.data(), 6, n, sums.data(),
                                                     200);
          for (int64_t i = 0; i < n; ++i) {
            for (int64_t r = 0; r < 6; ++r) {
              CHECK(std::isnan(y[static_cast<size_t>(i * 6 + r)]) == (r == 2));
            }
            int64_t count = 0;
            for (int64_t k = 0; k < 200; ++k) {
              count += std::isnan(sums[static_cast<size_t>(i * 200 + k)]) ? 1 : 0;
            }
            CHECK(count == 1);
            CHECK(std::isnan(sums[static_cast<size_t>(i * 200 + at)]));
          }
        }
      }
    }
  }
}

TEST_CASE("Denormal and infinite float32 weights are taken as they are") {
  const float infinity = std::numeric_limits<float>::infinity();
  const float denormal = std::numeric_limits<float>::denorm_min();
  const std::vector<float> weights = {denormal, -denormal * 3, 1e-40F, infinity, -0.0F};
  const KernelMatrix w{
      .data = weights.data(), .scales = nullptr, .row_bytes = 20, .scale_stride = 0, .cols = 5};
  for (const NamedTable& table : fast_tables()) {
    std::vector<float> got(5);
    table.table->unpack_rows[KernelType::kF32](&w, 0, 1, got.data(), 5);
    CHECK(std::equal(got.begin(), got.end(), weights.begin(), same));
    const std::vector<float> x = {0x1p100F, 0.0F, 0.0F, 0.0F, 0.0F};
    const KernelMatrix finite{
        .data = weights.data(), .scales = nullptr, .row_bytes = 12, .scale_stride = 0, .cols = 3};
    float y = 0.0F;
    table.table->dot_rows[KernelType::kF32](&finite, 0, 1, x.data(), 3, 1, &y, 1);
    CHECK(y == denormal * 0x1p100F);
    const std::vector<float> ones(5, 1.0F);
    table.table->dot_rows[KernelType::kF32](&w, 0, 1, ones.data(), 5, 1, &y, 1);
    CHECK(y == infinity);
  }
}

}  // namespace pensee::test
