#include "pensee/decode/json_pattern.hpp"

#include <doctest/doctest.h>

#include <string>

#include "pensee/decode/grammar_text.hpp"

namespace pensee::json_pattern_test {
namespace {

// Whether the JSON string with this content is of the pattern.
bool is_of(const std::string& pattern, const std::string& content) {
  const auto rules = json_pattern(pattern, "root");
  REQUIRE_MESSAGE(rules.ok(), rules.error().message);
  const auto grammar =
      parse_grammar(*rules + "char ::= [^\"\\\\\\x00-\\x1f] | \"\\\\\" [\"\\\\/bfnrt]");
  REQUIRE_MESSAGE(grammar.ok(), grammar.error().message);
  GrammarMatcher matcher(*grammar);
  return matcher.push('"' + content + '"') && matcher.is_complete();
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
    const auto found = json_pattern(pattern, "root");
    REQUIRE_FALSE(found.ok());
    CHECK(found.error().status == status);
    CHECK_MESSAGE(found.error().message.find("pattern: " + what) == 0, found.error().message);
  };
  constexpr Status kWrong = Status::kInvalidArgument;
  constexpr Status kUnknown = Status::kUnsupported;
  refuses("(", kWrong, "expected ) at byte 1");
  refuses(")", kWrong, "expected the end at byte 0");
  refuses("*", kWrong, "expected something to repeat at byte 0");
  refuses("a**", kWrong, "expected something to repeat at byte 2");
  refuses("a{3,2}", kWrong, "expected at least 3 times before at byte 5");
  refuses("a{100001}", kWrong, "expected at most 100000 times before at byte 8");
  refuses("a{99999999999999999999,}", kWrong, "expected at most 100000 times");
  refuses("[a", kWrong, "expected ] at byte 2");
  refuses("[", kWrong, "expected ] at byte 1");
  refuses("[b-a]", kWrong, "expected a range at byte 4");
  refuses("\\x4", kWrong, "expected 2 hexadecimal digits at byte 3");
  refuses(std::string(60, '('), kWrong, "expected fewer groups in one another at byte 51");
  refuses("(?<a", kWrong, "expected > behind the name of a group at byte 3");
  for (const char* times : {"a{", "a{}", "a{,3}", "a{x}"}) {
    refuses(times, kUnknown, "{ without a number at byte 2");
  }
  refuses("a{1", kUnknown, "{ without } at byte 3");
  refuses("a{1,2,3}", kUnknown, "{ without } at byte 5");
  refuses("{1}", kUnknown, "{ at byte 0");
  refuses("[]", kUnknown, "no character that is written at byte 2");
  refuses("\\v", kUnknown, "no character that is written at byte 2");
  refuses(std::string("\0", 1), kUnknown, "no character");
  for (const char* half : {"\\ud800", "\\ude00", "\\ud800\\u0041", "[^\\ud83d\\u0041]"}) {
    refuses(half, kUnknown, "half of a character");
  }
  refuses("\\u{41}", kUnknown, "\\u{ at byte 2");
  refuses("\\bx", kUnknown, "\\b at byte 0");
  refuses("x\\", kUnknown, "\\ at byte 1");
  refuses("\\1", kUnknown, "\\1 at byte 0");
  refuses("\\p{L}", kUnknown, "\\p at byte 0");
  refuses("(?=a)", kUnknown, "(?= at byte 1");
  refuses("(?!a)", kUnknown, "(?! at byte 1");
  refuses("(?<=a)", kUnknown, "(?<= at byte 3");
  refuses("(?<!a)", kUnknown, "(?<! at byte 3");
  refuses("a^b", kUnknown, "^ at byte 1");
  refuses("a$b", kUnknown, "$ at byte 1");
  refuses("(^a)", kUnknown, "^ at byte 1");
  refuses("(a$)", kUnknown, "$ at byte 2");
}

TEST_CASE("characters of two units, kinds in ranges, and what is often asked for") {
  const std::string kSmile = "\xF0\x9F\x98\x80";
  CHECK(is_of("^\\ud83d\\ude00$", kSmile));
  CHECK(is_of("^[\\ud83d\\ude00-\\ud83d\\ude4f]$", kSmile));
  CHECK_FALSE(is_of("^[^\\ud83d\\ude00]+$", kSmile));
  constexpr const char* kMail = "^[\\w-\\.]+@([\\w-]+\\.)+[\\w-]{2,4}$";
  CHECK(is_of(kMail, "a-b.c@d-e.fr"));
  CHECK_FALSE(is_of(kMail, "a-b.c@d-e"));
  constexpr const char* kUuid = "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$";
  CHECK(is_of(kUuid, "123e4567-e89b-12d3-a456-426614174000"));
  CHECK_FALSE(is_of(kUuid, "123e4567-e89b-12d3-a456-42661417400"));
}

TEST_CASE("long strings of patterns that begin and end anywhere") {
  std::string text(1000, 'a');
  for (const char* pattern : {"\\S", ".+", "^.+", "[a-z]+\\d?", "^(\\w+\\s?)+$", "a.*a"}) {
    CHECK(is_of(pattern, text));
  }
  CHECK_FALSE(is_of("\\d", text));
}

}  // namespace
}  // namespace pensee::json_pattern_test
