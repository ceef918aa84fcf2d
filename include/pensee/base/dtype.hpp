// Element types of stored tensors, and the scalar conversions that define them.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace pensee {

// X(enumerator, bytes an element, name in safetensors files). The first kWeightTypes rows are the
// types that matrices may have; kernels/table.hpp indexes its columns by them.
#define PENSEE_DTYPE_LIST(X) \
  X(kF32, 4, "F32")          \
  X(kF16, 2, "F16")          \
  X(kBF16, 2, "BF16")        \
  X(kF8E4M3, 1, "F8_E4M3")   \
  X(kF64, 8, "F64")          \
  X(kF8E5M2, 1, "F8_E5M2")   \
  X(kI64, 8, "I64")          \
  X(kI32, 4, "I32")          \
  X(kI16, 2, "I16")          \
  X(kI8, 1, "I8")            \
  X(kU64, 8, "U64")          \
  X(kU32, 4, "U32")          \
  X(kU16, 2, "U16")          \
  X(kU8, 1, "U8")            \
  X(kBool, 1, "BOOL")

enum class DType : uint8_t {
#define PENSEE_X(enumerator, bytes, name) enumerator,
  PENSEE_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
};

inline constexpr int kWeightTypes = 4;

[[nodiscard]] constexpr bool is_weight_type(DType dtype) noexcept {
  return static_cast<int>(dtype) < kWeightTypes;
}

[[nodiscard]] constexpr size_t dtype_bytes(DType dtype) noexcept {
  switch (dtype) {
#define PENSEE_X(enumerator, bytes, name) \
  case DType::enumerator:                 \
    return bytes;
    PENSEE_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
  }
  return 0;
}

[[nodiscard]] constexpr std::string_view dtype_name(DType dtype) noexcept {
  switch (dtype) {
#define PENSEE_X(enumerator, bytes, name) \
  case DType::enumerator:                 \
    return name;
    PENSEE_DTYPE_LIST(PENSEE_X)
#undef PENSEE_X
  }
  return "unknown";
}

[[nodiscard]] constexpr std::optional<DType> dtype_from_name(std::string_view text) noexcept {
#define PENSEE_X(enumerator, bytes, name) \
  if (text == name) return DType::enumerator;
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
