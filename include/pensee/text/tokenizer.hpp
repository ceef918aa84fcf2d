// Tokenizer: text to token ids and back, equal to Hugging Face's tokenizers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/text/added_tokens.hpp"
#include "pensee/text/bpe.hpp"
#include "pensee/text/byte_level.hpp"
#include "pensee/text/nfc.hpp"
#include "pensee/text/pre_tokenizer.hpp"
#include "pensee/text/token_table.hpp"
#include "pensee/text/tokenizer_gguf.hpp"
#include "pensee/text/tokenizer_json.hpp"
#include "pensee/text/tokenizer_parts.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

// A byte-level BPE tokenizer. Immutable: all functions may run on any thread at once. Moves, does
// not copy.
class Tokenizer {
 public:
  // Reads the text of a tokenizer.json; `file` names it in errors. kCorruptFile for what is
  // malformed or contradicts itself, kUnsupported (naming it) for what this class does not do:
  // normalisers but NFC, other models and pre-tokenizers, added tokens that depend on their
  // neighbours or are very long.
  static Result<Tokenizer> from_json(std::string_view json, const std::string& file) {
    PENSEE_ASSIGN_OR_RETURN(const JsonDocument parsed, parse_json(json, file));
    const JsonView root(parsed, file);
    PENSEE_ASSIGN_OR_RETURN(const JsonView model, root.at("model"));
    TokenizerParts parts;
    PENSEE_RETURN_IF_ERROR(read_bpe_settings(model, parts));
    PENSEE_RETURN_IF_ERROR(check_tokenizer_settings(root));
    PENSEE_RETURN_IF_ERROR(read_normalizer(root, parts));
    PENSEE_ASSIGN_OR_RETURN(const JsonView cuts, root.at("pre_tokenizer"));
    PENSEE_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::from_json(cuts));
    PENSEE_RETURN_IF_ERROR(read_vocabulary(root, parts));
    PENSEE_RETURN_IF_ERROR(check_normalized(file, parts));
    PENSEE_RETURN_IF_ERROR(read_merges(model, parts));
    PENSEE_RETURN_IF_ERROR(check_alphabet(file, parts));
    return Tokenizer(std::move(parts), std::move(pre_tokenizer));
  }

  // Reads the vocabulary in the metadata of a GGUF file, which is not needed afterwards. The same
  // errors; kUnsupported too for a pre-tokenizer whose name is not known. Precondition for success:
  // has_vocabulary(metadata).
  static Result<Tokenizer> from_gguf(const GgufMetadata& metadata) {
    PENSEE_ASSIGN_OR_RETURN(const GgufPreTokenizer cuts, read_pre_tokenizer(metadata));
    PENSEE_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer,
                            PreTokenizer::from_regexes(cuts.regexes, metadata.file()));
    TokenizerParts parts;
    parts.nfc = cuts.nfc;
    parts.ignore_merges = cuts.ignore_merges;
    PENSEE_RETURN_IF_ERROR(read_vocabulary(metadata, parts));
    PENSEE_RETURN_IF_ERROR(read_merges(metadata, parts));
    PENSEE_RETURN_IF_ERROR(check_alphabet(metadata.file(), parts));
    return Tokenizer(std::move(parts), std::move(pre_tokenizer));
  }

  // Of a model without vocabulary, which runs on token ids: no text but the empty one has tokens
  // (kUnsupported) and no token has text. Errors: kOutOfMemory.
  static Result<Tokenizer> without_vocabulary() {
    PENSEE_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::from_regexes({}, ""));
    return Tokenizer(TokenizerParts{}, std::move(pre_tokenizer));
  }

  Tokenizer(Tokenizer&&) = default;
  Tokenizer& operator=(Tokenizer&&) = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // The ids of a text in which added tokens such as <think> are written out; nothing is put
  // before or after it (add_special_tokens=False). Errors: kInvalidArgument for text that is not
  // UTF-8, naming the byte, or is too long (2 GiB); kUnsupported for text without a vocabulary;
  // kOutOfMemory; kInternal if a regex gives up on it.
  [[nodiscard]] Result<std::vector<int32_t>> encode(std::string_view text) const {
    PENSEE_RETURN_IF_ERROR(check_text(text));
    Scratch scratch;
    std::vector<int32_t> ids;
    PENSEE_RETURN_IF_ERROR(encode_between(text, 0, scratch, ids));
    return ids;
  }

  // The ids of text as users write it: never the id of an added token, whatever the text says.
  // Errors as encode().
  [[nodiscard]] Result<std::vector<int32_t>> encode_ordinary(std::string_view text) const {
    PENSEE_RETURN_IF_ERROR(check_text(text));
    Scratch scratch;
    std::vector<int32_t> ids;
    const std::optional<std::string> normalized = normalize(text);
    PENSEE_RETURN_IF_ERROR(encode_piecewise(normalized ? *normalized : text, scratch, ids));
    return ids;
  }

  // The bytes of one token, which need not be whole UTF-8; empty for an id that is not known. The
  // view lives as long as the tokenizer.
  [[nodiscard]] std::string_view token_bytes(int32_t id) const {
    return is_known(id) ? std::string_view(bytes_[static_cast<size_t>(id)]) : std::string_view{};
  }

  // The text of tokens: their bytes joined, with malformed UTF-8 replaced by U+FFFD (see
  // to_utf8). Unknown ids, and special tokens if asked for, are left out.
  [[nodiscard]] std::string decode(std::span<const int32_t> ids,  // (n_tokens)
                                   bool skip_special_tokens) const {
    std::string bytes;
    for (const int32_t id : ids) {
      if (!skip_special_tokens || !is_special(id)) bytes.append(token_bytes(id));
    }
    return to_utf8(bytes);
  }

  // The id of a token as the file writes it (added tokens in plain text, others in the byte-level
  // alphabet).
  [[nodiscard]] std::optional<int32_t> token_to_id(std::string_view token) const {
    const auto other = ids_of_others_.find(token);
    if (other != ids_of_others_.end()) return other->second;
    if (find_malformed_utf8(token)) return std::nullopt;
    const std::optional<std::string> bytes = from_byte_level(token);
    return bytes ? bpe_.words().find(*bytes) : std::nullopt;
  }

  // The number of tokens, added ones too; ids are below it. A model's own vocab_size may be
  // larger: the ids between have no token.
  [[nodiscard]] int32_t vocab_size() const { return static_cast<int32_t>(bytes_.size()); }

  // Whether the token is an added one, which encode_ordinary() never gives.
  [[nodiscard]] bool is_added(int32_t id) const {
    return is_known(id) && is_added_[static_cast<size_t>(id)];
  }

  // Whether the token is marked special in the file. Not all control tokens are: <think> is not.
  [[nodiscard]] bool is_special(int32_t id) const {
    return is_known(id) && special_[static_cast<size_t>(id)];
  }

 private:
  struct Scratch {
    PreTokenizerScratch pre_tokenizer;
    BpeScratch bpe;
  };

  Tokenizer(TokenizerParts parts, PreTokenizer pre_tokenizer)
      : pre_tokenizer_(std::move(pre_tokenizer)), bpe_(parts.byte_ids, std::move(parts.merges)) {
    const size_t n = parts.tokens.size();
    special_.resize(n);
    is_added_.resize(n);
    if (parts.nfc) nfc_.emplace();
    std::array<std::vector<std::pair<std::string, int32_t>>, 2> passes;
    for (AddedToken& token : parts.added) {
      is_added_[static_cast<size_t>(token.id)] = true;
      special_[static_cast<size_t>(token.id)] = token.special;
      passes[token.normalized ? 1 : 0].emplace_back(std::move(token.content), token.id);
    }
    for (size_t i = 0; i < passes.size(); ++i) added_[i] = AddedTokenMatcher(std::move(passes[i]));

    bytes_.reserve(n);
    TokenTable words;
    words.reserve(n);
    for (size_t i = 0; i < n; ++i) {
      const auto id = static_cast<int32_t>(i);
      const std::string_view token = parts.tokens[i];
      auto bytes = from_byte_level(token);
      const bool is_word = bytes && !is_added_[i];
      // As Hugging Face's decoder: a token with a character outside the alphabet is plain text.
      bytes_.push_back(bytes ? std::move(*bytes) : std::string(token));
      if (is_word) {
        words.insert(bytes_.back(), id);
      } else {
        ids_of_others_.emplace(token, id);
      }
    }
    bpe_.set_words(std::move(words), n, parts.ignore_merges);
  }

  [[nodiscard]] bool is_known(int32_t id) const { return id >= 0 && id < vocab_size(); }

  [[nodiscard]] Result<void> check_text(std::string_view text) const {
    if (bytes_.empty() && !text.empty()) {
      return unsupported("this model has no vocabulary: give it token ids");
    }
    if (const auto at = find_malformed_utf8(text)) {
      return invalid_argument("text to tokenize is not UTF-8 at byte " + std::to_string(*at));
    }
    return {};
  }

  // The text in normalisation form C if the tokenizer wants that and it is another text.
  [[nodiscard]] std::optional<std::string> normalize(std::string_view text) const {
    return nfc_ ? nfc_->normalize(text) : std::nullopt;
  }

  // Encodes with the added tokens of this pass and those after it.
  [[nodiscard]] Result<void> encode_between(std::string_view text, size_t pass, Scratch& scratch,
                                            std::vector<int32_t>& ids) const {
    if (pass == added_.size()) return encode_piecewise(text, scratch, ids);
    const std::optional<std::string> normalized = pass == 1 ? normalize(text) : std::nullopt;
    if (normalized) text = *normalized;
    for (size_t at = 0; at < text.size();) {
      const auto match = added_[pass].find(text, at);
      PENSEE_RETURN_IF_ERROR(
          encode_between(text.substr(at, match.begin - at), pass + 1, scratch, ids));
      if (match.end > match.begin) ids.push_back(match.id);
      at = match.end;
    }
    return {};
  }

  // Encodes text without added tokens.
  [[nodiscard]] Result<void> encode_piecewise(std::string_view text, Scratch& scratch,
                                              std::vector<int32_t>& ids) const {
    if (text.size() > INT32_MAX) return invalid_argument("text of 2 GiB or more to tokenize");
    PENSEE_RETURN_IF_ERROR(pre_tokenizer_.split(text, scratch.pre_tokenizer));
    for (const auto& piece : scratch.pre_tokenizer.pieces) {
      bpe_.encode(text.substr(piece.begin, piece.end - piece.begin), scratch.bpe, ids);
    }
    return {};
  }

  std::optional<Nfc> nfc_;
  PreTokenizer pre_tokenizer_;
  std::array<AddedTokenMatcher, 2> added_;  // looked for in this order: not normalised, normalised
  std::vector<std::string> bytes_;          // (vocab_size)
  std::vector<bool> is_added_;              // (vocab_size)
  std::vector<bool> special_;               // (vocab_size)
  // Added tokens, and those with characters outside the alphabet, as the file writes them.
  std::map<std::string, int32_t, std::less<>> ids_of_others_;
  Bpe bpe_;  // its words point into bytes_, which does not change after construction
};

}  // namespace pensee
