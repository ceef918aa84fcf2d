#include "pensee/text/jinja_tokens.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace pensee {
namespace {

// The tokens, each in brackets with a letter for its kind.
std::string read(const std::string& text) {
  const auto tokens = JinjaLexer::tokens(text, "file");
  if (!tokens) return tokens.error().message;
  std::string out;
  for (const JinjaToken& token : *tokens) {
    out += std::string(1, "tbenisoz"[static_cast<size_t>(token.kind)]) + "[" + token.text + "]";
  }
  return out;
}

TEST_CASE("tags, names, numbers, strings and operators") {
  CHECK(read("") == "z[]");
  CHECK(read("a{{ b.c[1]|d }}") == "t[a]b[{]n[b]o[.]n[c]o[[]i[1]o[]]o[|]n[d]e[{]z[]");
  CHECK(read("{% if a==b %}") == "b[%]n[if]n[a]o[==]n[b]e[%]z[]");
  CHECK(read(R"({{ "a\n\"" 'b' }})") == "b[{]s[a\n\"]s[b]e[{]z[]");
  CHECK(read("{{ {'a': {}}}}") == "b[{]o[{]s[a]o[:]o[{]o[}]o[}]e[{]z[]");
  CHECK(read("{# {{ }} #}x") == "t[x]z[]");
  CHECK(read("{ {a} %} }}") == "t[{ {a} %} }}]z[]");
  CHECK(read("{{ a--}}") == "b[{]n[a]o[-]e[{]z[]");
}

TEST_CASE("white space around tags goes as with trim_blocks and lstrip_blocks") {
  CHECK(read("a\n  {% x %}\n  b") == "t[a\n]b[%]n[x]e[%]t[  b]z[]");
  CHECK(read("a {%- x -%} b") == "t[a]b[%]n[x]e[%]t[b]z[]");
  CHECK(read("  {%+ x +%}\nb") == "t[  ]b[%]n[x]e[%]t[\nb]z[]");
  CHECK(read("  {{ x }}\n") == "t[  ]b[{]n[x]e[{]z[]");
  CHECK(read("a\r\n  {# c #}\rb") == "t[a\n]t[b]z[]");
}

TEST_CASE("what is no template is an error that names file and byte") {
  const auto check = [](const std::string& text, Status status, size_t byte) {
    CAPTURE(text);
    const auto tokens = JinjaLexer::tokens(text, "dir/file");
    REQUIRE_FALSE(tokens);
    CHECK(tokens.error().status == status);
    CHECK(tokens.error().message.ends_with("at byte " + std::to_string(byte)));
    if (status == Status::kCorruptFile) CHECK(tokens.error().message.starts_with("dir/file: "));
  };
  const Status corrupt = Status::kCorruptFile;
  check("ab{{ x", corrupt, 2);
  check("ab{# x", corrupt, 2);
  check("ab{%", corrupt, 2);
  check("ab{{ (x ]", corrupt, 8);
  check("{{ } }}", corrupt, 3);
  check("ab{{ 'x", corrupt, 5);
  check("ab{{'x\\", corrupt, 4);
  check("{{ ? }}", corrupt, 3);
  check(R"({{ '\x1' }})", corrupt, 4);
  check(R"({{ '\ud800' }})", corrupt, 4);
  check(R"({{ '\U00110000' }})", corrupt, 4);
  for (const std::string token : {"1.5", "1e5", "01", "1234567890123456789", "1a", "ä"}) {
    check("{{ " + token + " }}", Status::kUnsupported, 3);
  }
  check(R"({{ '\N{DASH}' }})", Status::kUnsupported, 4);
  check("{{ " + std::string(129, 'a') + " }}", Status::kUnsupported, 3);
  CHECK(JinjaLexer::tokens("{{ " + std::string(128, 'a') + " }}", "file").ok());
}

}  // namespace
}  // namespace pensee
