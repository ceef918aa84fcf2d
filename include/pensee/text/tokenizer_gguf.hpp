// Reads the vocabulary of a GGUF file's metadata.
#pragma once

#include <array>
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
#include "pensee/io/gguf_metadata.hpp"
#include "pensee/text/pre_tokenizer.hpp"
#include "pensee/text/tokenizer_parts.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

// Files name their pre-tokenizer; what the name means is as in the family's tokenizer.json.
struct GgufPreTokenizer {
  const char* name;
  std::span<const std::string_view> regexes;
  bool nfc;
  bool ignore_merges;
};

namespace gguf_detail {

inline constexpr std::array<std::string_view, 1> kQwenRegexes = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"};
inline constexpr std::array<std::string_view, 1> kLlama3Regexes = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"};
inline constexpr std::array<std::string_view, 3> kDeepseekV3Regexes = {
    R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
// clang-format off
inline constexpr std::array<std::string_view, 6> kDeepseekLlmRegexes = {
    R"([\r\n])",
    R"(\s?[)"
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽ"
    "ᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-"
    "Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-"
    "ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
    "]+",
    R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", kSpaceAtLineEnd, "[一-龥ࠀ-一가-퟿]+", kDigit};
// clang-format on
inline constexpr std::array<std::string_view, 5> kDeepseekCoderRegexes = {
    R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", "[一-龥ࠀ-一가-퟿]+", kDigit};

inline constexpr std::array<GgufPreTokenizer, 8> kPreTokenizers = {{
    {"deepseek-v3", kDeepseekV3Regexes, false, false},
    {"deepseek-llm", kDeepseekLlmRegexes, false, false},
    {"deepseek-coder", kDeepseekCoderRegexes, false, false},
    {"deepseek-r1-qwen", kQwenRegexes, true, false},
    {"qwen2", kQwenRegexes, true, false},
    {"llama-bpe", kLlama3Regexes, false, true},
    {"llama-v3", kLlama3Regexes, false, true},
    {"llama3", kLlama3Regexes, false, true},
}};

// `tokenizer.ggml.token_type` of a token.
enum class TokenType : int64_t {
  kUndefined = 0,  // what llama.cpp writes for one whose type it does not know: taken as normal
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// A number in the message of an error about an element of an array.
inline std::string element(const GgufValue& value, size_t i) {
  return value.where() + "[" + std::to_string(i) + "]";
}

}  // namespace gguf_detail

// Whether the file has a vocabulary. One without runs on token ids.
[[nodiscard]] inline bool has_vocabulary(const GgufMetadata& metadata) {
  const auto model = metadata.find("tokenizer.ggml.model");
  if (!model) return false;
  const auto name = model->as_string();
  return !name || *name != "no_vocab";
}

// Finds the file's pre-tokenizer. kUnsupported, naming those that are known, for another one, and
// for a file of before there were names.
[[nodiscard]] inline Result<GgufPreTokenizer> read_pre_tokenizer(const GgufMetadata& metadata) {
  PENSEE_ASSIGN_OR_RETURN(const GgufValue model, metadata.at("tokenizer.ggml.model"));
  PENSEE_ASSIGN_OR_RETURN(const std::string_view model_name, model.as_string());
  if (model_name != "gpt2") {
    return unsupported(model.where() + ": " + model.found() +
                       " is not supported, only \"gpt2\" (byte-level BPE)");
  }
  constexpr const char* kKey = "tokenizer.ggml.pre";
  const auto pre = metadata.find(kKey);
  if (!pre) {
    return unsupported(metadata.file() + ": " + kKey +
                       ": missing, as in files of before May 2024; what pre-tokenizer the model "
                       "has is not known, convert it anew");
  }
  PENSEE_ASSIGN_OR_RETURN(const std::string_view name, pre->as_string());
  std::string known;
  for (const GgufPreTokenizer& one : gguf_detail::kPreTokenizers) {
    if (name == one.name) return one;
    known += std::string(known.empty() ? "" : ", ") + one.name;
  }
  return unsupported(pre->where() + ": unknown pre-tokenizer " + pre->found() + "; known are " +
                     known);
}

// Reads `tokens` and `token_type` into tokens, ids and added. Control tokens become added tokens
// that are special, those of users added tokens that are not.
[[nodiscard]] inline Result<void> read_vocabulary(const GgufMetadata& metadata,
                                                  TokenizerParts& parts) {
  using gguf_detail::TokenType;
  PENSEE_ASSIGN_OR_RETURN(const GgufValue list, metadata.at("tokenizer.ggml.tokens"));
  PENSEE_ASSIGN_OR_RETURN(const GgufValue type_list, metadata.at("tokenizer.ggml.token_type"));
  if (list.size() > kMaxVocabSize) {
    return list.expected("at most " + std::to_string(kMaxVocabSize) + " tokens");
  }
  if (type_list.size() != list.size()) {
    return type_list.expected("one for each of the " + std::to_string(list.size()) + " tokens");
  }
  PENSEE_ASSIGN_OR_RETURN(parts.tokens, list.as_strings());
  PENSEE_ASSIGN_OR_RETURN(const std::vector<int64_t> types,
                          type_list.as_ints(static_cast<int64_t>(TokenType::kUndefined),
                                            static_cast<int64_t>(TokenType::kByte)));
  parts.ids.reserve(parts.tokens.size());
  for (size_t i = 0; i < parts.tokens.size(); ++i) {
    const std::string_view token = parts.tokens[i];
    const auto where = [&] { return gguf_detail::element(list, i); };
    if (token.empty()) return corrupt_file(where() + ": expected a token, found an empty one");
    if (find_malformed_utf8(token)) return corrupt_file(where() + ": not UTF-8");
    const int32_t known = parts.ids.insert(token, static_cast<int32_t>(i));
    if (static_cast<size_t>(known) != i) {
      return corrupt_file(where() + ": \"" + printable(token) + "\" is also token " +
                          std::to_string(known));
    }
    const auto type = static_cast<TokenType>(types[i]);
    if (type == TokenType::kByte) {
      return unsupported(gguf_detail::element(type_list, i) +
                         ": byte tokens are not supported in byte-level BPE");
    }
    // How llama.cpp's converter fills holes; older ones give these the type of users' tokens.
    const auto is_filler = [&] { return token == "[PAD" + std::to_string(i) + "]"; };
    if (type == TokenType::kUndefined || type == TokenType::kNormal || type == TokenType::kUnused ||
        is_filler()) {
      continue;
    }
    PENSEE_RETURN_IF_ERROR(check_added_length(where(), token));
    AddedToken added;
    added.id = static_cast<int32_t>(i);
    added.content = token;
    added.special = type != TokenType::kUserDefined;
    parts.added.push_back(std::move(added));
  }
  return {};
}

// Reads `merges`, each "left right".
[[nodiscard]] inline Result<void> read_merges(const GgufMetadata& metadata, TokenizerParts& parts) {
  PENSEE_ASSIGN_OR_RETURN(const GgufValue list, metadata.at("tokenizer.ggml.merges"));
  PENSEE_ASSIGN_OR_RETURN(const std::vector<std::string_view> merges, list.as_strings());
  parts.merges.reserve(merges.size());
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto where = [&] { return gguf_detail::element(list, i); };
    const auto merge = split_merge(merges[i]);
    if (!merge) {
      return corrupt_file(where() + ": \"" + printable(merges[i]) +
                          "\" is not two tokens with one space between");
    }
    PENSEE_RETURN_IF_ERROR(add_merge(merge->first, merge->second, where, joined, parts));
  }
  return {};
}

}  // namespace pensee
