// Added tokens: strings such as <think> that are one token whatever stands around them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pensee {

// One entry of `added_tokens` in a tokenizer.json.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;     // left out by decode with skip_special_tokens
  bool normalized = false;  // looked for after the normaliser, so after those that are not
};

// Finds the leftmost, and there the longest, of a set of strings. Immutable; any thread.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  // Precondition: contents are not empty and differ.
  explicit AddedTokenMatcher(std::vector<std::pair<std::string, int32_t>> tokens)
      : tokens_(std::move(tokens)) {
    std::sort(tokens_.begin(), tokens_.end());
    for (const auto& [content, id] : tokens_) begins_[byte_at(content, 0)] = true;
  }

  // Bytes [begin, end) of the text and the token there; begin == end if there is none.
  struct Match {
    size_t begin;
    size_t end;
    int32_t id;
  };

  [[nodiscard]] Match find(std::string_view text, size_t start) const {
    for (size_t begin = start; begin < text.size(); ++begin) {
      if (!begins_[byte_at(text, begin)]) continue;
      if (const Match match = longest_at(text, begin); match.end > begin) return match;
    }
    return {text.size(), text.size(), -1};
  }

 private:
  static unsigned char byte_at(std::string_view text, size_t i) {
    return static_cast<unsigned char>(text[i]);
  }
  // Narrows the sorted tokens, byte by byte, to those that agree with the text.
  [[nodiscard]] Match longest_at(std::string_view text, size_t begin) const {
    Match match{begin, begin, -1};
    auto first = tokens_.begin();
    auto last = tokens_.end();
    for (size_t n = 0; begin + n < text.size() && first != last; ++n) {
      const unsigned char wanted = byte_at(text, begin + n);
      first = std::partition_point(first, last, [&](const auto& token) {
        return token.first.size() <= n || byte_at(token.first, n) < wanted;
      });
      last = std::partition_point(
          first, last, [&](const auto& token) { return byte_at(token.first, n) == wanted; });
      if (first != last && first->first.size() == n + 1) {
        match = {begin, begin + n + 1, first->second};
      }
    }
    return match;
  }

  std::vector<std::pair<std::string, int32_t>> tokens_;  // sorted by content
  std::array<bool, 256> begins_{};                       // bytes that some content begins with
};

}  // namespace pensee
