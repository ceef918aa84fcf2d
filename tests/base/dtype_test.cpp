#include "pensee/base/dtype.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

using pensee::DType;

TEST_CASE("names and sizes go both ways") {
  CHECK(pensee::dtype_from_name("BF16") == DType::kBF16);
  CHECK(pensee::dtype_from_name("F8_E4M3") == DType::kF8E4M3);
  CHECK(!pensee::dtype_from_name("bf16").has_value());
  CHECK(!pensee::dtype_from_name("").has_value());
#define PENSEE_X(enumerator, bytes, elements, name)                       \
  if (elements == 1) {                                                    \
    CHECK(pensee::dtype_from_name(name) == DType::enumerator);            \
  } else {                                                                \
    CHECK(!pensee::dtype_from_name(name).has_value());                    \
  }                                                                       \
  CHECK(pensee::dtype_name(DType::enumerator) == std::string_view(name)); \
  CHECK(pensee::dtype_block_bytes(DType::enumerator) == bytes);           \
  CHECK(pensee::dtype_block_elements(DType::enumerator) == elements);     \
  CHECK(pensee::is_block_type(DType::enumerator) == (elements > 1));      \
  CHECK(pensee::dtype_row_bytes(DType::enumerator, 3 * elements) == 3 * (bytes));
  PENSEE_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
}

TEST_CASE("the bytes of rows are those of their whole blocks") {
  CHECK(pensee::dtype_row_bytes(DType::kQ4_K, 7168) == 28 * 144);
  CHECK(pensee::dtype_row_bytes(DType::kQ8_0, 0) == 0);
  CHECK(pensee::dtype_row_bytes(DType::kF64, 5) == 40);
  CHECK(!pensee::dtype_from_name("Q4_K").has_value());
}

TEST_CASE("the weight types come first") {
  CHECK(pensee::is_weight_type(DType::kF32));
  CHECK(pensee::is_weight_type(DType::kF16));
  CHECK(pensee::is_weight_type(DType::kBF16));
  CHECK(pensee::is_weight_type(DType::kF8E4M3));
  CHECK(pensee::is_weight_type(DType::kQ8_0));
  CHECK(pensee::is_weight_type(DType::kMXFP4));
  CHECK(pensee::kWeightTypes == 24);
  CHECK(!pensee::is_weight_type(DType::kF64));
  CHECK(!pensee::is_weight_type(DType::kI8));
}

TEST_CASE("F16 rounds to the nearest, between all neighbours, and to even in the middle") {
  const auto f16 = [](uint32_t bits) { return pensee::f16_to_f32(static_cast<uint16_t>(bits)); };
  constexpr uint32_t kInfinity = 0x7c00;
  for (uint32_t bits = 0; bits < kInfinity; ++bits) {
    const float value = f16(bits);
    REQUIRE(pensee::f32_to_f16(value) == bits);
    REQUIRE(pensee::f32_to_f16(-value) == (bits | 0x8000U));
    // Beyond the largest, 2^16 would be next.
    const float next = bits + 1 < kInfinity ? f16(bits + 1) : 65536.0F;
    const float middle = value + (next - value) / 2;  // exact in float32
    REQUIRE(pensee::f32_to_f16(middle) == bits + (bits & 1U));
    REQUIRE(pensee::f32_to_f16(std::nextafter(middle, 0.0F)) == bits);
    REQUIRE(pensee::f32_to_f16(std::nextafter(middle, 1e9F)) == bits + 1);
  }
  CHECK(pensee::f32_to_f16(1e30F) == kInfinity);
  CHECK(pensee::f32_to_f16(-std::numeric_limits<float>::infinity()) == (kInfinity | 0x8000U));
  CHECK(std::isnan(f16(pensee::f32_to_f16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("BF16 goes there and back for all 65536 patterns") {
  for (uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const float value = pensee::bf16_to_f32(static_cast<uint16_t>(bits));
    const uint16_t back = pensee::f32_to_bf16(value);
    if (std::isnan(value)) {
      REQUIRE(std::isnan(pensee::bf16_to_f32(back)));
    } else {
      REQUIRE(back == bits);
    }
  }
}

TEST_CASE("BF16 rounds to the nearest, ties to even") {
  CHECK(pensee::f32_to_bf16(1.0F) == 0x3f80);
  CHECK(pensee::f32_to_bf16(std::bit_cast<float>(0x3f808000U)) == 0x3f80);  // tie, down to even
  CHECK(pensee::f32_to_bf16(std::bit_cast<float>(0x3f818000U)) == 0x3f82);  // tie, up to even
  CHECK(pensee::f32_to_bf16(std::bit_cast<float>(0x3f808001U)) == 0x3f81);
  CHECK(pensee::f32_to_bf16(std::bit_cast<float>(0x3f807fffU)) == 0x3f80);
  CHECK(pensee::f32_to_bf16(std::numeric_limits<float>::max()) == 0x7f80);  // to infinity
  CHECK(pensee::f32_to_bf16(-0.0F) == 0x8000);
  // A NaN whose payload lies in the dropped half must not become infinity.
  CHECK(std::isnan(pensee::bf16_to_f32(pensee::f32_to_bf16(std::bit_cast<float>(0x7f800001U)))));
}

TEST_CASE("F16 follows its definition for all 65536 patterns") {
  for (uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const float found = pensee::f16_to_f32(static_cast<uint16_t>(bits));
    const int exponent = static_cast<int>((bits >> 10) & 0x1fU);
    const auto mantissa = static_cast<float>(bits & 0x3ffU);
    const float sign = (bits & 0x8000U) != 0 ? -1.0F : 1.0F;
    if (exponent == 31 && mantissa != 0.0F) {
      REQUIRE(std::isnan(found));
      continue;
    }
    float expected = std::ldexp(1.0F + mantissa / 1024.0F, exponent - 15);
    if (exponent == 0) expected = std::ldexp(mantissa / 1024.0F, -14);
    if (exponent == 31) expected = std::numeric_limits<float>::infinity();
    REQUIRE(found == sign * expected);
    REQUIRE(std::signbit(found) == std::signbit(sign));
  }
}

TEST_CASE("FP8 e4m3fn follows its definition for all 256 patterns") {
  for (uint32_t bits = 0; bits < 256U; ++bits) {
    const float found = pensee::f8_e4m3_to_f32(static_cast<uint8_t>(bits));
    if ((bits & 0x7fU) == 0x7fU) {
      REQUIRE(std::isnan(found));
      continue;
    }
    const int exponent = static_cast<int>((bits >> 3) & 0xfU);
    const auto mantissa = static_cast<float>(bits & 7U);
    const float sign = (bits & 0x80U) != 0 ? -1.0F : 1.0F;
    float expected = std::ldexp(1.0F + mantissa / 8.0F, exponent - 7);
    if (exponent == 0) expected = std::ldexp(mantissa / 8.0F, -6);
    REQUIRE(found == sign * expected);
    REQUIRE(std::signbit(found) == std::signbit(sign));
  }
  CHECK(pensee::f8_e4m3_to_f32(0x7e) == 448.0F);  // the largest
}
