#include "pensee/text/jinja_parser.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace pensee {
namespace {

std::string repeated(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

TEST_CASE("statements have their parts") {
  const auto program = JinjaParser::parse(
      "t{% for x in a if b %}{{ x }}{% else %}{% set y.z = 1 %}{% endfor %}"
      "{% if a %}{% elif b %}{% else %}{% endif %}{% for p, q in a %}{% endfor %}",
      "file");
  REQUIRE_MESSAGE(program, program.error().message);
  REQUIRE(program->body.size() == 4);
  const auto statement = [&](size_t i) {
    return program->statements[static_cast<size_t>(program->body[i])];
  };
  using Kind = JinjaStatement::Kind;
  CHECK(statement(0).kind == Kind::kText);
  CHECK(statement(0).text == "t");
  CHECK(statement(1).kind == Kind::kFor);
  CHECK(statement(1).text == "x");
  CHECK(statement(1).condition != kNoIndex);
  REQUIRE(statement(1).branches.size() == 2);
  const JinjaIndex set = statement(1).branches[1].body.at(0);
  CHECK(program->statements[static_cast<size_t>(set)].attribute == "z");
  CHECK(statement(2).kind == Kind::kIf);
  REQUIRE(statement(2).branches.size() == 3);
  CHECK(statement(2).branches[2].condition == kNoIndex);
  CHECK(statement(3).targets == std::vector<std::string>{"p", "q"});
}

TEST_CASE("what is left out of the language is said to be so") {
  for (const std::string text :
       {"{% macro a() %}{% endmacro %}", "{% include 'x' %}", "{% raw %}{% endraw %}",
        "{% set a, b = c %}", "{% set a %}b{% endset %}", "{{ a < b < c }}", "{{ a ** b }}",
        "{{ f(*a) }}", "{{ a[1, 2] }}", "{{ a, b }}", "{{ a is b is c }}", "{{ +a }}",
        "{% for x in y recursive %}{% endfor %}", "{{ a | b.c }}"}) {
    CAPTURE(text);
    const auto program = JinjaParser::parse(text, "file");
    REQUIRE_FALSE(program);
    CHECK(program.error().status == Status::kUnsupported);
    CHECK(program.error().message.find("byte") != std::string::npos);
  }
}

TEST_CASE("nesting and length have limits, and freeing is not recursive") {
  const auto status = [](const std::string& text) {
    const auto program = JinjaParser::parse(text, "file");
    return program ? Status::kInternal : program.error().status;
  };
  CHECK(JinjaParser::parse("{{ " + repeated("(", 20) + "a" + repeated(")", 20) + " }}", "").ok());
  CHECK(JinjaParser::parse("{{ a" + repeated(" + a", 100) + " }}", "").ok());
  CHECK(JinjaParser::parse(repeated("{% if a %}", 20) + repeated("{% endif %}", 20), "").ok());
  constexpr int kMany = 200000;
  CHECK(status("{{ " + repeated("(", kMany)) == Status::kCorruptFile);  // the lexer sees it first
  CHECK(status("{{ " + repeated("(", kMany) + repeated(")", kMany) + "}}") == Status::kUnsupported);
  CHECK(status("{{ " + repeated("[", 40) + repeated("]", 40) + "}}") == Status::kUnsupported);
  CHECK(status("{{ a" + repeated(" + a", kMany) + " }}") == Status::kUnsupported);
  CHECK(status("{{ a" + repeated(".a", kMany) + " }}") == Status::kUnsupported);
  CHECK(status("{{ " + repeated("not ", kMany) + "a }}") == Status::kUnsupported);
  CHECK(status("{{ a" + repeated("|f", kMany) + " }}") == Status::kUnsupported);
  CHECK(status(repeated("{% if a %}", kMany)) == Status::kUnsupported);
  CHECK(JinjaParser::parse(repeated("{{ a }}{% set a = 1 %}", kMany / 10), "").ok());
}

}  // namespace
}  // namespace pensee
