#include "pensee/decode/grammar.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>

#include "pensee/decode/grammar_text.hpp"

namespace pensee::grammar_test {
namespace {

GrammarMatcher matcher_of(const std::string& grammar) {
  return GrammarMatcher(parse_grammar(grammar).value());
}

TEST_CASE("what is refused changes nothing, and copies go their own ways") {
  GrammarMatcher matcher = matcher_of(R"(root ::= "one" | "on" "ly"? "!")");
  CHECK(matcher.push("o"));
  CHECK_FALSE(matcher.push("ne!"));
  CHECK_FALSE(matcher.push("x"));
  CHECK(matcher.takes("nly!"));
  GrammarMatcher copy = matcher;
  CHECK(matcher.push("ne"));
  CHECK(matcher.is_complete());
  CHECK(matcher.next_bytes().none());
  CHECK_FALSE(copy.is_complete());
  CHECK(copy.push("n"));
  CHECK(copy.next_bytes().count() == 3);  // e, l, !
  CHECK(copy.push("!"));
  CHECK(copy.is_complete());
  copy.reset();
  CHECK(copy.size() == 0);
  CHECK(copy.push("only!"));
  CHECK(copy.size() == 5);
  copy.pop_to(2);
  CHECK(copy.size() == 2);
  CHECK_FALSE(copy.is_complete());
  CHECK(copy.push("e"));
  CHECK(copy.is_complete());
}

TEST_CASE("a text may come in any pieces, bytes of a character apart") {
  const std::string grammar = "root ::= (\"é\" [a-z] | \"日\"+)*";
  const std::string text = "éx日日ézéa日";
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    GrammarMatcher matcher = matcher_of(grammar);
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + random() % 4;
      CHECK_FALSE(matcher.takes(text.substr(at, size) + "?"));
      REQUIRE(matcher.push(text.substr(at, size)));
      at += size;
    }
    CHECK(matcher.is_complete());
  }
}

// Ambiguous and nested in itself from both sides; a matcher that tries all ways would not end.
TEST_CASE("long texts of awkward grammars take no more than their length squared") {
  const std::string letters(1500, 'a');
  for (const char* grammar :
       {"root ::= [a-z] root | \"\"", "root ::= root [a-z] | \"\"", "root ::= ([a-z]*)*",
        "root ::= a a? a?\na ::= [a-z] | a [a-z]", "root ::= [a-z]{0,100000}"}) {
    CAPTURE(grammar);
    GrammarMatcher matcher = matcher_of(grammar);
    CHECK(matcher.push(letters));
    CHECK(matcher.is_complete());
    CHECK_FALSE(matcher.takes("?"));
  }
}

TEST_CASE("parentheses that nest to any depth are counted") {
  GrammarMatcher matcher = matcher_of("root ::= \"(\" root \")\" root | \"\"");
  const std::string open(300, '(');
  CHECK(matcher.push(open + "()()"));
  CHECK_FALSE(matcher.is_complete());
  CHECK(matcher.push(std::string(300, ')')));
  CHECK(matcher.is_complete());
  CHECK_FALSE(matcher.takes(")"));
}

}  // namespace
}  // namespace pensee::grammar_test
