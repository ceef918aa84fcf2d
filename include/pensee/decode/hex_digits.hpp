// Hexadecimal digits of escapes, as grammars and patterns write characters.
#pragma once

#include <cstddef>
#include <string_view>

namespace pensee {

// Reads up to `n` digits, in either case, from the start of `text` into `value`; returns how many
// there are. Precondition: n <= 8.
[[nodiscard]] constexpr size_t read_hex_digits(std::string_view text, size_t n,
                                               char32_t& value) noexcept {
  constexpr std::string_view kDigits = "0123456789abcdef0123456789ABCDEF";
  value = 0;
  size_t i = 0;
  for (; i < n && i < text.size(); ++i) {
    const size_t digit = kDigits.find(text[i]);
    if (digit == kDigits.npos) break;
    value = value * 16 + static_cast<char32_t>(digit % 16);
  }
  return i;
}

}  // namespace pensee
