// Blocks whose numbers their types can hold exactly, for the tests of quantisers.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>

#include "pensee/base/dtype.hpp"
#include "pensee/kernels/reference.hpp"

namespace pensee_test {

// Decodes random blocks, with `header` set so that the scales are moderate, and checks that what
// they hold comes back within float rounding, after encoding it again.
template <int kType, class SetScales>
void check_representable(void (*encode)(const float*, uint8_t*), SetScales&& set_scales) {
  constexpr auto kDType = static_cast<pensee::DType>(kType);
  constexpr auto kElements = static_cast<int>(pensee::dtype_block_elements(kDType));
  constexpr auto kBytes = static_cast<size_t>(pensee::dtype_block_bytes(kDType));
  CAPTURE(pensee::dtype_name(kDType));
  std::mt19937 random(11);
  for (int round = 0; round < 20; ++round) {
    std::array<uint8_t, kBytes> block{};
    for (uint8_t& byte : block) byte = static_cast<uint8_t>(random());
    set_scales(block.data());
    std::array<float, 256> x{};
    const auto decode = [](const uint8_t* from, float* to) {
      pensee::reference::RowReader<kType>::read(reinterpret_cast<const char*>(from), kElements, to);
    };
    decode(block.data(), x.data());
    std::array<uint8_t, kBytes> again{};
    encode(x.data(), again.data());
    std::array<float, 256> y{};
    decode(again.data(), y.data());
    float peak = 0.0F;
    float worst = 0.0F;
    for (int e = 0; e < kElements; ++e) {
      peak = std::max(peak, std::fabs(x[static_cast<size_t>(e)]));
      worst = std::max(worst, std::fabs(x[static_cast<size_t>(e)] - y[static_cast<size_t>(e)]));
    }
    CHECK(worst <= 1e-6F * peak);
  }
}

inline void put_f16(uint8_t* at, float value) {
  const uint16_t bits = pensee::f32_to_f16(value);
  std::memcpy(at, &bits, sizeof bits);
}

}  // namespace pensee_test
