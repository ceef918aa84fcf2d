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

std::vector<double> exact_softmax(const std::vector<float>& x, float scale) {
  float max = -kInfinity;
  for (const float v : x) max = std::fmax(max, scale * v);
  std::vector<double> result;
  double sum = 0.0;
  for (const float v : x) {
    result.push_back(std::exp(static_cast<double>(scale * v - max)));
    sum += result.back();
  }
  for (double& v : result) v /= sum;
  return result;
}

void check_softmax(const NamedTable& table, const std::vector<float>& x, float scale) {
  const std::vector<double> expected = exact_softmax(x, scale);
  // One float in front, so that the data are not aligned, and one behind that must stay.
  std::vector<float> got = {0.0F};
  got.insert(got.end(), x.begin(), x.end());
  got.push_back(77.0F);
  table.table->softmax(got.data() + 1, scale, static_cast<int64_t>(x.size()));
  CHECK(got.back() == 77.0F);
  bool good = true;
  for (size_t i = 0; i < x.size(); ++i) good = good && close(got[i + 1], expected[i], 1.5e-6);
  CHECK_MESSAGE(good, table.name, " softmax of ", x.size(), " scale ", scale);
}

}  // namespace

TEST_CASE("softmax is exact to a few units in the last place at every length") {
  for (const NamedTable& table : fast_tables()) {
    for (int64_t n = 1; n <= 300; ++n) {
      check_softmax(table, random_floats(n, static_cast<uint32_t>(n), 10.0F), 1.0F);
      check_softmax(table, random_floats(n, static_cast<uint32_t>(n), 100.0F), 0.125F);
    }
    check_softmax(table, random_floats(100003, 9, 3.0F), 1.0F);
  }
}

TEST_CASE("softmax of minus infinity is zero, of huge values finite") {
  for (const NamedTable& table : fast_tables()) {
    std::vector<float> x = random_floats(53, 1, 5.0F);
    for (size_t i = 0; i < x.size(); i += 3) x[i] = -kInfinity;
    check_softmax(table, x, 0.5F);
    std::vector<float> got = x;
    table.table->softmax(got.data(), 0.5F, 53);
    for (size_t i = 0; i < x.size(); i += 3) CHECK(got[i] == 0.0F);

    check_softmax(table, {-kInfinity, -kInfinity, 4.0F}, 1.0F);
    check_softmax(table, {1e30F, -1e30F, 1e30F, 0.0F}, 0.3F);
    check_softmax(table, {3e38F, 1e38F, -3e38F}, 1.0F);
    check_softmax(table, {-3e38F, -3e38F}, 1.0F);
    check_softmax(table, {12345.6F, 12340.0F, 12300.0F, -1e4F}, 1.0F);
    std::vector<float> falling;
    for (int i = 0; i < 1200; ++i) falling.push_back(-0.1F * static_cast<float>(i));
    check_softmax(table, falling, 1.0F);
  }
}

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

}  // namespace pensee::test
