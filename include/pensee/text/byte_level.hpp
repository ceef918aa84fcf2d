// The byte-level alphabet: one printable character for each byte, as tokenizer.json writes tokens.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "pensee/text/utf8.hpp"

namespace pensee {

// Bytes that are printable in Latin-1 stand for themselves; the other 68 are written, in order,
// as U+0100 and up (GPT-2's rule).
[[nodiscard]] constexpr bool stands_for_itself(unsigned byte) noexcept {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

// The character of each byte.
[[nodiscard]] constexpr std::array<char32_t, 256> make_byte_level_alphabet() noexcept {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    alphabet[byte] = stands_for_itself(byte) ? byte : next++;
  }
  return alphabet;
}
inline constexpr std::array<char32_t, 256> kByteLevelAlphabet = make_byte_level_alphabet();

// The byte of each character below U+0144, or -1.
inline constexpr size_t kByteLevelEnd = 0x144;
[[nodiscard]] constexpr std::array<int, kByteLevelEnd> invert_byte_level_alphabet() noexcept {
  std::array<int, kByteLevelEnd> bytes{};
  bytes.fill(-1);
  for (unsigned byte = 0; byte < 256; ++byte) {
    bytes[kByteLevelAlphabet[byte]] = static_cast<int>(byte);
  }
  return bytes;
}
inline constexpr std::array<int, kByteLevelEnd> kByteLevelBytes = invert_byte_level_alphabet();

// The character of one byte as UTF-8.
[[nodiscard]] inline std::string byte_level_character(unsigned char byte) {
  const char32_t c = kByteLevelAlphabet[byte];
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0U | (c >> 6)), static_cast<char>(0x80U | (c & 0x3FU))};
}

// The bytes that a token of the vocabulary writes; none if a character is not of the alphabet
// (control tokens are such). Precondition: token is UTF-8.
[[nodiscard]] inline std::optional<std::string> from_byte_level(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  while (!token.empty()) {
    const Utf8Char c = read_utf8(token);
    if (c.code_point >= kByteLevelEnd || kByteLevelBytes[c.code_point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kByteLevelBytes[c.code_point]));
    token.remove_prefix(c.length);
  }
  return bytes;
}

}  // namespace pensee
