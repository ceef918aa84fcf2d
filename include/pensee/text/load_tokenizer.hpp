// The tokenizer that belongs to a checkpoint.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "pensee/base/result.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/text/tokenizer.hpp"

namespace pensee {

// Reads the vocabulary of a GGUF checkpoint's metadata, or tokenizer.json beside the weights. None
// for a GGUF checkpoint without vocabulary, which runs on token ids. Errors: those of
// Tokenizer::from_gguf, Tokenizer::from_json and Checkpoint::read_text.
[[nodiscard]] inline Result<std::optional<Tokenizer>> load_tokenizer(const Checkpoint& checkpoint) {
  constexpr const char* kFile = "tokenizer.json";
  if (const GgufMetadata* metadata = checkpoint.gguf()) {
    if (!has_vocabulary(*metadata)) return std::optional<Tokenizer>();
    PENSEE_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::from_gguf(*metadata));
    return std::optional<Tokenizer>(std::move(tokenizer));
  }
  PENSEE_ASSIGN_OR_RETURN(const std::string json, checkpoint.read_text(kFile));
  PENSEE_ASSIGN_OR_RETURN(Tokenizer tokenizer,
                          Tokenizer::from_json(json, checkpoint.path_of(kFile)));
  return std::optional<Tokenizer>(std::move(tokenizer));
}

}  // namespace pensee
