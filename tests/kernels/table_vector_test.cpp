// Every fast table against the reference: the kernels on float vectors.
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/tables.hpp"
#include "pensee/kernels/table.hpp"

namespace pensee::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Relative error, with a floor where float32 runs out of exponents.
bool close(double got, double expected, double tolerance) {
  if (std::isnan(expected)) return std::isnan(got);
  if (std::isinf(expected)) return got == expected;
  return std::fabs(got - expected) <= tolerance * std::fabs(expected) + 1e-37;
}

}  // namespace

TEST_CASE("silu_mul agrees with the reference, large values included") {
  const std::vector<float> special = {0.0F,    -0.0F, 1e-30F, -1e-30F, 20.0F,  -20.0F,
                                      87.0F,   88.0F, -87.0F, -88.0F,  100.0F, -90.0F,
                                      -100.0F, 1e5F,  -1e5F,  3e38F,   -3e38F, kInfinity};
  for (const NamedTable& table : fast_tables()) {
    for (int64_t n = 1; n <= 300; ++n) {
      const auto size = static_cast<size_t>(n);
      std::vector<float> gate = random_floats(n + 1, static_cast<uint32_t>(n), 30.0F);
      for (size_t i = 0; i < special.size() && i < size; ++i) {
        gate[(i * 7 + size) % size + 1] = special[i];
      }
      const std::vector<float> up = random_floats(n + 1, 2, 3.0F);
      std::vector<float> expected(size + 2, 77.0F);
      std::vector<float> got(size + 2, 77.0F);
      reference_kernels().silu_mul(gate.data() + 1, up.data() + 1, n, expected.data() + 1);
      table.table->silu_mul(gate.data() + 1, up.data() + 1, n, got.data() + 1);
      bool good = got[0] == 77.0F && got[size + 1] == 77.0F;
      for (size_t i = 1; i <= size; ++i) good = good && close(got[i], expected[i], 2e-6);
      CHECK_MESSAGE(good, table.name, " silu_mul of ", n);
      table.table->silu_mul(gate.data() + 1, up.data() + 1, n, gate.data() + 1);  // in place
      for (size_t i = 1; i <= size; ++i) good = good && same(gate[i], got[i]);
      CHECK(good);
    }
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float one = 1.0F;
    float y = 0.0F;
    table.table->silu_mul(&nan, &one, 1, &y);
    CHECK(std::isnan(y));
  }
}

TEST_CASE("rms_norm agrees with the reference") {
  for (const NamedTable& table : fast_tables()) {
    for (int64_t n = 1; n <= 300; ++n) {
      const auto size = static_cast<size_t>(n);
      std::vector<float> x = random_floats(n + 1, static_cast<uint32_t>(n), 4.0F);
      const std::vector<float> weight = random_floats(n + 1, 3);
      std::vector<float> expected(size + 2, 77.0F);
      std::vector<float> got(size + 2, 77.0F);
      reference_kernels().rms_norm(x.data() + 1, weight.data() + 1, 1e-6F, n, expected.data() + 1);
      table.table->rms_norm(x.data() + 1, weight.data() + 1, 1e-6F, n, got.data() + 1);
      bool good = got[0] == 77.0F && got[size + 1] == 77.0F;
      for (size_t i = 1; i <= size; ++i) good = good && close(got[i], expected[i], 3e-6);
      CHECK_MESSAGE(good, table.name, " rms_norm of ", n);
      table.table->rms_norm(x.data() + 1, weight.data() + 1, 1e-6F, n, x.data() + 1);  // in place
      for (size_t i = 1; i <= size; ++i) good = good && same(x[i], got[i]);
      CHECK(good);
    }
    const std::vector<float> zeros(40, 0.0F);
    std::vector<float> y(40, 1.0F);
    table.table->rms_norm(zeros.data(), zeros.data(), 1e-6F, 40, y.data());
    CHECK(y == zeros);
  }
}

TEST_CASE("maximums and sums of blocks agree with the reference") {
  const std::vector<float> special = {-kInfinity, std::numeric_limits<float>::quiet_NaN(), -3e38F};
  for (const NamedTable& table : fast_tables()) {
    for (int64_t n = 1; n <= 3 * kLogitBlock; n += 1 + n / 20) {
      const auto blocks = static_cast<size_t>((n + kLogitBlock - 1) / kLogitBlock);
      std::vector<float> x = random_floats(n, static_cast<uint32_t>(n), 20.0F);
      for (size_t i = 0; i < special.size(); ++i) {
        if (n > 300 && n % 2 == 0) x[(i * 97 + blocks) % x.size()] = special[i];
      }
      if (n > 600) std::fill_n(x.begin(), kLogitBlock, -kInfinity);
      std::vector<float> expected(blocks + 1, 77.0F);
      std::vector<float> got = expected;
      reference_kernels().block_max(x.data(), n, expected.data());
      table.table->block_max(x.data(), n, got.data());
      CHECK_MESSAGE(got == expected, table.name, " block_max of ", n);
      for (const float scale : {1.0F, 0.05F, 1e30F}) {
        reference_kernels().block_sum_exp(x.data(), n, 20.0F, scale, expected.data());
        table.table->block_sum_exp(x.data(), n, 20.0F, scale, got.data());
        bool good = got[blocks] == 77.0F;
        for (size_t b = 0; b < blocks; ++b) good = good && close(got[b], expected[b], 1e-5);
        CHECK_MESSAGE(good, table.name, " block_sum_exp of ", n);
      }
    }
  }
}

}  // namespace pensee::test
