#include "pensee/text/jinja_slice.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

namespace pensee {
namespace {

using Place = std::optional<int64_t>;

std::string slice(const std::string& text, Place begin, Place end, int64_t step) {
  const MarkedText marked(text, false);
  return jinja_slice(marked, jinja_range(marked.characters(), begin, end, step)).text();
}

TEST_CASE("slices of texts are Python's") {
  struct Row {
    const char* text;
    Place begin;
    Place end;
    int64_t step;
    const char* expected;  // what Python 3.11 gives
  };
  constexpr int64_t kFar = int64_t{1} << 61U;
  for (const Row& row : {
           Row{"abcdef", {}, {}, 1, "abcdef"},
           Row{"abcdef", {}, 3, 1, "abc"},
           Row{"abcdef", 1, -1, 1, "bcde"},
           Row{"abcdef", -9, 9, 1, "abcdef"},
           Row{"abcdef", 4, 2, 1, ""},
           Row{"abcdef", 9, {}, 1, ""},
           Row{"abcdef", {}, {}, -1, "fedcba"},
           Row{"abcdef", -2, -9, -1, "edcba"},
           Row{"abcdef", 9, -9, -3, "fc"},
           Row{"abcdef", {}, {}, 100, "a"},
           Row{"aü中😀ß", {}, 3, 1, "aü中"},
           Row{"aü中😀ß", 2, {}, 1, "中😀ß"},
           Row{"aü中😀ß", 1, -1, 1, "ü中😀"},
           Row{"aü中😀ß", -2, {}, 1, "😀ß"},
           Row{"aü中😀ß", {}, {}, 2, "a中ß"},
           Row{"aü中😀ß", 1, {}, 3, "üß"},
           Row{"aü中😀ß", {}, {}, -1, "ß😀中üa"},
           Row{"aü中😀ß", 4, 0, -2, "ß中"},
           Row{"aü中😀ß", 9, -9, -3, "ßü"},
           Row{"aü中😀ß", {}, {}, -kFar, "ß"},
           Row{"aü中😀ß", 1, {}, kFar, "ü"},
           Row{"aü中😀ß", -kFar, kFar, 1, "aü中😀ß"},
           Row{"", {}, 3, 1, ""},
           Row{"", {}, {}, -2, ""},
       }) {
    CAPTURE(row.text);
    CAPTURE(row.begin.value_or(99));
    CAPTURE(row.end.value_or(99));
    CAPTURE(row.step);
    CHECK(slice(row.text, row.begin, row.end, row.step) == row.expected);
  }
}

TEST_CASE("a text has the slices that the list of its characters has") {
  const std::vector<std::string> characters = {"a", "ü", "中", "😀", "ß", "z"};
  std::string text;
  JinjaValue::List list;
  for (const std::string& character : characters) {
    text += character;
    list.push_back(JinjaValue::words(character));
  }
  std::vector<Place> places = {std::nullopt};
  for (int64_t i = -8; i <= 8; ++i) places.emplace_back(i);
  for (const Place begin : places) {
    for (const Place end : places) {
      for (const int64_t step : {1, 2, 3, 7, -1, -2, -3, -7}) {
        std::string expected;
        for (const JinjaValue& value : jinja_slice(list, jinja_range(6, begin, end, step))) {
          expected += value.text->text();
        }
        CHECK(slice(text, begin, end, step) == expected);
      }
    }
  }
}

TEST_CASE("the characters of a slice keep their marks") {
  MarkedText text("<ü", true);
  text.append(MarkedText("中b", false)).append(MarkedText(">", true));
  const auto marks = [&](Place begin, Place end, int64_t step) {
    const MarkedText part = jinja_slice(text, jinja_range(text.characters(), begin, end, step));
    std::string out;
    for (size_t i = 0; i < part.size(); ++i) out += part.is_control(i) ? 'c' : 'm';
    return out;
  };
  CHECK(marks({}, {}, 1) == "cccmmmmc");
  CHECK(marks(1, -1, 1) == "ccmmmm");
  CHECK(marks({}, {}, -1) == "cmmmmccc");
  CHECK(marks({}, {}, 2) == "cmmmc");
}

TEST_CASE("bytes that are no UTF-8 are cut somewhere, but within the text") {
  for (const std::string text : {"\x80", "\x80\x80z\x80", "\xC3", "z\xE4\xB8", "\x80z"}) {
    for (const int64_t step : {1, 2, -1, -2}) {
      CHECK(slice(text, {}, {}, step).size() <= text.size());
    }
  }
}

}  // namespace
}  // namespace pensee
