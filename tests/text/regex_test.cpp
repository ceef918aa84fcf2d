#include "pensee/text/regex.hpp"

#include <doctest/doctest.h>

#include <string>

namespace pensee {
namespace {

TEST_CASE("the first match is found, from a start, with classes of Unicode") {
  const auto regex = Regex::compile(R"(\p{N}{1,3}|\s+(?!\S))", "test");
  REQUIRE(regex);
  const RegexScratch scratch;
  REQUIRE(scratch.ok());
  const auto find = [&](std::string_view text, size_t start) {
    const auto match = regex->find(text, start, scratch);
    REQUIRE(match);
    return std::pair(match->begin, match->end);
  };
  CHECK(find("ab12345", 0) == std::pair<size_t, size_t>(2, 5));
  CHECK(find("ab12345", 5) == std::pair<size_t, size_t>(5, 7));
  CHECK(find("é٣", 0) == std::pair<size_t, size_t>(2, 4));
  CHECK(find("a  ", 0) == std::pair<size_t, size_t>(1, 3));
  CHECK(find("a  b", 0) == std::pair<size_t, size_t>(1, 2));
  CHECK(find("ab", 0) == std::pair<size_t, size_t>(2, 2));
  CHECK(find("", 0) == std::pair<size_t, size_t>(0, 0));
}

TEST_CASE("syntax that engines read differently is refused") {
  for (const std::string pattern :
       {R"(\w+)",  R"(\b)",       R"(\h)", R"(a\Kb)", "^a",    "a$",      "[a[b]]",
        "[a&&b]",  "[[:alpha:]]", "a{,2}", "a{1,2}+", "(?s)a", "(?<=a)b", "(?<n>a)",
        "(*UCP)a", "[]a]",        "[^]a]", R"(\1)",   R"(\Q)", R"([\S])", R"(\s+$|a)"}) {
    CAPTURE(pattern);
    const auto regex = Regex::compile(pattern, "t.json: x");
    REQUIRE_FALSE(regex);
    CHECK(regex.error().status == Status::kUnsupported);
    CHECK(regex.error().message.find("t.json: x") == 0);
  }
  for (const std::string pattern :
       {R"([^\r\n\p{L}]?\p{L}+)", "(?i:'s|'t)", R"([!"#$%&'()*+,\-./\[\]^_`{|}~][A-Za-z]+)",
        R"(\s+(?!\S))", "(?:a|b)(?=c)", "[一-龥]+", R"(\d\D)", R"(\s+$)"}) {
    CAPTURE(pattern);
    CHECK(Regex::compile(pattern, "test").ok());
  }
}

TEST_CASE("malformed patterns and those that match nothing are refused") {
  for (const std::string pattern :
       {"(", "a{2,1}", "[b-a]", "*", "\\p{Nonsense}", "\\", "\xFF", "["}) {
    CAPTURE(pattern);
    const auto regex = Regex::compile(pattern, "test");
    REQUIRE_FALSE(regex);
    CHECK(regex.error().status == Status::kCorruptFile);
  }
  for (const std::string pattern : {"", "a*", "(?!b)", "a|"}) {
    CAPTURE(pattern);
    const auto regex = Regex::compile(pattern, "test");
    REQUIRE_FALSE(regex);
    CHECK(regex.error().status == Status::kUnsupported);
  }
}

TEST_CASE("a match that needs more than the compiled matcher's stack is found") {
  const auto regex = Regex::compile("(?:(?:a|b)(?=(?:a|b|c)))+c", "test");
  REQUIRE(regex);
  const RegexScratch scratch;
  std::string text(200'000, 'a');
  text.back() = 'c';
  const auto match = regex->find(text, 0, scratch);
  REQUIRE(match);
  CHECK(match->end == text.size());
}

TEST_CASE("patterns that would take endless time or memory give up") {
  const RegexScratch scratch;
  const auto error_of = [&](const char* pattern, const std::string& text) {
    const auto regex = Regex::compile(pattern, "test");
    REQUIRE(regex);
    const auto match = regex->find(text, 0, scratch);
    REQUIRE_FALSE(match);
    CHECK(match.error().status == Status::kInternal);
    return match.error().message;
  };
  const auto limit = [](int code) {
    return "a regex of the tokenizer failed to match, PCRE2 code " + std::to_string(code);
  };
  CHECK(error_of("(?:a+)+b", std::string(60, 'a') + "c b") == limit(PCRE2_ERROR_MATCHLIMIT));
  CHECK(error_of("(?:(?:a|b)(?=(?:a|b|c)))+c", std::string(2'000'000, 'a') + "c") ==
        limit(PCRE2_ERROR_HEAPLIMIT));
}

TEST_CASE("stand-ins are put in for newer code points only, at the same offsets") {
  CHECK_FALSE(with_unicode_stand_ins("plain, é, 中, 😀").has_value());
  const std::string text = "a\u1C8Ab\U00011F02c\u0897中";
  const auto replaced = with_unicode_stand_ins(text);
  REQUIRE(replaced);
  CHECK(*replaced == "a\u1E01b\U00010000c\u093c中");
}

}  // namespace
}  // namespace pensee
