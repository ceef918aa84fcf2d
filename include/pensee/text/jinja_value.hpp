// JinjaValue: what the expressions of a template give; Message: what templates run over.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/text/jinja_text.hpp"

namespace pensee {

enum class Role { kSystem, kUser, kAssistant };

// The name that templates know a role by.
[[nodiscard]] constexpr const char* name_of(Role role) noexcept {
  return role == Role::kSystem ? "system" : role == Role::kUser ? "user" : "assistant";
}

// One turn of a conversation. An assistant's thought may stand apart, or in the content, up to
// </think>; whether it stays in a prompt is the template's rule.
struct Message {
  Role role = Role::kUser;
  std::string content = {};
  std::optional<std::string> reasoning_content = {};
};

// A value of Python, as far as chat templates need them. Cheap to copy; texts and lists are shared
// and never change.
struct JinjaValue {
  enum class Kind {
    kUndefined,
    kNone,
    kBool,       // number
    kInteger,    // number
    kText,       // text
    kList,       // list
    kMessage,    // list: role, content, and perhaps reasoning_content
    kNamespace,  // number: which
    kLoop,       // list: what is run through; number: the index of the value that is there
    kFunction,   // text: its name; number: of a macro, its place in JinjaProgram::statements
  };
  using List = std::vector<JinjaValue>;

  Kind kind = Kind::kUndefined;
  int64_t number = 0;
  std::shared_ptr<const MarkedText> text = {};
  std::shared_ptr<const List> list = {};
  int depth = 0;  // of the lists in each other that this value is; lists are freed recursively

  static JinjaValue none() { return {Kind::kNone}; }
  static JinjaValue boolean(bool value) { return {Kind::kBool, value ? 1 : 0}; }
  static JinjaValue integer(int64_t value) { return {Kind::kInteger, value}; }
  static JinjaValue of(MarkedText text) {
    return {Kind::kText, 0, std::make_shared<const MarkedText>(std::move(text))};
  }
  static JinjaValue words(std::string text) { return of(MarkedText(std::move(text), true)); }
  static JinjaValue of(List list) {
    int depth = 1;
    for (const JinjaValue& value : list) depth = std::max(depth, value.depth + 1);
    return {Kind::kList, 0, {}, std::make_shared<const List>(std::move(list)), depth};
  }
  static constexpr int64_t kNoMacro = -1;
  static JinjaValue function(std::string name, int64_t macro = kNoMacro) {
    JinjaValue value = words(std::move(name));
    value.kind = Kind::kFunction;
    value.number = macro;
    return value;
  }
  static JinjaValue message(const Message& message) {
    List parts = {words(name_of(message.role)), of(MarkedText(message.content, false))};
    if (message.reasoning_content) {
      parts.push_back(of(MarkedText(*message.reasoning_content, false)));
    }
    JinjaValue value = of(std::move(parts));
    value.kind = Kind::kMessage;
    return value;
  }

  [[nodiscard]] bool is(Kind k) const noexcept { return kind == k; }
  [[nodiscard]] bool is_number() const noexcept { return is(Kind::kInteger) || is(Kind::kBool); }
  [[nodiscard]] size_t size() const { return text ? text->size() : list ? list->size() : 0; }

  // Python's bool().
  [[nodiscard]] bool truth() const {
    switch (kind) {
      case Kind::kUndefined:
      case Kind::kNone:
        return false;
      case Kind::kBool:
      case Kind::kInteger:
        return number != 0;
      case Kind::kText:
      case Kind::kList:
        return size() > 0;
      default:
        return true;
    }
  }

  // A message's value of a key; undefined if it has none. Precondition: is(kMessage).
  [[nodiscard]] JinjaValue of_key(std::string_view key) const {
    const size_t i = key == "role" ? 0 : key == "content" ? 1 : key == "reasoning_content" ? 2 : 3;
    return i < list->size() ? (*list)[i] : JinjaValue();
  }

  // What Python calls the type, for messages.
  [[nodiscard]] const char* type() const noexcept {
    switch (kind) {
      case Kind::kUndefined:
        return "an undefined value";
      case Kind::kNone:
        return "none";
      case Kind::kBool:
        return "a truth value";
      case Kind::kInteger:
        return "an integer";
      case Kind::kText:
        return "a text";
      case Kind::kList:
        return "a list";
      case Kind::kMessage:
        return "a message";
      case Kind::kNamespace:
        return "a namespace";
      case Kind::kLoop:
        return "a loop";
      case Kind::kFunction:
        return "a function";
    }
    return "a value";
  }
};

// Python's str(), and what {{ }} prints; of texts, numbers, none and undefined values only.
[[nodiscard]] inline Result<MarkedText> printed(const JinjaValue& value) {
  using Kind = JinjaValue::Kind;
  switch (value.kind) {
    case Kind::kUndefined:
      return MarkedText();
    case Kind::kNone:
      return MarkedText("None", true);
    case Kind::kBool:
      return MarkedText(value.number != 0 ? "True" : "False", true);
    case Kind::kInteger:
      return MarkedText(std::to_string(value.number), true);
    case Kind::kText:
      return *value.text;
    default:
      return unsupported(std::string(value.type()) + " written as text");
  }
}

// Python's ==, where the kinds tell the answer.
[[nodiscard]] inline Result<bool> equal(const JinjaValue& a, const JinjaValue& b) {
  using Kind = JinjaValue::Kind;
  if (a.is_number() && b.is_number()) return a.number == b.number;
  if (a.kind != b.kind) return false;
  if (a.is(Kind::kUndefined) || a.is(Kind::kNone)) return true;
  if (a.is(Kind::kText)) return a.text->text() == b.text->text();
  return unsupported("a comparison of " + std::string(a.type()) + " with another");
}

}  // namespace pensee
