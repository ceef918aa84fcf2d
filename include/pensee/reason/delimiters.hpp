// What a model opens and closes its thoughts with, and ends its replies with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/reason/phase.hpp"
#include "pensee/text/chat_template.hpp"
#include "pensee/text/tokenizer.hpp"

namespace pensee {

// The delimiters of thoughts: <think> and </think> where they are tokens. Else, where the template
// knows of thoughts (`knows_thoughts`), their spelling; else none: such a model only answers. `end`
// stays empty. Errors: those of Tokenizer::encode.
[[nodiscard]] inline Result<Delimiters> find_thought_delimiters(const Tokenizer& tokenizer,
                                                                bool knows_thoughts) {
  const std::string open(ChatTemplate::kThoughtOpen);
  const std::string close(ChatTemplate::kThoughtClose);
  Delimiters delimiters;
  PENSEE_ASSIGN_OR_RETURN(delimiters.open, tokenizer.encode(open));
  PENSEE_ASSIGN_OR_RETURN(delimiters.close, tokenizer.encode(close));
  if (delimiters.open.size() == 1 && delimiters.close.size() == 1) return delimiters;
  if (!knows_thoughts) return Delimiters{};
  delimiters.open_text = open;
  delimiters.close_text = close;
  return delimiters;
}

// Whether the control words that a template writes are control words to the tokenizer: of others
// the model would see pieces. kUnsupported, naming the word and `file`, if one is not. Errors:
// those of Tokenizer::encode.
[[nodiscard]] inline Result<void> check_control_words(const Tokenizer& tokenizer,
                                                      const ChatTemplate& chat_template,
                                                      const std::string& file) {
  for (const std::string& word : chat_template.control_words()) {
    PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.encode(word));
    if (ids.size() == 1 && tokenizer.is_added(ids[0])) continue;
    const auto ordinary = tokenizer.token_to_id(word);
    const std::string found =
        ordinary ? "token " + std::to_string(*ordinary) + ", " + word + ", is no control token"
                 : "no token " + word;
    return unsupported(file + ": " + found +
                       ", but the chat template writes it as one; give the prompt ready-made, as "
                       "text or tokens, instead of messages");
  }
  return {};
}

// Adds the token that a template writes after an answer to those that end a reply: checkpoints do
// not always name it. Errors: those of Tokenizer::encode.
[[nodiscard]] inline Result<void> add_turn_end(const Tokenizer& tokenizer,
                                               const ChatTemplate& chat_template,
                                               Delimiters& delimiters) {
  PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                          tokenizer.encode(chat_template.turn_end()));
  if (ids.empty() || !tokenizer.is_added(ids[0])) return {};
  std::vector<int32_t>& end = delimiters.end;
  if (std::find(end.begin(), end.end(), ids[0]) == end.end()) end.push_back(ids[0]);
  return {};
}

}  // namespace pensee
