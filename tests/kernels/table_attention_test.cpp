// Every table's attention kernels against sums in double, made from the same rounded numbers.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/tables.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee::test {
namespace {

constexpr int kStored[CacheStorage::kCount] = {KernelType::kBF16, KernelType::kF32,
                                               KernelType::kQ8_0};

struct NamedAttention {
  std::string name;
  const AttentionKernels* kernels;
};
std::vector<NamedAttention> all_attention() {
  std::vector<NamedTable> tables = fast_tables();
  tables.push_back({"reference", &reference_kernels()});
  std::vector<NamedAttention> all;
  for (const NamedTable& t : tables) {
    all.push_back({t.name, &t.table->attention});
    all.push_back({t.name + " in float32", &t.table->attention_f32});
  }
  return all;
}

// Memory for an operand, aligned as the kernels want it, with one word behind that must stay.
class Words {
 public:
  explicit Words(int64_t n) : memory_(static_cast<size_t>(n) + 17, 0x7fc00000U), n_(n) {}
  uint32_t* data() {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return memory_.data() + (64 - address % 64) % 64 / sizeof(uint32_t);
  }
  bool is_end_left_alone() { return data()[n_] == 0x7fc00000U; }

 private:
  std::vector<uint32_t> memory_;
  int64_t n_;
};

int64_t columns(int64_t n) {
  return ceil_div(n, int64_t{kAttentionColumns}) * kAttentionColumns;
}
double rounded(const AttentionKernels& kernels, float v) {
  return kernels.pair == 2 ? bf16_to_f32(f32_to_bf16(v)) : v;
}

// Rows as a cache stores them: of blocks, the last is filled up with zeros.
struct Stored {
  Stored(int storage, int64_t rows, int64_t cols, uint32_t seed)
      : type(kStored[storage]),
        whole(ceil_div(cols, dtype_block_elements(static_cast<DType>(type))) *
              dtype_block_elements(static_cast<DType>(type))),
        matrix(type, {.rows = rows, .cols = whole, .misaligned_by = 6, .row_padding = 10}, seed),
        view(*matrix.view()),
        values(static_cast<size_t>(rows * whole)) {
    view.cols = cols;
    for (int64_t r = 0; r < rows && cols < whole; ++r) {
      std::memset(matrix.element(type, r, whole - 32) + 2 + cols % 32, 0,
                  static_cast<size_t>(whole - cols));
    }
    reference_kernels().unpack_rows[type](matrix.view(), 0, rows, values.data(), whole);
  }
  float at(int64_t r, int64_t c) const { return values[static_cast<size_t>(r * whole + c)]; }

  int type;
  int64_t whole;
  RandomMatrix matrix;
  KernelMatrix view;
  std::vector<float> values;
};

struct ProductCase {
  int64_t m;
  int64_t k;
  int64_t n;
  bool transposed;
  bool add;
};

void check_product(const NamedAttention& t, int storage, const ProductCase& c) {
  CAPTURE(t.name);
  CAPTURE(storage);
  CAPTURE(c.m);
  CAPTURE(c.k);
  CAPTURE(c.n);
  CAPTURE(c.transposed);
  constexpr float kFactor = 0.37F;
  const AttentionKernels& kernels = *t.kernels;
  // Rows 1 and up: the first is for others.
  const Stored w(storage, (c.transposed ? c.n : c.k) + 1, c.transposed ? c.k : c.n, 5);
  const std::vector<float> x = random_floats(c.m * (c.k + 3), 6);
  const int64_t k_words = ceil_div(c.k, kernels.pair);
  const int64_t ldl = k_words + 1;
  const int64_t ldr = columns(c.n) + 16;
  Words left(c.m * ldl);
  Words right((k_words - 1) * ldr + columns(c.n));
  kernels.pack_left(x.data(), c.k + 3, c.m, c.k, kFactor, left.data(), ldl);
  const auto pack = c.transposed ? kernels.pack_transposed : kernels.pack_right;
  pack[storage](&w.view, 1, 1 + (c.transposed ? c.n : c.k), right.data(), ldr);
  const int64_t ldc = columns(c.n) + 1;
  std::vector<float> got(static_cast<size_t>(c.m * ldc), 0.5F);
  kernels.multiply(c.m, columns(c.n), c.k, left.data(), ldl, right.data(), ldr, got.data(), ldc,
                   c.add ? 1 : 0);
  CHECK(left.is_end_left_alone());
  CHECK(right.is_end_left_alone());
  double worst = 0.0;
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < columns(c.n); ++j) {
      double expected = c.add ? 0.5 : 0.0;
      double size = 1e-30;
      for (int64_t l = 0; l < c.k && j < c.n; ++l) {
        const float number = c.transposed ? w.at(j + 1, l) : w.at(l + 1, j);
        const double term = rounded(kernels, kFactor * x[static_cast<size_t>(i * (c.k + 3) + l)]) *
                            rounded(kernels, number);
        expected += term;
        size += std::fabs(term);
      }
      const double found = got[static_cast<size_t>(i * ldc + j)];
      worst = std::fmax(worst, std::fabs(found - expected) / (size + (c.add ? 0.5 : 0.0)));
    }
    CHECK(got[static_cast<size_t>(i * ldc + ldc - 1)] == 0.5F);
  }
  CHECK(worst < 2e-6);
}

}  // namespace

TEST_CASE("attention: packed rows of every cache multiply as they should, at odd sizes") {
  for (const NamedAttention& t : all_attention()) {
    for (int storage = 0; storage < CacheStorage::kCount; ++storage) {
      for (const bool transposed : {false, true}) {
        int64_t m = 1;
        for (const int64_t k : {1, 2, 7, 32, 33, 64, 95}) {
          for (const int64_t n : {1, 16, 31, 64, 77}) {
            check_product(t, storage, {m, k, n, transposed, m % 2 == 0});
            m = m % 11 + 1;
          }
        }
      }
    }
  }
}

TEST_CASE("attention: rows in place give what packed ones give, to the bit") {
  constexpr int64_t kMostRows = 19;
  int64_t checked = 0;
  for (const NamedAttention& t : all_attention()) {
    CAPTURE(t.name);
    const AttentionKernels& kernels = *t.kernels;
    for (int storage = 0; storage < CacheStorage::kCount; ++storage) {
      if (kernels.score_rows[storage] == nullptr) continue;
      CAPTURE(storage);
      for (int64_t m = 1; m <= kMostRows; ++m) {
        CAPTURE(m);
        const int64_t tokens = m % 2 == 0 ? 64 : 128;
        const int64_t size = m % 3 == 0 ? 64 : 192;
        const Stored w(storage, tokens + 1, size, 5);  // the first row is for others
        const int64_t k = std::max(tokens, size);
        const int64_t ld = k / kernels.pair + 1;
        const std::vector<float> x = random_floats(m * k, 6);
        Words left(m * ld);
        kernels.pack_left(x.data(), k, m, k, 0.37F, left.data(), ld);
        Words right(k * k);
        const auto expected = [&](PackRightFn pack, int64_t columns, int64_t depth, int add) {
          std::vector<float> c(static_cast<size_t>(m * (columns + 1)), 0.5F);
          pack(&w.view, 1, tokens + 1, right.data(), columns);
          kernels.multiply(m, columns, depth, left.data(), ld, right.data(), columns, c.data(),
                           columns + 1, add);
          return c;
        };
        std::vector<float> scores(static_cast<size_t>(m * (tokens + 1)), 0.5F);
        kernels.score_rows[storage](m, left.data(), ld, &w.view, 1, tokens + 1, scores.data(),
                                    tokens + 1);
        CHECK(scores == expected(kernels.pack_transposed[storage], tokens, size, 0));
        std::vector<float> values(static_cast<size_t>(m * (size + 1)), 0.5F);
        kernels.add_values[storage](m, left.data(), ld, &w.view, 1, tokens + 1, values.data(),
                                    size + 1);
        CHECK(values == expected(kernels.pack_right[storage], size, tokens, 1));
        ++checked;
      }
    }
  }
  CHECK(checked >= (fast_tables().empty() ? 0 : kMostRows));
}

TEST_CASE("attention: numbers that bfloat16 cannot hold are rounded to nearest, ties to even") {
  for (const NamedAttention& t : all_attention()) {
    CAPTURE(t.name);
    const AttentionKernels& kernels = *t.kernels;
    const std::vector<float> x = {0x1.01p0F, 0x1.03p0F, -0x1.0101p0F, 0x1.fffffep0F, 1e-3F, -3e38F};
    const KernelMatrix w = {x.data(), nullptr, 24, 0, 6};
    Words left(8);
    Words right(6 * kAttentionColumns);
    const float one = 1.0F;
    kernels.pack_left(&one, 1, 1, 1, 1.0F, left.data(), 1);
    kernels.pack_right[CacheStorage::kF32](&w, 0, 1, right.data(), kAttentionColumns);
    std::vector<float> got(kAttentionColumns);
    kernels.multiply(1, kAttentionColumns, 1, left.data(), 1, right.data(), kAttentionColumns,
                     got.data(), kAttentionColumns, 0);
    for (size_t i = 0; i < x.size(); ++i) CHECK(got[i] == rounded(kernels, x[i]));
  }
}

TEST_CASE("attention: what rounding leaves over of a left operand is packed beside it") {
  constexpr float kFactor = 0.37F;
  for (const NamedAttention& t : all_attention()) {
    CAPTURE(t.name);
    const AttentionKernels& kernels = *t.kernels;
    if (kernels.pack_left_rest == nullptr) continue;
    REQUIRE(kernels.pair == 2);
    for (const int64_t k : {1, 31, 32, 33, 100}) {
      CAPTURE(k);
      const int64_t ld = ceil_div(k, 2) + 1;
      const auto x = random_floats(3 * (k + 2), 7);
      Words left(3 * ld - 1);
      Words rest(3 * ld - 1);
      kernels.pack_left(x.data(), k + 2, 3, k, kFactor, left.data(), ld);
      kernels.pack_left_rest(x.data(), k + 2, 3, k, kFactor, left.data(), rest.data(), ld);
      for (int64_t i = 0; i < 3; ++i) {
        for (int64_t c = 0; c < 2 * ceil_div(k, 2); ++c) {
          const float number = c < k ? kFactor * x[static_cast<size_t>(i * (k + 2) + c)] : 0.0F;
          const uint32_t word = rest.data()[i * ld + c / 2];
          const auto found = bf16_to_f32(static_cast<uint16_t>(c % 2 == 0 ? word : word >> 16));
          const float left_over = number - bf16_to_f32(f32_to_bf16(number));
          CHECK(found == bf16_to_f32(f32_to_bf16(left_over)));
        }
      }
      CHECK(rest.is_end_left_alone());
    }
  }
}

TEST_CASE(
    "attention: the softmax kept up over two tiles equals that of both, whatever is visible") {
  constexpr int64_t kRows = 5;
  constexpr int64_t kTokens = 128;  // of a tile
  constexpr int64_t kWidth = 64;    // of the values
  constexpr int64_t kSeen[2][kRows] = {{128, 1, 33, 0, 128}, {128, 0, 128, 0, 77}};
  for (const NamedAttention& t : all_attention()) {
    CAPTURE(t.name);
    const AttentionKernels& kernels = *t.kernels;
    const std::vector<float> scores = random_floats(2 * kRows * kTokens, 3, 20.0F);
    const Stored values(CacheStorage::kBF16, 2 * kTokens, kWidth, 4);
    std::vector<float> max(kRows, -std::numeric_limits<float>::infinity());
    std::vector<float> sum(kRows, 0.0F);
    std::vector<float> out(kRows * kWidth, 0.0F);
    const AttentionState state{max.data(), sum.data(), out.data(), kWidth};
    const int64_t ld = kTokens / kernels.pair;
    for (int64_t tile = 0; tile < 2; ++tile) {
      Words left(kRows * ld);
      Words right(ld * kWidth);
      kernels.soften(kRows, kTokens, scores.data() + tile * kRows * kTokens, kTokens, kSeen[tile],
                     &state, left.data(), ld);
      kernels.pack_right[CacheStorage::kBF16](&values.view, tile * kTokens, (tile + 1) * kTokens,
                                              right.data(), kWidth);
      kernels.multiply(kRows, kWidth, kTokens, left.data(), ld, right.data(), kWidth, out.data(),
                       kWidth, 1);
      CHECK(left.is_end_left_alone());
    }
    const double tolerance = kernels.pair == 2 ? 4e-3 : 1e-5;  // weights have 8 or 24 bits
    for (int64_t i = 0; i < kRows; ++i) {
      double expected_max = -INFINITY;
      double expected_sum = 0.0;
      std::vector<double> expected(kWidth, 0.0);
      for (int64_t pass = 0; pass < 2; ++pass) {
        for (int64_t tile = 0; tile < 2; ++tile) {
          for (int64_t j = 0; j < kSeen[tile][i]; ++j) {
            const double score = scores[static_cast<size_t>((tile * kRows + i) * kTokens + j)];
            if (pass == 0) {
              expected_max = std::fmax(expected_max, score);
              continue;
            }
            const double weight = std::exp(score - expected_max);
            expected_sum += weight;
            for (int64_t d = 0; d < kWidth; ++d) {
              expected[static_cast<size_t>(d)] += weight * values.at(tile * kTokens + j, d);
            }
          }
        }
      }
      const auto row = static_cast<size_t>(i);
      CHECK(max[row] == expected_max);
      CHECK(sum[row] == doctest::Approx(expected_sum).epsilon(1e-5));
      for (size_t d = 0; d < kWidth; ++d) {
        CHECK(std::fabs(out[row * kWidth + d] - expected[d]) <= tolerance * expected_sum * 2.0);
      }
    }
  }
}

TEST_CASE("attention: a row's results depend neither on its neighbours nor on what it cannot see") {
  constexpr int64_t kRows = 11;
  constexpr int64_t kSize = 70;
  for (const NamedAttention& t : all_attention()) {
    CAPTURE(t.name);
    const AttentionKernels& kernels = *t.kernels;
    const Stored w(CacheStorage::kQ8, 64, kSize, 8);
    const std::vector<float> x = random_floats(kRows * kSize, 9);
    const int64_t ld = ceil_div(kSize, kernels.pair);
    Words left(kRows * ld);
    Words right(ld * kAttentionColumns);
    kernels.pack_left(x.data(), kSize, kRows, kSize, 1.0F, left.data(), ld);
    kernels.pack_transposed[CacheStorage::kQ8](&w.view, 0, 64, right.data(), kAttentionColumns);
    std::vector<float> together(kRows * 64);
    kernels.multiply(kRows, 64, kSize, left.data(), ld, right.data(), 64, together.data(), 64, 0);
    const int64_t visible[kRows] = {1, 64, 17, 63, 2, 50, 33, 32, 16, 0, 64};
    std::vector<float> max(2 * kRows, -std::numeric_limits<float>::infinity());
    std::vector<float> sum(2 * kRows, 0.0F);
    std::vector<float> out(2 * kRows * 64, 0.0F);
    const int64_t ldw = 64 / kernels.pair;
    Words all(kRows * ldw);
    const AttentionState state{max.data(), sum.data(), out.data(), 64};
    kernels.soften(kRows, 64, together.data(), 64, visible, &state, all.data(), ldw);
    for (int64_t i = 0; i < kRows; ++i) {
      std::vector<float> alone(64);
      kernels.multiply(1, 64, kSize, left.data() + i * ld, ld, right.data(), 64, alone.data(), 64,
                       0);
      CHECK(std::memcmp(alone.data(), together.data() + i * 64, 64 * sizeof(float)) == 0);
      for (int64_t j = visible[i]; j < 64; ++j) alone[static_cast<size_t>(j)] = 1e30F;
      Words one(ldw);
      const int64_t r = kRows + i;
      const AttentionState own{max.data() + r, sum.data() + r, out.data() + r * 64, 64};
      kernels.soften(1, 64, alone.data(), 64, visible + i, &own, one.data(), ldw);
      CHECK(std::memcmp(one.data(), all.data() + i * ldw, static_cast<size_t>(ldw) * 4) == 0);
      CHECK(same(max[static_cast<size_t>(r)], max[static_cast<size_t>(i)]));
      CHECK(same(sum[static_cast<size_t>(r)], sum[static_cast<size_t>(i)]));
    }
  }
}

}  // namespace pensee::test
