#include "pensee/text/utf8.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "text/golden.hpp"

namespace pensee {
namespace {

TEST_CASE("every scalar value is read back, every surrogate is not") {
  for (char32_t code = 0; code < 0x110000; ++code) {
    std::string text;
    append_utf8_character(code, text);
    const Utf8Char c = read_utf8(text);
    if (code >= 0xD800 && code < 0xE000) {
      REQUIRE(c.state == Utf8Char::State::kMalformed);
    } else {
      REQUIRE(c.state == Utf8Char::State::kValid);
      REQUIRE(c.code_point == code);
      REQUIRE(c.length == text.size());
    }
  }
}

TEST_CASE("each maximal malformed subpart becomes one U+FFFD") {
  const std::string r = "\uFFFD";
  // The first two are examples of the Unicode standard, tables 3-8 and 3-11.
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", r + r + r + r + r + r + r + r + "A"},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", r + r + r + r + "A"},
      {"\xED\xA0\x80", r + r + r},
      {"\xF4\x91\x92\x93", r + r + r + r},
      {"\xFF\x41\x80\xBF\x42", r + "A" + r + r + "B"},
      {"a\xF0\x9F\x98", "a" + r},
      {"a\xE4\xB8", "a" + r},
      {"a\xC3", "a" + r},
      {"12345678\xC3\xA9 12345678", "12345678é 12345678"},
      {"", ""},
  };
  for (const auto& [bytes, text] : cases) CHECK(to_utf8(bytes) == text);
}

TEST_CASE("the first malformed byte is found behind any number of characters") {
  for (size_t n = 0; n < 20; ++n) {
    const std::string good = std::string(n, 'a') + "é";
    CHECK_FALSE(find_malformed_utf8(good + good).has_value());
    CHECK(find_malformed_utf8(good + "\x80") == good.size());
    CHECK(find_malformed_utf8(good + "\xE4\xB8") == good.size());
  }
}

}  // namespace
}  // namespace pensee
