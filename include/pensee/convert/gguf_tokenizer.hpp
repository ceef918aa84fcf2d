// The tokenizer of a Hugging Face checkpoint as GGUF files have it: tokenizer_gguf.hpp reads it
// back.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/decode/generation_config.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/gguf_header.hpp"
#include "pensee/io/gguf_token_ids.hpp"
#include "pensee/model/config.hpp"
#include "pensee/text/chat_template.hpp"
#include "pensee/text/pre_tokenizer.hpp"
#include "pensee/text/tokenizer_gguf.hpp"
#include "pensee/text/tokenizer_json.hpp"
#include "pensee/text/tokenizer_parts.hpp"

namespace pensee {

namespace gguf_tokenizer_detail {

using gguf_detail::TokenType;

// A regex as it is written with \r and \n for the characters.
inline std::string escaped(std::string_view regex) {
  std::string out;
  for (const char c : regex) {
    if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

// The steps of `pre_tokenizer`, but for the last, which is ByteLevel. Refuses what tokenizer.json
// is refused for where it is loaded, and settings that regexes do not tell.
inline Result<std::vector<std::string>> read_regexes(const JsonView& root) {
  PENSEE_ASSIGN_OR_RETURN(const JsonView pre, root.at("pre_tokenizer"));
  PENSEE_RETURN_IF_ERROR(PreTokenizer::from_json(pre));
  std::vector<std::string> regexes;
  PENSEE_ASSIGN_OR_RETURN(const JsonView kind, pre.at("type"));
  if (kind.is("ByteLevel")) return regexes;
  PENSEE_ASSIGN_OR_RETURN(const JsonView list, pre.at("pretokenizers"));
  for (size_t i = 0; i + 1 < list.size(); ++i) {
    PENSEE_ASSIGN_OR_RETURN(const JsonView type, list[i].at("type"));
    if (type.is("Digits")) {
      const auto individual = list[i].find("individual_digits");
      if (!individual || !individual->json().get<bool>()) {
        return unsupported(list[i].where() +
                           ": individual_digits: expected true, no GGUF file has digits together");
      }
      regexes.emplace_back(kDigit);
      continue;
    }
    PENSEE_ASSIGN_OR_RETURN(const JsonView pattern, list[i].at("pattern"));
    PENSEE_ASSIGN_OR_RETURN(const JsonView regex, pattern.at("Regex"));
    PENSEE_ASSIGN_OR_RETURN(const std::string_view text, regex.as_string());
    regexes.push_back(escaped(text));
  }
  return regexes;
}

// The name that GGUF files give this pre-tokenizer.
inline Result<std::string> pre_tokenizer_name(const JsonView& root, const TokenizerParts& parts) {
  PENSEE_ASSIGN_OR_RETURN(const std::vector<std::string> regexes, read_regexes(root));
  // DeepSeek's distills of Qwen have Qwen's vocabulary with DeepSeek's control words.
  const bool is_deepseek = parts.ids.contains("<｜User｜>");
  for (const GgufPreTokenizer& known : gguf_detail::kPreTokenizers) {
    const bool is_same = known.regexes.size() == regexes.size() && known.nfc == parts.nfc &&
                         known.ignore_merges == parts.ignore_merges;
    bool matches = is_same;
    for (size_t i = 0; is_same && i < regexes.size(); ++i) {
      matches = matches && escaped(known.regexes[i]) == regexes[i];
    }
    if (!matches) continue;
    if (std::string_view(known.name) == "deepseek-r1-qwen" && !is_deepseek) continue;
    return std::string(known.name);
  }
  return unsupported(root.where() + ": pre_tokenizer: no GGUF file has this one");
}

// Whether llama.cpp's converter takes a word for a control word, whatever tokenizer.json says: so
// that it is never made from a user's text.
inline bool looks_like_control(std::string_view token) {
  return (token.starts_with("<|") && token.ends_with("|>")) ||
         (token.starts_with("<｜") && token.ends_with("｜>"));
}

// The content of a token in tokenizer_config.json, a string or an object.
inline std::optional<std::string_view> token_content(const JsonView& config, const char* key) {
  auto entry = config.find(key);
  if (entry && !entry->is_string()) entry = entry->find("content");
  if (!entry || !entry->is_string()) return std::nullopt;
  return entry->json().get_ref<const std::string&>();
}

inline Result<void> set_vocabulary(const JsonView& root, const Config& config, GgufHeader& header,
                                   TokenizerParts& parts) {
  PENSEE_RETURN_IF_ERROR(check_tokenizer_settings(root));
  PENSEE_RETURN_IF_ERROR(read_normalizer(root, parts));
  PENSEE_ASSIGN_OR_RETURN(const JsonView model, root.at("model"));
  PENSEE_RETURN_IF_ERROR(read_bpe_settings(model, parts));
  PENSEE_RETURN_IF_ERROR(read_vocabulary(root, parts));
  PENSEE_RETURN_IF_ERROR(check_normalized(root.where(), parts));
  PENSEE_RETURN_IF_ERROR(read_merges(model, parts));
  PENSEE_RETURN_IF_ERROR(check_alphabet(root.where(), parts));
  PENSEE_ASSIGN_OR_RETURN(const std::string pre, pre_tokenizer_name(root, parts));
  const auto size = static_cast<size_t>(config.vocab_size);
  if (parts.tokens.size() > size) {
    return corrupt_file(root.where() + ": expected at most " + std::to_string(size) +
                        " tokens (vocab_size), found " + std::to_string(parts.tokens.size()));
  }
  std::vector<std::string> tokens(parts.tokens.begin(), parts.tokens.end());
  std::vector<int32_t> types(tokens.size(), static_cast<int32_t>(TokenType::kNormal));
  for (const AddedToken& token : parts.added) {
    const bool is_control = token.special || looks_like_control(token.content);
    types[static_cast<size_t>(token.id)] =
        static_cast<int32_t>(is_control ? TokenType::kControl : TokenType::kUserDefined);
  }
  while (tokens.size() < size) {
    tokens.push_back("[PAD" + std::to_string(tokens.size()) + "]");
    types.push_back(static_cast<int32_t>(TokenType::kUnused));
  }
  std::vector<std::string> merges;
  merges.reserve(parts.merges.size());
  for (const Merge& merge : parts.merges) {
    merges.push_back(std::string(parts.tokens[static_cast<size_t>(merge.left)]) + " " +
                     std::string(parts.tokens[static_cast<size_t>(merge.right)]));
  }
  header.set("tokenizer.ggml.model", "gpt2");
  header.set("tokenizer.ggml.pre", pre);
  header.set_strings("tokenizer.ggml.tokens", std::span<const std::string>(tokens));
  header.set("tokenizer.ggml.token_type", std::span<const int32_t>(types));
  header.set_strings("tokenizer.ggml.merges", std::span<const std::string>(merges));
  return {};
}

// What generation_config.json or else config.json say ends a text, first what the tokenizer says.
inline Result<std::vector<int32_t>> end_tokens(const Checkpoint& checkpoint, const Config& config,
                                               std::optional<int32_t> tokenizers) {
  std::vector<int32_t> ends;
  if (tokenizers) ends.push_back(*tokenizers);
  PENSEE_ASSIGN_OR_RETURN(const GenerationConfig advice,
                          read_generation_config(checkpoint, config.vocab_size));
  for (const int32_t id : advice.eos_token_id.value_or(config.eos_token_id)) {
    if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  }
  return ends;
}

// The chat template: in a file of its own in newer checkpoints, which then counts. Without one that
// can be used, the new file is for ready prompts, as the checkpoint is.
inline Result<void> set_template(const Checkpoint& checkpoint, const JsonView& config,
                                 GgufHeader& header) {
  constexpr const char* kKey = "tokenizer.chat_template";
  const Result<std::string> jinja = checkpoint.read_text("chat_template.jinja");
  if (!jinja && jinja.error().status != Status::kNotFound) return jinja.error();
  if (jinja) {
    header.set(kKey, *jinja);
  } else if (const auto entry = config.find("chat_template")) {
    if (const auto text = default_template(*entry)) header.set(kKey, *text);
  }
  return {};
}

}  // namespace gguf_tokenizer_detail

// Sets the keys of the tokenizer and of the chat template; a checkpoint without tokenizer.json has
// no vocabulary. Errors: those of reading the files and of Tokenizer::from_json; kUnsupported for a
// pre-tokenizer that GGUF files have no name for.
[[nodiscard]] inline Result<void> set_tokenizer_keys(const Checkpoint& checkpoint,
                                                     const Config& config, GgufHeader& header) {
  namespace detail = gguf_tokenizer_detail;
  constexpr const char* kFile = "tokenizer.json";
  const Result<std::string> text = checkpoint.read_text(kFile);
  if (!text && text.error().status == Status::kNotFound) {
    header.set("tokenizer.ggml.model", "no_vocab");
    return {};
  }
  if (!text) return text.error();
  const std::string path = checkpoint.path_of(kFile);
  PENSEE_ASSIGN_OR_RETURN(const JsonDocument json, parse_json(*text, path));
  TokenizerParts parts;
  PENSEE_RETURN_IF_ERROR(detail::set_vocabulary(JsonView(json, path), config, header, parts));

  constexpr const char* kConfigName = "tokenizer_config.json";
  const Result<std::string> config_text = checkpoint.read_text(kConfigName);
  JsonDocument config_json(Json::object());
  if (config_text) {
    PENSEE_ASSIGN_OR_RETURN(config_json, parse_json(*config_text, checkpoint.path_of(kConfigName)));
  } else if (config_text.error().status != Status::kNotFound) {
    return config_text.error();
  }
  const JsonView settings(config_json, checkpoint.path_of(kConfigName));
  const auto id_of = [&](const char* key) -> std::optional<int32_t> {
    const auto content = detail::token_content(settings, key);
    return content ? parts.ids.find(*content) : std::nullopt;
  };
  auto bos = id_of("bos_token");
  if (!bos) bos = config.bos_token_id;
  if (bos) header.set("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(*bos));
  PENSEE_ASSIGN_OR_RETURN(const std::vector<int32_t> ends,
                          detail::end_tokens(checkpoint, config, id_of("eos_token")));
  for (size_t i = 0; i < std::min(ends.size(), kGgufEndKeys.size()); ++i) {
    header.set(kGgufEndKeys[i], static_cast<uint32_t>(ends[i]));
  }
  if (const auto padding = id_of("pad_token")) {
    header.set("tokenizer.ggml.padding_token_id", static_cast<uint32_t>(*padding));
  }
  for (const auto& [name, key] : {std::pair{"add_bos_token", "tokenizer.ggml.add_bos_token"},
                                  {"add_eos_token", "tokenizer.ggml.add_eos_token"}}) {
    const auto value = settings.find(name);
    if (value && value->json().is_boolean()) header.set(key, value->json().get<bool>());
  }
  return detail::set_template(checkpoint, settings, header);
}

}  // namespace pensee
