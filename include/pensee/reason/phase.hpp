// Phases: which tokens are thought and which are answer, decided by token ids alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
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
//   kStopped    the host asked, by end_thinking() or cancel()
//   kTruncated  the reply's max_tokens or the context ran out
//   kSkipped    there was none: thinking was off, or the prompt opens no thought
//   kEos        the model ended the reply without closing the thought: no answer was given
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

// The token ids that mark a model's phases. R1: {<think>}, {</think>}, {<｜end▁of▁sentence｜>}; a
// model without such tokens has longer sequences. Neither delimiter is empty nor begins the other.
struct Delimiters {
  std::vector<int32_t> open;   // opens a thought
  std::vector<int32_t> close;  // closes it
  std::vector<int32_t> end;    // each of these ends the reply
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
  };

  explicit PhaseMachine(Delimiters delimiters) : delimiters_(std::move(delimiters)) {
    held_.reserve(std::max(delimiters_.open.size(), delimiters_.close.size()));
  }

  // Reads the prompt: the reply begins in the thought if the last delimiter opened one.
  // `control` are the prompt's control tokens only; a user's text never counts. Call it once.
  void read_prompt(std::span<const int32_t> control) {
    phase_ = Phase::kAnswer;
    for (const int32_t token : control) {
      // A message of the past that ended inside its thought leaves no thought open.
      if (observe(token).change == Change::kEnded) phase_ = Phase::kAnswer;
    }
    held_.clear();
  }

  // Takes one token of the reply. Released and consumed tokens come from those held, oldest first,
  // with `token` as the newest.
  Step observe(int32_t token) {
    if (std::find(delimiters_.end.begin(), delimiters_.end.end(), token) != delimiters_.end.end()) {
      return {release_held(), Change::kEnded, 1};
    }
    Step step;
    held_.push_back(token);
    while (!may_begin(delimiters_.open) && !may_begin(delimiters_.close)) {
      held_.erase(held_.begin());
      ++step.released;
    }
    if (held_ == delimiters_.open) {
      step.change = phase_ == Phase::kAnswer ? Change::kOpened : Change::kSwallowed;
      phase_ = Phase::kThought;
    } else if (held_ == delimiters_.close) {
      step.change = phase_ == Phase::kThought ? Change::kClosed : Change::kSwallowed;
      phase_ = Phase::kAnswer;
    }
    if (step.change != Change::kNone) step.consumed = release_held();
    return step;
  }

  // Takes back the close just observed.
  void reopen() noexcept { phase_ = Phase::kThought; }

  // Gives up waiting: all tokens held are text. Returns how many.
  size_t release_held() noexcept {
    const size_t n = held_.size();
    held_.clear();
    return n;
  }

  [[nodiscard]] Phase phase() const noexcept { return phase_; }
  [[nodiscard]] const Delimiters& delimiters() const noexcept { return delimiters_; }

 private:
  // Whether the tokens held, which may be none, begin this delimiter.
  [[nodiscard]] bool may_begin(const std::vector<int32_t>& delimiter) const {
    return held_.size() <= delimiter.size() &&
           std::equal(held_.begin(), held_.end(), delimiter.begin());
  }

  Delimiters delimiters_;
  Phase phase_ = Phase::kPrompt;
  std::vector<int32_t> held_;
};

}  // namespace pensee
