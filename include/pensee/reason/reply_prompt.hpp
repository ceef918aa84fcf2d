// What a reply begins with: the prompt, of messages or ready.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/reason/delimiters.hpp"
#include "pensee/reason/history.hpp"
#include "pensee/reason/model.hpp"
#include "pensee/reason/reply_options.hpp"
#include "pensee/text/chat_template.hpp"
#include "pensee/text/prompt_tokens.hpp"

namespace pensee {

struct ReplyPrompt {
  std::vector<int32_t> tokens;
  std::vector<int32_t> control;  // what decides the phase that the reply begins in
};

// The prompt of a conversation. Errors: kUnsupported or kNotFound if the model has no chat template
// that is known, kUnsupported if thinking is on and the model has no thoughts, kInvalidArgument if
// the template makes no tokens of the messages, those of ChatTemplate::render and
// render_with_thoughts.
[[nodiscard]] inline Result<ReplyPrompt> render_prompt(const Model& model,
                                                       std::span<const Message> messages,
                                                       Thinking thinking, History history) {
  if (!model.chat_template()) return model.chat_template().error();
  const Delimiters& delimiters = model.delimiters();
  PromptOptions options;
  if (thinking == Thinking::kOn) {
    if (!delimiters.has_thoughts()) {
      return unsupported("thinking: expected auto or off: this model has no thoughts");
    }
    options.thinking = true;
  } else if (thinking == Thinking::kOff && delimiters.has_thoughts()) {
    options.thinking = false;
  }
  const bool keeps = history == History::kKeep && delimiters.has_thoughts();
  PENSEE_ASSIGN_OR_RETURN(const std::vector<PromptPiece> pieces,
                          (keeps ? render_with_thoughts : render_without_thoughts)(
                              *model.chat_template(), messages, options));
  ReplyPrompt prompt;
  PENSEE_ASSIGN_OR_RETURN(prompt.tokens, encode_prompt(model.tokenizer(), pieces));
  if (prompt.tokens.empty()) {
    return invalid_argument("messages: the chat template makes no tokens of them");
  }
  if (ends_with_delimiter(pieces, ChatTemplate::kThoughtOpen)) prompt.control = delimiters.open;
  return prompt;
}

// A ready prompt, in which a thought may be open: every delimiter in it counts, also one that a
// user has written, where delimiters are ordinary text. Errors: kInvalidArgument if there are no
// tokens, or for a token that is not in the vocabulary.
[[nodiscard]] inline Result<ReplyPrompt> ready_prompt(const Model& model,
                                                      std::span<const int32_t> tokens) {
  if (tokens.empty()) return invalid_argument("prompt: expected tokens, found none");
  for (const int32_t token : tokens) {
    if (token >= 0 && token < model.config().vocab_size) continue;
    return invalid_argument("prompt: expected tokens from 0 to " +
                            std::to_string(model.config().vocab_size - 1) + ", found " +
                            std::to_string(token));
  }
  const std::vector<int32_t> ids(tokens.begin(), tokens.end());
  return ReplyPrompt{ids, ids};
}

}  // namespace pensee
