#include "pensee/decode/grammar_text.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace pensee::grammar_text_test {
namespace {

// Whether the text is of the grammar, from its first to its last byte.
bool is_of(const std::string& grammar, const std::string& text) {
  const auto parsed = parse_grammar(grammar);
  REQUIRE_MESSAGE(parsed.ok(), parsed.error().message);
  GrammarMatcher matcher(*parsed);
  return matcher.push(text) && matcher.is_complete();
}

struct Case {
  const char* grammar;
  std::vector<std::string> in;
  std::vector<std::string> out;
};

TEST_CASE("the notation means what it says") {
  const std::vector<Case> cases = {
      {R"(root ::= "a" "b"?)", {"a", "ab"}, {"", "b", "abb"}},
      {R"(root ::= ("a" | "bc")+ # a comment)", {"a", "bcabc"}, {"", "b", "ac"}},
      {R"(root ::= "ab"{2} "c"{1,2} "d"{2,} "e"{0,1}*)",
       {"ababcdd", "ababccddd", "ababcddee"},
       {"abcdd", "ababcd", "ababcccdd"}},
      {R"(root ::= "ab"*)", {"", "abab"}, {"abb", "a"}},
      {R"(root ::= [a-cx\-\]] [^0-9\n])",
       {"ax", "-a", "]é", "c\xF0\x9F\x98\x80"},
       {"d1", "a1", "a\n"}},
      {"root ::= \".\\\"\\\\\\x41\\u00e9\\U0001F600\\n\"",
       {".\"\\A\u00e9\U0001F600\n"},
       {"x\"\\A"}},
      {"root ::= . .", {"ab", "\u00e9\u65e5", "\nx"}, {"a", "abc", "\xC3"}},
      {"root ::= [\u00e9-\u65e5]", {"\u00e9", "\u07ff", "\u0800", "\u65e5"}, {"e", "\u65e6"}},
      {"root ::= sum\nsum ::= sum \"+\" one |\n  one\none ::= [0-9] | \"(\" sum \")\"",
       {"1", "1+2+3", "(1+(2))+3"},
       {"", "1+", "(1", "1)"}},
      {R"(root ::= twice twice
twice ::= ("x" | ""))",
       {"", "x", "xx"},
       {"xxx"}},
      {"root ::= a\na ::= b? \"x\"\nb ::= a", {"x", "xxx"}, {"", "y"}},
      {"a-1_B ::= \"x\"\nroot::=a-1_B|\"y\"", {"x", "y"}, {"xy"}},
  };
  for (const Case& one : cases) {
    CAPTURE(one.grammar);
    for (const std::string& text : one.in) {
      CAPTURE(text);
      CHECK(is_of(one.grammar, text));
    }
    for (const std::string& text : one.out) {
      CAPTURE(text);
      CHECK_FALSE(is_of(one.grammar, text));
    }
  }
}

TEST_CASE("up to 16 characters of white space come before, or another text in its place") {
  CHECK(is_of("root ::= \"x\"", "\n\n \t x"));
  CHECK(is_of("root ::= \"x\"", std::string(16, ' ') + "x"));
  CHECK_FALSE(is_of("root ::= \"x\"", std::string(17, ' ') + "x"));
  GrammarMatcher matcher(parse_grammar("root ::= \"x\"", "<think>").value());
  CHECK(matcher.takes("x"));
  CHECK(matcher.takes("\n<think>"));
  CHECK_FALSE(matcher.takes("<think>x"));
}

TEST_CASE("mistakes are named with their place") {
  const auto refuses = [](const std::string& grammar, const std::string& what) {
    const auto parsed = parse_grammar(grammar);
    CAPTURE(grammar);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().status == Status::kInvalidArgument);
    CHECK_MESSAGE(parsed.error().message.find(what) != std::string::npos, parsed.error().message);
  };
  refuses("", "no rule root");
  refuses("a ::= \"x\"", "no rule root");
  refuses("root ::= b", "no rule b");
  refuses("root = \"x\"", "line 1, column 6: expected ::=");
  refuses("root ::= \"x\"\nroot ::= \"y\"", "line 2, column 9: expected another name than root");
  refuses("root ::= \"x", "expected the end of the text");
  refuses("root ::= [a", "expected the end of the text or class");
  refuses("root ::= [b-a]", "a later character");
  refuses("root ::= []", "a character before ]");
  refuses("root ::= (\"x\"", "expected )");
  refuses("root ::= \"x\")", "expected the name of a rule");
  refuses("root ::= \"\\q\"", "after \\");
  refuses("root ::= \"\\uD800\"", "a character of Unicode");
  refuses("root ::= \"\\u12\"", "4 hexadecimal digits");
  refuses("root ::= \"x\"{2,1}", "a larger number");
  refuses("root ::= \"x\"{", "expected a number");
  refuses("root ::= \"x\"{100001}", "at most 100000");
  refuses("root ::= \"x\"{1 2}", "expected }");
  refuses("root ::= \"x\" root", "rule root never comes to an end");
  refuses("root ::= \"x\" | a\na ::= a", "rule a never comes to an end");
  refuses("root ::= \"\xff\"", "UTF-8");
  refuses("root ::= " + std::string(200, '(') + "\"x\"" + std::string(200, ')'),
          "fewer parentheses");
  std::string large = "root ::= \"x\"";
  for (int i = 0; i < 20; ++i) large += " \"y\"{100000}";
  refuses(large, "too large");
  refuses("root ::= \"" + std::string(1100000, 'x') + "\"", "too large");
  refuses("root ::= " + std::string(1100000, '|'), "too large");
  refuses(
      "root ::= \"x\"{100000}{100000}{100000}{100000}{100000}{100000}{100000}{100000}{100000}"
      "{100000}{100000}",
      "too large");
  refuses("root ::= a{99999}\na ::= \"x\"?", "too large");  // all may begin at once
  refuses("root ::= [^\\x00-\\U0010FFFF]", "a class with characters");
  refuses("root ::= !éééééééééééé", "é");
}

}  // namespace
}  // namespace pensee::grammar_text_test
