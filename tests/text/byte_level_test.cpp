#include "pensee/text/byte_level.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>

namespace pensee {
namespace {

TEST_CASE("each byte has its own character, and back") {
  std::set<std::string> seen;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string character = byte_level_character(static_cast<unsigned char>(byte));
    CHECK(seen.insert(character).second);
    CHECK(from_byte_level(character) == std::string(1, static_cast<char>(byte)));
  }
  CHECK(byte_level_character('a') == "a");
  CHECK(byte_level_character(' ') == "Ġ");
  CHECK(byte_level_character('\n') == "Ċ");
  CHECK(byte_level_character(0xAD) == "Ń");
  CHECK(byte_level_character(0xFF) == "ÿ");
}

TEST_CASE("characters outside the alphabet have no bytes") {
  CHECK(from_byte_level("Ġthe") == " the");
  CHECK(from_byte_level("") == "");
  for (const char* text : {"a b", "<｜User｜>", "\u0144", "\u00ad", "中"}) {
    CHECK_FALSE(from_byte_level(text).has_value());
  }
}

}  // namespace
}  // namespace pensee
