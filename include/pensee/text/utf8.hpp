// UTF-8: reading one character, checking a text, replacing malformed bytes by U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace pensee {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// What stands at the start of a byte string.
struct Utf8Char {
  enum class State {
    kValid,       // a character of `length` bytes
    kMalformed,   // `length` bytes that no character begins with: one U+FFFD
    kIncomplete,  // all `length` bytes that are left may begin a character, but do not end it
  };
  State state = State::kMalformed;
  size_t length = 0;        // bytes
  char32_t code_point = 0;  // of a valid character
};

// Reads one character. Malformed bytes are taken by the longest prefix that could have begun a
// character (the "maximal subpart" rule of the Unicode standard, section 3.9, table 3-8).
// Precondition: text is not empty. Any thread.
[[nodiscard]] constexpr Utf8Char read_utf8(std::string_view text) noexcept {
  using State = Utf8Char::State;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {State::kValid, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {State::kMalformed, 1, 0};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range is narrower after some leads: no overlong forms, surrogates, or
  // values above U+10FFFF.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code_point = lead & (0xFFU >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {State::kIncomplete, i, 0};
    const unsigned next = byte(i);
    if (next < (i == 1 ? low : 0x80U) || next > (i == 1 ? high : 0xBFU)) {
      return {State::kMalformed, i, 0};
    }
    code_point = (code_point << 6) | (next & 0x3FU);
  }
  return {State::kValid, length, code_point};
}

// Appends one character. Precondition: `c` is a code point and no surrogate.
inline void append_utf8_character(char32_t c, std::string& out) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
    return;
  }
  const int tail = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;  // bytes after the first
  out.push_back(static_cast<char>((0xFF00U >> (tail + 1) & 0xFFU) | c >> (6 * tail)));
  for (int i = tail - 1; i >= 0; --i) {
    out.push_back(static_cast<char>(0x80U | (c >> (6 * i) & 0x3FU)));
  }
}

// How many bytes at the start are ASCII, in steps of eight (so it may stop up to seven short).
[[nodiscard]] inline size_t ascii_prefix(std::string_view text) noexcept {
  constexpr uint64_t kHighBits = 0x8080808080808080U;
  size_t i = 0;
  for (uint64_t word = 0; i + sizeof word <= text.size(); i += sizeof word) {
    std::memcpy(&word, text.data() + i, sizeof word);
    if ((word & kHighBits) != 0) break;
  }
  return i;
}

// The byte offset of the first malformed or incomplete character; none if the text is UTF-8.
[[nodiscard]] inline std::optional<size_t> find_malformed_utf8(std::string_view text) noexcept {
  for (size_t i = 0; i < text.size();) {
    i += ascii_prefix(text.substr(i));
    if (i == text.size()) break;
    const Utf8Char c = read_utf8(text.substr(i));
    if (c.state != Utf8Char::State::kValid) return i;
    i += c.length;
  }
  return std::nullopt;
}

// Appends `bytes` to `out` with malformed parts replaced, up to an incomplete character at the
// end. Returns the bytes read: what is left, at most three bytes, waits for its continuation.
inline size_t append_utf8(std::string_view bytes, std::string& out) {
  size_t i = 0;
  while (i < bytes.size()) {
    if (const size_t ascii = ascii_prefix(bytes.substr(i)); ascii > 0) {
      out.append(bytes.substr(i, ascii));
      i += ascii;
      continue;
    }
    const Utf8Char c = read_utf8(bytes.substr(i));
    if (c.state == Utf8Char::State::kIncomplete) break;
    const bool valid = c.state == Utf8Char::State::kValid;
    out.append(valid ? bytes.substr(i, c.length) : kReplacementCharacter);
    i += c.length;
  }
  return i;
}

// The bytes as UTF-8, each maximal malformed subpart replaced by one U+FFFD. Any thread.
[[nodiscard]] inline std::string to_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  if (append_utf8(bytes, out) < bytes.size()) out.append(kReplacementCharacter);
  return out;
}

}  // namespace pensee
