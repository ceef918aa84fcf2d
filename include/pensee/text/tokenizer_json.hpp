// Reads and checks the parts of a Hugging Face tokenizer.json.
#pragma once

#include <array>
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
#include "pensee/text/bpe.hpp"
#include "pensee/text/byte_level.hpp"

namespace pensee {

// Token strings as written in the file to ids. The strings belong to the Json read from.
using TokenIds = std::unordered_map<std::string_view, int32_t>;

// What a tokenizer.json says, checked: ids are 0 .. tokens.size() - 1, each once.
struct TokenizerParts {
  std::vector<std::string_view> tokens;  // (vocab_size), as written in the file
  TokenIds ids;
  std::vector<AddedToken> added;
  std::array<int32_t, 256> byte_ids{};  // the token of each single byte
  std::vector<Merge> merges;
};

// Bounds what an id in a file may be; the largest vocabularies in use have some 260,000 tokens.
inline constexpr int32_t kMaxVocabSize = 1 << 24;

// An error unless the file's settings outside the vocabulary are those of plain byte-level BPE.
// kUnsupported names what was found.
[[nodiscard]] inline Result<void> check_tokenizer_settings(const JsonView& root) {
  for (const char* key : {"truncation", "padding"}) {
    if (const auto field = root.find(key)) {
      return unsupported(field->where() + ": not supported, expected null");
    }
  }
  if (const auto normalizer = root.find("normalizer")) {
    PENSEE_ASSIGN_OR_RETURN(const JsonView type, normalizer->at("type"));
    PENSEE_ASSIGN_OR_RETURN(const std::string_view name, type.as_string());
    const auto steps = normalizer->find("normalizers");
    const bool does_nothing = name == "Sequence" && steps && steps->is_array() && !steps->size();
    if (!does_nothing) {
      const bool of_steps = name == "Sequence" && steps && steps->is_array();
      const auto first = of_steps ? (*steps)[0].find("type") : std::nullopt;
      return unsupported(normalizer->where() + ": " + (first ? *first : type).found() +
                         " is not supported");
    }
  }
  const auto decoder = root.find("decoder");
  const auto decoder_type = decoder ? decoder->find("type") : std::nullopt;
  if (!decoder_type || decoder_type->json() != "ByteLevel") {
    return unsupported(root.where() +
                       ": decoder: " + (decoder_type ? decoder_type->found() : "none") +
                       " is not supported, only \"ByteLevel\"");
  }
  return {};
}

// The same for the settings of `model`.
[[nodiscard]] inline Result<void> check_bpe_settings(const JsonView& model) {
  if (const auto type = model.find("type"); type && type->json() != "BPE") {
    return unsupported(type->where() + ": " + type->found() + " is not supported, only \"BPE\"");
  }
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto field = model.find(key);
    if (field && field->json() != "" && field->json() != 0.0) {
      return unsupported(field->where() + ": " + field->found() + " is not supported");
    }
  }
  for (const char* key : {"byte_fallback", "ignore_merges"}) {
    bool value = false;
    if (const auto field = model.find(key)) {
      PENSEE_ASSIGN_OR_RETURN(value, field->as_bool());
    }
    if (value) return unsupported(model.where() + "." + key + ": true is not supported");
  }
  return {};  // unk_token does not matter: every byte has a token
}

// Reads one entry of `added_tokens`. The flags that make a token depend on its neighbours are
// refused: none of the supported families sets them.
[[nodiscard]] inline Result<AddedToken> read_added_token(const JsonView& json) {
  AddedToken token;
  PENSEE_ASSIGN_OR_RETURN(const JsonView id, json.at("id"));
  PENSEE_ASSIGN_OR_RETURN(const int64_t id_value, id.as_int(0, kMaxVocabSize - 1));
  token.id = static_cast<int32_t>(id_value);
  PENSEE_ASSIGN_OR_RETURN(const JsonView content, json.at("content"));
  PENSEE_ASSIGN_OR_RETURN(const std::string_view text, content.as_string());
  if (text.empty()) return corrupt_file(content.where() + ": empty");
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
  for (const auto& [id, token] : entries) parts.ids.emplace(token, id);

  if (const auto list = root.find("added_tokens")) {
    PENSEE_RETURN_IF_ERROR(list->expect_array());
    std::unordered_map<std::string_view, int32_t> seen;
    for (size_t i = 0; i < list->size(); ++i) {
      PENSEE_ASSIGN_OR_RETURN(AddedToken token, read_added_token((*list)[i]));
      const std::string_view content = (*list)[i].json()["content"].get_ref<const std::string&>();
      if (!seen.emplace(content, token.id).second) {
        return corrupt_file((*list)[i].where() + ": \"" + printable(content) + "\" is added twice");
      }
      const auto [known, is_new] = parts.ids.emplace(content, token.id);
      if (known->second != token.id) {
        return corrupt_file((*list)[i].where() + ": id " + std::to_string(token.id) + " of \"" +
                            printable(content) + "\" is " + std::to_string(known->second) +
                            " in model.vocab");
      }
      if (is_new) entries.emplace_back(token.id, content);
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

// Reads `model.merges`, each "left right" or ["left", "right"].
[[nodiscard]] inline Result<void> read_merges(const JsonView& model, TokenizerParts& parts) {
  PENSEE_ASSIGN_OR_RETURN(const JsonView list, model.at("merges"));
  PENSEE_RETURN_IF_ERROR(list.expect_array());
  parts.merges.reserve(list.size());
  std::string joined;
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& entry = list.json()[i];
    const auto fail = [&](const std::string& why) { return corrupt_file(list[i].where() + why); };
    std::string_view left;
    std::string_view right;
    if (entry.is_string()) {
      const std::string_view both = entry.get_ref<const std::string&>();
      const size_t space = both.find(' ');
      if (space == both.npos || both.find(' ', space + 1) != both.npos) {
        return fail(": \"" + printable(both) + "\" is not two tokens with one space between");
      }
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
               entry[1].is_string()) {
      left = entry[0].get_ref<const std::string&>();
      right = entry[1].get_ref<const std::string&>();
    } else {
      return fail(": expected \"left right\" or two strings, found " + list[i].found());
    }
    joined.assign(left).append(right);
    Merge merge{};
    for (const auto& [token, id] : {std::pair<std::string_view, int32_t*>{left, &merge.left},
                                    {right, &merge.right},
                                    {joined, &merge.result}}) {
      const auto known = parts.ids.find(token);
      if (known == parts.ids.end()) {
        return fail(": \"" + printable(token) + "\" is not in the vocabulary");
      }
      *id = known->second;
    }
    parts.merges.push_back(merge);
  }
  return {};
}

// Finds the token of each byte, and sees to it that bytes and merges never make an added token:
// so ordinary text cannot turn into one.
[[nodiscard]] inline Result<void> check_alphabet(const std::string& file, TokenizerParts& parts) {
  std::vector<bool> is_added(parts.tokens.size());
  for (const AddedToken& token : parts.added) is_added[static_cast<size_t>(token.id)] = true;
  const auto refuse = [&](int32_t id) {
    return unsupported(file + ": added token \"" +
                       printable(parts.tokens[static_cast<size_t>(id)]) +
                       "\" can also be made of ordinary text by model.vocab and model.merges");
  };
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string character = byte_level_character(static_cast<unsigned char>(byte));
    const auto known = parts.ids.find(character);
    if (known == parts.ids.end()) {
      return corrupt_file(file + ": model.vocab: no token for byte " + std::to_string(byte) +
                          " (\"" + character + "\")");
    }
    parts.byte_ids[byte] = known->second;
    if (is_added[static_cast<size_t>(known->second)]) return refuse(known->second);
  }
  for (const Merge& merge : parts.merges) {
    if (is_added[static_cast<size_t>(merge.result)]) return refuse(merge.result);
  }
  return {};
}

}  // namespace pensee
