// The operators, filters, tests and methods of Jinja and Python that chat templates use.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/text/jinja_value.hpp"

namespace pensee {

// The arguments of a call, a filter or a test; the last ones have the names `keywords`.
struct JinjaArguments {
  std::vector<JinjaValue> values;
  std::vector<std::string> keywords;

  [[nodiscard]] bool are(size_t n) const { return values.size() == n && keywords.empty(); }
  [[nodiscard]] bool is_one(JinjaValue::Kind kind) const { return are(1) && values[0].is(kind); }
  [[nodiscard]] bool are_texts(size_t least, size_t most) const {
    return keywords.empty() && values.size() >= least && values.size() <= most &&
           std::all_of(values.begin(), values.end(),
                       [](const JinjaValue& v) { return v.is(JinjaValue::Kind::kText); });
  }
  [[nodiscard]] const std::string& text(size_t i) const { return values[i].text->text(); }
};

namespace jinja_detail {
using Kind = JinjaValue::Kind;

[[nodiscard]] inline Error type_error(const std::string& what) {
  return invalid_argument("the chat template fails on these messages: " + what);
}
[[nodiscard]] inline Error unknown(const char* what, std::string_view name) {
  return unsupported(std::string("the ") + what + " " + printable(name) + " as it is used here");
}

[[nodiscard]] inline Result<JinjaValue> arithmetic(std::string_view name, int64_t a, int64_t b) {
  constexpr int64_t kLimit = int64_t{1} << 62U;  // so that a sign never overflows
  int64_t out = 0;
  bool overflows = false;
  if (name == "+") overflows = __builtin_add_overflow(a, b, &out);
  if (name == "-") overflows = __builtin_sub_overflow(a, b, &out);
  if (name == "*") overflows = __builtin_mul_overflow(a, b, &out);
  if (name == "//" || name == "%") {
    if (b == 0) return type_error("a division by zero");
    const bool rounds_down = a % b != 0 && (a < 0) != (b < 0);  // as Python does
    out = name == "%" ? a % b + (rounds_down ? b : 0) : a / b - (rounds_down ? 1 : 0);
  } else if (name == "/") {
    return unknown("operator", name);
  }
  if (overflows || out >= kLimit || out <= -kLimit) return unsupported("integers of 2^62 or more");
  return JinjaValue::integer(out);
}

[[nodiscard]] inline Result<bool> contains(const JinjaValue& where, const JinjaValue& what) {
  if (where.is(Kind::kUndefined)) return false;
  if (where.is(Kind::kText) && what.is(Kind::kText)) {
    return where.text->text().find(what.text->text()) != std::string::npos;
  }
  if (where.is(Kind::kMessage)) {
    return what.is(Kind::kText) && !where.of_key(what.text->text()).is(Kind::kUndefined);
  }
  if (where.is(Kind::kLoop)) return unsupported("what is in a loop");
  if (!where.is(Kind::kList)) {
    return type_error(std::string(what.type()) + " in " + where.type());
  }
  for (const JinjaValue& value : *where.list) {
    PENSEE_ASSIGN_OR_RETURN(const bool same, equal(value, what));
    if (same) return true;
  }
  return false;
}

[[nodiscard]] inline Result<JinjaValue> ordered(std::string_view name, const JinjaValue& a,
                                                const JinjaValue& b) {
  int order = 0;
  if (a.is_number() && b.is_number()) {
    order = a.number < b.number ? -1 : a.number > b.number ? 1 : 0;
  } else if (a.is(Kind::kText) && b.is(Kind::kText)) {
    order = a.text->text().compare(b.text->text());  // UTF-8 sorts as code points do
  } else {
    return type_error(std::string(a.type()) + " " + std::string(name) + " " + b.type());
  }
  if (order == 0) return JinjaValue::boolean(name.ends_with('='));
  return JinjaValue::boolean((order < 0) == name.starts_with('<'));
}

// Python's replace(). Precondition: `from` is not empty.
[[nodiscard]] inline MarkedText replaced(const MarkedText& text, std::string_view from,
                                         const MarkedText& to) {
  MarkedText out;
  const std::vector<MarkedText> parts = text.split(from, -1);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out.append(to);
    out.append(parts[i]);
  }
  return out;
}

[[nodiscard]] inline Result<JinjaValue> join(const JinjaValue& list, const MarkedText& separator) {
  MarkedText out;
  for (size_t i = 0; i < list.size(); ++i) {
    if (i > 0) out.append(separator);
    PENSEE_ASSIGN_OR_RETURN(const MarkedText part, printed((*list.list)[i]));
    out.append(part);
  }
  return JinjaValue::of(std::move(out));
}
}  // namespace jinja_detail

// a + b and the like.
[[nodiscard]] inline Result<JinjaValue> jinja_operator(std::string_view name, const JinjaValue& a,
                                                       const JinjaValue& b) {
  using jinja_detail::Kind;
  if (name == "in" || name == "not in") {
    PENSEE_ASSIGN_OR_RETURN(const bool found, jinja_detail::contains(b, a));
    return JinjaValue::boolean(found == (name == "in"));
  }
  if (name == "==" || name == "!=") {
    PENSEE_ASSIGN_OR_RETURN(const bool same, equal(a, b));
    return JinjaValue::boolean(same == (name == "=="));
  }
  if (name.starts_with('<') || name.starts_with('>')) return jinja_detail::ordered(name, a, b);
  if (name == "~") {
    PENSEE_ASSIGN_OR_RETURN(MarkedText text, printed(a));
    PENSEE_ASSIGN_OR_RETURN(const MarkedText end, printed(b));
    return JinjaValue::of(std::move(text.append(end)));
  }
  if (a.is_number() && b.is_number()) return jinja_detail::arithmetic(name, a.number, b.number);
  if (name == "+" && a.is(Kind::kText) && b.is(Kind::kText)) {
    MarkedText text = *a.text;
    return JinjaValue::of(std::move(text.append(*b.text)));
  }
  if (name == "+" && a.is(Kind::kList) && b.is(Kind::kList)) {
    JinjaValue::List list = *a.list;
    list.insert(list.end(), b.list->begin(), b.list->end());
    return JinjaValue::of(std::move(list));
  }
  const std::string what = std::string(a.type()) + " " + std::string(name) + " " + b.type();
  const bool repeats_or_formats = name == "*" || name == "%";  // which Python has for these too
  return repeats_or_formats ? unsupported(what) : jinja_detail::type_error(what);
}

// value | name(arguments)
[[nodiscard]] inline Result<JinjaValue> jinja_filter(std::string_view name, const JinjaValue& value,
                                                     const JinjaArguments& given) {
  using jinja_detail::Kind;
  const bool alone = given.are(0);
  if ((name == "trim" || name == "string") && alone) {
    PENSEE_ASSIGN_OR_RETURN(const MarkedText text, printed(value));
    return JinjaValue::of(name == "trim" ? text.stripped(true, true, nullptr) : text);
  }
  if ((name == "length" || name == "count") && alone) {
    if (value.is(Kind::kText)) return JinjaValue::integer(value.text->characters());
    if (value.is(Kind::kUndefined) || value.is(Kind::kList) || value.is(Kind::kMessage)) {
      return JinjaValue::integer(static_cast<int64_t>(value.size()));
    }
    return jinja_detail::type_error("the length of " + std::string(value.type()));
  }
  if ((name == "first" || name == "last") && alone && value.is(Kind::kList)) {
    if (value.size() == 0) return JinjaValue();
    return name == "first" ? value.list->front() : value.list->back();
  }
  if (name == "list" && alone && value.is(Kind::kList)) return value;
  if (name == "join" && value.is(Kind::kList) && given.are_texts(0, 1)) {
    return jinja_detail::join(value, alone ? MarkedText() : *given.values[0].text);
  }
  if ((name == "default" || name == "d") && given.keywords.empty() && given.values.size() <= 2) {
    const bool replaces_false = given.values.size() == 2 && given.values[1].truth();
    if (!value.is(Kind::kUndefined) && (!replaces_false || value.truth())) return value;
    return alone ? JinjaValue::words("") : given.values[0];
  }
  if (name == "replace" && value.is(Kind::kText) && given.are_texts(2, 2) &&
      !given.text(0).empty()) {
    return JinjaValue::of(
        jinja_detail::replaced(*value.text, given.text(0), *given.values[1].text));
  }
  return jinja_detail::unknown("filter", name);
}

// value is name(arguments)
[[nodiscard]] inline Result<JinjaValue> jinja_test(std::string_view name, const JinjaValue& value,
                                                   const JinjaArguments& given) {
  using jinja_detail::Kind;
  const bool holds_values =
      value.is(Kind::kText) || value.is(Kind::kList) || value.is(Kind::kMessage);
  if (given.are(1)) {
    if (name == "eq" || name == "equalto" || name == "==") {
      return jinja_operator("==", value, given.values[0]);
    }
    if (name == "ne" || name == "!=") return jinja_operator("!=", value, given.values[0]);
    if (name == "in") return jinja_operator("in", value, given.values[0]);
    return jinja_detail::unknown("test", name);
  }
  if (!given.are(0)) return jinja_detail::unknown("test", name);
  if (name == "defined") return JinjaValue::boolean(!value.is(Kind::kUndefined));
  if (name == "undefined") return JinjaValue::boolean(value.is(Kind::kUndefined));
  if (name == "none") return JinjaValue::boolean(value.is(Kind::kNone));
  if (name == "boolean") return JinjaValue::boolean(value.is(Kind::kBool));
  if (name == "true") return JinjaValue::boolean(value.is(Kind::kBool) && value.number != 0);
  if (name == "false") return JinjaValue::boolean(value.is(Kind::kBool) && value.number == 0);
  if (name == "integer") return JinjaValue::boolean(value.is(Kind::kInteger));
  if (name == "number") return JinjaValue::boolean(value.is_number());
  if (name == "string") return JinjaValue::boolean(value.is(Kind::kText));
  if (name == "mapping") return JinjaValue::boolean(value.is(Kind::kMessage));
  if (name == "iterable" || name == "sequence") {
    return JinjaValue::boolean(holds_values || value.is(Kind::kUndefined));
  }
  if ((name == "even" || name == "odd") && value.is_number()) {
    return JinjaValue::boolean((value.number % 2 == 0) == (name == "even"));
  }
  return jinja_detail::unknown("test", name);
}

// self.name(arguments). Precondition: self is a text or a message.
[[nodiscard]] inline Result<JinjaValue> jinja_method(std::string_view name, const JinjaValue& self,
                                                     const JinjaArguments& given) {
  using jinja_detail::Kind;
  if (self.is(Kind::kMessage)) {
    const bool has_default = given.values.size() == 2;
    if (name == "get" && (given.are(1) || given.are(2)) && given.values[0].is(Kind::kText)) {
      const JinjaValue value = self.of_key(given.text(0));
      if (!value.is(Kind::kUndefined)) return value;
      return has_default ? given.values[1] : JinjaValue::none();
    }
    return jinja_detail::unknown("method", name);
  }
  const MarkedText& text = *self.text;
  if ((name == "strip" || name == "lstrip" || name == "rstrip") && given.are_texts(0, 1)) {
    const std::string* characters = given.values.empty() ? nullptr : &given.text(0);
    if (characters && std::any_of(characters->begin(), characters->end(),
                                  [](char c) { return static_cast<unsigned char>(c) >= 0x80; })) {
      return unsupported("a strip of characters that are not ASCII");
    }
    return JinjaValue::of(text.stripped(name != "rstrip", name != "lstrip", characters));
  }
  if ((name == "startswith" || name == "endswith") && given.are_texts(1, 1)) {
    const bool starts = name == "startswith";
    return JinjaValue::boolean(starts ? text.text().starts_with(given.text(0))
                                      : text.text().ends_with(given.text(0)));
  }
  if (name == "split" && (given.are(1) || given.are(2)) && given.values[0].is(Kind::kText) &&
      !given.text(0).empty() && (given.are(1) || given.values[1].is(Kind::kInteger))) {
    JinjaValue::List list;
    for (MarkedText& part : text.split(given.text(0), given.are(1) ? -1 : given.values[1].number)) {
      list.push_back(JinjaValue::of(std::move(part)));
    }
    return JinjaValue::of(std::move(list));
  }
  if (name == "replace") return jinja_filter(name, self, given);
  return jinja_detail::unknown("method", name);
}

// loop.name. Precondition: value is a loop.
[[nodiscard]] inline Result<JinjaValue> jinja_loop_attribute(const JinjaValue& loop,
                                                             std::string_view name) {
  const int64_t i = loop.number;
  const auto n = static_cast<int64_t>(loop.size());
  const auto at = [&](int64_t j) {
    return j >= 0 && j < n ? (*loop.list)[static_cast<size_t>(j)] : JinjaValue();
  };
  if (name == "index") return JinjaValue::integer(i + 1);
  if (name == "index0") return JinjaValue::integer(i);
  if (name == "revindex") return JinjaValue::integer(n - i);
  if (name == "revindex0") return JinjaValue::integer(n - i - 1);
  if (name == "first") return JinjaValue::boolean(i == 0);
  if (name == "last") return JinjaValue::boolean(i == n - 1);
  if (name == "length") return JinjaValue::integer(n);
  if (name == "previtem") return at(i - 1);
  if (name == "nextitem") return at(i + 1);
  return jinja_detail::unknown("part of loop", name);
}

// The bytes that jinja_date() makes of one, at most: of the two of "%B", "September".
inline constexpr size_t kJinjaMostOfDate = 5;

// Python's strftime in its plain locale, of the directives that dates are written with.
[[nodiscard]] inline Result<JinjaValue> jinja_date(std::string_view format, const std::tm& now) {
  static constexpr std::array<const char*, 12> kMonths = {
      "January", "February", "March",     "April",   "May",      "June",
      "July",    "August",   "September", "October", "November", "December"};
  static constexpr std::array<const char*, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                       "Thursday", "Friday", "Saturday"};
  const std::string month = kMonths[static_cast<size_t>(now.tm_mon)];
  const std::string day = kDays[static_cast<size_t>(now.tm_wday)];
  const auto digits = [](int value) { return (value < 10 ? "0" : "") + std::to_string(value); };
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out.push_back(format[i]);
      continue;
    }
    switch (i + 1 < format.size() ? format[++i] : '\0') {
      case 'd':
        out += digits(now.tm_mday);
        break;
      case 'm':
        out += digits(now.tm_mon + 1);
        break;
      case 'Y':
        out += std::to_string(now.tm_year + 1900);
        break;
      case 'y':
        out += digits(now.tm_year % 100);
        break;
      case 'B':
        out += month;
        break;
      case 'b':
        out += month.substr(0, 3);
        break;
      case 'A':
        out += day;
        break;
      case 'a':
        out += day.substr(0, 3);
        break;
      case 'H':
        out += digits(now.tm_hour);
        break;
      case 'M':
        out += digits(now.tm_min);
        break;
      case 'S':
        out += digits(now.tm_sec);
        break;
      case '%':
        out += '%';
        break;
      default:
        return jinja_detail::unknown("date format", format);
    }
  }
  return JinjaValue::words(std::move(out));
}

}  // namespace pensee
