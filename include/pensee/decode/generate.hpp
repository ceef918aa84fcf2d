// TokenFeed: a sequence together with the ids in it. generate(): tokens without phases.
#pragma once

#include <algorithm>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/decode/sampler.hpp"

namespace pensee {

// What generation needs of a sequence with its key-value cache; model/sequence.hpp's Sequence
// is one, and says what the functions do.
template <class S>
concept TokenSequence = requires(S s, const S c, int64_t n, int32_t token,
                                 std::span<const int32_t> tokens,
                                 const std::function<bool(int64_t, int64_t)>& progress) {
  { c.length() } -> std::same_as<int64_t>;
  { c.capacity() } -> std::same_as<int64_t>;
  { c.logits() } -> std::same_as<std::span<const float>>;
  s.truncate(n);
  { s.prefill(tokens, progress) } -> std::same_as<Result<void>>;
  { s.decode(token, tokens) } -> std::same_as<Result<void>>;
  { c.foresees(token) } -> std::same_as<bool>;
  { c.draft_room() } -> std::same_as<int64_t>;
};

// Knows which ids the cache holds, so that a new prompt re-reads only what differs. The newest
// token is fed when the logits after it are asked for: the last one of a reply never is.
// Thread rule: one thread at a time.
template <TokenSequence S>
class TokenFeed {
 public:
  explicit TokenFeed(S sequence) : sequence_(std::move(sequence)) {
    tokens_.reserve(static_cast<size_t>(sequence_.capacity()) + 1);
  }

  // An independent copy, which goes on as this one would. Errors: those of the sequence's clone.
  [[nodiscard]] Result<TokenFeed> clone() const {
    PENSEE_ASSIGN_OR_RETURN(S sequence, sequence_.clone());
    TokenFeed copy(std::move(sequence));
    copy.tokens_ = tokens_;  // assigned, not constructed: keeps the room reserved
    copy.logits_are_due_ = logits_are_due_;
    return copy;
  }

  // Takes over another context: `tokens`, and their cache, of all or of all but the newest, which
  // `fill` puts into the sequence; `has_logits`: with the logits of the newest.
  template <class Fill>
  void restore(std::span<const int32_t> tokens, bool has_logits, Fill&& fill) {
    tokens_.assign(tokens.begin(), tokens.end());
    fill(sequence_);
    assert(sequence_.length() <= length() && sequence_.length() + 1 >= length());
    logits_are_due_ = !has_logits;
  }

  // Makes the context equal `prompt` and its logits ready. Returns how many of its tokens were in
  // the cache already. Errors: those of the sequence's prefill, and kContextFull if the prompt is
  // longer than the context (nothing has changed then). After another error the tokens read so far
  // are kept. Precondition: the prompt is not empty.
  Result<int64_t> set_prompt(std::span<const int32_t> prompt,
                             const std::function<bool(int64_t done, int64_t total)>& progress) {
    assert(!prompt.empty());
    if (static_cast<int64_t>(prompt.size()) > capacity()) {
      return Error{Status::kContextFull, "the prompt has " + std::to_string(prompt.size()) +
                                             " tokens, the context holds " +
                                             std::to_string(capacity())};
    }
    // The last token is read in any case, for its logits.
    const auto most = std::min(prompt.size() - 1, static_cast<size_t>(sequence_.length()));
    const auto differs = std::mismatch(
        prompt.begin(), prompt.begin() + static_cast<ptrdiff_t>(most), tokens_.begin());
    const int64_t cached = differs.first - prompt.begin();
    sequence_.truncate(cached);
    tokens_.assign(prompt.begin(), prompt.end());
    // Whether prefill() returns or a host's `progress` throws: the tokens are those in the cache.
    struct Trim {
      TokenFeed& feed;
      ~Trim() { feed.tokens_.resize(static_cast<size_t>(feed.sequence_.length())); }
    } const trim{*this};
    logits_are_due_ = true;
    PENSEE_RETURN_IF_ERROR(
        sequence_.prefill(prompt.subspan(static_cast<size_t>(cached)), progress));
    logits_are_due_ = false;
    return cached;
  }

  // Logits (vocab_size) after the newest token; `draft`: tokens that may follow it, read ahead if
  // it has to be read. Errors: those of the sequence's decode; the context is then as before.
  // Precondition: there are tokens.
  Result<std::span<const float>> logits(std::span<const int32_t> draft = {}) {
    assert(!tokens_.empty());
    if (logits_are_due_) sequence_.truncate(length() - 1);
    logits_are_due_ = false;
    if (sequence_.length() < length()) {
      PENSEE_RETURN_IF_ERROR(sequence_.decode(tokens_.back(), draft));
    }
    return sequence_.logits();
  }

  // What Sequence::guess_logits() says of the newest token. Precondition: draft_room() > 0.
  Result<std::optional<std::span<const float>>> guess_logits() {
    if (logits_are_due_) return std::optional<std::span<const float>>();
    return sequence_.guess_logits(tokens_.back());
  }
  void rest_mtp(bool rests) noexcept { sequence_.rest_mtp(rests); }

  // Tokens that logits() would read ahead: none if it has nothing to compute. Precondition: as for
  // logits().
  [[nodiscard]] int64_t draft_room() const noexcept {
    const bool reads = !has_logits() && (logits_are_due_ || !sequence_.foresees(tokens_.back()));
    return reads ? sequence_.draft_room() : 0;
  }
  // Whether the logits after `token` are there, should it be the next one pushed. Precondition: as
  // for push().
  [[nodiscard]] bool foresees(int32_t token) const noexcept { return sequence_.foresees(token); }

  // Prepares for the newest token being read from outside, in a pass shared with other feeds:
  // whether logits() would read it now, and has none of it from a draft. Once its sequence has read
  // it, logits() reads nothing.
  [[nodiscard]] bool wants_read() noexcept {
    if (tokens_.empty() || is_full() || has_logits()) return false;
    if (logits_are_due_) sequence_.truncate(length() - 1);
    logits_are_due_ = false;
    return !sequence_.foresees(tokens_.back());
  }
  // The sequence, for such a pass.
  [[nodiscard]] S& sequence() noexcept { return sequence_; }

  // Whether logits() can still be had.
  [[nodiscard]] bool is_full() const noexcept { return length() > capacity(); }

  // Appends a token. Precondition: logits() succeeded since the last push().
  void push(int32_t token) {
    assert(sequence_.length() == length());
    tokens_.push_back(token);
  }

  // Removes the newest n tokens; logits() then are those after the token before them.
  // Precondition: n < length().
  void pop(size_t n) {
    assert(n < tokens_.size());
    if (n == 0) return;
    const bool newest_was_fed = sequence_.length() == length();
    tokens_.resize(tokens_.size() - n);
    // The sequence's logits are those before an unfed token; otherwise feed the newest left again.
    if (newest_was_fed || n > 1) sequence_.truncate(length() - 1);
  }

  // Whether logits() can be had without feeding a token.
  [[nodiscard]] bool has_logits() const noexcept {
    return !tokens_.empty() && !logits_are_due_ && sequence_.length() == length();
  }

  [[nodiscard]] int64_t length() const noexcept { return static_cast<int64_t>(tokens_.size()); }
  [[nodiscard]] int64_t capacity() const noexcept { return sequence_.capacity(); }
  [[nodiscard]] std::span<const int32_t> tokens() const noexcept { return tokens_; }
  [[nodiscard]] const S& sequence() const noexcept { return sequence_; }

 private:
  S sequence_;
  std::vector<int32_t> tokens_;  // the cache's, and perhaps one that is not fed yet
  bool logits_are_due_ = false;  // the newest token is in the cache, but its logits are not known
};

// Samples tokens after `prompt` until one of `end_tokens` (which is not returned), `max_tokens`, or
// a full context. Errors: those of TokenFeed and Sampler::sample.
template <TokenSequence S>
Result<std::vector<int32_t>> generate(TokenFeed<S>& feed, Sampler& sampler,
                                      std::span<const int32_t> prompt, int64_t max_tokens,
                                      std::span<const int32_t> end_tokens = {}) {
  if (prompt.empty()) return invalid_argument("prompt: expected tokens, found none");
  PENSEE_RETURN_IF_ERROR(feed.set_prompt(prompt, {}));
  for (const int32_t token : prompt) sampler.accept_prompt(token);
  std::vector<int32_t> tokens;
  while (static_cast<int64_t>(tokens.size()) < max_tokens && !feed.is_full()) {
    PENSEE_ASSIGN_OR_RETURN(const std::span<const float> logits, feed.logits());
    PENSEE_ASSIGN_OR_RETURN(const Sample sample, sampler.sample(logits));
    if (std::find(end_tokens.begin(), end_tokens.end(), sample.token) != end_tokens.end()) break;
    sampler.accept(sample.token);
    feed.push(sample.token);
    tokens.push_back(sample.token);
  }
  return tokens;
}

}  // namespace pensee
