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
      "{% if a %}{% elif b %}{% else %}{% endif %}{% for p, q in a %}{% endfor %}"
      "{% macro f(a, b=1) %}{{ a }}{% endmacro %}{% set z %}{{ a }}c{% endset %}",
      "file");
  REQUIRE_MESSAGE(program, program.error().message);
  REQUIRE(program->body.size() == 6);
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
  CHECK(statement(4).kind == Kind::kMacro);
  CHECK(statement(4).text == "f");
  CHECK(statement(4).targets == std::vector<std::string>{"a", "b"});
  CHECK(statement(4).defaults.size() == 1);
  CHECK(statement(4).branches.at(0).body.size() == 1);
  CHECK(statement(5).kind == Kind::kSetBlock);
  CHECK(statement(5).text == "z");
  CHECK(statement(5).branches.at(0).body.size() == 2);
}

TEST_CASE("what is left out of the language is said to be so") {
  for (const std::string text :
       {"{% call a() %}{% endcall %}", "{% include 'x' %}", "{% raw %}{% endraw %}",
        "{% set a, b = c %}", "{% set a | f %}b{% endset %}", "{% set a.b %}c{% endset %}",
        "{{ a < b < c }}", "{{ a ** b }}", "{{ f(*a) }}", "{{ a[1, 2] }}", "{{ a, b }}",
        "{{ a is b is c }}", "{{ +a }}", "{% for x in y recursive %}{% endfor %}",
        "{{ a | b.c }}"}) {
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
