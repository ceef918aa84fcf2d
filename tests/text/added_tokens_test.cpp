#include "pensee/text/added_tokens.hpp"

#include <doctest/doctest.h>

namespace pensee {
namespace {

TEST_CASE("the leftmost and there the longest token is found") {
  const AddedTokenMatcher matcher({{"<a>", 1}, {"<a>b", 2}, {"<a>bcd", 3}, {"a", 4}, {"中", 5}});
  const auto check = [&](std::string_view text, size_t start, size_t begin, size_t end,
                         int32_t id) {
    const auto match = matcher.find(text, start);
    CAPTURE(text);
    CHECK(match.begin == begin);
    CHECK(match.end == end);
    CHECK(match.id == id);
  };
  check("x<a>", 0, 1, 4, 1);
  check("x<a>bc", 0, 1, 5, 2);
  check("x<a>bcd", 0, 1, 7, 3);
  check("x<a", 0, 2, 3, 4);
  check("<<a>", 0, 1, 4, 1);
  check("<a><a>", 1, 1, 2, 4);
  check("x中", 0, 1, 4, 5);
  check("xyz", 0, 3, 3, -1);
  check("", 0, 0, 0, -1);
  check("a", 1, 1, 1, -1);
}

TEST_CASE("a matcher of no tokens finds none") {
  CHECK(AddedTokenMatcher().find("<a>", 0).begin == 3);
}

}  // namespace
}  // namespace pensee
