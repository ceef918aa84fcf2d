// StopStrings: finds the strings that end an answer while the text still arrives in pieces.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

// Text that may begin a stop string is held back until more text decides. What is found does not
// depend on how the text was cut into pieces: the stop string that ends first wins, the longest of
// those. One thread at a time.
class StopStrings {
 public:
  StopStrings() = default;

  // kInvalidArgument if a string is empty or not UTF-8.
  static Result<StopStrings> create(std::vector<std::string> strings) {
    for (const std::string& s : strings) {
      if (s.empty()) return invalid_argument("stop: expected a string, found an empty one");
      if (find_malformed_utf8(s)) return invalid_argument("stop: expected UTF-8");
    }
    StopStrings stop;
    stop.strings_ = std::move(strings);
    return stop;
  }

  struct Found {
    std::string text;      // what may be shown now
    bool stopped = false;  // a stop string came; it and what follows it are dropped
  };

  // Takes whole UTF-8 characters, and returns such.
  [[nodiscard]] Found push(std::string_view piece) {
    if (strings_.empty()) return {std::string(piece), false};
    for (const char c : piece) {
      held_.push_back(c);
      size_t longest = 0;
      for (const std::string& s : strings_) {
        if (held_.ends_with(s)) longest = std::max(longest, s.size());
      }
      if (longest > 0) {
        held_.resize(held_.size() - longest);
        return {std::exchange(held_, {}), true};
      }
    }
    const size_t shown = held_.size() - possible_start();
    Found found{held_.substr(0, shown), false};
    held_.erase(0, shown);
    return found;
  }

  // The end of the text: what was held back is ordinary text.
  [[nodiscard]] std::string flush() { return std::exchange(held_, {}); }

 private:
  // Length of the longest end of held_ that begins a stop string.
  [[nodiscard]] size_t possible_start() const {
    size_t longest = 0;
    for (const std::string& s : strings_) {
      size_t n = std::min(s.size() - 1, held_.size());
      while (n > longest && !held_.ends_with(std::string_view(s).substr(0, n))) --n;
      longest = std::max(longest, n);
    }
    return longest;
  }

  std::vector<std::string> strings_;
  std::string held_;
};

}  // namespace pensee
