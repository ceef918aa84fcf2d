#include "pensee/reason/boxed_answer.hpp"

#include <doctest/doctest.h>

#include <string>

namespace pensee {
namespace {

TEST_CASE("the last box that is closed counts, with the braces in it") {
  CHECK(boxed_answer("First \\boxed{1}, then \\boxed{2}.") == "2");
  CHECK(boxed_answer("\\boxed{\\frac{1}{2}} is so") == "\\frac{1}{2}");
  CHECK(boxed_answer("\\boxed {7}") == "7");
  CHECK(boxed_answer("\\boxed{3} and \\boxed{4") == "3");
  CHECK(boxed_answer("\\boxed{a\\}b}") == "a\\}b");
  for (const char* none : {"", "7", "\\boxed", "\\boxed{", "\\boxed 7", "\\boxed{}", "\\boxed{ }",
                           "\\boxed{.}", "boxed{7}"}) {
    CHECK(boxed_answer(none).empty());
  }
}

TEST_CASE("equal answers are equal texts") {
  const auto same = [](const std::string& a, const std::string& b) {
    CAPTURE(a);
    CAPTURE(b);
    CHECK(boxed_answer("\\boxed{" + a + "}") == boxed_answer("\\boxed{" + b + "}"));
    CHECK_FALSE(boxed_answer("\\boxed{" + a + "}").empty());
  };
  same("1,234", "1234");
  same("1{,}234", "1234");
  same("\\$1,234,567.50", "+01234567.5");
  same("42.0", "42");
  same(".5", "0.50");
  same("-0", "0");
  same("-0.0", "0");
  same("50\\%", "50%");
  same("\\dfrac{1}{2}", "\\tfrac{1}{2}");
  same("\\text{Tuesday}.", "Tuesday");
  same("\\left( 1,\\, 2 \\right)", "(1,2)");
  same("90^\\circ", "90");
  same("90^{\\circ}", "$90$");
  same("\\textbf{B}", "\\mathrm{ B }");
}

TEST_CASE("others stay apart, and what is no number stays as it is") {
  const auto of = [](const std::string& text) { return boxed_answer("\\boxed{" + text + "}"); };
  CHECK(of("1,23") == "1,23");
  CHECK(of("12,3456") == "12,3456");
  CHECK(of(",123") == ",123");
  CHECK(of("1,2,3") == "1,2,3");
  CHECK(of("1,234,56") == "1,234,56");
  CHECK(of("1.2.3") == "1.2.3");
  CHECK(of("-") == "-");
  CHECK(of("x+1") == "x+1");
  CHECK(of("\\leftarrow") == "\\leftarrow");
  CHECK(of("\\text") == "\\text");
  CHECK(of("\\") == "");  // which is no closed box
  CHECK(of("-5") != of("5"));
  CHECK(of("100") == "100");
  CHECK(of("0.05") == "0.05");
}

}  // namespace
}  // namespace pensee
