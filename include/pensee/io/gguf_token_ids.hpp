// The tokens that a GGUF file names by their roles.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pensee/base/result.hpp"
#include "pensee/io/gguf_metadata.hpp"

namespace pensee {

// The roles that the format has for tokens that end something.
inline constexpr std::array kGgufEndKeys = {
    "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
// The names that templates have for special tokens, and those of GGUF. X(name, key in GGUF)
#define PENSEE_SPECIAL_TOKEN_LIST(X)                \
  X("bos_token", "tokenizer.ggml.bos_token_id")     \
  X("eos_token", "tokenizer.ggml.eos_token_id")     \
  X("unk_token", "tokenizer.ggml.unknown_token_id") \
  X("pad_token", "tokenizer.ggml.padding_token_id")

// The token of the role `key`. None if the key is absent, and for a number that is none of the
// `n_tokens` there are: llama.cpp writes 4294967295 for a role that no token has. kCorruptFile for
// what is no integer.
[[nodiscard]] inline Result<std::optional<int32_t>> find_gguf_token_id(const GgufMetadata& metadata,
                                                                       std::string_view key,
                                                                       int64_t n_tokens) {
  const auto value = metadata.find(key);
  if (!value) return std::optional<int32_t>();
  PENSEE_ASSIGN_OR_RETURN(const int64_t id, value->as_int());
  if (id < 0 || id >= n_tokens) return std::optional<int32_t>();
  return std::optional<int32_t>(static_cast<int32_t>(id));
}

// Which roles' numbers are none of the `n_tokens` there are, in one line. Empty if there are none.
[[nodiscard]] inline std::string describe_absent_tokens(const GgufMetadata& metadata,
                                                        int64_t n_tokens) {
  std::string found;
  const auto add = [&](const char* key) {
    const auto value = metadata.find(key);
    const auto id = find_gguf_token_id(metadata, key, n_tokens);
    if (!value || !id || *id) return;
    found += (found.empty() ? "" : ", ") + std::string(key) + " " + value->found();
  };
  for (const char* key : kGgufEndKeys) add(key);
#define PENSEE_X(name, key) \
  if (std::string_view(key) != kGgufEndKeys[0]) add(key);  // which both lists have
  PENSEE_SPECIAL_TOKEN_LIST(PENSEE_X)
#undef PENSEE_X
  if (found.empty()) return found;
  return metadata.file() + ": not among its " + std::to_string(n_tokens) +
         " tokens, taken as absent: " + found;
}

}  // namespace pensee
