#include "pensee/text/jinja_text.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace pensee {
namespace {

// The marks, "c" for control and "m" for a message's bytes.
std::string marks(const MarkedText& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) out += text.is_control(i) ? 'c' : 'm';
  return out;
}

TEST_CASE("white space is what Python counts as such") {
  for (const std::string space :
       {" ", "\t", "\n", "\r", "\f", "\v", "\x1C", "\x1F", "\u0085", "\u00A0", "\u1680", "\u2000",
        "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"}) {
    CAPTURE(space);
    CHECK(python_space(space) == space.size());
    CHECK(leading_spaces(space + space + "x" + space) == 2 * space.size());
    CHECK(trailing_spaces(space + "x" + space + " " + space) == 2 * space.size() + 1);
  }
  for (const std::string other : {"", "x", "\b", "\x1B", "\x7F", "\u00A1", "\u200B", "\u2060",
                                  "\uFEFF", "\u1681", "\xC2", "\xE2\x80"}) {
    CAPTURE(other);
    CHECK(python_space(other) == 0);
    CHECK(trailing_spaces(other) == 0);
  }
  CHECK(trailing_spaces("") == 0);
  CHECK(trailing_spaces(" \u3000 ") == 5);
}

TEST_CASE("marks stay with their bytes through every operation") {
  MarkedText text("<|user|>", true);
  text.append(MarkedText(" a,b ", false)).append(MarkedText("<|end|>", true));
  CHECK(text.text() == "<|user|> a,b <|end|>");
  CHECK(marks(text) == "ccccccccmmmmmccccccc");
  CHECK(text.run_end(0) == 8);
  CHECK(text.run_end(9) == 13);
  CHECK(text.run_end(13) == 20);
  CHECK(marks(text.substr(7, 7)) == "cmmmmmc");
  const std::vector<MarkedText> parts = text.split(",", -1);
  REQUIRE(parts.size() == 2);
  CHECK(parts[0].text() == "<|user|> a");
  CHECK(marks(parts[1]) == "mmccccccc");
  const std::string brackets = "<>|";
  CHECK(marks(text.stripped(true, true, &brackets)) == "ccccccmmmmmccccc");
  CHECK(MarkedText(" x ", false).stripped(true, false, nullptr).text() == "x ");
  CHECK(MarkedText(" x ", false).stripped(false, true, nullptr).text() == " x");
  CHECK(MarkedText(" \u3000 ", false).stripped(true, true, nullptr).size() == 0);
  CHECK(MarkedText("<>", true).stripped(false, true, &brackets).size() == 0);
}

TEST_CASE("characters are counted and stepped over as a whole") {
  const MarkedText text("aü中😀", false);
  CHECK(text.characters() == 4);
  CHECK(MarkedText().characters() == 0);
  const std::vector<size_t> begins = {0, 1, 3, 6, 10};
  for (size_t i = 0; i + 1 < begins.size(); ++i) {
    CHECK(text.next_character(begins[i]) == begins[i + 1]);
    CHECK(text.previous_character(begins[i + 1]) == begins[i]);
  }
  MarkedText part("<", true);
  part.append(text, 1, 2);
  CHECK(part.text() == "<ü");
  CHECK(marks(part) == "cmm");
}

TEST_CASE("split stops where its limit says") {
  const MarkedText text("a-b-c", false);
  const auto joined = [](const std::vector<MarkedText>& parts) {
    std::string out;
    for (const MarkedText& part : parts) out += "[" + part.text() + "]";
    return out;
  };
  CHECK(joined(text.split("-", -1)) == "[a][b][c]");
  CHECK(joined(text.split("-", 1)) == "[a][b-c]");
  CHECK(joined(text.split("-", 0)) == "[a-b-c]");
  CHECK(joined(MarkedText().split("-", -1)) == "[]");
  CHECK(joined(MarkedText("--", true).split("-", -1)) == "[][][]");
}

}  // namespace
}  // namespace pensee
