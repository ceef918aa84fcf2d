#include "pensee/decode/json_schema.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "model/golden.hpp"
#include "pensee/decode/grammar_text.hpp"

namespace pensee::json_schema_test {
namespace {

Result<std::shared_ptr<const Grammar>> grammar_of(const std::string& schema) {
  PENSEE_ASSIGN_OR_RETURN(const std::string text, json_schema_grammar(schema));
  return parse_grammar(text);
}

bool is_whole(const std::shared_ptr<const Grammar>& grammar, const std::string& text) {
  GrammarMatcher matcher(grammar);
  return matcher.push(text) && matcher.is_complete();
}

TEST_CASE("texts are told apart as Python's jsonschema does it") {
  const nlohmann::json cases = golden::read_json(PENSEE_TEST_DATA "/json_schemas.json");
  REQUIRE(cases.size() > 10);
  for (const nlohmann::json& one : cases) {
    const auto schema = one["schema"].get<std::string>();
    CAPTURE(schema);
    const auto grammar = grammar_of(schema);
    REQUIRE_MESSAGE(grammar.ok(), grammar.error().message);
    for (const bool is_valid : {true, false}) {
      for (const nlohmann::json& text : one[is_valid ? "valid" : "invalid"]) {
        CAPTURE(text.get<std::string>());
        CHECK(is_whole(*grammar, text.get<std::string>()) == is_valid);
      }
    }
  }
}

TEST_CASE("properties come in the schema's order, and white space ends") {
  const auto grammar =
      grammar_of(R"({"properties": {"z": {"type": "null"}, "a": {"type": "null"}}})");
  REQUIRE(grammar.ok());
  CHECK(is_whole(*grammar, R"({"z": null, "a": null})"));
  CHECK_FALSE(is_whole(*grammar, R"({"a": null, "z": null})"));
  CHECK_FALSE(is_whole(*grammar, R"({"z": null, "other": null})"));
  CHECK(is_whole(*grammar, "{\n" + std::string(40, ' ') + "}"));
  CHECK_FALSE(is_whole(*grammar, "{\n" + std::string(42, ' ') + "}"));
}

TEST_CASE("characters are whole, values of the type, and bounds exact") {
  const auto is_of = [](const char* schema, const std::string& text) {
    return is_whole(grammar_of(schema).value(), text);
  };
  constexpr const char* kTwo = R"({"type": "string", "minLength": 2})";
  CHECK(is_of(kTwo, R"("a\ud83d\ude00")"));
  CHECK_FALSE(is_of(kTwo, R"("\ud83d\ude00")"));
  CHECK_FALSE(is_of(kTwo, R"("a\ud83d")"));
  CHECK_FALSE(is_of(kTwo, R"("a\ude00")"));
  CHECK_FALSE(is_of(R"({"type": "string", "enum": ["a", null]})", "null"));
  constexpr const char* kLargest = R"({"type": "integer", "minimum": 999999999999999999})";
  CHECK(is_of(kLargest, "999999999999999999"));
  CHECK_FALSE(is_of(kLargest, "999999999999999998"));
  CHECK_FALSE(is_of(R"({"type": "integer", "exclusiveMaximum": 999999999999999999})",
                    "999999999999999999"));
  CHECK(is_of(R"({"anyOf": [{"type": "null"}, {"items": {"$ref": "#/anyOf/0"}}]})", "[null]"));
}

TEST_CASE("what would be overlooked is refused, with its place") {
  const auto refuses = [](const std::string& schema, Status status, const std::string& what) {
    const auto grammar = json_schema_grammar(schema);
    CAPTURE(schema);
    REQUIRE_FALSE(grammar.ok());
    CHECK(grammar.error().status == status);
    CHECK_MESSAGE(grammar.error().message.find(what) != std::string::npos, grammar.error().message);
  };
  constexpr Status kWrong = Status::kInvalidArgument;
  constexpr Status kUnknown = Status::kUnsupported;
  refuses(R"({"properties": {"a": {"type": "number", "minimum": 3}}})", kUnknown,
          "properties.a: minimum of numbers");
  refuses(R"({"type": "number", "pattern": "a+"})", kUnknown, R"("pattern")");
  refuses(R"({"properties": {"a": {"pattern": "a\\b"}}})", kUnknown,
          "properties.a: pattern: \\b at byte 1");
  refuses(R"({"type": "string", "pattern": "a("})", kWrong, "pattern: expected ) at byte 2");
  refuses(R"({"type": "string", "pattern": 3})", kWrong, "pattern: expected a string");
  refuses(R"({"type": "string", "pattern": "a", "maxLength": 3})", kUnknown, "beside minLength");
  refuses(R"({"type": "string", "minItems": 1})", kUnknown, R"("minItems")");
  refuses(R"({"allOf": [true, true]})", kUnknown, "allOf");
  refuses(R"({"anyOf": [true], "type": "string"})", kUnknown, R"("type")");
  refuses(R"({"$ref": "other.json"})", kUnknown, "$ref");
  refuses(R"({"properties": {}, "required": ["a"]})", kUnknown, "required");
  refuses("false", kUnknown, "false");
  refuses(R"({"$ref": "#/nowhere"})", kWrong, "#/nowhere");
  refuses(R"({"type": "text"})", kWrong, "type");
  refuses(R"({"type": []})", kWrong, "type");
  refuses(R"({"enum": []})", kWrong, "enum");
  refuses(R"({"items": 3})", kWrong, "items");
  refuses(R"({"properties": []})", kWrong, "properties");
  refuses(R"({"required": 3})", kWrong, "required");
  refuses(R"({"type": "string", "minLength": -1})", kWrong, "minLength");
  refuses(R"({"type": "array", "minItems": 3, "maxItems": 2})", kWrong, "maxItems");
  refuses(R"({"type": "integer", "minimum": "3"})", kWrong, "minimum");
  refuses(R"({"type": "integer", "minimum": 3, "exclusiveMaximum": 3})", kWrong, "no integer");
  refuses(R"({"type": ["integer", "number"], "minimum": 0})", kUnknown, "minimum of numbers");
  refuses(R"({"type": "string", "enum": [1, null]})", kWrong, "enum: no value");
  refuses(R"({"type": "string", "const": 1})", kWrong, "const");
  refuses(R"({"type": "array", "minItems": 2, "maxItems": 0})", kWrong, "maxItems");
  refuses(R"({"items": false, "minItems": 1})", kWrong, "no item");
  refuses(R"({"prefixItems": [true], "items": false, "minItems": 2})", kWrong, "prefixItems");
  refuses(
      R"({"properties": {")" + std::string(501, 'n') + R"(": true}, "additionalProperties": true})",
      kUnknown, "so long a name");
  refuses("{", kWrong, "not valid JSON");
  refuses("\"\xff\"", kWrong, "not valid JSON");
  refuses(R"({"type": "null", "type": "string"})", kWrong, "written twice");
  refuses(R"({"const": )" + std::string(100000, '[') + std::string(100000, ']') + "}", kWrong,
          "nested deeper");
  // Nothing but itself.
  CHECK_FALSE(grammar_of(R"({"$ref": "#"})").ok());
}

}  // namespace
}  // namespace pensee::json_schema_test
