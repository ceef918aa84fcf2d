// Random blocks of the block types, as tests/golden/make_block_golden.py draws them.
#pragma once

#include <cstdint>
#include <vector>

#include "pensee/base/dtype.hpp"
#include "pensee/kernels/table.hpp"
#include "split_mix.hpp"

namespace pensee::test {

// The high bytes of the float16 numbers in a block of `type`; MXFP4 has none.
inline std::vector<int> float16_high_bytes(int type) {
  switch (type) {
    case KernelType::kQ4_1:
    case KernelType::kQ5_1:
    case KernelType::kQ4_K:
    case KernelType::kQ5_K:
      return {1, 3};
    case KernelType::kQ2_K:
      return {81, 83};
    case KernelType::kQ3_K:
      return {109};
    case KernelType::kQ6_K:
      return {209};
    case KernelType::kIQ1_M:  // its four high bits, which are all that count
      return {55};
    case KernelType::kMXFP4:
      return {};
    default:
      return {1};
  }
}

// Block `index` of the golden sequence: nothing but zeros, nothing but ones, then random bytes. The
// float16 numbers are below 2 in magnitude.
inline std::vector<uint8_t> random_block(int type, uint64_t index) {
  const auto dtype = static_cast<DType>(type);
  std::vector<uint8_t> block(static_cast<size_t>(dtype_block_bytes(dtype)));
  SplitMix64 random(index);
  for (uint8_t& byte : block) {
    byte = index == 0 ? 0 : index == 1 ? 0xff : static_cast<uint8_t>(random.next() >> 56);
  }
  for (const int high : float16_high_bytes(type)) block[static_cast<size_t>(high)] &= 0xbf;
  return block;
}

}  // namespace pensee::test
