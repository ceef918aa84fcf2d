#include "pensee/decode/integer_range.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "pensee/decode/grammar_text.hpp"

namespace pensee::integer_range_test {
namespace {

bool is_of(const std::shared_ptr<const Grammar>& grammar, const std::string& text) {
  GrammarMatcher matcher(grammar);
  return matcher.push(text) && matcher.is_complete();
}

std::shared_ptr<const Grammar> grammar_of(int64_t least, int64_t most) {
  const auto parsed = parse_grammar("root ::= " + integer_range(least, most));
  REQUIRE_MESSAGE(parsed.ok(), parsed.error().message);
  return *parsed;
}

TEST_CASE("exactly the numbers between the bounds are of the range") {
  constexpr std::array<int64_t, 14> kBounds = {-1999, -120, -100, -99, -10, -1,  0,
                                               1,     9,    10,   37,  100, 919, 2000};
  for (const int64_t least : kBounds) {
    for (const int64_t most : kBounds) {
      if (most < least) continue;
      CAPTURE(least);
      CAPTURE(most);
      const auto grammar = grammar_of(least, most);
      int64_t wrong = 0;
      for (int64_t n = -2100; n <= 2100; ++n) {
        wrong += is_of(grammar, std::to_string(n)) != (least <= n && n <= most) ? 1 : 0;
      }
      CHECK(wrong == 0);
      for (const char* text : {"", "-", "-0", "00", "01", "-01", "1.0", "+1"}) {
        CHECK_FALSE(is_of(grammar, text));
      }
    }
  }
}

TEST_CASE("the largest numbers are in it, and none that is longer") {
  const auto grammar = grammar_of(-kLargestInteger, kLargestInteger);
  for (const std::string text : {"999999999999999999", "-999999999999999999", "0", "-7"}) {
    CHECK(is_of(grammar, text));
    CHECK_FALSE(is_of(grammar, text + "0000000000000000000"));
  }
}

}  // namespace
}  // namespace pensee::integer_range_test
