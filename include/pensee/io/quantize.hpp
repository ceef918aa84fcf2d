// Encodes float32 numbers as any type that this version can write.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>

#include "pensee/base/dtype.hpp"
#include "pensee/base/result.hpp"
#include "pensee/io/quantize_k.hpp"
#include "pensee/io/quantize_small.hpp"

namespace pensee {

namespace quantize_detail {

inline void encode_f32(const float* x, uint8_t* b) noexcept {
  store(b, *x);
}
inline void encode_f16(const float* x, uint8_t* b) noexcept {
  store(b, f32_to_f16(*x));
}
inline void encode_bf16(const float* x, uint8_t* b) noexcept {
  store(b, f32_to_bf16(*x));
}

}  // namespace quantize_detail

// X(type, function that encodes one block). The other IQ types need weights for every input
// element, measured on texts, to be of use.
#define PENSEE_QUANTIZER_LIST(X) \
  X(kF32, encode_f32)            \
  X(kF16, encode_f16)            \
  X(kBF16, encode_bf16)          \
  X(kQ8_0, encode_q8_0)          \
  X(kQ4_0, encode_offset<false>) \
  X(kQ5_0, encode_offset<true>)  \
  X(kQ4_1, encode_min<false>)    \
  X(kQ5_1, encode_min<true>)     \
  X(kQ2_K, encode_q2_k)          \
  X(kQ3_K, encode_q3_k)          \
  X(kQ4_K, encode_q45_k<false>)  \
  X(kQ5_K, encode_q45_k<true>)   \
  X(kQ6_K, encode_q6_k)          \
  X(kIQ4_NL, encode_iq4_nl)      \
  X(kIQ4_XS, encode_iq4_xs)      \
  X(kMXFP4, encode_mxfp4)

[[nodiscard]] constexpr bool can_quantize(DType dtype) noexcept {
#define PENSEE_X(type, function) \
  if (dtype == DType::type) return true;
  PENSEE_QUANTIZER_LIST(PENSEE_X)
#undef PENSEE_X
  return false;
}

// Encodes x (n) into dtype_row_bytes(dtype, n) bytes at `out`. The numbers must be finite and
// within float16's range, n a multiple of the block's elements, and can_quantize(dtype).
//
// Each block is made so that the sum of its squared errors is small: never larger than where the
// largest number is simply put at the end of the range.
inline void quantize_row(DType dtype, const float* x, int64_t n, std::byte* out) noexcept {
  const auto each_block = [&](auto&& encode) {
    const int64_t elements = dtype_block_elements(dtype);
    const int64_t bytes = dtype_block_bytes(dtype);
    auto* b = reinterpret_cast<uint8_t*>(out);
    std::memset(b, 0, static_cast<size_t>(n / elements * bytes));
    for (int64_t i = 0; i < n; i += elements, b += bytes) encode(x + i, b);
  };
  switch (dtype) {
#define PENSEE_X(type, function) \
  case DType::type:              \
    return each_block([](const float* from, uint8_t* b) { quantize_detail::function(from, b); });
    PENSEE_QUANTIZER_LIST(PENSEE_X)
#undef PENSEE_X
    default:
      return;
  }
}

}  // namespace pensee
