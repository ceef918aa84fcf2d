// TokenOrder: a vocabulary in the order of its tokens' bytes, so that what many of them begin with
// is looked at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace pensee {

// Immutable: any thread.
class TokenOrder {
 public:
  struct Entry {
    int32_t token = 0;
    uint32_t shared = 0;  // so many of its bytes are those that the entry before begins with
  };

  // The tokens below `vocab_size` that have text, which token_bytes(token) gives.
  template <class TokenBytes>
  TokenOrder(int32_t vocab_size, const TokenBytes& token_bytes) {
    std::vector<std::pair<std::string_view, int32_t>> tokens;
    tokens.reserve(static_cast<size_t>(std::max(0, vocab_size)));
    for (int32_t token = 0; token < vocab_size; ++token) {
      const std::string_view bytes = token_bytes(token);
      if (!bytes.empty()) tokens.emplace_back(bytes, token);
    }
    std::sort(tokens.begin(), tokens.end());
    entries_.reserve(tokens.size());
    std::string_view before;
    for (const auto& [bytes, token] : tokens) {
      const auto end = std::mismatch(before.begin(), before.end(), bytes.begin(), bytes.end());
      entries_.push_back({token, static_cast<uint32_t>(end.first - before.begin())});
      before = bytes;
    }
  }

  [[nodiscard]] std::span<const Entry> entries() const noexcept { return entries_; }

 private:
  std::vector<Entry> entries_;
};

}  // namespace pensee
