#include "pensee/decode/json_pattern.hpp"

#include <doctest/doctest.h>

#include <string>

#include "pensee/decode/grammar_text.hpp"

namespace pensee::json_pattern_test {
namespace {

// Whether the JSON string with this content is of the pattern.
bool is_of(const std::string& pattern, const std::string& content) {
  const auto inside = json_pattern(pattern);
  REQUIRE_MESSAGE(inside.ok(), inside.error().message);
  const auto grammar = parse_grammar("root ::= " + *inside +
                                     "\nchar ::= [^\"\\\\\\x00-\\x1f] | \"\\\\\" [\"\\\\/bfnrt]");
  REQUIRE_MESSAGE(grammar.ok(), grammar.error().message);
  GrammarMatcher matcher(*grammar);
  return matcher.push(content) && matcher.is_complete();
}

TEST_CASE("a pattern is found anywhere, unless its ends are fixed") {
  CHECK(is_of("b", "abc"));
  CHECK(is_of("", ""));
  CHECK(is_of("", "abc"));
  CHECK(is_of("^a|c$", "ab"));
  CHECK(is_of("^a|c$", "bc"));
  CHECK_FALSE(is_of("^a|c$", "bab"));
  CHECK(is_of("^$", ""));
  CHECK_FALSE(is_of("^$", "a"));
  CHECK(is_of("^(a|b(c|d))*?$", "abcbda"));
  CHECK_FALSE(is_of("^(a|b(c|d))*?$", "abb"));
  CHECK(is_of("^(?<name>x){2}(?:y|)z$", "xxz"));
  CHECK(is_of("^()*a$", "a"));
}

TEST_CASE("repetition") {
  for (const char* pattern : {"^a{2,3}$", "^a{2,3}?$", "^aaa?$", "^a{2}a?$"}) {
    CHECK_FALSE(is_of(pattern, "a"));
    CHECK(is_of(pattern, "aa"));
    CHECK(is_of(pattern, "aaa"));
    CHECK_FALSE(is_of(pattern, "aaaa"));
  }
  CHECK(is_of("^a{2,}$", "aaaaa"));
  CHECK_FALSE(is_of("^a+$", ""));
}

TEST_CASE("classes, kinds and escapes, as JSON writes them") {
  CHECK(is_of("^[a-cé\\]\\-]+$", "abcé]-"));
  CHECK_FALSE(is_of("^[a-c]$", "d"));
  CHECK(is_of("^[-a]+$", "-a-"));
  CHECK(is_of("^[a-]+$", "-a-"));
  CHECK(is_of("^[^\\d]$", "a"));
  CHECK_FALSE(is_of("^[^\\d]$", "7"));
  CHECK(is_of("^\\w\\W\\s\\S\\D$", "_-\\tx\xE2\x82\xAC"));
  CHECK(is_of("^\\x41\\u20ac$", "A\xE2\x82\xAC"));
  CHECK(is_of("^.$", "\xF0\x9F\x98\x80"));
  CHECK(is_of("^.$", "\\\""));
  CHECK(is_of("^.$", "\\\\"));
  CHECK_FALSE(is_of("^.$", "\\n"));
  CHECK(is_of("^[^a]$", "\\n"));
  CHECK(is_of("^\\\\\"\\n\\t\\/$", "\\\\\\\"\\n\\t/"));
  CHECK_FALSE(is_of("^a$", "\""));
  CHECK(is_of("^[^]$", "x"));
}

TEST_CASE("what is no pattern, or not known, is refused with its place") {
  const auto refuses = [](const std::string& pattern, Status status, const std::string& what) {
    CAPTURE(pattern);
    const auto found = json_pattern(pattern);
    REQUIRE_FALSE(found.ok());
    CHECK(found.error().status == status);
    CHECK_MESSAGE(found.error().message.find("pattern: " + what) == 0, found.error().message);
  };
  constexpr Status kWrong = Status::kInvalidArgument;
  constexpr Status kUnknown = Status::kUnsupported;
  refuses("(", kWrong, "expected ) at byte 1");
  refuses(")", kWrong, "expected the end at byte 0");
  refuses("*", kWrong, "expected something to repeat");
  refuses("a**", kWrong, "expected something to repeat");
  for (const char* times : {"a{", "a{}", "a{,3}", "a{x}", "a{1,2,3}", "a{1"}) {
    refuses(times, kWrong, "expected ");
  }
  refuses("[a", kWrong, "expected ]");
  refuses("[", kWrong, "expected ]");
  refuses("[]", kWrong, "expected characters");
  refuses("[b-a]", kWrong, "expected a range");
  refuses("[\\d-a]", kWrong, "expected a range");
  refuses("[a-\\d]", kWrong, "expected a range");
  refuses("\\x4", kWrong, "expected 2 hexadecimal digits");
  refuses(std::string("\0", 1), kWrong, "expected characters");
  refuses("\\ud800", kWrong, "expected characters");
  refuses(std::string(60, '('), kWrong, "expected fewer groups");
  refuses("(?<a", kWrong, "expected > behind");
  for (const char* pattern : {"\\bx", "x\\", "\\1", "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "a^b",
                              "a$b", "(^a)", "(a$)", "\\p{L}"}) {
    refuses(pattern, kUnknown, "");
  }
}

}  // namespace
}  // namespace pensee::json_pattern_test
