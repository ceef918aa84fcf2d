#include "pensee/text/unicode_classes.hpp"

#include <doctest/doctest.h>

#include <array>
#include <sstream>
#include <string>
#include <vector>

#include "pensee/text/regex.hpp"
#include "text/golden.hpp"

namespace pensee {
namespace {

TEST_CASE("the table is sorted and keeps lengths") {
  char32_t last = 0;
  for (const UnicodeStandIn& range : kUnicodeStandIns) {
    CHECK(last < range.first);
    CHECK(range.first <= range.last);
    last = range.last;
    CHECK((range.stand_in > 0xFFFF) == (range.last > 0xFFFF));
    CHECK(range.stand_in >= 0x800);
  }
}

// The classes of [block, block + 4096) as unicode_classes.txt hashes them.
uint64_t hash_classes(char32_t block) {
  static const std::vector<std::pair<char, Regex>> classes = [] {
    std::vector<std::pair<char, Regex>> list;
    for (const std::string pattern :
         {"\\s", "\\p{L}", "\\p{M}", "\\p{N}", "\\p{P}", "\\p{S}", "\\p{Z}", "\\p{C}"}) {
      auto regex = Regex::compile(pattern, "test");
      REQUIRE(regex);
      list.emplace_back(pattern.size() == 2 ? '_' : pattern[3], std::move(regex).value());
    }
    return list;
  }();
  const RegexScratch scratch;
  std::string letters;
  for (char32_t code = block; code < block + 4096; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    append_utf8_character(code, text);
    text = with_unicode_stand_ins(text).value_or(text);
    for (const auto& [letter, regex] : classes) {
      const auto match = regex.find(text, 0, scratch);
      REQUIRE(match);
      if (match->end == match->begin) continue;
      letters.push_back(letter);
      break;
    }
  }
  return test::fnv1a(letters);
}

TEST_CASE("every code point has the class that the tokenizers' engine gives it") {
  std::istringstream lines(test::read_file(test::golden_path("unicode_classes.txt")));
  std::string line;
  char32_t block = 0;
  while (std::getline(lines, line)) {
    if (line.starts_with("#")) continue;
    CAPTURE(static_cast<uint32_t>(block));
    CHECK(hash_classes(block) == std::stoull(line, nullptr, 16));
    block += 4096;
  }
  CHECK(block == 0x110000);
}

}  // namespace
}  // namespace pensee
