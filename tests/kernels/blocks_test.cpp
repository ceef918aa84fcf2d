// The scalar decoders against what the PyPI package gguf makes of the same bytes.
#include "pensee/kernels/blocks.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

#include "kernels/random_blocks.hpp"
#include "pensee/base/hash.hpp"
#include "pensee/base/json.hpp"
#include "pensee/kernels/reference.hpp"

namespace pensee::test {

TEST_CASE("Blocks of every type decode bit for bit as the gguf package decodes them") {
  std::ifstream file(std::string(PENSEE_TEST_DATA) + "/blocks.json");
  const Json golden = Json::parse(file);
  int types = 0;
  for (int type = 0; type < kKernelTypes; ++type) {
    const auto dtype = static_cast<DType>(type);
    if (!is_block_type(dtype)) continue;
    ++types;
    std::istringstream hashes(golden.at(std::string(dtype_name(dtype))).get<std::string>());
    uint64_t index = 0;
    for (std::string expected; hashes >> expected; ++index) {
      const std::vector<uint8_t> block = random_block(type, index);
      std::vector<float> values(static_cast<size_t>(dtype_block_elements(dtype)));
      const auto cols = static_cast<int64_t>(values.size());
      const KernelMatrix w{.data = block.data(),
                           .scales = nullptr,
                           .row_bytes = dtype_block_bytes(dtype),
                           .scale_stride = 0,
                           .cols = cols};
      reference_kernels().unpack_rows[type](&w, 0, 1, values.data(), cols);
      const uint64_t hash = Fnv1a64().add(std::as_bytes(std::span(values))).value();
      CHECK_MESSAGE((hash & 0xffffffffU) == std::stoul(expected, nullptr, 16), dtype_name(dtype),
                    " block ", index);
    }
    CHECK(index == 400);
  }
  CHECK(types == static_cast<int>(golden.size()));
}

TEST_CASE("Signs in seven bits are even in number") {
  CHECK(blocks::even_signs(0) == 0);
  CHECK(blocks::even_signs(1) == 0x81);
  CHECK(blocks::even_signs(3) == 3);
  CHECK(blocks::even_signs(127) == 255);
}

}  // namespace pensee::test
