#include "pensee/text/jinja_functions.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

namespace pensee {
namespace {

// tests/text/jinja_run_test.cpp holds these functions against Jinja; here is what Jinja would do
// otherwise, or not say.

TEST_CASE("integers never overflow") {
  const JinjaValue large = JinjaValue::integer(999999999999999999);
  const auto square = jinja_operator("*", large, large);
  REQUIRE_FALSE(square);
  CHECK(square.error().status == Status::kUnsupported);
  JinjaValue sum = large;
  for (int i = 0; i < 10; ++i) {
    const auto more = jinja_operator("+", sum, sum);
    if (!more) break;
    sum = *more;
    CHECK(sum.number > 0);
  }
  CHECK(sum.number < std::numeric_limits<int64_t>::max() / 2);
}

TEST_CASE("what is not known is an error that names it") {
  const JinjaValue text = JinjaValue::words("x");
  CHECK(jinja_filter("tojson", text, {}).error().message.find("tojson") != std::string::npos);
  CHECK(jinja_test("odd", text, {}).error().message.find("odd") != std::string::npos);
  CHECK(jinja_method("title", text, {}).error().message.find("title") != std::string::npos);
  CHECK(jinja_method("keys", JinjaValue::message({}), {}).error().status == Status::kUnsupported);
  const JinjaValue loop{JinjaValue::Kind::kLoop, 0, {}, JinjaValue::of(JinjaValue::List(1)).list};
  CHECK(jinja_loop_attribute(loop, "cycle").error().message.find("cycle") != std::string::npos);
  CHECK(jinja_method("strip", text, {{JinjaValue::words("é")}, {}}).error().status ==
        Status::kUnsupported);
}

TEST_CASE("a date knows its directives and refuses others") {
  std::tm now{};
  now.tm_year = 99;
  now.tm_mday = 1;
  now.tm_wday = 5;
  CHECK(jinja_date("%a %d %B %Y, %y", now)->text->text() == "Fri 01 January 1999, 99");
  CHECK(jinja_date("100%%", now)->text->text() == "100%");
  for (const std::string format : {"%", "%Q", "%-d"}) {
    CAPTURE(format);
    CHECK(jinja_date(format, now).error().status == Status::kUnsupported);
  }
}

TEST_CASE("a date is not longer than its format allows") {
  for (const char directive : std::string("dmYyBbAaHMS%")) {
    const std::string format = std::string("%") + directive;
    for (int i = 0; i < 12; ++i) {
      std::tm now{};
      now.tm_year = 126;
      now.tm_mon = i;
      now.tm_wday = i % 7;
      CHECK(jinja_date(format, now)->size() <= kJinjaMostOfDate * format.size());
    }
  }
}

TEST_CASE("the words of a replacement keep their marks") {
  const JinjaValue content = JinjaValue::of(MarkedText("a b", false));
  const auto replaced =
      jinja_filter("replace", content, {{JinjaValue::words(" "), JinjaValue::words("<|x|>")}, {}});
  REQUIRE(replaced);
  CHECK(replaced->text->text() == "a<|x|>b");
  CHECK_FALSE(replaced->text->is_control(0));
  CHECK(replaced->text->is_control(1));
}

}  // namespace
}  // namespace pensee
