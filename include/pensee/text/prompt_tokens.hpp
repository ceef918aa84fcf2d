// The tokens of prompts, whose control words are the template's own and nobody else's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/text/chat_template.hpp"
#include "pensee/text/tokenizer.hpp"

namespace pensee {

// The ids of a prompt. Added tokens stand only where control pieces write them out; all text
// between two of these is cut as a whole, whoever wrote it. So the ids are those of the joined text
// wherever the other pieces have no control words in them. Errors: those of Tokenizer::encode.
[[nodiscard]] inline Result<std::vector<int32_t>> encode_prompt(
    const Tokenizer& tokenizer, std::span<const PromptPiece> pieces) {
  std::vector<int32_t> ids;
  std::string text;  // since the last added token
  const auto end_text = [&]() -> Result<void> {
    PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> part, tokenizer.encode_ordinary(text));
    ids.insert(ids.end(), part.begin(), part.end());
    text.clear();
    return {};
  };
  for (const PromptPiece& piece : pieces) {
    if (!piece.is_control) {
      text += piece.text;
      continue;
    }
    PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> words, tokenizer.encode(piece.text));
    for (const int32_t id : words) {
      if (!tokenizer.is_added(id)) {
        text += tokenizer.token_bytes(id);
        continue;
      }
      PENSEE_RETURN_IF_ERROR(end_text());
      ids.push_back(id);
    }
  }
  PENSEE_RETURN_IF_ERROR(end_text());
  return ids;
}

}  // namespace pensee
