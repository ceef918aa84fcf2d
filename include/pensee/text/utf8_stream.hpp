// Utf8Stream: bytes in any portions to whole UTF-8 characters.
#pragma once

#include <string>
#include <string_view>

#include "pensee/text/utf8.hpp"

namespace pensee {

// Turns the bytes of tokens into text that is whole UTF-8 at every step. All that push() and the
// last flush() returned, joined, equals to_utf8() of all bytes joined, hence Tokenizer::decode.
// One thread at a time.
class Utf8Stream {
 public:
  // The characters that `bytes` completes. A character that may still be completed waits.
  [[nodiscard]] std::string push(std::string_view bytes) {
    std::string out;
    waiting_.append(bytes);
    waiting_.erase(0, append_utf8(waiting_, out));
    return out;
  }

  // The end of the bytes: U+FFFD if a character was left incomplete. The stream is then empty and
  // may be used again.
  [[nodiscard]] std::string flush() {
    const bool incomplete = !waiting_.empty();
    waiting_.clear();
    return std::string(incomplete ? kReplacementCharacter : std::string_view{});
  }

  // Bytes of an incomplete character, at most three.
  [[nodiscard]] std::string_view waiting() const noexcept { return waiting_; }

 private:
  std::string waiting_;
};

}  // namespace pensee
