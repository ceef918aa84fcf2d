#include "pensee/text/jinja_value.hpp"

#include <doctest/doctest.h>

#include <string>

namespace pensee {
namespace {

TEST_CASE("a message shows templates its role, its content, and its thought if it has one") {
  const JinjaValue plain = JinjaValue::message({Role::kUser, "hi"});
  CHECK(plain.of_key("role").text->text() == "user");
  CHECK(plain.of_key("role").text->is_control(0));
  CHECK(plain.of_key("content").text->text() == "hi");
  CHECK_FALSE(plain.of_key("content").text->is_control(0));
  CHECK(plain.of_key("reasoning_content").is(JinjaValue::Kind::kUndefined));
  CHECK(plain.of_key("tool_calls").is(JinjaValue::Kind::kUndefined));
  const JinjaValue thinking = JinjaValue::message({Role::kAssistant, "", "hm"});
  CHECK(thinking.of_key("role").text->text() == "assistant");
  CHECK(thinking.of_key("reasoning_content").text->text() == "hm");
  CHECK_FALSE(thinking.of_key("reasoning_content").text->is_control(0));
  CHECK(std::string(name_of(Role::kSystem)) == "system");
}

TEST_CASE("truth is Python's") {
  for (const JinjaValue& value :
       {JinjaValue(), JinjaValue::none(), JinjaValue::boolean(false), JinjaValue::integer(0),
        JinjaValue::words(""), JinjaValue::of(JinjaValue::List())}) {
    CAPTURE(value.type());
    CHECK_FALSE(value.truth());
  }
  for (const JinjaValue& value : {JinjaValue::boolean(true), JinjaValue::integer(-1),
                                  JinjaValue::words("0"), JinjaValue::of(JinjaValue::List(1)),
                                  JinjaValue::message({}), JinjaValue::function("namespace")}) {
    CAPTURE(value.type());
    CHECK(value.truth());
  }
}

TEST_CASE("a list knows how deep lists lie in it") {
  const JinjaValue flat = JinjaValue::of(JinjaValue::List(3));
  const JinjaValue deeper = JinjaValue::of(JinjaValue::List{JinjaValue::integer(1), flat, {}});
  CHECK(JinjaValue::words("a").depth == 0);
  CHECK(JinjaValue::of(JinjaValue::List()).depth == 1);
  CHECK(flat.depth == 1);
  CHECK(deeper.depth == 2);
  CHECK(JinjaValue::of(JinjaValue::List{deeper, flat}).depth == 3);
}

TEST_CASE("what has no text or no equal is an error that names its type") {
  const JinjaValue list = JinjaValue::of(JinjaValue::List());
  CHECK(printed(list).error().message.find("a list") != std::string::npos);
  CHECK(equal(list, list).error().message.find("a list") != std::string::npos);
  CHECK(printed(JinjaValue::message({})).error().status == Status::kUnsupported);
  CHECK(*equal(list, JinjaValue::integer(1)) == false);
  CHECK(printed(JinjaValue::integer(-5))->text() == "-5");
  CHECK(printed(JinjaValue::integer(-5))->is_control(0));
}

}  // namespace
}  // namespace pensee
