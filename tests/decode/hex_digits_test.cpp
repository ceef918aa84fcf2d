#include "pensee/decode/hex_digits.hpp"

#include <doctest/doctest.h>

namespace pensee {
namespace {

TEST_CASE("hexadecimal digits are read as far as they go, and no further than asked") {
  char32_t value = 1;
  CHECK(read_hex_digits("", 4, value) == 0);
  CHECK(value == 0);
  CHECK(read_hex_digits("20aC!", 4, value) == 4);
  CHECK(value == 0x20AC);
  CHECK(read_hex_digits("4142", 2, value) == 2);
  CHECK(value == 0x41);
  CHECK(read_hex_digits("1g", 2, value) == 1);
  CHECK(value == 1);
  CHECK(read_hex_digits("FFFFffff0", 8, value) == 8);
  CHECK(value == 0xFFFFFFFF);
}

}  // namespace
}  // namespace pensee
