// Cuts text into the pieces within which bytes may merge into tokens.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/text/regex.hpp"

namespace pensee {

// What the step Digits cuts out. It is not made of regexes in the tokenizers, and counts the digits
// of Unicode 17.
inline constexpr std::string_view kDigit = "[\\p{N}\U00011DE0-\U00011DE9\U00016FF4-\U00016FF6]";

// Buffers of PreTokenizer::split, kept between texts by one thread.
struct PreTokenizerScratch {
  struct Piece {  // bytes [begin, end) of the text
    size_t begin;
    size_t end;
  };
  RegexScratch regex;
  std::vector<Piece> pieces;  // the result
  std::vector<Piece> before;
};

// A list of regexes, applied one after the other, each to every piece that the ones before it
// left; matches become pieces and so does what stands between them. Immutable; split() may run on
// any thread with its own scratch.
class PreTokenizer {
 public:
  // Reads `pre_tokenizer` of a tokenizer.json: a ByteLevel without a regex or prefix space of its
  // own, or a Sequence of Splits (Regex, Isolated, not inverted) and Digits that ends in one.
  // kUnsupported for anything else, naming what was found; kCorruptFile for missing or mistyped
  // fields.
  static Result<PreTokenizer> from_json(const JsonView& json) {
    PreTokenizer result;
    if (json.is_null()) return unsupported(json.where() + ": none, only byte-level is supported");
    PENSEE_ASSIGN_OR_RETURN(const std::string type, type_of(json));
    if (type == "ByteLevel") {
      PENSEE_RETURN_IF_ERROR(check_byte_level(json));
      return result;
    }
    if (type != "Sequence") return unsupported_type(json, type);
    PENSEE_ASSIGN_OR_RETURN(const JsonView list, json.at("pretokenizers"));
    PENSEE_RETURN_IF_ERROR(list.expect_array());
    if (list.size() == 0) return unsupported(list.where() + ": no ByteLevel at the end");
    for (size_t i = 0; i < list.size(); ++i) {
      PENSEE_ASSIGN_OR_RETURN(const std::string step, type_of(list[i]));
      const bool is_last = i + 1 == list.size();
      if (is_last && step == "ByteLevel") {
        PENSEE_RETURN_IF_ERROR(check_byte_level(list[i]));
      } else if (!is_last && (step == "Split" || step == "Digits")) {
        PENSEE_ASSIGN_OR_RETURN(Regex regex,
                                step == "Split" ? read_split(list[i]) : read_digits(list[i]));
        result.splits_.push_back(std::move(regex));
      } else {
        return unsupported_type(list[i], step);
      }
    }
    return result;
  }

  // The same of regexes alone. `where` begins messages; errors as Regex::compile.
  static Result<PreTokenizer> from_regexes(std::span<const std::string_view> patterns,
                                           const std::string& where) {
    PreTokenizer result;
    for (const std::string_view pattern : patterns) {
      PENSEE_ASSIGN_OR_RETURN(Regex regex, Regex::compile(pattern, where));
      result.splits_.push_back(std::move(regex));
    }
    return result;
  }

  // Cuts `text` into scratch.pieces, in order, none empty. Precondition: text is UTF-8.
  [[nodiscard]] Result<void> split(std::string_view text, PreTokenizerScratch& scratch) const {
    if (!scratch.regex.ok()) return Error{Status::kOutOfMemory, "no memory for the tokenizer"};
    const std::optional<std::string> replaced = with_unicode_stand_ins(text);
    scratch.pieces.clear();
    if (!text.empty()) scratch.pieces.push_back({0, text.size()});
    for (const Regex& regex : splits_) {
      const std::string_view seen = replaced && regex.uses_properties() ? *replaced : text;
      scratch.pieces.swap(scratch.before);
      scratch.pieces.clear();
      for (const auto& piece : scratch.before) {
        PENSEE_RETURN_IF_ERROR(split_piece(regex, seen, piece, scratch));
      }
    }
    return {};
  }

 private:
  using Piece = PreTokenizerScratch::Piece;

  static Result<void> split_piece(const Regex& regex, std::string_view text, Piece piece,
                                  PreTokenizerScratch& scratch) {
    const std::string_view part = text.substr(piece.begin, piece.end - piece.begin);
    for (size_t at = 0; at < part.size();) {
      PENSEE_ASSIGN_OR_RETURN(const Regex::Match match, regex.find(part, at, scratch.regex));
      if (match.begin > at) {
        scratch.pieces.push_back({piece.begin + at, piece.begin + match.begin});
      }
      if (match.end > match.begin) {
        scratch.pieces.push_back({piece.begin + match.begin, piece.begin + match.end});
      }
      at = match.end;
    }
    return {};
  }

  static Result<std::string> type_of(const JsonView& json) {
    PENSEE_ASSIGN_OR_RETURN(const JsonView type, json.at("type"));
    PENSEE_ASSIGN_OR_RETURN(const std::string_view name, type.as_string());
    return std::string(name);
  }
  static Error unsupported_type(const JsonView& json, const std::string& type) {
    return unsupported(
        json.where() + ": type \"" + printable(type) +
        "\" is not supported here, only Splits and Digits followed by one ByteLevel");
  }
  // An error unless `key` is `wanted`; an absent key counts as `otherwise`.
  static Result<void> expect_bool(const JsonView& json, const char* key, bool wanted,
                                  bool otherwise) {
    bool value = otherwise;
    if (const auto field = json.find(key)) {
      PENSEE_ASSIGN_OR_RETURN(value, field->as_bool());
    }
    if (value == wanted) return {};
    return unsupported(json.where() + ": " + key + " = " + (value ? "true" : "false") +
                       " is not supported");
  }
  static Result<void> check_byte_level(const JsonView& json) {
    PENSEE_RETURN_IF_ERROR(expect_bool(json, "add_prefix_space", false, true));
    return expect_bool(json, "use_regex", false, true);
  }
  static Result<Regex> read_split(const JsonView& json) {
    PENSEE_RETURN_IF_ERROR(expect_bool(json, "invert", false, false));
    PENSEE_ASSIGN_OR_RETURN(const JsonView behavior, json.at("behavior"));
    PENSEE_ASSIGN_OR_RETURN(const std::string_view behavior_name, behavior.as_string());
    if (behavior_name != "Isolated") {
      return unsupported(behavior.where() + ": " + behavior.found() +
                         " is not supported, only \"Isolated\"");
    }
    PENSEE_ASSIGN_OR_RETURN(const JsonView pattern, json.at("pattern"));
    if (pattern.contains("String")) {
      return unsupported(pattern.where() + ": String is not supported, only Regex");
    }
    PENSEE_ASSIGN_OR_RETURN(const JsonView regex, pattern.at("Regex"));
    PENSEE_ASSIGN_OR_RETURN(const std::string_view text, regex.as_string());
    return Regex::compile(text, regex.where());
  }

  static Result<Regex> read_digits(const JsonView& json) {
    bool individual = false;  // what the format says of an absent field
    if (const auto field = json.find("individual_digits")) {
      PENSEE_ASSIGN_OR_RETURN(individual, field->as_bool());
    }
    return Regex::compile(std::string(kDigit) + (individual ? "" : "+"), json.where());
  }

  std::vector<Regex> splits_;
};

}  // namespace pensee
