// Finds a checkpoint's chat template and the tokens that templates know by name.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/gguf_token_ids.hpp"
#include "pensee/text/chat_template.hpp"
#include "pensee/text/tokenizer.hpp"

namespace pensee {

namespace read_template_detail {
inline constexpr const char* kConfigFile = "tokenizer_config.json";

// What tokenizer_config.json writes as a text, or as an object with the text as its content.
[[nodiscard]] inline Result<SpecialTokens> special_tokens(const JsonView& config) {
  SpecialTokens tokens;
  const auto read = [&](const char* name) -> Result<void> {
    auto entry = config.find(name);
    if (entry && entry->is_object()) entry = entry->find("content");
    if (!entry) return {};  // also for null
    PENSEE_ASSIGN_OR_RETURN(const std::string_view text, entry->as_string());
    tokens.emplace_back(name, text);
    return {};
  };
#define PENSEE_X(name, key) PENSEE_RETURN_IF_ERROR(read(name));
  PENSEE_SPECIAL_TOKEN_LIST(PENSEE_X)
#undef PENSEE_X
  return tokens;
}

[[nodiscard]] inline Result<SpecialTokens> special_tokens(const GgufMetadata& metadata,
                                                          const Tokenizer& tokenizer) {
  SpecialTokens tokens;
  const auto read = [&](const char* name, const char* key) -> Result<void> {
    PENSEE_ASSIGN_OR_RETURN(const auto id,
                            find_gguf_token_id(metadata, key, tokenizer.vocab_size()));
    if (id) tokens.emplace_back(name, tokenizer.token_bytes(*id));
    return {};
  };
#define PENSEE_X(name, key) PENSEE_RETURN_IF_ERROR(read(name, key));
  PENSEE_SPECIAL_TOKEN_LIST(PENSEE_X)
#undef PENSEE_X
  return tokens;
}
}  // namespace read_template_detail

// The chat template of a GGUF file's metadata, or of chat_template.jinja, or of
// tokenizer_config.json. Errors: kNotFound if there is none, those of ChatTemplate::from_jinja,
// kCorruptFile for files that are malformed, kIoError and kUnsupported for those that cannot be
// read or are too large.
[[nodiscard]] inline Result<ChatTemplate> read_chat_template(const Checkpoint& checkpoint,
                                                             const Tokenizer& tokenizer) {
  namespace detail = read_template_detail;
  if (const GgufMetadata* metadata = checkpoint.gguf()) {
    constexpr const char* kKey = "tokenizer.chat_template";
    const auto entry = metadata->find(kKey);
    if (!entry) return Error{Status::kNotFound, metadata->file() + ": no " + kKey};
    PENSEE_ASSIGN_OR_RETURN(const std::string_view jinja, entry->as_string());
    PENSEE_ASSIGN_OR_RETURN(SpecialTokens tokens, detail::special_tokens(*metadata, tokenizer));
    return ChatTemplate::from_jinja(jinja, metadata->file() + ": " + kKey, std::move(tokens));
  }
  const std::string file = checkpoint.path_of(detail::kConfigFile);
  JsonDocument json;
  SpecialTokens tokens;
  const Result<std::string> text = checkpoint.read_text(detail::kConfigFile);
  if (!text && text.error().status != Status::kNotFound) return text.error();
  if (text) {
    PENSEE_ASSIGN_OR_RETURN(json, parse_json(*text, file));
    PENSEE_RETURN_IF_ERROR(JsonView(json, file).expect_object());
    PENSEE_ASSIGN_OR_RETURN(tokens, detail::special_tokens(JsonView(json, file)));
  }
  // Newer checkpoints keep the template in a file of its own, which then counts.
  constexpr const char* kOwnFile = "chat_template.jinja";
  const Result<std::string> own = checkpoint.read_text(kOwnFile);
  if (!own && own.error().status != Status::kNotFound) return own.error();
  if (own) {
    const std::string own_file = checkpoint.path_of(kOwnFile);
    if (!text && own->find("bos_token") != std::string::npos) {
      return unsupported(own_file + ": the template writes bos_token, which is in " + file +
                         ", but " + text.error().message);
    }
    return ChatTemplate::from_jinja(*own, own_file, std::move(tokens));
  }
  if (!text) return text.error();
  const auto entry = JsonView(json, file).find("chat_template");
  if (!entry) return Error{Status::kNotFound, file + ": no chat_template"};
  const Result<std::string_view> jinja = default_template(*entry);
  if (!jinja) return unsupported(jinja.error().message);
  return ChatTemplate::from_jinja(*jinja, file, std::move(tokens));
}

}  // namespace pensee
