// Patterns of JSON schemas: regular expressions (ECMA-262) as grammars of JSON strings.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/decode/hex_digits.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

namespace json_pattern_detail {

// Characters, as ranges.
class Characters {
 public:
  using Range = std::pair<char32_t, char32_t>;  // both ends are of it
  static constexpr char32_t kLast = 0x10FFFF;

  void add(char32_t first, char32_t last) { ranges_.emplace_back(first, last); }
  void add(const Characters& other) {
    ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  }
  [[nodiscard]] bool has(char32_t c) const {
    return std::any_of(ranges_.begin(), ranges_.end(),
                       [&](const Range& r) { return r.first <= c && c <= r.second; });
  }
  [[nodiscard]] Characters inverted() const {
    std::vector<Range> sorted = ranges_;
    std::sort(sorted.begin(), sorted.end());
    Characters others;
    char32_t next = 0;
    for (const auto& [first, last] : sorted) {
      if (first > next) others.add(next, first - 1);
      next = std::max<char32_t>(next, last + 1);
    }
    if (next <= kLast) others.add(next, kLast);
    return others;
  }

  // Those that a JSON string has as they are, and those that it has behind a backslash, in the
  // notation of parse_grammar(); "" if none is left. Control characters without a letter of their
  // own are left out.
  [[nodiscard]] std::string written() const {
    Characters special;  // what does not stand as it is
    special.ranges_ = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}, {0xD800, 0xDFFF}};
    special.add(inverted());
    std::string plain;
    for (const auto& [first, last] : special.inverted().ranges_) {
      std::array<char, 32> range{};
      std::snprintf(range.data(), range.size(), "\\U%08X-\\U%08X", static_cast<unsigned>(first),
                    static_cast<unsigned>(last));
      plain += range.data();
    }
    std::string escaped;
    static constexpr std::pair<char32_t, const char*> kEscapes[] = {
        {'"', "\\\""}, {'\\', "\\\\"}, {'\b', "b"}, {'\f', "f"},
        {'\n', "n"},   {'\r', "r"},    {'\t', "t"}};
    for (const auto& [c, letter] : kEscapes) {
      if (has(c)) escaped += letter;
    }
    std::string all = plain.empty() ? "" : "[" + plain + "]";
    if (escaped.empty()) return all;
    return "(" + all + (all.empty() ? "" : " | ") + R"("\\" [)" + escaped + "])";
  }

 private:
  std::vector<Range> ranges_;
};

// Reads a pattern by recursive descent, and writes it as an expression of a grammar.
class Parser {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern) {}

  // The alternatives that end with the string, and those after which anything may come.
  struct Found {
    std::string to_end;
    std::string open;
  };
  Result<Found> parse() {
    Found found;
    do {
      const bool from_start = take("^");
      PENSEE_ASSIGN_OR_RETURN(const std::string terms, sequence(0));
      std::string& out = take("$") ? found.to_end : found.open;
      out += (out.empty() ? "" : " | ") + std::string(from_start ? "" : "char* ") + terms;
    } while (take("|"));
    if (at_ < pattern_.size()) return expected("the end");
    return found;
  }

 private:
  static constexpr int kMostNested = 50;

  [[nodiscard]] Error expected(const std::string& what) const {
    return invalid_argument("pattern: expected " + what + at());
  }
  [[nodiscard]] Error unknown(std::string_view what) const {
    return unsupported("pattern: " + printable(what) + at() + " is not supported");
  }
  [[nodiscard]] std::string at() const { return " at byte " + std::to_string(at_); }
  [[nodiscard]] char peek() const { return at_ < pattern_.size() ? pattern_[at_] : '\0'; }
  [[nodiscard]] bool is_at_sign_of_repetition() const {
    return peek() == '*' || peek() == '+' || peek() == '?';
  }
  bool take(std::string_view text) {
    if (!pattern_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }

  Result<std::string> alternatives(int depth) {
    std::string out;
    do {
      PENSEE_ASSIGN_OR_RETURN(const std::string terms, sequence(depth));
      out += (out.empty() ? "" : " | ") + terms;
    } while (take("|"));
    return out;
  }

  Result<std::string> sequence(int depth) {
    std::string out = R"("")";
    while (at_ < pattern_.size()) {
      const char c = peek();
      if (c == '|' || c == ')') break;
      const std::string_view rest = pattern_.substr(at_);
      if (depth == 0 && (rest == "$" || rest.starts_with("$|"))) break;
      if (c == '^' || c == '$') return unknown(pattern_.substr(at_, 1));
      PENSEE_ASSIGN_OR_RETURN(const std::string one, atom(depth));
      PENSEE_ASSIGN_OR_RETURN(const std::string times, quantifier());
      out += " " + one + times;
    }
    return out;
  }

  Result<std::string> atom(int depth) {
    if (take("(")) return group(depth);
    if (peek() == '{' || peek() == '}') return unknown(pattern_.substr(at_, 1));
    if (is_at_sign_of_repetition()) return expected("something to repeat");
    Characters characters;
    if (take("[")) {
      PENSEE_ASSIGN_OR_RETURN(characters, in_brackets());
    } else if (take(".")) {
      Characters ends;
      ends.add('\n', '\n');
      ends.add('\r', '\r');
      ends.add(0x2028, 0x2029);
      characters = ends.inverted();
    } else {
      PENSEE_ASSIGN_OR_RETURN(characters, one_or_kind());
    }
    std::string written = characters.written();
    if (written.empty()) return unsupported("pattern: no character that is written" + at());
    return written;
  }

  Result<std::string> group(int depth) {
    if (depth == kMostNested) return expected("fewer groups in one another");
    if (take("?<")) {
      if (peek() == '=' || peek() == '!') return unknown("(?<" + std::string(1, peek()));
      const size_t end = pattern_.find('>', at_);
      if (end == pattern_.npos) return expected("> behind the name of a group");
      at_ = end + 1;
    } else if (!take("?:") && peek() == '?') {
      return unknown("(" + std::string(pattern_.substr(at_, 2)));
    }
    PENSEE_ASSIGN_OR_RETURN(const std::string inside, alternatives(depth + 1));
    if (!take(")")) return expected(")");
    return "(" + inside + ")";
  }

  // "", "*", "+", "?" or "{m,n}". That one is lazy makes no difference to what is described.
  Result<std::string> quantifier() {
    std::string times;
    if (take("{")) {
      PENSEE_ASSIGN_OR_RETURN(const int64_t least, count());
      std::string most = take(",") ? "," : "";
      if (most.empty()) {
        most = "," + std::to_string(least);
      } else if (peek() != '}') {
        PENSEE_ASSIGN_OR_RETURN(const int64_t n, count());
        if (n < least) return expected("at least " + std::to_string(least) + " times before");
        most += std::to_string(n);
      }
      if (!take("}")) return unknown("{ without }");
      times = "{" + std::to_string(least) + most + "}";
    } else if (is_at_sign_of_repetition()) {
      times = pattern_[at_++];
    }
    if (!times.empty()) take("?");
    return times;
  }

  Result<int64_t> count() {
    constexpr int64_t kMost = 100000;
    int64_t n = 0;
    const size_t begin = at_;
    for (; peek() >= '0' && peek() <= '9'; ++at_) n = std::min(kMost + 1, 10 * n + (peek() - '0'));
    if (at_ == begin) return unknown("{ without a number");
    if (n > kMost) return expected("at most " + std::to_string(kMost) + " times before");
    return n;
  }

  Result<Characters> in_brackets() {
    const bool is_inverted = take("^");
    Characters found;
    while (!take("]")) {
      if (at_ >= pattern_.size()) return expected("]");
      PENSEE_ASSIGN_OR_RETURN(const Characters first, one_or_kind());
      const bool is_range = peek() == '-' && at_ + 1 < pattern_.size() && pattern_[at_ + 1] != ']';
      if (!is_range) {
        found.add(first);
        continue;
      }
      const char32_t from = last_one_;
      ++at_;
      PENSEE_ASSIGN_OR_RETURN(const Characters second, one_or_kind());
      if (from == kKind || last_one_ == kKind) {  // as browsers have it
        found.add(first);
        found.add('-', '-');
        found.add(second);
      } else if (last_one_ < from) {
        return expected("a range");
      } else {
        found.add(from, last_one_);
      }
    }
    return is_inverted ? found.inverted() : found;
  }

  // A character, or a kind of them such as \d. last_one_ is that character, or kKind.
  Result<Characters> one_or_kind() {
    Characters found;
    if (!take("\\")) {
      const Utf8Char c = read_utf8(pattern_.substr(at_));
      at_ += c.length;
      last_one_ = c.code_point;
      found.add(last_one_, last_one_);
      return found;
    }
    const char c = peek();
    ++at_;
    last_one_ = kKind;
    switch (c) {
      case 'd':
      case 'D':
        found.add('0', '9');
        break;
      case 'w':
      case 'W':
        for (const auto& [first, last] :
             {std::pair{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}) {
          found.add(static_cast<char32_t>(first), static_cast<char32_t>(last));
        }
        break;
      case 's':
      case 'S':
        for (const auto& [first, last] : kSpaces) found.add(first, last);
        break;
      default: {
        PENSEE_ASSIGN_OR_RETURN(last_one_, escaped(c));
        found.add(last_one_, last_one_);
        return found;
      }
    }
    const bool is_upper = c >= 'A' && c <= 'Z';
    return is_upper ? found.inverted() : found;
  }

  Result<char32_t> escaped(char c) {
    switch (c) {
      case 't':
        return U'\t';
      case 'n':
        return U'\n';
      case 'v':
        return U'\v';
      case 'f':
        return U'\f';
      case 'r':
        return U'\r';
      case 'x':
        return hex(2);
      case 'u':
        return peek() == '{' ? Result<char32_t>(unknown("\\u{")) : utf16();
      default:
        break;
    }
    constexpr std::string_view kSigns = "^$\\.*+?()[]{}|/-\"'`~!@#%&=:;<>, _";
    if (c != '\0' && kSigns.find(c) != kSigns.npos) return static_cast<unsigned char>(c);
    at_ -= 2;
    return unknown(pattern_.substr(at_, 2));
  }
  // A character of one or two units.
  Result<char32_t> utf16() {
    PENSEE_ASSIGN_OR_RETURN(const char32_t first, hex(4));
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF || !take("\\u")) return unknown("half of a character");
    PENSEE_ASSIGN_OR_RETURN(const char32_t second, hex(4));
    if (second < 0xDC00 || second > 0xDFFF) return unknown("half of a character");
    return 0x10000 + ((first - 0xD800) << 10U) + (second - 0xDC00);
  }
  Result<char32_t> hex(size_t digits) {
    char32_t c = 0;
    const size_t found = read_hex_digits(pattern_.substr(at_), digits, c);
    at_ += found;
    if (found < digits) return expected(std::to_string(digits) + " hexadecimal digits");
    return c;
  }

  static constexpr char32_t kKind = 0xFFFFFFFF;
  static constexpr std::pair<char32_t, char32_t> kSpaces[] = {
      {'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
      {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

  std::string_view pattern_;
  size_t at_ = 0;
  char32_t last_one_ = 0;
};

}  // namespace json_pattern_detail

// The JSON strings in which a pattern of a schema is found, as a rule `name` for parse_grammar(),
// with the rule `char`, any character of a JSON string. Characters of the pattern stand as they are
// or behind a backslash, not as \u and digits. Known are characters, their classes, \d \w \s,
// groups, alternatives, repetition, and ^ and $ at the ends of the whole. Precondition: UTF-8.
// Errors, with the place in the pattern: kInvalidArgument if it is none, kUnsupported for the rest
// of ECMA-262.
[[nodiscard]] inline Result<std::string> json_pattern(std::string_view pattern,
                                                      const std::string& name) {
  PENSEE_ASSIGN_OR_RETURN(const auto found, json_pattern_detail::Parser(pattern).parse());
  const auto& [to_end, open] = found;
  // What comes after a match recurs on the left: so it is one item however long it is.
  const std::string begun = name + "-begun";
  const std::string inside = open.empty()     ? "(" + to_end + ")"
                             : to_end.empty() ? begun
                                              : "(" + to_end + " | " + begun + ")";
  const std::string rule = name + " ::= \"\\\"\" " + inside + " \"\\\"\"\n";
  return open.empty() ? rule : rule + begun + " ::= " + open + " | " + begun + " char\n";
}

}  // namespace pensee
