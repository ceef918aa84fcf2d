// ReplyOptions: the host's controls of one reply.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/decode/sampler.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

// kAuto: as the model's chat template has it when nothing is asked of it. kOn, kOff: by the
// template's own switch; where it has none, the prompt opens the thought, or has an empty one at
// its end. A model without thoughts refuses kOn.
enum class Thinking : int { kAuto = 0, kOn = 1, kOff = 2 };

// Whether the thoughts of earlier replies are in the prompt: no, which is R1's rule, or each
// between its delimiters before its answer.
enum class History : int { kStrip = 0, kKeep = 1 };

inline constexpr int64_t kNoCap = -1;

// The controls of one reply. Counts are tokens; kNoCap: as many as the context holds.
struct ReplyOptions {
  Thinking thinking = Thinking::kAuto;
  History history = History::kStrip;
  // After so many tokens of thought the engine closes it, at the end of the character begun; 0
  // closes it at once. Written before the close if not empty: `budget_message`, without delimiter.
  int64_t thinking_token_budget = kNoCap;
  std::string budget_message = {};  // "= {}": compilers warn when other fields are named alone
  // When the model closes a thought of fewer tokens, `extension_text` is written instead of the
  // close, at most `max_extensions` times (arXiv:2501.19393, section 3.1). A budget goes before.
  int64_t min_thought_tokens = 0;
  std::string extension_text = "Wait";
  int64_t max_extensions = kNoCap;

  int64_t max_answer_tokens = kNoCap;
  int64_t max_tokens = kNoCap;  // thought, answer and delimiters together

  SamplerOverrides thought_sampler = {};  // over the model's defaults
  SamplerOverrides answer_sampler = {};   // over the thought's settings
  std::vector<std::string> stop = {};     // each ends the answer and is not part of it
  // They end the thought too (kStopped) and with it the reply (AnswerEnd::kStopString).
  bool stop_in_thought = false;

  // The form of the answer, at most one of them: a grammar in the notation of parse_grammar(), or a
  // JSON schema, of which json_schema_grammar() says what is known. The thought stays free. Tokens
  // that no text of the form goes on with are not chosen, and the answer ends (kComplete) where
  // nothing can follow; other ends, such as max_answer_tokens, may leave it incomplete. White space
  // may come before.
  std::string answer_grammar = {};
  std::string answer_json_schema = {};

  // Called while the prompt is read, after each chunk; false cancels the reply.
  std::function<bool(int64_t done, int64_t total)> prefill_progress = {};

  [[nodiscard]] bool has_answer_form() const noexcept {
    return !answer_grammar.empty() || !answer_json_schema.empty();
  }
  [[nodiscard]] SamplerOptions thought_settings(const SamplerOptions& defaults) const noexcept {
    return thought_sampler.over(defaults);
  }
  [[nodiscard]] SamplerOptions answer_settings(const SamplerOptions& defaults) const noexcept {
    return answer_sampler.over(thought_settings(defaults));
  }
};

// kInvalidArgument naming the field that is out of range. Stop strings, samplers and the form of
// the answer are checked where they are made.
[[nodiscard]] inline Result<void> validate(const ReplyOptions& o) {
  const auto at_least = [](const char* field, int64_t least, int64_t found) {
    return found >= least ? Result<void>()
                          : Result<void>(invalid_argument(
                                std::string(field) + ": expected " + std::to_string(least) +
                                " or more, found " + std::to_string(found)));
  };
  PENSEE_RETURN_IF_ERROR(at_least("thinking_token_budget", kNoCap, o.thinking_token_budget));
  PENSEE_RETURN_IF_ERROR(at_least("min_thought_tokens", 0, o.min_thought_tokens));
  PENSEE_RETURN_IF_ERROR(at_least("max_extensions", kNoCap, o.max_extensions));
  PENSEE_RETURN_IF_ERROR(at_least("max_answer_tokens", kNoCap, o.max_answer_tokens));
  PENSEE_RETURN_IF_ERROR(at_least("max_tokens", kNoCap, o.max_tokens));
  if (find_malformed_utf8(o.budget_message)) {
    return invalid_argument("budget_message: expected UTF-8");
  }
  if (find_malformed_utf8(o.extension_text)) {
    return invalid_argument("extension_text: expected UTF-8");
  }
  if (!o.answer_grammar.empty() && !o.answer_json_schema.empty()) {
    return invalid_argument("answer_json_schema: expected none beside answer_grammar");
  }
  if (o.min_thought_tokens > 0 && o.extension_text.empty()) {
    return invalid_argument("extension_text: expected a text for min_thought_tokens, found none");
  }
  return {};
}

}  // namespace pensee
