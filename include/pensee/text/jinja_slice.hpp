// Python's slices of lists and of texts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>

#include "pensee/text/jinja_text.hpp"
#include "pensee/text/jinja_value.hpp"

namespace pensee {

// The places that a slice takes: first, first + step and so on, `count` of them.
struct JinjaRange {
  int64_t first = 0;
  int64_t step = 1;
  int64_t count = 0;
};

// What Python's [begin:end:step] takes of n places. Precondition: step is not 0.
[[nodiscard]] inline JinjaRange jinja_range(int64_t n, std::optional<int64_t> begin,
                                            std::optional<int64_t> end, int64_t step) {
  const int64_t low = step > 0 ? 0 : -1;
  const auto place = [&](std::optional<int64_t> given, int64_t otherwise) {
    if (!given) return otherwise;
    return std::clamp(*given < 0 ? *given + n : *given, low, n + low);
  };
  const int64_t first = place(begin, step > 0 ? 0 : n - 1);
  const int64_t last = place(end, step > 0 ? n : -1);
  step = std::clamp(step, -n - 1, n + 1);  // a longer one leaves the places all the same
  const int64_t distance = step > 0 ? last - first : first - last;
  return {first, step, distance > 0 ? (distance - 1) / std::abs(step) + 1 : 0};
}

// The entries at these places. Precondition here and below: the places are in the list or text.
[[nodiscard]] inline JinjaValue::List jinja_slice(const JinjaValue::List& list,
                                                  const JinjaRange& range) {
  JinjaValue::List out;
  out.reserve(static_cast<size_t>(range.count));
  for (int64_t i = 0; i < range.count; ++i) {
    out.push_back(list[static_cast<size_t>(range.first + i * range.step)]);
  }
  return out;
}

// The characters at these places, with their marks. The time is linear in the text.
[[nodiscard]] inline MarkedText jinja_slice(const MarkedText& text, const JinjaRange& range) {
  MarkedText out;
  int64_t here = 0;
  size_t at = 0;  // the byte that character number `here` begins with
  const auto move_to = [&](int64_t place) {
    for (; here < place; ++here) at = text.next_character(at);
    for (; here > place; --here) at = text.previous_character(at);
  };
  const int64_t run = range.step == 1 ? range.count : 1;  // characters that are taken at once
  for (int64_t i = 0; i < range.count; i += run) {
    move_to(range.first + i * range.step);
    const size_t begin = at;
    move_to(here + run);
    out.append(text, begin, at - begin);
  }
  return out;
}

}  // namespace pensee
