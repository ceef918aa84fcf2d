// Events: what a reply is made of, one after the other; and the account at its end.
#pragma once

#include <cstdint>
#include <string>

#include "pensee/reason/phase.hpp"

namespace pensee {

// Every token of a reply is counted in exactly one of thought, answer and control.
struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of these: already in the key-value cache
  // Text of the thought, written by the model or by the engine, and delimiters that change nothing
  // in it, such as a second <think>.
  int64_t thought_tokens = 0;
  int64_t answer_tokens = 0;    // the same of the answer; a stop string's tokens too
  int64_t control_tokens = 0;   // other delimiters and the end of the sentence
  int64_t forced_tokens = 0;    // of all three: written by the engine, not chosen by the model
  int64_t draft_tokens = 0;     // guessed and read ahead; see SessionOptions::speculation
  int64_t accepted_tokens = 0;  // of these: written
  // Time spent in the library, not between calls.
  double prefill_seconds = 0;
  double thought_seconds = 0;
  double answer_seconds = 0;

  // All that the reply added to the context.
  [[nodiscard]] int64_t reply_tokens() const noexcept {
    return thought_tokens + answer_tokens + control_tokens;
  }
};

// X(enumerator, value, name). A reply is: kToken of the thought, kThoughtEnd, kToken of the answer,
// kAnswerEnd, kDone. A model that opens a thought while it answers adds kThoughtBegin, kToken of
// the thought and a kThoughtEnd, after which the answer goes on.
// What the model writes before it opens a thought, white space, is answer, and comes before it.
//   kToken         one token of a thought or an answer
//   kThoughtBegin  the model itself opened a thought; the event's own text is still answer
//   kThoughtEnd    a thought ended; `thought_end` says how
//   kAnswerEnd     the answer ended, or there is none; `answer_end` says how
//   kDone          nothing follows; Session::reply() is complete
#define PENSEE_EVENT_KIND_LIST(X)      \
  X(kToken, 1, "token")                \
  X(kThoughtBegin, 2, "thought_begin") \
  X(kThoughtEnd, 3, "thought_end")     \
  X(kAnswerEnd, 4, "answer_end")       \
  X(kDone, 5, "done")

#define PENSEE_X(enumerator, value, name) enumerator = value,
enum class EventKind : int { PENSEE_EVENT_KIND_LIST(PENSEE_X) };
#undef PENSEE_X

[[nodiscard]] constexpr const char* name_of(EventKind kind) noexcept {
#define PENSEE_X(enumerator, value, name) \
  case EventKind::enumerator:             \
    return name;
  switch (kind) { PENSEE_EVENT_KIND_LIST(PENSEE_X) }
#undef PENSEE_X
  return "unknown";
}

inline constexpr int32_t kNoToken = -1;

struct Event {
  EventKind kind = EventKind::kToken;
  Phase phase = Phase::kAnswer;
  // Whole UTF-8 characters, often none: a character or a possible stop string may need more
  // tokens. The texts of all events of a phase, of whatever kind, joined in order, are the
  // phase's text, white space and all.
  std::string text;
  int32_t token = kNoToken;  // of kToken; of an ending, the last token of the delimiter, if any
  float log_prob = 0;        // natural logarithm, under the model's own logits; of `token`
  bool forced = false;       // the engine wrote `token`
  ThoughtEnd thought_end = ThoughtEnd::kNone;  // of kThoughtEnd
  AnswerEnd answer_end = AnswerEnd::kNone;     // of kAnswerEnd
};

// A whole reply.
struct Reply {
  std::string thought;  // without the white space at its ends; the events' texts have it
  std::string answer;   // the same
  ThoughtEnd thought_end = ThoughtEnd::kNone;
  AnswerEnd answer_end = AnswerEnd::kNone;
  Usage usage;
};

}  // namespace pensee
