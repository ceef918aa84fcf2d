// What a tokenizer is made of, whichever file it comes from, and what holds for all of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/text/added_tokens.hpp"
#include "pensee/text/bpe.hpp"
#include "pensee/text/byte_level.hpp"
#include "pensee/text/token_table.hpp"

namespace pensee {

// The parts of a byte-level BPE tokenizer, checked: ids are 0 .. tokens.size() - 1, each once.
struct TokenizerParts {
  std::vector<std::string_view> tokens;  // (vocab_size), as written in the file
  TokenTable ids;                        // of the same texts
  std::vector<AddedToken> added;
  std::array<int32_t, 256> byte_ids{};  // the token of each byte that occurs in UTF-8
  std::vector<Merge> merges;
  bool nfc = false;            // text is put into normalisation form C first
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
};

// Bounds what an id in a file may be; the largest vocabularies in use have some 260,000 tokens.
inline constexpr int32_t kMaxVocabSize = 1 << 24;

// Bytes of an added token, at most: so many may be compared at every byte of a text. The longest
// one of the supported families has 33.
inline constexpr size_t kMaxAddedToken = 256;

// kUnsupported for an added token that is longer; `where` begins the message.
[[nodiscard]] inline Result<void> check_added_length(const std::string& where,
                                                     std::string_view content) {
  if (content.size() <= kMaxAddedToken) return {};
  return unsupported(where + ": expected an added token of at most " +
                     std::to_string(kMaxAddedToken) + " bytes, found " +
                     std::to_string(content.size()));
}

// "left right" as two; none if there is not one space between two tokens.
[[nodiscard]] inline std::optional<std::pair<std::string_view, std::string_view>> split_merge(
    std::string_view both) {
  const size_t space = both.find(' ');
  if (space == 0 || space == both.npos || space + 1 == both.size() ||
      both.find(' ', space + 1) != both.npos) {
    return std::nullopt;
  }
  return std::pair(both.substr(0, space), both.substr(space + 1));
}

// Appends the rule that makes one token of two. kCorruptFile if one of the three is not in the
// vocabulary; `where()` begins the message. `joined` is a buffer.
template <class Where>
[[nodiscard]] Result<void> add_merge(std::string_view left, std::string_view right,
                                     const Where& where, std::string& joined,
                                     TokenizerParts& parts) {
  joined.assign(left).append(right);
  Merge merge{};
  for (const auto& [token, id] : {std::pair<std::string_view, int32_t*>{left, &merge.left},
                                  {right, &merge.right},
                                  {joined, &merge.result}}) {
    const auto known = parts.ids.find(token);
    if (!known) {
      return corrupt_file(where() + ": \"" + printable(token) + "\" is not in the vocabulary");
    }
    *id = *known;
  }
  parts.merges.push_back(merge);
  return {};
}

// Whether the byte occurs in UTF-8 text.
[[nodiscard]] constexpr bool is_utf8_byte(unsigned byte) noexcept {
  return byte < 0xC0 || (byte >= 0xC2 && byte <= 0xF4);
}

// Finds the token of each byte, and sees to it that bytes and merges never make an added token:
// so ordinary text cannot turn into one. (Some of DeepSeek's vocabularies have no bytes that UTF-8
// has not, and add the characters that would stand for them as tokens.)
[[nodiscard]] inline Result<void> check_alphabet(const std::string& file, TokenizerParts& parts) {
  std::vector<bool> is_added(parts.tokens.size());
  for (const AddedToken& token : parts.added) is_added[static_cast<size_t>(token.id)] = true;
  const auto refuse = [&](int32_t id) {
    return unsupported(file + ": added token \"" +
                       printable(parts.tokens[static_cast<size_t>(id)]) +
                       "\" can also be made of ordinary text by the vocabulary and the merges");
  };
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (!is_utf8_byte(byte)) continue;
    const std::string character = byte_level_character(static_cast<unsigned char>(byte));
    const auto known = parts.ids.find(character);
    if (!known) {
      return corrupt_file(file + ": the vocabulary has no token for byte " + std::to_string(byte) +
                          " (\"" + character + "\")");
    }
    parts.byte_ids[byte] = *known;
    if (is_added[static_cast<size_t>(*known)]) return refuse(*known);
  }
  for (const Merge& merge : parts.merges) {
    if (is_added[static_cast<size_t>(merge.result)]) return refuse(merge.result);
  }
  return {};
}

}  // namespace pensee
