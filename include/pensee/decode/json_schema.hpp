// JSON schemas (draft 2020-12) as grammars.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/decode/integer_range.hpp"
#include "pensee/decode/json_pattern.hpp"

namespace pensee {

namespace json_schema_detail {

using Ordered = nlohmann::ordered_json;  // properties are written in their order

// Writes the rules of a schema, in the notation of parse_grammar().
class Writer {
 public:
  explicit Writer(const Ordered& root) : root_(root) {}

  Result<std::string> write() {
    PENSEE_ASSIGN_OR_RETURN(const std::string all, value_of(root_, "", 0));
    return "root ::= " + all + "\n" + rules_ + kJson;
  }

 private:
  static constexpr int kMostNested = 100;
  static constexpr size_t kLongestName = 500;  // beside additional properties
  // White space is bounded, and so are digits: nothing that a model might repeat for ever.
  static constexpr const char* kJson =
      R"(ws ::= " "? | "\n" [ \t]{0,40}
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" code)
code ::= [0-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2} | [dD] [89abAB] hex{2} "\\u" [dD] [c-fC-F] hex{2}
hex ::= [0-9a-fA-F]
integer ::= "-"? ("0" | [1-9] [0-9]{0,17})
number ::= integer ("." [0-9]{1,17})? ([eE] [-+]? [0-9]{1,3})?
boolean ::= "true" | "false"
null ::= "null"
value ::= string | number | boolean | null | array | object
array ::= "[" ws (value (ws "," ws value)*)? ws "]"
object ::= "{" ws (member (ws "," ws member)*)? ws "}"
member ::= string ws ":" ws value
)";
  // What says nothing about which texts are right.
  static inline const std::set<std::string> kAnnotations = {
      "$schema", "$id",      "$comment", "$defs",       "definitions", "$anchor",    "title",
      "default", "examples", "readOnly", "description", "writeOnly",   "deprecated", "format"};
  // What the types have of their own.
  static inline const std::map<std::string, std::vector<std::string>> kKeywords = {
      {"object", {"properties", "required", "additionalProperties"}},
      {"array", {"items", "prefixItems", "minItems", "maxItems"}},
      {"string", {"minLength", "maxLength", "pattern"}},
      {"integer", {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}}};

  [[nodiscard]] static Error error(const std::string& path, const std::string& what) {
    return invalid_argument("answer_json_schema: " + (path.empty() ? "" : path + ": ") + what);
  }
  [[nodiscard]] static Error unsupported_at(const std::string& path, const std::string& what) {
    return unsupported("answer_json_schema: " + (path.empty() ? "" : path + ": ") + what +
                       " is not supported");
  }
  static std::string join(const std::string& path, const std::string& key) {
    return path.empty() ? key : path + "." + key;
  }

  // A new rule; returns its name.
  std::string add(const std::string& definition) {
    const std::string name = new_name();
    define(name, definition);
    return name;
  }
  std::string new_name() { return "r" + std::to_string(n_names_++); }
  void define(const std::string& name, const std::string& definition) {
    rules_ += name + " ::= " + definition + "\n";
  }
  // A text that has to stand as it is.
  static std::string literal(const std::string& text) {
    std::string quoted = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    return quoted + "\"";
  }
  static std::string literal(const Ordered& value) { return literal(value.dump()); }

  // Refuses keywords besides `known` and annotations, which would be overlooked.
  static Result<void> expect_only(const Ordered& schema, const std::set<std::string>& known,
                                  const std::string& path) {
    for (const auto& [key, value] : schema.items()) {
      if (known.contains(key) || kAnnotations.contains(key)) continue;
      return unsupported_at(path, "\"" + printable(key) + "\" here");
    }
    return {};
  }

  // The rule of a schema: its name, or an expression that may stand for it.
  Result<std::string> value_of(const Ordered& schema, const std::string& path, int depth) {
    if (depth > kMostNested) return error(path, "expected fewer schemas in one another");
    if (schema.is_boolean()) {
      return schema.get<bool>() ? Result<std::string>("value")
                                : Result<std::string>(unsupported_at(path, "false"));
    }
    if (!schema.is_object()) return error(path, "expected a schema");
    if (schema.contains("$ref")) return reference(schema, path, depth);
    if (schema.contains("const")) {
      PENSEE_RETURN_IF_ERROR(expect_only(schema, {"const", "type"}, path));
      if (!has_type(schema["const"], schema)) return error(path, "const: expected one of type");
      return add(literal(schema["const"]));
    }
    if (schema.contains("enum")) return enumeration(schema, path);
    for (const char* key : {"anyOf", "oneOf", "allOf"}) {
      if (schema.contains(key)) return combination(schema, key, path, depth);
    }
    return by_type(schema, path, depth);
  }

  Result<std::string> reference(const Ordered& schema, const std::string& path, int depth) {
    PENSEE_RETURN_IF_ERROR(expect_only(schema, {"$ref"}, path));
    const Ordered& target = schema["$ref"];
    if (!target.is_string() || !target.get_ref<const std::string&>().starts_with('#')) {
      return unsupported_at(join(path, "$ref"), "what does not begin with #");
    }
    const std::string pointer = target.get<std::string>().substr(1);
    if (const auto found = references_.find(pointer); found != references_.end()) {
      return found->second;
    }
    const Ordered* place = find(pointer);
    if (place == nullptr) return error(join(path, "$ref"), "no schema at #" + printable(pointer));
    const std::string name = references_[pointer] = new_name();
    PENSEE_ASSIGN_OR_RETURN(const std::string value, value_of(*place, "#" + pointer, depth + 1));
    define(name, value);
    return name;
  }
  // Where a JSON pointer leads (RFC 6901); null if nowhere.
  [[nodiscard]] const Ordered* find(const std::string& pointer) const {
    const Ordered* place = &root_;
    for (size_t at = 0; at < pointer.size();) {
      if (pointer[at] != '/') return nullptr;
      const size_t end = std::min(pointer.find('/', at + 1), pointer.size());
      std::string key = pointer.substr(at + 1, end - at - 1);
      for (const auto& [code, c] : {std::pair{"~1", "/"}, std::pair{"~0", "~"}}) {
        for (size_t i = 0; (i = key.find(code, i)) != key.npos; ++i) key.replace(i, 2, c);
      }
      at = end;
      size_t i = 0;
      const auto [stop, code] = std::from_chars(key.data(), key.data() + key.size(), i);
      const bool is_index = code == std::errc() && stop == key.data() + key.size();
      if (place->is_array() && is_index && i < place->size()) {
        place = &(*place)[i];
      } else if (place->is_object() && place->contains(key)) {
        place = &(*place)[key];
      } else {
        return nullptr;
      }
    }
    return place;
  }

  Result<std::string> enumeration(const Ordered& schema, const std::string& path) {
    PENSEE_RETURN_IF_ERROR(expect_only(schema, {"enum", "type"}, path));
    const Ordered& values = schema["enum"];
    if (!values.is_array() || values.empty()) return error(join(path, "enum"), "expected values");
    std::string definition;
    for (const Ordered& value : values) {
      if (!has_type(value, schema)) continue;
      definition += (definition.empty() ? "" : " | ") + literal(value);
    }
    if (definition.empty()) return error(join(path, "enum"), "no value is of the type");
    return add(definition);
  }
  // Whether a value is of the type that the schema names, if it names any.
  static bool has_type(const Ordered& value, const Ordered& schema) {
    if (!schema.contains("type")) return true;
    const auto is = [&](const Ordered& type) {
      if (!type.is_string()) return false;
      const auto& name = type.get_ref<const std::string&>();
      if (name == "integer") {
        return value.is_number_integer() ||
               (value.is_number() && std::floor(value.get<double>()) == value.get<double>());
      }
      return name == value.type_name();  // nlohmann's names are those of the schemas
    };
    const Ordered& type = schema["type"];
    return type.is_array() ? std::any_of(type.begin(), type.end(), is) : is(type);
  }

  Result<std::string> combination(const Ordered& schema, const std::string& key,
                                  const std::string& path, int depth) {
    PENSEE_RETURN_IF_ERROR(expect_only(schema, {key}, path));
    const Ordered& parts = schema[key];
    const std::string where = join(path, key);
    if (!parts.is_array() || parts.empty()) return error(where, "expected schemas");
    if (key == "allOf" && parts.size() > 1) return unsupported_at(where, "more than one schema");
    std::string definition;
    for (size_t i = 0; i < parts.size(); ++i) {
      PENSEE_ASSIGN_OR_RETURN(const std::string part,
                              value_of(parts[i], join(where, std::to_string(i)), depth + 1));
      definition += (i == 0 ? "" : " | ") + part;
    }
    return add(definition);
  }

  Result<std::string> by_type(const Ordered& schema, const std::string& path, int depth) {
    std::vector<std::string> types;
    if (!schema.contains("type")) {
      for (const char* type : {"object", "array", "string"}) {
        for (const std::string& key : kKeywords.at(type)) {
          if (types.empty() && schema.contains(key)) types = {type};
        }
      }
      PENSEE_RETURN_IF_ERROR(types.empty() ? expect_only(schema, {}, path) : Result<void>());
      if (types.empty()) return std::string("value");
    } else {
      const Ordered& type = schema["type"];
      const size_t n = type.is_array() ? type.size() : 1;
      for (size_t i = 0; i < n; ++i) {
        const Ordered& one = type.is_array() ? type[i] : type;
        if (!one.is_string()) return error(join(path, "type"), "expected names of types");
        types.push_back(one.get<std::string>());
      }
      if (types.empty()) return error(join(path, "type"), "expected names of types");
    }
    // With several types a keyword need only be one of some of them.
    std::set<std::string> known = {"type"};
    std::string definition;
    for (const std::string& type : types) {
      if (const auto keywords = kKeywords.find(type); keywords != kKeywords.end()) {
        known.insert(keywords->second.begin(), keywords->second.end());
      }
      PENSEE_ASSIGN_OR_RETURN(const std::string one, of_type(schema, type, path, depth));
      definition += (definition.empty() ? "" : " | ") + one;
    }
    PENSEE_RETURN_IF_ERROR(expect_only(schema, known, path));
    return types.size() == 1 ? definition : add(definition);
  }

  Result<std::string> of_type(const Ordered& schema, const std::string& type,
                              const std::string& path, int depth) {
    if (type == "object") return object(schema, path, depth);
    if (type == "array") return array(schema, path, depth);
    if (type == "integer") return integer(schema, path);
    if (type == "string") return string(schema, path);
    if (type == "number") {
      for (const std::string& key : kKeywords.at("integer")) {
        if (schema.contains(key)) return unsupported_at(path, key + " of numbers");
      }
    }
    for (const char* plain : {"number", "boolean", "null"}) {
      if (type == plain) return type;
    }
    return error(join(path, "type"), "expected a type of JSON, found " + printable(type));
  }

  Result<std::string> string(const Ordered& schema, const std::string& path) {
    PENSEE_ASSIGN_OR_RETURN(const Counts length, counts(schema, "Length", path));
    const std::string times = repetition(length, 0);
    if (!schema.contains("pattern")) {
      return times == "*" ? std::string("string") : add(R"("\"" char)" + times + R"( "\"")");
    }
    if (times != "*") return unsupported_at(path, "pattern beside minLength or maxLength");
    const Ordered& pattern = schema["pattern"];
    if (!pattern.is_string()) return error(join(path, "pattern"), "expected a string");
    const std::string name = new_name();
    const auto rules = json_pattern(pattern.get_ref<const std::string&>(), name);
    if (!rules) return Error{rules.error().status, error(path, rules.error().message).message};
    rules_ += *rules;
    return name;
  }

  // Bounds count as far as they are in the range of the numbers that are written.
  Result<std::string> integer(const Ordered& schema, const std::string& path) {
    int64_t least = -kLargestInteger;
    int64_t most = kLargestInteger;
    bool is_bounded = false;
    for (const std::string& key : kKeywords.at("integer")) {
      if (!schema.contains(key)) continue;
      const Ordered& value = schema[key];
      if (!value.is_number()) return error(join(path, key), "expected a number");
      is_bounded = true;
      const bool is_least = key.ends_with("inimum");
      // The first number on the right side of it, and whether that is the bound itself.
      const auto [bound, is_exact] = whole_bound(value, is_least);
      const int64_t step = key[0] == 'e' && is_exact ? 1 : 0;
      if (is_least) {
        least = std::max(least, bound + step);
      } else {
        most = std::min(most, bound - step);
      }
    }
    if (!is_bounded) return std::string("integer");
    if (most < least) return error(path, "no integer is between minimum and maximum");
    return add(integer_range(least, most));
  }
  static std::pair<int64_t, bool> whole_bound(const Ordered& value, bool is_least) {
    constexpr int64_t kBeyond = kLargestInteger + 1;
    if (value.is_number_unsigned()) {
      const auto number = std::min(value.get<uint64_t>(), static_cast<uint64_t>(kBeyond));
      return {static_cast<int64_t>(number), true};
    }
    if (value.is_number_integer()) {
      return {std::clamp(value.get<int64_t>(), -kBeyond, kBeyond), true};
    }
    const auto number = value.get<double>();
    const double whole = is_least ? std::ceil(number) : std::floor(number);
    constexpr auto kFar = static_cast<double>(kBeyond);
    if (whole >= kFar || whole <= -kFar) return {whole > 0 ? kBeyond : -kBeyond, true};
    return {static_cast<int64_t>(whole), whole == number};
  }

  // A non-negative whole number of the schema, or `otherwise`.
  static Result<int64_t> count(const Ordered& schema, const std::string& key, int64_t otherwise,
                               const std::string& path) {
    if (!schema.contains(key)) return otherwise;
    constexpr int64_t kMost = 100000;
    const Ordered& value = schema[key];
    if (value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() <= kMost) {
      return value.get<int64_t>();
    }
    return error(join(path, key), "expected 0 to " + std::to_string(kMost));
  }
  // minWhat and maxWhat.
  struct Counts {
    int64_t least = 0;
    int64_t most = -1;  // none: no limit
  };
  static Result<Counts> counts(const Ordered& schema, const std::string& what,
                               const std::string& path) {
    Counts found;
    PENSEE_ASSIGN_OR_RETURN(found.least, count(schema, "min" + what, found.least, path));
    PENSEE_ASSIGN_OR_RETURN(found.most, count(schema, "max" + what, found.most, path));
    if (found.most < 0 || found.most >= found.least) return found;
    return error(path, "max" + what + " is below min" + what);
  }
  // "*" or "{m,n}", once so many are there already.
  static std::string repetition(const Counts& counts, int64_t there) {
    const int64_t least = std::max<int64_t>(0, counts.least - there);
    if (counts.most < 0) return least == 0 ? "*" : "{" + std::to_string(least) + ",}";
    return "{" + std::to_string(least) + "," +
           std::to_string(std::max<int64_t>(0, counts.most - there)) + "}";
  }

  Result<std::string> array(const Ordered& schema, const std::string& path, int depth) {
    constexpr const char* kComma = R"( ws "," ws )";
    PENSEE_ASSIGN_OR_RETURN(const Counts size, counts(schema, "Items", path));
    const auto [least, most] = size;
    const bool has_first = schema.contains("prefixItems");
    const bool is_closed = schema.contains("items") && schema["items"] == false;
    std::string item = "value";
    if (schema.contains("items") && !is_closed) {
      PENSEE_ASSIGN_OR_RETURN(item, value_of(schema["items"], join(path, "items"), depth + 1));
    }
    if (!has_first) {
      if (is_closed && least > 0) return error(path, "no item is allowed, and some are required");
      if (most == 0 || is_closed) return add(R"("[" ws "]")");
      const std::string items = item + " (" + kComma + item + ")" + repetition(size, 1);
      return add(R"("[" ws )" + (least == 0 ? "(" + items + ")?" : items) + R"( ws "]")");
    }
    // All of the first ones have to be there, as in tuples.
    const Ordered& first = schema["prefixItems"];
    if (!first.is_array() || first.empty()) return error(path, "prefixItems: expected schemas");
    const auto n = static_cast<int64_t>(first.size());
    if (is_closed && least > n) return error(path, "minItems is above prefixItems");
    if (most >= 0 && most < n) {
      return unsupported_at(join(path, "maxItems"), "less than prefixItems");
    }
    std::string items;
    for (size_t i = 0; i < first.size(); ++i) {
      PENSEE_ASSIGN_OR_RETURN(
          const std::string one,
          value_of(first[i], join(path, "prefixItems." + std::to_string(i)), depth + 1));
      items += (i == 0 ? "" : kComma) + one;
    }
    if (!is_closed && most != n) {
      items += " (" + std::string(kComma) + item + ")" + repetition(size, n);
    }
    return add(R"("[" ws )" + items + R"( ws "]")");
  }

  // Properties come in the order of the schema, and those that are not required may be missing.
  Result<std::string> object(const Ordered& schema, const std::string& path, int depth) {
    static const Ordered kNoProperties = Ordered::object();
    static const Ordered kNoNames = Ordered::array();
    const Ordered& properties =
        schema.contains("properties") ? schema["properties"] : kNoProperties;
    const Ordered& required = schema.contains("required") ? schema["required"] : kNoNames;
    if (!properties.is_object()) return error(join(path, "properties"), "expected an object");
    if (!required.is_array()) return error(join(path, "required"), "expected names");
    std::set<std::string> needed;
    for (const Ordered& name : required) {
      if (!name.is_string()) return error(join(path, "required"), "expected names");
      if (!properties.contains(name.get_ref<const std::string&>())) {
        return unsupported_at(join(path, "required"), "a name that is no property");
      }
      needed.insert(name.get<std::string>());
    }
    const bool is_open = schema.contains("additionalProperties")
                             ? schema["additionalProperties"] != false
                             : !schema.contains("properties");
    std::string more;  // a property of another name
    if (is_open) {
      std::string value = "value";
      if (schema.contains("additionalProperties")) {
        PENSEE_ASSIGN_OR_RETURN(value, value_of(schema["additionalProperties"],
                                                join(path, "additionalProperties"), depth + 1));
      }
      for (const auto& [name, property] : properties.items()) {
        if (name.size() > kLongestName) return unsupported_at(path, "so long a name");
      }
      more = add(other_key(properties) + R"( ws ":" ws )" + value);
    }
    std::vector<std::pair<std::string, bool>> members;
    for (const auto& [name, property] : properties.items()) {
      PENSEE_ASSIGN_OR_RETURN(
          const std::string value,
          value_of(property, join(join(path, "properties"), printable(name)), depth + 1));
      members.emplace_back(add(literal(Ordered(name)) + R"( ws ":" ws )" + value),
                           needed.contains(name));
    }
    return add(R"("{" ws )" + chain(members, more) + R"( ws "}")");
  }

  // Members apart by commas, from the last to the first: `rest` is what may follow once there is a
  // member, `first` what there may be before.
  std::string chain(const std::vector<std::pair<std::string, bool>>& members,
                    const std::string& more) {
    constexpr const char* kComma = R"(ws "," ws )";
    std::string rest = add(more.empty() ? R"("")" : "(" + std::string(kComma) + more + ")*");
    std::string first = add(more.empty() ? R"("")" : "(" + more + " " + rest + ")?");
    for (size_t i = members.size(); i-- > 0;) {
      const auto& [member, is_needed] = members[i];
      const std::string with = member + " " + rest;
      first = add(is_needed ? with : with + " | " + first);
      rest = add(is_needed ? kComma + with : kComma + with + " | " + rest);
    }
    return first;
  }

  // A key that is none of the properties' names: by the letters that they have in common with it.
  std::string other_key(const Ordered& properties) {
    std::set<std::string> names;
    for (const auto& [name, property] : properties.items()) {
      const std::string text = Ordered(name).dump();
      names.insert(text.substr(1, text.size() - 2));
    }
    return names.empty() ? "string" : add(R"("\"" )" + unlike(names, "") + R"( "\"")");
  }
  // The rest of a key that began with `prefix`, no escapes in it.
  std::string unlike(const std::set<std::string>& names, const std::string& prefix) {
    std::set<std::string> next;  // characters that go on towards a name
    for (const std::string& name : names) {
      if (!name.starts_with(prefix) || name.size() == prefix.size()) continue;
      size_t size = 1;
      while (prefix.size() + size < name.size() &&
             (static_cast<unsigned char>(name[prefix.size() + size]) & 0xC0U) == 0x80) {
        ++size;
      }
      next.insert(name.substr(prefix.size(), size));
    }
    std::string others;
    std::string definition;
    for (const std::string& character : next) {
      if (character == "\\") continue;  // no key is written with it
      others +=
          character == "]" || character == "^" || character == "-" ? "\\" + character : character;
      definition += literal(character) + " " + unlike(names, prefix + character) + " | ";
    }
    definition += "[^\"\\\\\\x00-\\x1f" + others + "] [^\"\\\\\\x00-\\x1f]*";
    if (!names.contains(prefix)) definition += R"( | "")";
    return add(definition);
  }

  const Ordered& root_;
  std::string rules_;
  size_t n_names_ = 0;
  std::map<std::string, std::string> references_;  // JSON pointers, and the names of their rules
};

}  // namespace json_schema_detail

// The grammar, for parse_grammar(), of the JSON texts that a schema describes: their properties in
// its order, no others unless it has `additionalProperties`, little white space. Of its keywords
// it knows type, enum, const, properties, required, additionalProperties, items, prefixItems (all
// of them are then there), minItems, maxItems, minLength, maxLength, pattern (as json_pattern() has
// it, without a length beside it), minimum, maximum and their exclusive forms (of integers), anyOf,
// oneOf (as anyOf), allOf of one schema, $ref within the document, and those that describe only,
// `format` among them. Errors: kInvalidArgument, and kUnsupported for other keywords, naming the
// place.
[[nodiscard]] inline Result<std::string> json_schema_grammar(std::string_view schema) {
  using json_schema_detail::Ordered;
  const auto json = parse_json_as<Ordered>(schema, "answer_json_schema");
  if (!json) return invalid_argument(json.error().message);
  return json_schema_detail::Writer(*json).write();
}

}  // namespace pensee
