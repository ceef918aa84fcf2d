// The work that the operations of templates are, which JinjaRun has a limit for.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "pensee/text/jinja_functions.hpp"
#include "pensee/text/jinja_value.hpp"

namespace pensee {

// What lies in memory for a text, an entry of a list or a variable, in bytes; no operation is less.
inline constexpr size_t kJinjaWorkOfValue = 128;

namespace jinja_detail {

// How many parts text.split(separator) has, at most; in time that is linear in the text.
[[nodiscard]] inline size_t most_parts(const std::string& text, const std::string& separator) {
  if (separator.empty()) return 1;
  const auto begins = std::count(text.begin(), text.end(), separator[0]);
  return 1 + std::min(static_cast<size_t>(begins), text.size() / separator.size());
}

// What an operation makes and lets go of, or puts together, beyond its operands.
[[nodiscard]] inline size_t work_of_parts(std::string_view name, const JinjaValue& left,
                                          const JinjaArguments& others) {
  if (name == "join" && left.list) {
    size_t work = 0;
    for (const JinjaValue& value : *left.list) work += value.text ? value.size() : 0;
    return work;
  }
  const bool splits = (name == "split" || name == "replace") && left.text &&
                      !others.values.empty() && others.values[0].text;
  return splits ? most_parts(left.text->text(), others.text(0)) * kJinjaWorkOfValue : 0;
}

}  // namespace jinja_detail

// The work, in bytes copied or compared, of an operation with these operands, at most. A list costs
// something only where its entries are gone through: conversations are lists, and templates ask for
// their length, or for one message, at every message. Searches, which may compare every byte of one
// text with every byte of another, are dearer.
[[nodiscard]] inline size_t jinja_work(std::string_view name, const JinjaValue& left,
                                       const JinjaArguments& others) {
  constexpr auto kOfEntries = std::to_array<std::string_view>({"+", "in", "not in", "join"});
  constexpr auto kSearches = std::to_array<std::string_view>(
      {"in", "not in", "split", "replace", "join", "strip", "lstrip", "rstrip"});
  const auto is_among = [&](const auto& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (name == "default" || name == "d") return kJinjaWorkOfValue;  // gives one that is there
  const size_t work_of_entry = is_among(kOfEntries) ? kJinjaWorkOfValue : 0;
  const auto bytes = [&](const JinjaValue& value) {
    return value.size() * (value.list ? work_of_entry : 1);
  };
  const bool searches = is_among(kSearches);
  size_t work = kJinjaWorkOfValue + bytes(left) + jinja_detail::work_of_parts(name, left, others);
  for (const JinjaValue& other : others.values) {
    const size_t product = (left.size() + 1) * (other.size() + 1);
    work += bytes(other) + (searches ? product : 0);
  }
  return work;
}

}  // namespace pensee
