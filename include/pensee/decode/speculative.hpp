// Guesses at the tokens that come next, which a sequence reads ahead (Sequence::decode). A guess
// decides nothing: every token is chosen as if there were none, from the same logits and by the
// same random stream, so that a reply is the same with guesses and without, to the bit.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

namespace pensee {

// X(enumerator, value, name): where guesses come from.
//   kOff           no guesses
//   kPromptLookup  an earlier place of the prompt or the reply at which the same tokens stood
//   kMtp           the model's own layer of multi-token prediction, as DeepSeek-V3 and R1 have
//   kAuto          prompt lookup; where that has no guess, the model's layer, if it has one
#define PENSEE_SPECULATION_LIST(X)     \
  X(kOff, 0, "off")                    \
  X(kPromptLookup, 1, "prompt_lookup") \
  X(kMtp, 2, "mtp")                    \
  X(kAuto, 3, "auto")

#define PENSEE_X(enumerator, value, name) enumerator = value,
enum class Speculation : int { PENSEE_SPECULATION_LIST(PENSEE_X) };
#undef PENSEE_X

[[nodiscard]] constexpr const char* name_of(Speculation speculation) noexcept {
#define PENSEE_X(enumerator, value, name) \
  case Speculation::enumerator:           \
    return name;
  switch (speculation) { PENSEE_SPECULATION_LIST(PENSEE_X) }
#undef PENSEE_X
  return "unknown";
}

// How often guesses of one kind came true, the recent ones most.
class HitRate {
 public:
  void add(bool hit) noexcept {
    ++guesses_;
    if (hit) ++hits_;
    if (guesses_ < kRemembered) return;
    guesses_ /= 2;
    hits_ /= 2;
  }
  // The probability that the next one does, by Laplace's rule of succession: 1/2 to begin with.
  [[nodiscard]] double value() const noexcept {
    return static_cast<double>(hits_ + 1) / static_cast<double>(guesses_ + 2);
  }

 private:
  static constexpr int32_t kRemembered = 64;
  int32_t guesses_ = 0;
  int32_t hits_ = 0;
};

// Decides whether guesses that cost something are made: while enough of them come true. Otherwise
// they rest, for longer each time, so that their cost vanishes.
class CostlyGuesses {
 public:
  // `worth` as for PromptLookup.
  explicit CostlyGuesses(double worth) noexcept : worth_(worth) {}

  // Called once for each pass that might begin with a guess.
  [[nodiscard]] bool is_due() noexcept {
    if (rest_ == 0) return true;
    --rest_;
    return false;
  }

  // A guess was made; valid until the next one.
  std::span<const int32_t> make(int32_t token) noexcept {
    token_ = token;
    return {&token_, 1};
  }
  // A token was chosen, and is what the last guess, if any is open, was about.
  void settle(int32_t token) noexcept {
    if (token_ == kNone) return;
    rate_.add(token == token_);
    token_ = kNone;
    if (++made_ < kTrial || rate_.value() >= worth_) return;
    rest_ = next_rest_;
    next_rest_ = std::min(2 * next_rest_, kLongestRest);
    rate_ = {};
    made_ = 0;
  }

 private:
  static constexpr int32_t kNone = -1;
  static constexpr int64_t kTrial = 16;
  static constexpr int64_t kFirstRest = 128;  // passes
  static constexpr int64_t kLongestRest = 8192;

  double worth_;
  HitRate rate_;
  int32_t token_ = kNone;
  int64_t made_ = 0;
  int64_t rest_ = 0;
  int64_t next_rest_ = kFirstRest;
};

// Prompt lookup: where the newest tokens stood before, what followed them then is the guess.
//
// Every token is guessed and compared, which costs next to nothing; only guesses that have proved
// probable enough to be worth their part of a pass are handed out. How probable one is, is learned
// for each length of the match. Text that never repeats itself therefore costs no pass anything.
//
// Nothing allocates. Thread rule: one thread at a time.
class PromptLookup {
 public:
  static constexpr int64_t kMaxGuesses = 8;

  // `worth`: the probability from which a guess pays, that is, what a pass costs more for each
  // further token, as a share of its cost for one.
  explicit PromptLookup(double worth) noexcept : worth_(worth) {}

  // The context is now `tokens`, which are unlike those before.
  void restart(std::span<const int32_t> tokens) noexcept { find(tokens); }

  // A token was chosen: the newest of `tokens`. The others are as before.
  void follow(std::span<const int32_t> tokens) noexcept {
    assert(!tokens.empty());
    if (match_.length == 0) return find(tokens);
    const bool hit = tokens[match_.next] == tokens.back();
    rate_of(match_.length).add(hit);
    if (!hit) return find(tokens);
    // The longest match of the longer context: a longer one would have been longer before, too.
    match_.length = std::min(match_.length + 1, kLongest);
    ++match_.next;
  }

  // At most `room` tokens that probably follow `tokens`, those of the last call; valid until the
  // next one.
  [[nodiscard]] std::span<const int32_t> guess(std::span<const int32_t> tokens,
                                               int64_t room) noexcept {
    size_t n = 0;
    double probability = 1;
    const auto most = static_cast<size_t>(std::clamp<int64_t>(room, 0, kMaxGuesses));
    for (size_t length = match_.length; length > 0 && n < most; ++length) {
      probability *= rate_of(std::min(length, kLongest)).value();
      if (probability < worth_) break;
      // Past the newest token the guesses themselves go on: the text has a period.
      const size_t next = match_.next + n;
      guesses_[n] = next < tokens.size() ? tokens[next] : guesses_[next - tokens.size()];
      ++n;
    }
    return {guesses_.data(), n};
  }

 private:
  struct Match {
    size_t length = 0;  // tokens that agree, at most kLongest; 0: none
    size_t next = 0;    // the place after them
  };
  // Shorter matches are chance, and longer ones all alike.
  static constexpr size_t kShortest = 2;
  static constexpr size_t kLongest = 16;

  // The longest match, and of those the latest.
  void find(std::span<const int32_t> tokens) noexcept {
    match_ = {};
    const size_t n = tokens.size();
    for (size_t end = n; end-- > 1;) {  // the match would be tokens[end - length, end)
      if (tokens[end - 1] != tokens[n - 1]) continue;
      const size_t most = std::min(kLongest, end);
      size_t length = 1;
      while (length < most && tokens[end - 1 - length] == tokens[n - 1 - length]) ++length;
      if (length < kShortest || length <= match_.length) continue;
      match_ = {length, end};
      if (length == kLongest) return;
    }
  }

  // Lengths of 2 and 3, 4 to 7, 8 to 15, and 16 tokens.
  [[nodiscard]] HitRate& rate_of(size_t length) noexcept {
    size_t kind = 0;
    while (length >= size_t{4} << kind && kind + 1 < rates_.size()) ++kind;
    return rates_[kind];
  }

  double worth_;
  Match match_;
  std::array<HitRate, 4> rates_;
  std::array<int32_t, kMaxGuesses> guesses_{};
};

}  // namespace pensee
