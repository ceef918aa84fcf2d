#include "pensee/text/jinja_work.hpp"

#include <doctest/doctest.h>

#include <string>

namespace pensee {
namespace {

TEST_CASE("searches count as the product of their texts, other operations as the sum") {
  const JinjaValue thousand = JinjaValue::words(std::string(1000, 'a'));
  const JinjaArguments other{{thousand}, {}};
  for (const char* name : {"in", "not in", "split", "replace", "strip", "lstrip", "rstrip"}) {
    CAPTURE(name);
    CHECK(jinja_work(name, thousand, other) > 1000000);
  }
  CHECK(jinja_work("+", thousand, other) >= 2000);
  CHECK(jinja_work("+", thousand, other) < 10000);
}

TEST_CASE("what is split or joined counts by its parts") {
  const auto split = [](const std::string& text, const std::string& separator) {
    return jinja_work("split", JinjaValue::words(text), {{JinjaValue::words(separator)}, {}});
  };
  const std::string text(1000, 'a');
  CHECK(split(text, "a") > 1000 * kJinjaWorkOfValue);
  CHECK(split(text, "aaaaaaaaaa") > 100 * kJinjaWorkOfValue);
  CHECK(split(text, "aaaaaaaaaa") < 200 * kJinjaWorkOfValue);
  CHECK(split(text, "b") < 100 * kJinjaWorkOfValue);
  const JinjaValue list = JinjaValue::of(JinjaValue::List(3, JinjaValue::words(text)));
  CHECK(jinja_work("join", list, {}) >= 3000);
}

TEST_CASE("a list costs something only where its entries are gone through") {
  const JinjaValue thousand = JinjaValue::of(JinjaValue::List(1000, JinjaValue::words("a")));
  const JinjaArguments one{{JinjaValue::integer(1)}, {}};
  for (const char* name : {"", "length", "count", "first", "last", "list", "default", "=="}) {
    CAPTURE(name);
    CHECK(jinja_work(name, thousand, one) == kJinjaWorkOfValue);
  }
  CHECK(jinja_work("+", thousand, {{thousand}, {}}) >= 2000 * kJinjaWorkOfValue);
  CHECK(jinja_work("in", JinjaValue::words("a"), {{thousand}, {}}) >= 1000 * kJinjaWorkOfValue);
  CHECK(jinja_work("join", thousand, {}) >= 1000 * kJinjaWorkOfValue);
}

}  // namespace
}  // namespace pensee
