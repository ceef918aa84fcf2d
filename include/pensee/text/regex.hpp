// A compiled regular expression of a tokenizer.json, matching as Hugging Face's tokenizers do.
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "pensee/base/result.hpp"
#include "pensee/text/unicode_classes.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

// `text` with the code points of kUnicodeStandIns replaced, byte offsets unchanged; none if it has
// no such code point, which is nearly always. Precondition: text is UTF-8. Any thread.
[[nodiscard]] inline std::optional<std::string> with_unicode_stand_ins(std::string_view text) {
  // The shortest of them have three bytes in UTF-8 and so a lead byte of 0xE0 or more.
  static_assert(kUnicodeStandIns[0].first >= 0x800);
  std::optional<std::string> out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (static_cast<unsigned char>(text[i]) < 0xE0) continue;
    const Utf8Char c = read_utf8(text.substr(i));
    const auto range =
        std::lower_bound(kUnicodeStandIns.begin(), kUnicodeStandIns.end(), c.code_point,
                         [](const UnicodeStandIn& r, char32_t code) { return r.last < code; });
    if (range != kUnicodeStandIns.end() && range->first <= c.code_point) {
      if (!out) out = std::string(text);
      char32_t code = range->stand_in;
      for (size_t k = c.length - 1; k > 0; --k, code >>= 6) {
        (*out)[i + k] = static_cast<char>(0x80U | (code & 0x3FU));
      }
      (*out)[i] = static_cast<char>((c.length == 3 ? 0xE0U : 0xF0U) | code);
    }
    i += c.length - 1;
  }
  return out;
}

// What \s matches in the tokenizers' engine. PCRE2's own also takes U+180E, as Unicode once did.
inline constexpr const char* kRegexSpaces =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// The one pattern of known tokenizers (DeepSeek's older ones) with an anchor.
inline constexpr std::string_view kSpaceAtLineEnd = R"(\s+$)";

// Why a pattern cannot be taken over: the tokenizers' engine (Oniguruma) and PCRE2 read it
// differently, or may. None if it is of the common part, which all known tokenizers keep to.
[[nodiscard]] inline std::optional<std::string> find_unportable_syntax(std::string_view pattern) {
  constexpr std::string_view kEscapes = "pPsSrntfdD";  // of letters and digits
  if (pattern == kSpaceAtLineEnd) return std::nullopt;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const std::string_view rest = pattern.substr(i);
    const auto two = std::string(rest.substr(0, 2));
    if (c == '\\') {
      const char next = rest.size() > 1 ? rest[1] : ' ';  // a lone one is PCRE2's to refuse
      const bool word = (next >= '0' && next <= '9') || (next >= 'a' && next <= 'z') ||
                        (next >= 'A' && next <= 'Z');
      if (word && kEscapes.find(next) == kEscapes.npos) return two;
      if (in_class && next == 'S') return two + " in a class";
      ++i;
      // The braces of \p{L} are no repetition.
      const bool named = (next == 'p' || next == 'P') && rest.substr(2).starts_with('{');
      if (named) i += std::min(rest.size(), rest.find('}')) - 1;
    } else if (in_class) {
      if (c == '[' || rest.starts_with("&&")) return "\"" + two + "\" in a class";
      in_class = c != ']';
    } else if (c == '[') {
      in_class = true;
      if (rest.starts_with("[^]") || rest.starts_with("[]")) return "\"]\" first in a class";
      if (rest.starts_with("[^")) ++i;
    } else if (c == '^' || c == '$' || rest.starts_with("{,") || rest.starts_with("}+") ||
               rest.starts_with("(*")) {
      return two;
    } else if (rest.starts_with("(?") && !rest.starts_with("(?:") && !rest.starts_with("(?=") &&
               !rest.starts_with("(?!") && !rest.starts_with("(?i:")) {
      return std::string(rest.substr(0, 3));
    }
  }
  return std::nullopt;
}

// A pattern for PCRE2 that matches what `pattern` matches in the tokenizers' engine. Precondition:
// !find_unportable_syntax(pattern).
[[nodiscard]] inline std::string translate_regex(std::string_view pattern) {
  const std::string spaces = kRegexSpaces;
  // Such a match begins where white space begins. To try all other places too would take
  // quadratic time in long runs of it.
  if (pattern == kSpaceAtLineEnd) return "(?<![" + spaces + "])[" + spaces + R"(]+(?=\n|\z))";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view two = pattern.substr(i, 2);
    if (two == "\\s") {
      out += in_class ? spaces : "[" + spaces + "]";
    } else if (two == "\\S") {
      out += "[^" + spaces + "]";
    } else if (two[0] == '\\') {
      out += two;
    } else {
      if (two[0] == '[') in_class = true;
      if (two[0] == ']') in_class = false;
      out += two[0];
      continue;
    }
    ++i;
  }
  return out;
}

// The state of matching on one thread, for any number of patterns and texts.
class RegexScratch {
 public:
  RegexScratch() : data_(pcre2_match_data_create(1, nullptr)), context_(make_context()) {}

  [[nodiscard]] bool ok() const { return data_ != nullptr && context_ != nullptr; }
  [[nodiscard]] pcre2_match_data* data() const { return data_.get(); }
  [[nodiscard]] pcre2_match_context* context() const { return context_.get(); }

  // Bounds the steps of the next search, anew for each place where a match may begin. PCRE2's
  // default could be met by an honest text of many megabytes; a higher one for all texts would let
  // a hostile pattern work for seconds at each byte of a short one.
  void limit_steps(size_t text_bytes) const {
    constexpr uint64_t kDefault = 10'000'000;
    constexpr uint64_t kStepsOfByte = 64;
    constexpr uint64_t kMost = 1'000'000'000;
    const uint64_t limit = std::min(kDefault + kStepsOfByte * uint64_t{text_bytes}, kMost);
    pcre2_set_match_limit(context_.get(), static_cast<uint32_t>(limit));
  }

 private:
  // The default would be 20 GB. Patterns of tokenizers take next to none; what backtracks into
  // repeated groups takes hundreds of bytes for each byte of the text.
  static constexpr uint32_t kHeapKib = 256 * 1024;

  static pcre2_match_context* make_context() {
    pcre2_match_context* context = pcre2_match_context_create(nullptr);
    if (context != nullptr) pcre2_set_heap_limit(context, kHeapKib);
    return context;
  }
  struct Free {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  };
  std::unique_ptr<pcre2_match_data, Free> data_;
  std::unique_ptr<pcre2_match_context, Free> context_;
};

// Immutable; find() may run on any thread with its own scratch.
class Regex {
 public:
  // `where` begins the message of an error: kCorruptFile for a malformed pattern, kUnsupported for
  // one that PCRE2 would read otherwise or that can match the empty string, kOutOfMemory.
  static Result<Regex> compile(std::string_view pattern, const std::string& where) {
    if (const auto odd = find_unportable_syntax(pattern)) {
      return unsupported(where + ": regex syntax not supported: " + *odd);
    }
    const std::string translated = translate_regex(pattern);
    int code = 0;
    PCRE2_SIZE offset = 0;
    Regex regex;
    regex.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                    translated.size(), PCRE2_UTF | PCRE2_UCP, &code, &offset,
                                    nullptr));
    if (code == PCRE2_ERROR_HEAP_FAILED) {
      return Error{Status::kOutOfMemory, where + ": no memory to compile the regex"};
    }
    if (regex.code_ == nullptr) {
      std::array<PCRE2_UCHAR, 128> message{};
      pcre2_get_error_message(code, message.data(), message.size());
      return corrupt_file(where +
                          ": malformed regex: " + reinterpret_cast<const char*>(message.data()));
    }
    for (const char* property : {"\\p", "\\P", "\\d", "\\D"}) {
      if (pattern.find(property) != pattern.npos) regex.uses_properties_ = true;
    }
    uint32_t matches_empty = 0;
    pcre2_pattern_info(regex.code_.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty != 0) return unsupported(where + ": regex can match the empty string");
    // Without a just-in-time compiler pcre2_match() interprets the pattern: same matches, slower.
    static_cast<void>(pcre2_jit_compile(regex.code_.get(), PCRE2_JIT_COMPLETE));
    return regex;
  }

  // Whether the pattern asks for properties of Unicode: then its texts need stand-ins. Others must
  // see the text as it is, for the ranges that they list.
  [[nodiscard]] bool uses_properties() const { return uses_properties_; }

  // A match of bytes [begin, end), or begin == end if there is none.
  struct Match {
    size_t begin;
    size_t end;
  };

  // The first match at or after byte `start`. Lookarounds see all of `text` and nothing else.
  // Errors: kOutOfMemory; kInternal if it would take too many steps or too much memory.
  // Preconditions: text is UTF-8, start is at a character or the end, scratch.ok().
  [[nodiscard]] Result<Match> find(std::string_view text, size_t start,
                                   const RegexScratch& scratch) const {
    const auto run = [&](uint32_t options) {
      return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start,
                         PCRE2_NO_UTF_CHECK | options, scratch.data(), scratch.context());
    };
    scratch.limit_steps(text.size());
    int found = run(0);
    // Compiled matchers have a small stack; the interpreter uses the heap.
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = run(PCRE2_NO_JIT);
    if (found == PCRE2_ERROR_NOMATCH) return Match{text.size(), text.size()};
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(scratch.data());
    if (found == PCRE2_ERROR_NOMEMORY) {
      return Error{Status::kOutOfMemory, "no memory to match a regex of the tokenizer"};
    }
    if (found < 0 || range[0] < start || range[1] <= range[0]) {
      return Error{Status::kInternal,
                   "a regex of the tokenizer failed to match, PCRE2 code " + std::to_string(found)};
    }
    return Match{range[0], range[1]};
  }

 private:
  Regex() = default;
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  bool uses_properties_ = false;
};

}  // namespace pensee
