// Whole numbers between two bounds, as an expression of a grammar.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pensee {

inline constexpr int64_t kLargestInteger = 999'999'999'999'999'999;  // of 18 digits

namespace integer_range_detail {

inline std::string digits(char first, char last) {
  if (first == last) return std::string("\"") + first + "\" ";
  return std::string("[") + first + "-" + last + "] ";
}
inline std::string any_digits(size_t n) {
  return n == 0 ? "" : "[0-9]{" + std::to_string(n) + "} ";
}

// Numbers of as many digits as `bound`, at least or at most it.
inline std::string bounded(std::string_view bound, bool at_least) {
  const char extreme = at_least ? '0' : '9';
  if (bound.find_first_not_of(extreme) == bound.npos) return any_digits(bound.size());
  const char d = bound[0];
  const std::string equal = digits(d, d) + bounded(bound.substr(1), at_least);
  if (d == (at_least ? '9' : '0')) return equal;
  const std::string beyond =
      at_least ? digits(static_cast<char>(d + 1), '9') : digits('0', static_cast<char>(d - 1));
  return "(" + equal + "| " + beyond + any_digits(bound.size() - 1) + ") ";
}

// Numbers of as many digits as both bounds have.
inline std::string between(std::string_view least, std::string_view most) {
  if (least.empty()) return "";
  const char low = least[0];
  const char high = most[0];
  if (low == high) return digits(low, high) + between(least.substr(1), most.substr(1));
  std::string all = "(" + digits(low, low) + bounded(least.substr(1), true) + "| " +
                    digits(high, high) + bounded(most.substr(1), false);
  if (high - low > 1) {
    all += "| " + digits(static_cast<char>(low + 1), static_cast<char>(high - 1)) +
           any_digits(least.size() - 1);
  }
  return all + ") ";
}

// From `least`, which is not negative, to `most`.
inline std::string natural(int64_t least, int64_t most) {
  std::string all;
  for (int64_t first = least; first <= most;) {
    const std::string text = std::to_string(first);
    const std::string last = std::min(std::to_string(most), std::string(text.size(), '9'),
                                      [](const std::string& a, const std::string& b) {
                                        return a.size() != b.size() ? a.size() < b.size() : a < b;
                                      });
    all += (all.empty() ? "" : "| ") + between(text, last);
    first = std::stoll(last) + 1;
  }
  return all;
}

}  // namespace integer_range_detail

// The decimal numbers from `least` to `most`, for parse_grammar(). Precondition: least <= most, and
// neither is further from 0 than kLargestInteger.
[[nodiscard]] inline std::string integer_range(int64_t least, int64_t most) {
  std::string all;
  if (least < 0) {
    const std::string below = integer_range_detail::natural(std::max<int64_t>(1, -most), -least);
    all = "\"-\" (" + below + ")";
  }
  if (most < 0) return all;
  return all + (all.empty() ? "" : " | ") +
         integer_range_detail::natural(std::max<int64_t>(0, least), most);
}

}  // namespace pensee
