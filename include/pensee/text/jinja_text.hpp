// MarkedText: text of which every byte knows whether the template or a message wrote it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pensee {

// The bytes at the start of `text` that are one character which Python counts as white space
// (str.isspace); 0 if there is none.
[[nodiscard]] constexpr size_t python_space(std::string_view text) noexcept {
  const auto byte = [&](size_t i) -> uint32_t { return static_cast<unsigned char>(text[i]); };
  if (text.empty()) return 0;
  if (byte(0) < 0x80) {
    return (byte(0) >= 9 && byte(0) <= 13) || (byte(0) >= 28 && byte(0) <= 32) ? 1 : 0;
  }
  if (text.size() >= 2 && byte(0) == 0xC2) return byte(1) == 0x85 || byte(1) == 0xA0 ? 2 : 0;
  if (text.size() < 3) return 0;
  const uint32_t three = byte(0) << 16U | byte(1) << 8U | byte(2);
  const bool is_space = three == 0xE19A80 || (three >= 0xE28080 && three <= 0xE2808A) ||
                        three == 0xE280A8 || three == 0xE280A9 || three == 0xE280AF ||
                        three == 0xE2819F || three == 0xE38080;
  return is_space ? 3 : 0;
}

// How many bytes at the start, or at the end, are Python's white space.
[[nodiscard]] constexpr size_t leading_spaces(std::string_view text) noexcept {
  size_t n = 0;
  while (const size_t length = python_space(text.substr(n))) n += length;
  return n;
}
[[nodiscard]] constexpr size_t trailing_spaces(std::string_view text) noexcept {
  size_t end = text.size();
  for (bool found = true; found && end > 0;) {
    found = false;
    for (size_t length = 1; length <= 3 && length <= end && !found; ++length) {
      found = python_space(text.substr(end - length, length)) == length;
      if (found) end -= length;
    }
  }
  return text.size() - end;
}

// A string value of a template. What messages hold keeps its mark through every operation, so that
// it can never pass for a word of the template.
class MarkedText {
 public:
  MarkedText() = default;
  MarkedText(std::string text, bool is_control)
      : text_(std::move(text)), marks_(text_.size(), is_control ? kControl : kMessage) {}

  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] size_t size() const noexcept { return text_.size(); }
  [[nodiscard]] bool is_control(size_t i) const { return marks_[i] == kControl; }
  // The end of the run of equal marks that byte i is in. Precondition: i < size().
  [[nodiscard]] size_t run_end(size_t i) const {
    const size_t end = marks_.find_first_not_of(marks_[i], i);
    return end == marks_.npos ? size() : end;
  }

  // Python's len().
  [[nodiscard]] int64_t characters() const {
    return std::count_if(text_.begin(), text_.end(), [](char c) { return begins_character(c); });
  }
  // Where the character after, or before, the one at byte i begins; size() if none comes after.
  // Preconditions: i < size(); i > 0.
  [[nodiscard]] size_t next_character(size_t i) const {
    do ++i;
    while (i < size() && !begins_character(text_[i]));
    return i;
  }
  [[nodiscard]] size_t previous_character(size_t i) const {
    do --i;
    while (i > 0 && !begins_character(text_[i]));
    return i;
  }

  MarkedText& append(const MarkedText& other) {
    text_ += other.text_;
    marks_ += other.marks_;
    return *this;
  }
  // Bytes begin to begin + n of the other.
  void append(const MarkedText& other, size_t begin, size_t n) {
    text_.append(other.text_, begin, n);
    marks_.append(other.marks_, begin, n);
  }
  [[nodiscard]] MarkedText substr(size_t begin, size_t n) const {
    MarkedText part;
    part.text_ = text_.substr(begin, n);
    part.marks_ = marks_.substr(begin, n);
    return part;
  }

  // Python's strip(), lstrip(), rstrip(): white space, or any of the ASCII characters given.
  [[nodiscard]] MarkedText stripped(bool left, bool right, const std::string* characters) const {
    size_t begin = 0;
    size_t end = size();
    if (left) begin = characters ? text_.find_first_not_of(*characters) : leading_spaces(text_);
    if (begin >= end) return {};
    if (right) {
      end = characters ? text_.find_last_not_of(*characters) + 1 : end - trailing_spaces(text_);
    }
    return substr(begin, end - begin);
  }

  // Python's split(separator, limit); limit < 0: none. Precondition: the separator is not empty.
  [[nodiscard]] std::vector<MarkedText> split(std::string_view separator, int64_t limit) const {
    std::vector<MarkedText> parts;
    size_t at = 0;
    for (int64_t n = 0; limit < 0 || n < limit; ++n) {
      const size_t found = text_.find(separator, at);
      if (found == text_.npos) break;
      parts.push_back(substr(at, found - at));
      at = found + separator.size();
    }
    parts.push_back(substr(at, size() - at));
    return parts;
  }

 private:
  static constexpr char kMessage = 0;
  static constexpr char kControl = 1;

  static bool begins_character(char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }

  std::string text_;
  std::string marks_;  // one for each byte of text_
};

}  // namespace pensee
