#include "pensee/io/quantize.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "pensee/base/json.hpp"
#include "pensee/kernels/reference.hpp"

using pensee::DType;

namespace {

constexpr int64_t kRows = 16;
constexpr int64_t kCols = 512;

// Multiples of 2^-24 in [-1, 1), as make_quantize_golden.py has them.
std::vector<float> uniform_numbers() {
  std::vector<float> out;
  uint64_t state = 0;
  for (int64_t i = 0; i < kRows * kCols; ++i) {
    state += 0x9e3779b97f4a7c15;
    uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    const auto bits = static_cast<int64_t>((z ^ (z >> 31)) >> 39);
    out.push_back(static_cast<float>(bits - (1 << 24)) * 0x1p-24F);
  }
  return out;
}

// The numbers `x`, after encoding and decoding.
std::vector<float> there_and_back(DType dtype, const std::vector<float>& x) {
  const auto n = static_cast<int64_t>(x.size());
  std::vector<std::byte> encoded(static_cast<size_t>(pensee::dtype_row_bytes(dtype, n)));
  pensee::quantize_row(dtype, x.data(), n, encoded.data());
  std::vector<float> back(x.size());
  const pensee::KernelMatrix matrix{encoded.data(), nullptr, pensee::dtype_row_bytes(dtype, n), 0,
                                    n};
  pensee::reference_kernels().unpack_rows[static_cast<int>(dtype)](&matrix, 0, 1, back.data(), n);
  return back;
}

double squared_error(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double error = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += error * error;
  }
  return sum;
}

}  // namespace

TEST_CASE("no quantiser is worse than the gguf package's or llama.cpp's") {
  const auto document = pensee::parse_json(
      pensee_test::read_file(PENSEE_TEST_DATA "/gguf/quantize.json"), "expected");
  REQUIRE(document.ok());
  const pensee::Json& expected = *document;
  const std::vector<float> uniform = uniform_numbers();
  std::vector<float> peaked = uniform;
  for (float& v : peaked) v = v * v * v;
  std::vector<float> shifted = uniform;
  for (float& v : shifted) v = 0.25F * v + 0.5F;
  const std::vector<float> zeros(uniform.size());
  int compared = 0;
  for (const auto& input :
       {std::pair{"uniform", uniform}, {"peaked", peaked}, {"shifted", shifted}}) {
    const auto& [name, x] = input;
    CAPTURE(input.first);
    const auto& errors = expected[name];
    CHECK(squared_error(x, zeros) == doctest::Approx(errors["sum_of_squares"].get<double>()));
#define PENSEE_X(type, function)                                                              \
  if (const auto them = errors.find(pensee::dtype_name(DType::type)); them != errors.end()) { \
    const double ours = squared_error(there_and_back(DType::type, x), x);                     \
    for (const auto& theirs : them->items()) {                                                \
      CAPTURE(#type);                                                                         \
      CAPTURE(theirs.key());                                                                  \
      CHECK(ours <= theirs.value().get<double>());                                            \
      ++compared;                                                                             \
    }                                                                                         \
  }
    PENSEE_QUANTIZER_LIST(PENSEE_X)
#undef PENSEE_X
  }
  CHECK(compared == 3 * (13 + 6));  // llama.cpp has all types, the package six of them
}

TEST_CASE("F32 is exact, F16 and BF16 round") {
  const std::vector<float> x = {1.0F, -0.3F, 1e-6F, 65504.0F};
  CHECK(there_and_back(DType::kF32, x) == x);
  CHECK(there_and_back(DType::kF16, x)[1] == pensee::f16_to_f32(pensee::f32_to_f16(-0.3F)));
  CHECK(there_and_back(DType::kBF16, x)[1] == pensee::bf16_to_f32(pensee::f32_to_bf16(-0.3F)));
}

TEST_CASE("zeros, one number, and tiny ones come back as well as they can"){
#define PENSEE_X(type, function)                                                        \
  {                                                                                     \
    CAPTURE(#type);                                                                     \
    std::vector<float> x(256, 0.0F);                                                    \
    CHECK(there_and_back(DType::type, x) == x);                                         \
    for (const float peak : {3.0F, -3.0F, 1e-3F, 6e4F}) {                               \
      CAPTURE(peak);                                                                    \
      x[77] = peak;                                                                     \
      const std::vector<float> back = there_and_back(DType::type, x);                   \
      CHECK(back[77] == doctest::Approx(peak).epsilon(0.2));                            \
      CHECK(squared_error(back, x) <= 0.04 * peak * peak);                              \
    }                                                                                   \
    for (float& v : x) v = 1e-30F; /* below what the scales can be */                   \
    for (const float v : there_and_back(DType::type, x)) CHECK(std::fabs(v) <= 1e-29F); \
  }
    PENSEE_QUANTIZER_LIST(PENSEE_X)
#undef PENSEE_X
}

TEST_CASE("which types can be written") {
  CHECK(pensee::can_quantize(DType::kQ4_K));
  CHECK(!pensee::can_quantize(DType::kIQ1_S));
  CHECK(!pensee::can_quantize(DType::kF8E4M3));
  CHECK(!pensee::can_quantize(DType::kI8));
}
