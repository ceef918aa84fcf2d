// Takes the text of a Jinja template apart into tokens, as transformers' settings have it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/text/jinja_text.hpp"

namespace pensee {

struct JinjaToken {
  // kText: outside the tags. kBegin, kEnd: of {% %}, with text "%", or of {{ }}, with text "{".
  enum class Kind { kText, kBegin, kEnd, kName, kInteger, kString, kOperator, kEndOfFile };
  Kind kind = Kind::kEndOfFile;
  std::string text;  // of a string: its value
  int64_t number = 0;
  size_t at = 0;  // byte of the template, whose line ends count as one byte
};

// Jinja's lexer with trim_blocks and lstrip_blocks on. Time and memory are linear in the text.
class JinjaLexer {
 public:
  // The tokens; the last is kEndOfFile. kCorruptFile for what is not closed or no token,
  // kUnsupported for tokens that no chat template needs: floating-point numbers, names that are
  // long or not ASCII, \N{...} in strings. Messages name `file`, and the byte.
  static Result<std::vector<JinjaToken>> tokens(std::string_view text, const std::string& file) {
    JinjaLexer lexer(text, file);
    while (lexer.at_ < lexer.text_.size()) PENSEE_RETURN_IF_ERROR(lexer.next());
    lexer.add(JinjaToken::Kind::kEndOfFile, "", lexer.at_);
    return std::move(lexer.tokens_);
  }

 private:
  using Kind = JinjaToken::Kind;

  // Line ends become \n, and one at the end of the text is dropped.
  JinjaLexer(std::string_view text, const std::string& file) : file_(file) {
    text_.reserve(text.size());
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
      text_.push_back(text[i] == '\r' ? '\n' : text[i]);
    }
    if (text_.ends_with('\n')) text_.pop_back();
  }

  [[nodiscard]] std::string_view rest(size_t i) const { return std::string_view(text_).substr(i); }
  [[nodiscard]] char byte(size_t i) const { return i < text_.size() ? text_[i] : '\0'; }

  void add(Kind kind, std::string text, size_t at, int64_t number = 0) {
    tokens_.push_back({kind, std::move(text), number, at});
  }

  [[nodiscard]] Error malformed(const std::string& what, size_t at) const {
    return corrupt_file(file_ + ": chat template: " + what + " at byte " + std::to_string(at));
  }
  [[nodiscard]] Error unknown(const std::string& what, size_t at) const {
    return unsupported(what + " at byte " + std::to_string(at));
  }

  // Reads the text up to the next tag or comment, and that.
  Result<void> next() {
    size_t open = at_;
    while ((open = text_.find('{', open)) != text_.npos) {
      const char second = byte(open + 1);
      if (second == '%' || second == '{' || second == '#') break;
      ++open;
    }
    if (open == text_.npos) {
      add(Kind::kText, text_.substr(at_), at_);
      at_ = text_.size();
      return {};
    }
    const char control = byte(open + 2);
    const bool has_control = control == '-' || control == '+';
    const bool is_print = text_[open + 1] == '{';
    std::string_view literal = std::string_view(text_).substr(at_, open - at_);
    if (control == '-') {
      literal.remove_suffix(trailing_spaces(literal));
    } else if (control != '+' && !is_print) {
      literal.remove_suffix(indentation(literal));
    }
    if (!literal.empty()) add(Kind::kText, std::string(literal), at_);
    at_ = open + (has_control ? 3 : 2);
    return text_[open + 1] == '#' ? skip_comment(open) : read_tag(open, is_print);
  }

  // What lstrip_blocks takes away: the white space between the line's start and a tag.
  [[nodiscard]] size_t indentation(std::string_view literal) const {
    const size_t line = literal.find_last_of('\n') + 1;
    if (line == 0 && !starts_line_) return 0;
    const std::string_view last = literal.substr(line);
    return leading_spaces(last) == last.size() ? last.size() : 0;
  }

  // Moves to byte `close`, over `n` bytes and what white space control takes away there.
  void leave(size_t close, size_t n, bool strips, bool trims) {
    at_ = close + n;
    if (strips) {
      at_ += leading_spaces(rest(at_));
    } else if (trims && byte(at_) == '\n') {
      ++at_;
    }
    starts_line_ = text_[at_ - 1] == '\n';
  }

  Result<void> skip_comment(size_t open) {
    const size_t close = text_.find("#}", at_);
    if (close == text_.npos) return malformed("a comment that is not closed", open);
    const char control = close > at_ ? text_[close - 1] : ' ';
    leave(close, 2, control == '-', control != '+');
    return {};
  }

  Result<void> read_tag(size_t open, bool is_print) {
    add(Kind::kBegin, is_print ? "{" : "%", open);
    const std::string_view close = is_print ? "}}" : "%}";
    std::string brackets;
    for (;;) {
      at_ += leading_spaces(rest(at_));
      if (at_ >= text_.size()) return malformed("a tag that is not closed", open);
      const char control = text_[at_];
      const bool has_control = control == '-' || (control == '+' && !is_print);
      if (brackets.empty() && rest(at_ + (has_control ? 1 : 0)).starts_with(close)) {
        add(Kind::kEnd, is_print ? "{" : "%", at_);
        leave(at_, has_control ? 3 : 2, control == '-', control != '+' && !is_print);
        return {};
      }
      PENSEE_RETURN_IF_ERROR(read_token(brackets));
    }
  }

  Result<void> read_token(std::string& brackets) {
    const auto in = [](char c, char first, char last) { return c >= first && c <= last; };
    const auto is_name = [&](char c) {
      return in(c, 'a', 'z') || in(c, 'A', 'Z') || in(c, '0', '9') || c == '_';
    };
    const size_t begin = at_;
    const char c = text_[at_];
    if (c == '\'' || c == '"') return read_string();
    if (is_name(c)) {
      while (is_name(byte(at_))) ++at_;
      const std::string word = text_.substr(begin, at_ - begin);
      if (!in(c, '0', '9')) {
        if (word.size() > kMaxName) return unknown("a name this long", begin);
        return add(Kind::kName, word, begin), Result<void>();
      }
      const bool plain = word.find_first_not_of("0123456789") == word.npos;
      const bool fraction = byte(at_) == '.' && in(byte(at_ + 1), '0', '9');
      if (!plain || fraction || word.size() > kMaxDigits || (word.size() > 1 && c == '0')) {
        return unknown("the number " + printable(word), begin);
      }
      return add(Kind::kInteger, word, begin, std::stoll(word)), Result<void>();
    }
    return read_operator(brackets);
  }

  Result<void> read_operator(std::string& brackets) {
    const std::string_view two = rest(at_).substr(0, 2);
    for (const std::string_view word : {"//", "**", "==", "!=", ">=", "<="}) {
      if (two != word) continue;
      add(Kind::kOperator, std::string(word), at_);
      at_ += 2;
      return {};
    }
    const char c = text_[at_];
    if (static_cast<unsigned char>(c) >= 0x80) return unknown("a name that is not ASCII", at_);
    if (std::string_view("+-*/%~[](){}<>=.:|,;").find(c) == std::string_view::npos) {
      return malformed("the character " + printable(std::string(1, c)), at_);
    }
    if (c == '(' || c == '[' || c == '{') brackets.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (!brackets.ends_with(c)) return malformed(std::string("an unexpected ") + c, at_);
      brackets.pop_back();
    }
    add(Kind::kOperator, std::string(1, c), at_++);
    return {};
  }

  // A string in the quotes that stand at at_, with Python's escapes.
  Result<void> read_string() {
    const size_t begin = at_;
    const char quote = text_[at_++];
    std::string value;
    while (byte(at_) != quote || at_ >= text_.size()) {
      if (at_ >= text_.size()) return malformed("a string that is not closed", begin);
      if (text_[at_] != '\\') {
        value.push_back(text_[at_++]);
      } else {
        PENSEE_RETURN_IF_ERROR(read_escape(value));
      }
    }
    ++at_;
    add(Kind::kString, std::move(value), begin);
    return {};
  }

  Result<void> read_escape(std::string& value) {
    static constexpr std::string_view kNames = "\n\\'\"abfnrtv";
    static constexpr std::array<std::string_view, kNames.size()> kValues = {
        "", "\\", "'", "\"", "\a", "\b", "\f", "\n", "\r", "\t", "\v"};
    const size_t begin = at_;
    const char name = byte(at_ + 1);
    at_ += 2;
    if (const size_t i = kNames.find(name); i != kNames.npos) {
      value.append(kValues[i]);
      return {};
    }
    if (name >= '0' && name <= '7') {
      --at_;
      return read_code_point(value, begin, 1, 3, 8);
    }
    if (name == 'x') return read_code_point(value, begin, 2, 2, 16);
    if (name == 'u') return read_code_point(value, begin, 4, 4, 16);
    if (name == 'U') return read_code_point(value, begin, 8, 8, 16);
    if (name == 'N') return unknown("\\N in a string", begin);
    value.append(text_, begin, 2);  // Python keeps what it does not know
    return {};
  }

  Result<void> read_code_point(std::string& value, size_t begin, int least, int most, int base) {
    char32_t code_point = 0;
    int n = 0;
    for (; n < most; ++n, ++at_) {
      const char c = byte(at_);
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : 99;
      if (digit >= base) break;
      code_point = code_point * static_cast<char32_t>(base) + static_cast<char32_t>(digit);
    }
    const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
    if (n < least || surrogate || code_point > 0x10FFFF) {
      return malformed("an escape that is no character", begin);
    }
    append_code_point(code_point, value);
    return {};
  }

  static void append_code_point(char32_t c, std::string& out) {
    if (c < 0x80) {
      out.push_back(static_cast<char>(c));
      return;
    }
    const int tail = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;  // bytes after the first
    out.push_back(static_cast<char>((0xFF00U >> (tail + 1) & 0xFFU) | c >> (6 * tail)));
    for (int i = tail - 1; i >= 0; --i) {
      out.push_back(static_cast<char>(0x80U | (c >> (6 * i) & 0x3FU)));
    }
  }

  static constexpr size_t kMaxDigits = 18;  // any such number is an int64_t
  static constexpr size_t kMaxName = 128;   // names are compared and copied as if they cost nothing

  std::string text_;
  const std::string& file_;
  size_t at_ = 0;
  bool starts_line_ = true;
  std::vector<JinjaToken> tokens_;
};

}  // namespace pensee
