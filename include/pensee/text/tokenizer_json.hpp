// Reads and checks the parts of a Hugging Face tokenizer.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/text/added_tokens.hpp"
#include "pensee/text/nfc.hpp"
#include "pensee/text/tokenizer_parts.hpp"

namespace pensee {

// Reads `normalizer`: none, NFC, or a Sequence of NFC or nothing. kUnsupported names what was
// found.
[[nodiscard]] inline Result<void> read_normalizer(const JsonView& root, TokenizerParts& parts) {
  const auto normalizer = root.find("normalizer");
  if (!normalizer) return {};
  std::vector<JsonView> steps = {*normalizer};
  PENSEE_ASSIGN_OR_RETURN(const JsonView type, normalizer->at("type"));
  if (type.is("Sequence")) {
    PENSEE_ASSIGN_OR_RETURN(const JsonView list, normalizer->at("normalizers"));
    PENSEE_RETURN_IF_ERROR(list.expect_array());
    steps.clear();
    for (size_t i = 0; i < list.size(); ++i) steps.push_back(list[i]);
  }
  for (const JsonView& step : steps) {
    PENSEE_ASSIGN_OR_RETURN(const JsonView name, step.at("type"));
    if (!name.is("NFC")) {
      return unsupported(name.where() + ": " + name.found() + " is not supported, only \"NFC\"");
    }
    parts.nfc = true;
  }
  return {};
}

// An error unless the file's settings outside the vocabulary are those of plain byte-level BPE.
// kUnsupported names what was found. What a post-processor puts around a text is no matter here,
// nor are `truncation` and `padding`: files saved after training have them, and transformers resets
// both at each call unless it is asked for them.
[[nodiscard]] inline Result<void> check_tokenizer_settings(const JsonView& root) {
  const auto decoder = root.find("decoder");
  const auto decoder_type = decoder ? decoder->find("type") : std::nullopt;
  if (!decoder_type || !decoder_type->is("ByteLevel")) {
    return unsupported(root.where() +
                       ": decoder: " + (decoder_type ? decoder_type->found() : "none") +
                       " is not supported, only \"ByteLevel\"");
  }
  return {};
}

// Reads the settings of `model`; the same errors.
[[nodiscard]] inline Result<void> read_bpe_settings(const JsonView& model, TokenizerParts& parts) {
  if (const auto type = model.find("type"); type && !type->is("BPE")) {
    return unsupported(type->where() + ": " + type->found() + " is not supported, only \"BPE\"");
  }
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto field = model.find(key);
    if (field && !field->is("") && field->json() != 0.0) {
      return unsupported(field->where() + ": " + field->found() + " is not supported");
    }
  }
  if (const auto field = model.find("byte_fallback")) {
    PENSEE_ASSIGN_OR_RETURN(const bool value, field->as_bool());
    if (value) return unsupported(field->where() + ": true is not supported");
  }
  if (const auto field = model.find("ignore_merges")) {
    PENSEE_ASSIGN_OR_RETURN(parts.ignore_merges, field->as_bool());
  }
  return {};  // unk_token does not matter: every byte has a token
}

// Reads one entry of `added_tokens`. Refused are the flags that make a token depend on its
// neighbours, which none of the supported families sets, and very long tokens.
[[nodiscard]] inline Result<AddedToken> read_added_token(const JsonView& json) {
  AddedToken token;
  PENSEE_ASSIGN_OR_RETURN(const JsonView id, json.at("id"));
  PENSEE_ASSIGN_OR_RETURN(const int64_t id_value, id.as_int(0, kMaxVocabSize - 1));
  token.id = static_cast<int32_t>(id_value);
  PENSEE_ASSIGN_OR_RETURN(const JsonView content, json.at("content"));
  PENSEE_ASSIGN_OR_RETURN(const std::string_view text, content.as_string());
  if (text.empty()) return corrupt_file(content.where() + ": empty");
  PENSEE_RETURN_IF_ERROR(check_added_length(content.where(), text));
  token.content = text;
  PENSEE_ASSIGN_OR_RETURN(const JsonView special, json.at("special"));
  PENSEE_ASSIGN_OR_RETURN(token.special, special.as_bool());
  token.normalized = !token.special;  // what the format says of an absent field
  if (const auto field = json.find("normalized")) {
    PENSEE_ASSIGN_OR_RETURN(token.normalized, field->as_bool());
  }
  for (const char* key : {"single_word", "lstrip", "rstrip"}) {
    bool value = false;
    if (const auto field = json.find(key)) {
      PENSEE_ASSIGN_OR_RETURN(value, field->as_bool());
    }
    if (value) {
      return unsupported(json.where() + ": " + key + " = true of \"" + printable(text) +
                         "\" is not supported");
    }
  }
  return token;
}

// Reads `model.vocab` (token -> id) and `added_tokens` into tokens, ids and added.
[[nodiscard]] inline Result<void> read_vocabulary(const JsonView& root, TokenizerParts& parts) {
  PENSEE_ASSIGN_OR_RETURN(const JsonView model, root.at("model"));
  PENSEE_ASSIGN_OR_RETURN(const JsonView vocab, model.at("vocab"));
  PENSEE_RETURN_IF_ERROR(vocab.expect_object());
  const std::string file = root.where();
  std::vector<std::pair<int32_t, std::string_view>> entries;
  entries.reserve(vocab.size());
  for (const auto& [token, id] : vocab.json().items()) {
    const auto checked = JsonView(id, file).as_int(0, kMaxVocabSize - 1);
    if (!checked) {
      return corrupt_file(vocab.where() + ": id of \"" + printable(token) + "\": expected 0 to " +
                          std::to_string(kMaxVocabSize - 1) + ", found " +
                          JsonView(id, file).found());
    }
    entries.emplace_back(static_cast<int32_t>(*checked), token);
  }
  parts.ids.reserve(entries.size());
  for (const auto& [id, token] : entries) parts.ids.insert(token, id);

  if (const auto list = root.find("added_tokens")) {
    PENSEE_RETURN_IF_ERROR(list->expect_array());
    std::unordered_map<std::string_view, int32_t> seen;
    for (size_t i = 0; i < list->size(); ++i) {
      PENSEE_ASSIGN_OR_RETURN(AddedToken token, read_added_token((*list)[i]));
      const std::string_view content = (*list)[i].json()["content"].get_ref<const std::string&>();
      if (!seen.emplace(content, token.id).second) {
        return corrupt_file((*list)[i].where() + ": \"" + printable(content) + "\" is added twice");
      }
      const size_t before = parts.ids.size();
      const int32_t known = parts.ids.insert(content, token.id);
      if (known != token.id) {
        return corrupt_file((*list)[i].where() + ": id " + std::to_string(token.id) + " of \"" +
                            printable(content) + "\" is " + std::to_string(known) +
                            " in model.vocab");
      }
      if (parts.ids.size() > before) entries.emplace_back(token.id, content);
      parts.added.push_back(std::move(token));
    }
  }

  parts.tokens.resize(entries.size());
  std::vector<bool> taken(entries.size());
  for (const auto& [id, token] : entries) {
    const auto i = static_cast<size_t>(id);
    if (i >= entries.size()) {
      return corrupt_file(file + ": id " + std::to_string(id) + " of \"" + printable(token) +
                          "\" is beyond the " + std::to_string(entries.size()) +
                          " tokens, so another id has none");
    }
    if (taken[i]) {
      return corrupt_file(file + ": id " + std::to_string(id) + " belongs to both \"" +
                          printable(parts.tokens[i]) + "\" and \"" + printable(token) + "\"");
    }
    taken[i] = true;
    parts.tokens[i] = token;
  }
  return {};
}

// Added tokens that are looked for in normalised text must be such text: there is no other way to
// find them, and Hugging Face's tokenizers change them.
[[nodiscard]] inline Result<void> check_normalized(const std::string& file,
                                                   const TokenizerParts& parts) {
  if (!parts.nfc) return {};
  const Nfc nfc;
  for (const AddedToken& token : parts.added) {
    if (!token.normalized || !nfc.normalize(token.content)) continue;
    return unsupported(file + ": added token \"" + printable(token.content) +
                       "\", which shall be normalized, is not in normalization form C");
  }
  return {};
}

// Reads `model.merges`, each "left right" or ["left", "right"].
[[nodiscard]] inline Result<void> read_merges(const JsonView& model, TokenizerParts& parts) {
  PENSEE_ASSIGN_OR_RETURN(const JsonView list, model.at("merges"));
  PENSEE_RETURN_IF_ERROR(list.expect_array());
  parts.merges.reserve(list.size());
  std::string joined;
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& entry = list.json()[i];
    const auto where = [&] { return list[i].where(); };
    if (entry.is_string()) {
      const std::string_view both = entry.get_ref<const std::string&>();
      const auto merge = split_merge(both);
      if (!merge) {
        return corrupt_file(where() + ": \"" + printable(both) +
                            "\" is not two tokens with one space between");
      }
      PENSEE_RETURN_IF_ERROR(add_merge(merge->first, merge->second, where, joined, parts));
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
               entry[1].is_string()) {
      PENSEE_RETURN_IF_ERROR(add_merge(entry[0].get_ref<const std::string&>(),
                                       entry[1].get_ref<const std::string&>(), where, joined,
                                       parts));
    } else {
      return corrupt_file(where() + ": expected \"left right\" or two strings, found " +
                          list[i].found());
    }
  }
  return {};
}

}  // namespace pensee
