// Every fast table against the reference: activations of eight bits and block-quantised weights.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/tables.hpp"
#include "pensee/base/arena.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee::test {
namespace {

constexpr float kUntouched = 12345.0F;

// n rows of `cols` quantised numbers, and what they stand for.
struct Inputs {
  Inputs(int64_t n, int64_t cols, uint32_t seed) : Inputs(n, cols, random_floats(n * cols, seed)) {}
  // x (n, cols)
  Inputs(int64_t n, int64_t cols, const std::vector<float>& x) : ldx(n + 1) {
    chunks.resize(static_cast<size_t>(ceil_div(cols, kQ8Columns) * ldx));
    for (int64_t i = 0; i < n; ++i) {
      reference_kernels().quantize_q8(x.data() + i * cols, cols, chunks.data() + i, ldx);
    }
  }
  const Q8Chunk* row(int64_t i) const { return chunks.data() + i; }
  float value(int64_t i, int64_t c) const {
    const Q8Chunk& chunk = row(i)[c / kQ8Columns * ldx];
    return chunk.codes[c % kQ8Columns] * chunk.scales[c % kQ8Columns / 32];
  }

  int64_t ldx;
  std::vector<Q8Chunk> chunks;
};

std::string describe(const NamedTable& table, int type, int64_t cols, int64_t rows, int64_t n) {
  return table.name + " " + type_name(type) + " cols " + std::to_string(cols) + " rows " +
         std::to_string(rows) + " n " + std::to_string(n);
}

// dot_rows_q8, or gemm_q8 if `is_gemm`, of the rows from `begin` on and n inputs.
void check_products(const NamedTable& table, int type, const MatrixShape& shape,
                    const RandomMatrix& w, const Inputs& x, int64_t begin, int64_t n, bool is_gemm,
                    bool alike = false) {
  const int64_t rows = shape.rows - begin;
  const int64_t ldy = rows + 2;
  std::vector<float> expected(static_cast<size_t>(n * ldy), kUntouched);
  std::vector<float> got = expected;
  reference_kernels().dot_rows_q8[type](w.view(), begin, shape.rows, x.row(0), x.ldx, n,
                                        expected.data(), ldy);
  if (is_gemm) {
    Arena scratch = *Arena::create(kGemmQ8Scratch);
    table.table->gemm_q8[type](w.view(), begin, shape.rows, x.row(0), x.ldx, n, got.data(), ldy,
                               scratch.take<char>(kGemmQ8Scratch));
  } else {
    table.table->dot_rows_q8[type](w.view(), begin, shape.rows, x.row(0), x.ldx, n, got.data(),
                                   ldy);
  }
  std::vector<float> weights(static_cast<size_t>(rows * shape.cols));
  reference_kernels().unpack_rows[type](w.view(), begin, shape.rows, weights.data(), shape.cols);
  bool close = true;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = 0; r < ldy; ++r) {
      const auto at = static_cast<size_t>(i * ldy + r);
      if (r >= rows) {  // between the results nothing may be written
        close = close && got[at] == kUntouched;
        continue;
      }
      // Scaled codes and minimums are about as large as the largest weight of the row.
      float inputs = 0.0F;
      float largest = 0.0F;
      float squares = 0.0F;
      for (int64_t c = 0; c < shape.cols; ++c) {
        const float weight = std::fabs(weights[static_cast<size_t>(r * shape.cols + c)]);
        const float input = std::fabs(x.value(i, c));
        largest = std::max(largest, weight);
        inputs += input;
        squares += weight * weight * input * input;
      }
      float tolerance = 8.0F * std::numeric_limits<float>::epsilon() * inputs * largest;
      // Scales of 12 bits: their errors add up as independent ones do, unless all are alike.
      if (is_gemm) tolerance += alike ? 0x1p-8F * inputs * largest : 0x1p-9F * std::sqrt(squares);
      close = close && std::fabs(got[at] - expected[at]) <= tolerance;
    }
  }
  CHECK_MESSAGE(close, describe(table, type, shape.cols, rows, n));
}

void check_dot(const NamedTable& table, int type, const MatrixShape& shape, int64_t begin,
               int64_t n, uint32_t seed, bool is_gemm = false) {
  const RandomMatrix w(type, shape, seed);
  const Inputs x(n, shape.cols, seed + 1);
  check_products(table, type, shape, w, x, begin, n, is_gemm);
}

}  // namespace

TEST_CASE("Rows are quantised bit for bit as by the reference") {
  for (const NamedTable& table : fast_tables()) {
    for (int64_t cols = 1; cols < 600; cols += cols < 70 ? 1 : 37) {
      std::vector<float> x = random_floats(cols, static_cast<uint32_t>(cols), 3.0F);
      for (size_t c = 7; c < x.size(); c += 41) x[c] *= 1e-3F;
      for (size_t c = 64; c < std::min<size_t>(x.size(), 96); ++c) x[c] *= 1e-33F;
      const auto chunks = static_cast<size_t>(ceil_div(cols, kQ8Columns));
      std::vector<Q8Chunk> expected(chunks);
      std::vector<Q8Chunk> got(chunks);
      reference_kernels().quantize_q8(x.data(), cols, expected.data(), 1);
      table.table->quantize_q8(x.data(), cols, got.data(), 1);
      CHECK_MESSAGE(std::memcmp(expected.data(), got.data(), chunks * sizeof(Q8Chunk)) == 0,
                    table.name, " cols ", cols);
    }
  }
}

TEST_CASE("Rows are quantised in parts as whole ones, in any order") {
  std::vector<NamedTable> tables = fast_tables();
  tables.push_back({"reference", &reference_kernels()});
  for (const NamedTable& table : tables) {
    for (const int64_t part : {32, 96, 128, 256}) {
      const std::vector<float> x = random_floats(kQ8Columns, 5, 3.0F);
      Q8Chunk expected{};
      std::vector<Q8Chunk> got(2);
      reference_kernels().quantize_q8(x.data(), kQ8Columns, &expected, 1);
      for (int64_t first = (kQ8Columns - 1) / part * part; first >= 0; first -= part) {
        const int64_t count = std::min<int64_t>(part, kQ8Columns - first);
        for (Q8Chunk& chunk : got) {
          table.table->quantize_q8_part(x.data() + first, first, count, &chunk);
        }
      }
      table.table->find_q8_levels(got.data(), 2);
      for (const Q8Chunk& chunk : got) {
        CHECK_MESSAGE(std::memcmp(&expected, &chunk, sizeof(Q8Chunk)) == 0, table.name,
                      " parts of ", part);
      }
    }
  }
}

TEST_CASE("Quantised rows stand for what they were made from") {
  const int64_t cols = 300;
  std::vector<float> x = random_floats(cols, 1, 5.0F);
  for (size_t c = 32; c < 64; ++c) x[c] = 0.0F;
  std::vector<Q8Chunk> chunks(2);
  reference_kernels().quantize_q8(x.data(), cols, chunks.data(), 1);
  for (int64_t c = 0; c < 2 * kQ8Columns; ++c) {
    const Q8Chunk& chunk = chunks[static_cast<size_t>(c / kQ8Columns)];
    const int64_t at = c % kQ8Columns;
    const float scale = chunk.scales[at / 32];
    const float expected = c < cols ? x[static_cast<size_t>(c)] : 0.0F;
    CHECK(std::fabs(static_cast<float>(chunk.codes[at]) * scale - expected) <= 0.501F * scale);
    if (at % 16 != 0) continue;
    int32_t sum = 0;
    for (int64_t k = at; k < at + 16; ++k) sum += chunk.codes[k];
    CHECK(chunk.sums_16[at / 16] == sum);
    if (at % 32 != 0) continue;
    CHECK(chunk.sums_32[at / 32] == sum + chunk.sums_16[at / 16 + 1]);
    CHECK(chunk.scaled_sums_32[at / 32] == static_cast<float>(chunk.sums_32[at / 32]) * scale);
  }
}

TEST_CASE("What is not finite makes results NaN, whatever the weights") {
  std::vector<NamedTable> tables = dot_rows_q8_tables();
  tables.push_back({"reference", &reference_kernels()});
  for (const NamedTable& table : tables) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
          std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
      for (const size_t at : {size_t{0}, size_t{13}, size_t{255}}) {
        for (const int type :
             {int{KernelType::kQ8_0}, int{KernelType::kQ4_K}, int{KernelType::kQ6_K}}) {
          const RandomMatrix w(type, {.rows = 20, .cols = 256}, 3);
          std::vector<float> x = random_floats(256, 1);
          x[at] = bad;
          std::vector<Q8Chunk> chunks(5);
          for (Q8Chunk& chunk : chunks) table.table->quantize_q8(x.data(), 256, &chunk, 1);
          for (const int64_t n : {1, 5}) {
            std::vector<float> y(static_cast<size_t>(n * 20));
            table.table->dot_rows_q8[type](w.view(), 0, 20, chunks.data(), 1, n, y.data(), 20);
            CHECK(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }));
            if (table.table->gemm_q8[type] == nullptr) continue;
            Arena scratch = *Arena::create(kGemmQ8Scratch);
            std::fill(y.begin(), y.end(), 0.0F);
            table.table->gemm_q8[type](w.view(), 0, 20, chunks.data(), 1, n, y.data(), 20,
                                       scratch.take<char>(kGemmQ8Scratch));
            CHECK(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }));
          }
        }
      }
    }
  }
}

TEST_CASE("Products of block types agree with the reference") {
  for (const NamedTable& table : dot_rows_q8_tables()) {
    for (int type = kElementTypes; type < kKernelTypes; ++type) {
      const int64_t elements = dtype_block_elements(static_cast<DType>(type));
      uint32_t seed = 1;
      for (const int64_t blocks : {1, 2, 5, 8, 9, 27}) {
        for (const int64_t n : {1, 3, 4, 7}) {
          const MatrixShape shape{.rows = 1 + seed % 37,
                                  .cols = blocks * elements,
                                  .misaligned_by = seed % 5,
                                  .row_padding = seed % 3};
          check_dot(table, type, shape, seed % 2 == 0 ? shape.rows / 3 : 0, n, seed);
          ++seed;
        }
      }
      check_dot(table, type, {.rows = 9, .cols = 7168}, 0, 5, seed);
      check_dot(table, type, {.rows = 3, .cols = 7168}, 0, 2, seed);
      check_dot(table, type, {.rows = 3, .cols = 256}, 0, 70, seed);
    }
  }
}

TEST_CASE("Products of block types are the same on all processors with AVX-512") {
  const int64_t rows = 21;
  for (int type = kElementTypes; type < kKernelTypes; ++type) {
    for (const int64_t cols : {5 * 256, 16 * 256}) {  // short rows are taken in pairs
      const RandomMatrix w(type, {.rows = rows, .cols = cols}, 3);
      const Inputs x(3, cols, 4);
      for (const int64_t n : {1, 2, 3}) {
        std::vector<float> firsts[2];  // emulation rounds otherwise
        for (const NamedTable& table : dot_rows_q8_tables()) {
          if (!table.name.starts_with("avx512")) continue;
          std::vector<float>& first = firsts[table.name.ends_with("emulated") ? 1 : 0];
          std::vector<float> got(static_cast<size_t>(n * rows));
          table.table->dot_rows_q8[type](w.view(), 0, rows, x.row(0), x.ldx, n, got.data(), rows);
          if (first.empty()) first = got;
          CHECK_MESSAGE(std::equal(got.begin(), got.end(), first.begin(), same),
                        describe(table, type, cols, rows, n));
        }
      }
    }
  }
}

TEST_CASE("Products of block types with many inputs agree with the reference") {
  for (const NamedTable& table : fast_tables()) {
    for (int type = kElementTypes; type < kKernelTypes; ++type) {
      if (table.table->gemm_q8[type] == nullptr) continue;
      const int64_t elements = dtype_block_elements(static_cast<DType>(type));
      uint32_t seed = 1;
      for (const int64_t blocks : {1, 9}) {
        for (const int64_t n : {1, 16, 31}) {
          const MatrixShape shape{.rows = 1 + 23 * (seed % 5),
                                  .cols = blocks * elements,
                                  .misaligned_by = seed % 5,
                                  .row_padding = seed % 3,
                                  .alike = n != 1};
          check_dot(table, type, shape, seed % 2 == 0 ? shape.rows / 3 : 0, n, seed, true);
          ++seed;
        }
      }
      check_dot(table, type, {.rows = 17, .cols = 2560}, 0, 13, seed, true);
      check_dot(table, type, {.rows = 40, .cols = 2560, .alike = true}, 0, 14, seed, true);
    }
  }
}

TEST_CASE("The largest codes and inputs fit where their products are added up") {
  constexpr int64_t kInputs = 17;
  for (const NamedTable& table : dot_rows_q8_tables()) {
    for (int type = kElementTypes; type < kKernelTypes; ++type) {
      const MatrixShape shape{.rows = 33, .cols = 512, .positive = true, .alike = true};
      const auto dtype = static_cast<DType>(type);
      for (const char fill : {'\xff', '\0'}) {
        RandomMatrix w(type, shape, 3);
        for (int64_t r = 0; r < shape.rows; ++r) {
          for (int64_t c = 0; c < shape.cols; c += dtype_block_elements(dtype)) {
            // All but the float16 numbers, and the exponent of MXFP4's scales.
            std::vector<bool> kept(static_cast<size_t>(dtype_block_bytes(dtype)), false);
            kept[0] = type == KernelType::kMXFP4;
            for (const int high : float16_high_bytes(type)) {
              kept[static_cast<size_t>(high)] = kept[static_cast<size_t>(high - 1)] = true;
            }
            for (size_t b = 0; b < kept.size(); ++b) {
              if (!kept[b]) w.element(type, r, c)[b] = fill;
            }
          }
        }
        for (const float sign : {1.0F, -1.0F}) {
          const Inputs x(kInputs, shape.cols,
                         std::vector<float>(static_cast<size_t>(kInputs * shape.cols), sign));
          for (const int64_t n : {int64_t{1}, kInputs}) {
            check_products(table, type, shape, w, x, 0, n, false);
          }
          if (table.table->gemm_q8[type] == nullptr) continue;
          check_products(table, type, shape, w, x, 0, kInputs, true, true);
        }
      }
    }
  }
}

// A rounding that favours one side is small in every product and the same in all of them: it passes
// any tolerance and moves what a model says.
TEST_CASE("Errors of products with many inputs do not lean to one side") {
  const int64_t rows = 64;
  const int64_t cols = 2560;
  const int64_t n = 16;
  for (const NamedTable& table : fast_tables()) {
    for (int type = kElementTypes; type < kKernelTypes; ++type) {
      if (table.table->gemm_q8[type] == nullptr) continue;
      for (const bool alike : {false, true}) {
        const RandomMatrix w(type, {.rows = rows, .cols = cols, .positive = true, .alike = alike},
                             5);
        const Inputs x(n, cols, 6);
        std::vector<float> expected(static_cast<size_t>(n * rows));
        std::vector<float> got(expected.size());
        reference_kernels().dot_rows_q8[type](w.view(), 0, rows, x.row(0), x.ldx, n,
                                              expected.data(), rows);
        Arena scratch = *Arena::create(kGemmQ8Scratch);
        table.table->gemm_q8[type](w.view(), 0, rows, x.row(0), x.ldx, n, got.data(), rows,
                                   scratch.take<char>(kGemmQ8Scratch));
        double sum = 0.0;
        double squares = 0.0;
        for (size_t k = 0; k < got.size(); ++k) {
          const double error = static_cast<double>(got[k]) - static_cast<double>(expected[k]);
          sum += error;
          squares += error * error;
        }
        const auto count = static_cast<double>(got.size());
        CHECK_MESSAGE(std::fabs(sum) <= 0.15 * std::sqrt(squares * count), type_name(type),
                      " alike ", alike, " lean ", sum / std::sqrt(squares * count));
      }
    }
  }
}

TEST_CASE("Products of block types do not depend on the partition or on the other inputs") {
  const int64_t rows = 37;
  const int64_t n = 35;
  for (const NamedTable& table : dot_rows_q8_tables()) {
    for (int type = kElementTypes; type < kKernelTypes; ++type) {
      const int64_t cols =
          3 * 256 + (dtype_block_elements(static_cast<DType>(type)) == 32 ? 96 : 0);
      const RandomMatrix w(type, {.rows = rows, .cols = cols}, 3);
      const Inputs x(n, cols, 4);
      const auto dot_rows = table.table->dot_rows_q8[type];
      std::vector<float> whole(static_cast<size_t>(n * rows));
      dot_rows(w.view(), 0, rows, x.row(0), x.ldx, n, whole.data(), rows);
      for (const int64_t piece : {1, 3, 16, 21, 37}) {
        for (const int64_t inputs : {1, 2, 3, 4, 6, 9}) {
          bool equal = true;
          for (int64_t begin = 0; begin < rows; begin += piece) {
            const int64_t end = std::min(rows, begin + piece);
            std::vector<float> part(static_cast<size_t>(inputs * piece));
            const int64_t first = begin % (n - inputs);
            dot_rows(w.view(), begin, end, x.row(first), x.ldx, inputs, part.data(), piece);
            for (int64_t i = 0; i < inputs; ++i) {
              for (int64_t r = begin; r < end; ++r) {
                equal = equal && same(part[static_cast<size_t>(i * piece + r - begin)],
                                      whole[static_cast<size_t>((first + i) * rows + r)]);
              }
            }
          }
          CHECK_MESSAGE(equal, describe(table, type, cols, piece, inputs));
        }
      }
    }
  }
}

}  // namespace pensee::test
