#include "pensee/base/json.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

using pensee::Json;
using pensee::JsonView;
using pensee::Status;

namespace {

Json parse(std::string_view text) {
  const auto result = pensee::parse_json(text, "f.json");
  REQUIRE_MESSAGE(result.ok(), std::string(text));
  return *result;
}

std::string parse_error(std::string_view text) {
  const auto result = pensee::parse_json(text, "f.json");
  if (result.ok()) return "";
  CHECK(result.error().status == Status::kCorruptFile);
  CHECK(result.error().message.starts_with("f.json: "));
  return result.error().message;
}

}  // namespace

TEST_CASE("every kind of value is read") {
  const Json json = parse(
      R"( {"a": [1, -2, 2.5, [], {}], "b": {"c": null, "d": true}, "e": "\u00e9\n", "f": [[3], 4]} )");
  CHECK(json == Json::parse(R"({"a":[1,-2,2.5,[],{}],"b":{"c":null,"d":true},"e":"é\n",
                                "f":[[3],4]})"));
  CHECK(parse("3") == Json(3));
  CHECK(parse("[]") == Json::array());
  CHECK(parse("\"x\"") == Json("x"));
}

TEST_CASE("a view tells whether it is a text") {
  const Json json = parse(R"({"a": "text", "b": 3})");
  const JsonView view(json, "f.json");
  CHECK(view.find("a")->is("text"));
  CHECK(!view.find("a")->is("tex"));
  CHECK(!view.find("b")->is("3"));
}

TEST_CASE("a document keeps its values when it is moved") {
  pensee::JsonDocument first(Json{{"a", {1, {2, 3}}}});
  pensee::JsonDocument second(std::move(first));
  CHECK(static_cast<const Json&>(second)["a"][1][1] == 3);
  pensee::JsonDocument third(Json::array({4}));
  third = std::move(second);
  CHECK(static_cast<const Json&>(third)["a"][0] == 1);
}

TEST_CASE("broken text is an error that gives the place") {
  for (const std::string_view text :
       {"", " ", "{", "[1,", "{\"a\" 1}", "{\"a\": 1,}", "[1] 2", "NaN", "[1e999]", "\"\xff\"",
        "\"a", "{1: 2}", "// x\n1", "tru", "01"}) {
    CAPTURE(text);
    CHECK(parse_error(text).find("byte") != std::string::npos);
  }
}

TEST_CASE("text after a NUL byte is not passed over") {
  CHECK(parse_error(std::string_view("{}\0garbage", 10)).find("NUL") != std::string::npos);
}

TEST_CASE("a key written twice is an error") {
  CHECK(parse_error(R"({"a": 1, "b": 2, "a": 3})").find("\"a\"") != std::string::npos);
  CHECK(parse_error(R"({"x": [{"k": 1, "\u006b": 2}]})").find("\"k\"") != std::string::npos);
  CHECK(parse_error(R"({"a": {"a": {"a": 1}}, "b": {"a": 2}})").empty());
}

TEST_CASE("deep nesting is an error, not a crash") {
  const std::string at_limit(pensee::kMaxJsonDepth, '[');
  CHECK(parse_error(at_limit + std::string(pensee::kMaxJsonDepth, ']')).empty());
  CHECK(parse_error(at_limit + "[]").find("nested") != std::string::npos);
  CHECK(!parse_error(std::string(1000000, '[')).empty());
}

TEST_CASE("the message of a long broken text stays short") {
  CHECK(parse_error("\"" + std::string(100000, 'x')).size() < 400);
  CHECK(parse_error("{\"" + std::string(100000, 'x') + "\": 1, \"" + std::string(100000, 'x') +
                    "\": 2}")
            .size() < 400);
}

TEST_CASE("printable keeps messages clean") {
  CHECK(pensee::printable("a\nb\x7f\x1b") == "a?b??");
  CHECK(pensee::printable("é") == "é");
  const std::string cut = pensee::printable(std::string(119, 'x') + "é tail");
  CHECK(cut == std::string(119, 'x') + "...");
}

TEST_CASE("fields are reached by name, and errors tell the way") {
  const Json json = parse(R"({"rope": {"factor": 40, "none": null, "list": [1, "two"]}})");
  const JsonView root(json, "config.json");
  const JsonView rope = root.at("rope").value();
  CHECK(rope.at("factor")->as_int(1, 100).value() == 40);
  CHECK(rope.where() == "config.json: rope");
  CHECK(rope.at("missing").error().message == "config.json: rope.missing: missing");
  CHECK(rope.at("factor")->at("x").error().message ==
        "config.json: rope.factor: expected an object, found 40");
  CHECK(rope.at("none")->is_null());
  CHECK(rope.contains("none"));
  CHECK(!rope.contains("missing"));
  CHECK(!rope.find("none").has_value());
  CHECK(!rope.find("missing").has_value());
  CHECK(!rope.at("factor")->find("x").has_value());
  const JsonView list = rope.find("list").value();
  CHECK(list.size() == 2);
  CHECK(list[1].as_int(0, 5).error().message ==
        "config.json: rope.list[1]: expected an integer from 0 to 5, found \"two\"");
  CHECK(root.expect_object().ok());
  CHECK(list.expect_array().ok());
  CHECK(list.expect_object().error().status == Status::kCorruptFile);
  CHECK(root.expect_array().error().message == "config.json: expected an array, found an object");
}

TEST_CASE("integers are checked against their range without overflow") {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const auto read = [](const char* text, int64_t least, int64_t most) {
    const Json json = parse(text);
    return JsonView(json, "f").as_int(least, most);
  };
  CHECK(read("5", 5, 5).value() == 5);
  CHECK(read("-5", -5, -5).value() == -5);
  CHECK(read("9223372036854775807", kMin, kMax).value() == kMax);
  CHECK(read("-9223372036854775808", kMin, kMax).value() == kMin);
  CHECK(!read("9223372036854775808", kMin, kMax).ok());
  CHECK(!read("18446744073709551615", kMin, kMax).ok());
  CHECK(!read("18446744073709551615", -1, -1).ok());
  CHECK(!read("100000000000000000000", kMin, kMax).ok());
  CHECK(!read("4", 5, 6).ok());
  CHECK(!read("7", 5, 6).ok());
  CHECK(!read("0", -9, -1).ok());
  CHECK(!read("-1", 0, 6).ok());
  for (const char* text : {"5.0", "5e0", "\"5\"", "true", "null", "[5]", "{}"}) {
    CAPTURE(text);
    CHECK(!read(text, kMin, kMax).ok());
  }
}

TEST_CASE("the other types refuse what they are not") {
  const Json json = parse(R"({"number": 1.5, "whole": 2, "flag": true, "text": "hi"})");
  const JsonView root(json, "f");
  CHECK(root.at("number")->as_double().value() == 1.5);
  CHECK(root.at("whole")->as_double().value() == 2.0);
  CHECK(root.at("text")->as_double().error().message == "f: text: expected a number, found \"hi\"");
  CHECK(root.at("flag")->as_bool().value());
  CHECK(!root.at("whole")->as_bool().ok());
  CHECK(root.at("text")->as_string().value() == "hi");
  CHECK(!root.at("flag")->as_string().ok());
  const Json infinite = std::numeric_limits<double>::infinity();
  CHECK(!JsonView(infinite, "f").as_double().ok());
}

TEST_CASE("tokens come alone or in a list") {
  const Json json = parse(R"({"one": 3, "list": [4, 0], "wrong": [4, 5], "none": []})");
  const JsonView root(json, "f");
  CHECK(root.at("one")->as_token_ids(5).value() == std::vector<int32_t>{3});
  CHECK(root.at("list")->as_token_ids(5).value() == std::vector<int32_t>{4, 0});
  CHECK(root.at("none")->as_token_ids(5).value().empty());
  CHECK(root.at("wrong")->as_token_ids(5).error().message ==
        "f: wrong[1]: expected an integer from 0 to 4, found 5");
}
