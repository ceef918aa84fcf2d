#include "pensee/text/jinja_expressions.hpp"

#include <doctest/doctest.h>

#include <string>

#include "pensee/text/jinja_parser.hpp"

namespace pensee {
namespace {

// The expression with every operation in brackets.
std::string shown(const JinjaProgram& program, JinjaIndex index) {
  if (index == kNoIndex) return "_";
  const JinjaExpr& e = program.expressions[static_cast<size_t>(index)];
  std::string out = "(" + std::to_string(static_cast<int>(e.kind)) + " " + e.text;
  if (e.kind == JinjaExpr::Kind::kName || e.kind == JinjaExpr::Kind::kText) return e.text;
  if (e.kind == JinjaExpr::Kind::kInteger) return std::to_string(e.number);
  for (const JinjaIndex operand : e.operands) out += " " + shown(program, operand);
  for (const std::string& keyword : e.keywords) out += " " + keyword;
  return out + ")";
}

// Whether two expressions are the same tree.
bool same(const std::string& a, const std::string& b) {
  const auto parsed = [](const std::string& text) {
    const auto program = JinjaParser::parse("{{ " + text + " }}", "file");
    REQUIRE_MESSAGE(program, program.error().message);
    return shown(*program, program->statements[0].value);
  };
  CAPTURE(parsed(a));
  return parsed(a) == parsed(b);
}

TEST_CASE("operators bind as in Jinja") {
  CHECK(same("a or b and not c == d", "a or (b and (not (c == d)))"));
  CHECK(same("a + b ~ c * d | f is g", "a + (b ~ (c * ((d | f) is g)))"));
  CHECK(same("a - b - c", "(a - b) - c"));
  CHECK(same("-a.b[c](d) | e", "(-(((a.b)[c])(d))) | e"));
  CHECK(same("a if b else c if d else e", "a if b else (c if d else e)"));
  CHECK(same("a not in b", "(a) not in (b)"));
  CHECK(same("a is not b", "not (a is b)"));
  CHECK(same("a is b 'c'", "a is b('c')"));
  CHECK(same("x[a:b]", "x[a:b:]"));
  CHECK(same("[a, b,]", "[a, b]"));
  CHECK(same("'a' \"b\"", "'ab'"));
  CHECK_FALSE(same("a - (b - c)", "a - b - c"));
}

}  // namespace
}  // namespace pensee
