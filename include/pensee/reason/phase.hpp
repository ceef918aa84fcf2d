// Phases: which tokens are thought and which are answer, decided by token ids alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pensee {

// Each list is the one source of truth for values and names. Values are never reused.

// The part of the exchange that a token belongs to.
#define PENSEE_PHASE_LIST(X) \
  X(kPrompt, 0, "prompt")    \
  X(kThought, 1, "thought")  \
  X(kAnswer, 2, "answer")

// How a thought ended. kNone: it has not ended yet.
//   kClosed     the model closed it
//   kBudget     the engine closed it: thinking_token_budget was used up
//   kStopped    the host asked, by end_thinking(), cancel() or a stop string
//   kTruncated  the reply's max_tokens or the context ran out
//   kSkipped    there was none: thinking was off, or the prompt opens no thought
//   kEos        the model ended the reply without closing the thought: no answer follows it
#define PENSEE_THOUGHT_END_LIST(X) \
  X(kNone, 0, "none")              \
  X(kClosed, 1, "closed")          \
  X(kBudget, 2, "budget")          \
  X(kStopped, 3, "stopped")        \
  X(kTruncated, 4, "truncated")    \
  X(kSkipped, 5, "skipped")        \
  X(kEos, 6, "eos")

// How an answer ended.
//   kNone         it has not ended yet, or none was begun: the thought's ending says why
//   kComplete     the model ended its sentence
//   kStopString   a stop string came; it is not part of the text
//   kLength       max_answer_tokens or max_tokens was reached
//   kCancelled    the host cancelled the reply, in either phase or while the prompt was read
//   kContextFull  no token fits into the context any more
#define PENSEE_ANSWER_END_LIST(X)  \
  X(kNone, 0, "none")              \
  X(kComplete, 1, "complete")      \
  X(kStopString, 2, "stop_string") \
  X(kLength, 3, "length")          \
  X(kCancelled, 4, "cancelled")    \
  X(kContextFull, 5, "context_full")

#define PENSEE_X(enumerator, value, name) enumerator = value,
enum class Phase : int { PENSEE_PHASE_LIST(PENSEE_X) };
enum class ThoughtEnd : int { PENSEE_THOUGHT_END_LIST(PENSEE_X) };
enum class AnswerEnd : int { PENSEE_ANSWER_END_LIST(PENSEE_X) };
#undef PENSEE_X

#define PENSEE_X(enumerator, value, name) \
  case Enum::enumerator:                  \
    return name;
[[nodiscard]] constexpr const char* name_of(Phase phase) noexcept {
  using Enum = Phase;
  switch (phase) { PENSEE_PHASE_LIST(PENSEE_X) }
  return "unknown";
}
[[nodiscard]] constexpr const char* name_of(ThoughtEnd end) noexcept {
  using Enum = ThoughtEnd;
  switch (end) { PENSEE_THOUGHT_END_LIST(PENSEE_X) }
  return "unknown";
}
[[nodiscard]] constexpr const char* name_of(AnswerEnd end) noexcept {
  using Enum = AnswerEnd;
  switch (end) { PENSEE_ANSWER_END_LIST(PENSEE_X) }
  return "unknown";
}
#undef PENSEE_X

// The token ids that mark a model's phases. R1: {<think>}, {</think>}, {<｜end▁of▁sentence｜>}. A
// model without thoughts has neither of the first two. Neither begins the other.
struct Delimiters {
  std::vector<int32_t> open = {};   // opens a thought
  std::vector<int32_t> close = {};  // closes it
  std::vector<int32_t> end = {};    // each of these ends the reply
  // For a model to whose tokenizer the delimiters are ordinary text, their spelling: then any
  // tokens that spell them count, since the text around decides how it is cut ("</think>\n\n" may
  // end in one token ">\n\n"). `open` and `close` are the tokens to write them with.
  std::string open_text = {};
  std::string close_text = {};

  [[nodiscard]] bool has_thoughts() const noexcept { return !open.empty(); }
  [[nodiscard]] bool are_spelled() const noexcept { return !open_text.empty(); }
};

// The state machine. Fed with token ids one by one, it says which of them are text of the current
// phase, and when the phase changes:
//
//            open (in the prompt)
//   PROMPT ----------------------> THOUGHT --- close ---> ANSWER --- end ---> ended
//     |                               |  ^                  | ^
//     |                              end |                  | |
//     |                               v  +------ open ------+ |
//     |                             ended                     |
//     +--------------- nothing open --------------------------+
//
// Tokens that may begin a delimiter are held back until the next tokens decide. Delimiters that
// change nothing, such as <think> in a thought, are swallowed: a delimiter is never text.
class PhaseMachine {
 public:
  enum class Change { kNone, kOpened, kClosed, kSwallowed, kEnded };
  struct Step {
    size_t released = 0;  // so many of the oldest tokens held are text of the phase before `change`
    Change change = Change::kNone;
    size_t consumed = 0;  // so many tokens after those were the delimiter or the end token
    // Of a delimiter that is spelled: bytes of its first token that are text of the phase before
    // `change`, and bytes of its last token that are text of the phase after it; and how many of
    // the delimiter before, `tail`, are its own beginning and no text after all.
    size_t head = 0;
    size_t tail = 0;
    size_t taken = 0;
  };
  // A token's bytes; none for a token that is not text.
  using TokenBytes = std::function<std::string_view(int32_t token)>;

  // `token_bytes` may be empty unless the delimiters are spelled.
  explicit PhaseMachine(Delimiters delimiters, TokenBytes token_bytes = {})
      : delimiters_(std::move(delimiters)), token_bytes_(std::move(token_bytes)) {
    held_.reserve(std::max({delimiters_.open.size(), delimiters_.close.size(),
                            delimiters_.open_text.size(), delimiters_.close_text.size()}));
  }

  // Reads the prompt: the reply begins in the thought if the last delimiter opened one.
  // `control` are the prompt's control tokens only, for a user's text does not count; of a prompt
  // that the host has made itself, all tokens. Call it once.
  void read_prompt(std::span<const int32_t> control) {
    phase_ = Phase::kAnswer;
    for (const int32_t token : control) {
      // A message of the past that ended inside its thought leaves no thought open.
      if (observe(token).change == Change::kEnded) phase_ = Phase::kAnswer;
    }
    release_held();
  }

  // Takes one token of the reply. Released and consumed tokens come from those held, oldest first,
  // with `token` as the newest.
  Step observe(int32_t token) {
    if (std::find(delimiters_.end.begin(), delimiters_.end.end(), token) != delimiters_.end.end()) {
      return {release_held(), Change::kEnded, 1};
    }
    if (!delimiters_.has_thoughts()) return {1, Change::kNone, 0};
    held_.push_back(token);
    if (delimiters_.are_spelled()) return observe_text();
    Step step;
    while (!may_begin(delimiters_.open) && !may_begin(delimiters_.close)) {
      held_.erase(held_.begin());
      ++step.released;
    }
    if (held_ == delimiters_.open) {
      step.change = enter(Phase::kThought, Change::kOpened);
    } else if (held_ == delimiters_.close) {
      step.change = enter(Phase::kAnswer, Change::kClosed);
    }
    if (step.change != Change::kNone) step.consumed = release_held();
    return step;
  }

  // Takes back the close just observed.
  void reopen() noexcept {
    phase_ = Phase::kThought;
    release_held();
  }

  // Gives up waiting: all tokens held are text. Returns how many.
  size_t release_held() noexcept {
    const size_t n = held_.size();
    held_.clear();
    text_.clear();
    carried_ = 0;
    return n;
  }

  [[nodiscard]] Phase phase() const noexcept { return phase_; }
  [[nodiscard]] const Delimiters& delimiters() const noexcept { return delimiters_; }

 private:
  Change enter(Phase phase, Change change) noexcept {
    return std::exchange(phase_, phase) == phase ? Change::kSwallowed : change;
  }

  // observe() for delimiters that are spelled: looks at the text of the tokens held, which is at
  // most a delimiter's beginning and one token more.
  Step observe_text() {
    const std::string_view bytes = token_bytes_(held_.back());
    if (bytes.empty()) return {release_held(), Change::kNone, 0};  // no delimiter goes on over it
    text_ += bytes;
    for (size_t at = 0; at < text_.size(); ++at) {
      const std::string_view rest = std::string_view(text_).substr(at);
      for (const bool opens : {true, false}) {
        const std::string& delimiter = opens ? delimiters_.open_text : delimiters_.close_text;
        const bool whole = rest.starts_with(delimiter);
        if (!whole && !delimiter.starts_with(rest)) continue;
        Step step;
        step.released = release_before(at);
        if (!whole) return step;
        step.taken = carried_;
        step.head = at;
        step.tail = text_.size() - at - delimiter.size();
        step.change = opens ? enter(Phase::kThought, Change::kOpened)
                            : enter(Phase::kAnswer, Change::kClosed);
        const std::string tail = text_.substr(text_.size() - step.tail);
        step.consumed = release_held();
        carry(tail);
        return step;
      }
    }
    return {release_held(), Change::kNone, 0};
  }

  // Keeps what of a delimiter's last token may begin the next one.
  void carry(std::string_view tail) {
    const auto begins = [&](const std::string& delimiter) {
      return tail.size() < delimiter.size() && delimiter.starts_with(tail);
    };
    while (!tail.empty() && !begins(delimiters_.open_text) && !begins(delimiters_.close_text)) {
      tail.remove_prefix(1);
    }
    text_ = tail;
    carried_ = tail.size();
  }

  // Releases the tokens that end by byte `at` of the text held, which then is another byte of it.
  size_t release_before(size_t& at) {
    const size_t passed = std::min(at, carried_);
    text_.erase(0, passed);
    carried_ -= passed;
    at -= passed;
    size_t n = 0;
    for (; n < held_.size() && token_bytes_(held_[n]).size() <= at; ++n) {
      const size_t size = token_bytes_(held_[n]).size();
      text_.erase(0, size);
      at -= size;
    }
    held_.erase(held_.begin(), held_.begin() + static_cast<ptrdiff_t>(n));
    return n;
  }

  // Whether the tokens held, which may be none, begin this delimiter.
  [[nodiscard]] bool may_begin(const std::vector<int32_t>& delimiter) const {
    return held_.size() <= delimiter.size() &&
           std::equal(held_.begin(), held_.end(), delimiter.begin());
  }

  Delimiters delimiters_;
  TokenBytes token_bytes_;
  Phase phase_ = Phase::kPrompt;
  std::vector<int32_t> held_;
  std::string text_;    // of the tokens held, if the delimiters are spelled
  size_t carried_ = 0;  // bytes of it, at its beginning, that are of the delimiter before
};

}  // namespace pensee
