#include "pensee/text/nfc.hpp"

#include <doctest/doctest.h>

#include <sstream>
#include <string>

#include "text/golden.hpp"

namespace pensee {
namespace {

const Nfc& nfc() {
  static const Nfc instance;
  return instance;
}

std::string normalized(const std::string& text) {
  return nfc().normalize(text).value_or(text);
}

TEST_CASE("characters are decomposed, ordered and composed") {
  CHECK(normalized("e\u0301") == "\u00E9");
  CHECK(normalized("\u212B") == "\u00C5");        // a single that is not composed again
  CHECK(normalized("\u0958") == "\u0915\u093C");  // a pair that is not composed again
  CHECK(normalized("a\u0323\u0307") == "\u1EA1\u0307");
  CHECK(normalized("a\u0307\u0323") == "\u1EA1\u0307");  // by class
  CHECK(normalized("a\u0301\u0300") == "\u00E1\u0300");  // of one class in their order
  CHECK(normalized("a\u0315\u0315\u0300") == "\u00E0\u0315\u0315");
  CHECK(normalized("\u00E9\u0323") == "\u1EB9\u0301");  // reaches back into a composed one
  CHECK(normalized("\u0344") == "\u0308\u0301");
  CHECK(normalized("\u1100\u1161\u11A8") == "\uAC01");
  CHECK(normalized("\uAC00\u11A8") == "\uAC01");
  CHECK(normalized("\uAC00\u11A7") == "\uAC00\u11A7");  // no letter T
  CHECK(normalized("\u0301e") == "\u0301e");
  CHECK(normalized("x\u0301e\u0301\u0301y\u0301") == "x\u0301\u00E9\u0301\u00FD");
  CHECK(normalized("\u1D158\U0001D15E") == "\u1D158\U0001D157\U0001D165");
  CHECK(normalized("") == "");
}

TEST_CASE("text that is composed already is not copied") {
  for (const std::string text : {"", "plain", "\u00E9 \u4E2D \uAC01 \U0001F600 \u0416"}) {
    CHECK_FALSE(nfc().normalize(text).has_value());
  }
}

TEST_CASE("every code point, alone and among marks, becomes what the tokenizers make of it") {
  std::istringstream lines(test::read_file(test::golden_path("nfc.txt")));
  std::string line;
  char32_t block = 0;
  while (std::getline(lines, line)) {
    if (line.starts_with("#")) continue;
    uint64_t hash = test::kFnvStart;
    for (char32_t code = block; code < block + 4096; ++code) {
      if (code >= 0xD800 && code < 0xE000) continue;
      std::string c;
      append_utf8_character(code, c);
      hash = test::fnv1a(normalized(c + "a\u0345" + c + "\u0334\u0301" + c), hash);
    }
    CAPTURE(static_cast<uint32_t>(block));
    CHECK(hash == std::stoull(line, nullptr, 16));
    block += 4096;
  }
  CHECK(block == 0x110000);
}

TEST_CASE("long runs of marks take time that grows about linearly") {
  std::string marks = "e";
  while (marks.size() < 1'000'000) marks += "\u0301\u0323";
  const std::string result = normalized(marks);
  CHECK(result.starts_with("\u1EB9\u0323"));
  CHECK(result.size() == marks.size());
}

}  // namespace
}  // namespace pensee
