// Element types of stored tensors, and the scalar conversions that define them.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "pensee/base/weight_types.hpp"

namespace pensee {

// X(enumerator, bytes a block, elements a block, name). The weight types come first:
// kernels/table.hpp indexes its columns by them. The others are types of single elements.
#define PENSEE_DTYPE_LIST(X)  \
  PENSEE_WEIGHT_TYPE_LIST(X)  \
  X(kF64, 8, 1, "F64")        \
  X(kF8E5M2, 1, 1, "F8_E5M2") \
  X(kI64, 8, 1, "I64")        \
  X(kI32, 4, 1, "I32")        \
  X(kI16, 2, 1, "I16")        \
  X(kI8, 1, 1, "I8")          \
  X(kU64, 8, 1, "U64")        \
  X(kU32, 4, 1, "U32")        \
  X(kU16, 2, 1, "U16")        \
  X(kU8, 1, 1, "U8")          \
  X(kBool, 1, 1, "BOOL")

enum class DType : uint8_t {
#define PENSEE_X(enumerator, bytes, elements, name) enumerator,
  PENSEE_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
};

#define PENSEE_X(enumerator, bytes, elements, name) +1
inline constexpr int kWeightTypes = PENSEE_WEIGHT_TYPE_LIST(PENSEE_X);
#undef PENSEE_X

[[nodiscard]] constexpr bool is_weight_type(DType dtype) noexcept {
  return static_cast<int>(dtype) < kWeightTypes;
}

[[nodiscard]] constexpr int64_t dtype_block_bytes(DType dtype) noexcept {
  switch (dtype) {
#define PENSEE_X(enumerator, bytes, elements, name) \
  case DType::enumerator:                           \
    return bytes;
    PENSEE_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
  }
  return 0;
}

// 1 for the types of single elements.
[[nodiscard]] constexpr int64_t dtype_block_elements(DType dtype) noexcept {
  switch (dtype) {
#define PENSEE_X(enumerator, bytes, elements, name) \
  case DType::enumerator:                           \
    return elements;
    PENSEE_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
  }
  return 1;
}

[[nodiscard]] constexpr bool is_block_type(DType dtype) noexcept {
  return dtype_block_elements(dtype) > 1;
}

// Bytes of a row of `cols` elements. `cols` must be a multiple of dtype_block_elements(dtype), and
// the result must not overflow: readers of files check both.
[[nodiscard]] constexpr int64_t dtype_row_bytes(DType dtype, int64_t cols) noexcept {
  return cols / dtype_block_elements(dtype) * dtype_block_bytes(dtype);
}

[[nodiscard]] constexpr std::string_view dtype_name(DType dtype) noexcept {
  switch (dtype) {
#define PENSEE_X(enumerator, bytes, elements, name) \
  case DType::enumerator:                           \
    return name;
    PENSEE_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
  }
  return "unknown";
}

// By the name in safetensors files, which have no block types.
[[nodiscard]] constexpr std::optional<DType> dtype_from_name(std::string_view text) noexcept {
#define PENSEE_X(enumerator, bytes, elements, name) \
  if (elements == 1 && text == name) return DType::enumerator;
  PENSEE_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
  return std::nullopt;
}

[[nodiscard]] constexpr float bf16_to_f32(uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Rounds to nearest even; NaN stays NaN.
[[nodiscard]] constexpr uint16_t f32_to_bf16(float value) noexcept {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<uint16_t>((bits >> 16) | 0x40U);
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

// IEEE 754 binary16.
[[nodiscard]] constexpr float f16_to_f32(uint16_t bits) noexcept {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fU;
  const uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0x1fU) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;  // subnormal or zero: exact
  return sign != 0 ? -magnitude : magnitude;
}

// Rounds to nearest even; what is too large becomes infinite, NaN stays NaN.
[[nodiscard]] constexpr uint16_t f32_to_f16(float value) noexcept {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<uint16_t>(sign | 0x7e00U);
  if (magnitude >= 0x47800000U) return static_cast<uint16_t>(sign | 0x7c00U);  // 2^16 and up
  if (magnitude < 0x38800000U) {  // below 2^-14: subnormal, in steps of 2^-24
    // Adding 0.5 puts the steps at the end of the significand, where the addition rounds.
    const float steps = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(steps) - 0x3f000000U));
  }
  const uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<uint16_t>(sign | ((rounded - (112U << 23)) >> 13));
}

// FP8 e4m3fn (OCP 8-bit floating point specification): bias 7, no infinities, NaN is 0x7f / 0xff.
[[nodiscard]] constexpr float f8_e4m3_to_f32(uint8_t bits) noexcept {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80U) << 24;
  const uint32_t exponent = (bits >> 3) & 0xfU;
  const uint32_t mantissa = bits & 0x7U;
  if ((bits & 0x7fU) == 0x7fU) return std::bit_cast<float>(sign | 0x7fc00000U);
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 120U) << 23) | (mantissa << 20));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-9F;
  return sign != 0 ? -magnitude : magnitude;
}

}  // namespace pensee
