// Grammars written as text: the notation of llama.cpp (GBNF), a Backus-Naur form with the
// repetition marks and character classes of regular expressions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/decode/grammar.hpp"
#include "pensee/decode/grammar_builder.hpp"
#include "pensee/decode/hex_digits.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

namespace grammar_detail {

// Reads the text, by recursive descent.
class Parser {
 public:
  using Element = GrammarBuilder::Element;
  using Sequence = GrammarBuilder::Sequence;

  Parser(std::string_view text, std::string_view other) : text_(text), other_(other) {}

  Result<std::shared_ptr<const Grammar>> parse() {
    if (find_malformed_utf8(text_)) return invalid_argument("answer_grammar: expected UTF-8");
    skip_space();
    while (at_ < text_.size()) {
      const std::string name(take_name());
      if (name.empty()) return expected("the name of a rule");
      skip_space();
      if (!take("::=")) return expected("::=");
      Named& rule = named(name);
      if (std::exchange(rule.is_defined, true)) return expected("another name than " + name);
      PENSEE_RETURN_IF_ERROR(alternatives(rule.rule, 0));
    }
    for (const auto& [name, rule] : names_) {
      if (!rule.is_defined) return invalid_argument("answer_grammar: no rule " + name);
    }
    if (!names_.contains("root")) return invalid_argument("answer_grammar: no rule root");
    const int32_t start = add_start(named("root").rule);
    if (builder_.is_too_large()) return too_large();
    const int32_t without_text = builder_.finish(start);
    if (without_text != Grammar::kNone) {
      for (const auto& [name, rule] : names_) {
        if (rule.rule == without_text) {
          return invalid_argument("answer_grammar: rule " + name + " never comes to an end");
        }
      }
      return invalid_argument("answer_grammar: a part of it never comes to an end");
    }
    auto grammar = builder_.take();
    // Its rules come to an end, so that only a matcher that gives up finds none.
    const GrammarMatcher matcher(grammar);
    if (!matcher.is_complete() && matcher.next_bytes().none()) return too_large();
    return grammar;
  }

 private:
  // What comes after white space, which is free.
  int32_t add_start(int32_t root) {
    constexpr int64_t kMostSpace = 16;
    const Element space = builder_.repeat(
        builder_.characters({{U' ', U' '}, {U'\t', U'\t'}, {U'\n', U'\n'}, {U'\r', U'\r'}}, false),
        0, kMostSpace);
    const int32_t start = builder_.add_rule();
    builder_.add_production(start, {space, {.rule = root}});
    if (other_.empty()) return start;
    Sequence other = {space};
    builder_.append_text(other_, other);
    builder_.add_production(start, other);
    return start;
  }

  struct Named {
    int32_t rule = Grammar::kNone;
    bool is_defined = false;
  };
  static constexpr int kMostNested = 100;
  static constexpr int64_t kMostTimes = 100000;

  Named& named(const std::string& name) {
    Named& found = names_[name];
    if (found.rule == Grammar::kNone) found.rule = builder_.add_rule();
    return found;
  }

  Result<void> alternatives(int32_t rule, int depth) {
    if (depth > kMostNested) return expected("fewer parentheses in one another");
    do {
      PENSEE_ASSIGN_OR_RETURN(const Sequence sequence, take_sequence(depth));
      builder_.add_production(rule, sequence);
    } while (take("|"));
    return {};
  }

  Result<Sequence> take_sequence(int depth) {
    Sequence sequence;
    for (skip_space(); at_ < text_.size() && !is_next_rule(); skip_space()) {
      const size_t before = sequence.size();
      const char c = text_[at_];
      if (c == '|' || c == ')') break;
      if (c == '"') {
        PENSEE_RETURN_IF_ERROR(take_literal(sequence));
      } else if (c == '[') {
        PENSEE_ASSIGN_OR_RETURN(const Element one, take_class());
        sequence.push_back(one);
      } else if (take(".")) {
        sequence.push_back(builder_.characters({{0, GrammarBuilder::kLastChar}}, false));
      } else if (take("(")) {
        const int32_t group = builder_.add_rule();
        PENSEE_RETURN_IF_ERROR(alternatives(group, depth + 1));
        if (!take(")")) return expected(")");
        sequence.push_back({.rule = group});
      } else {
        const std::string name(take_name());
        if (name.empty()) return expected("a text in quotes, [, (, . or the name of a rule");
        sequence.push_back({.rule = named(name).rule});
      }
      PENSEE_RETURN_IF_ERROR(take_repetitions(before, sequence));
      if (builder_.is_too_large()) return too_large();
    }
    return sequence;
  }

  // Whether a name with "::=" follows: that of the next rule.
  bool is_next_rule() {
    const size_t before = at_;
    const bool found = !take_name().empty() && (skip_space(), take("::="));
    at_ = before;
    return found;
  }

  // *, +, ?, {m}, {m,}, {m,n} after what the sequence has from `first` on.
  Result<void> take_repetitions(size_t first, Sequence& sequence) {
    for (;;) {
      int64_t least = 0;
      int64_t most = GrammarBuilder::kForever;
      skip_blanks();
      if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (take("{")) {
        PENSEE_RETURN_IF_ERROR(take_bounds(least, most));
      } else if (!take("*")) {
        return {};
      }
      Element repeated;
      if (sequence.size() - first == 1) {
        repeated = sequence.back();
      } else {  // of a text: all of it
        repeated.rule = builder_.add_rule();
        builder_.add_production(repeated.rule,
                                {sequence.begin() + static_cast<ptrdiff_t>(first), sequence.end()});
      }
      sequence.resize(first);
      sequence.push_back(builder_.repeat(repeated, least, most));
      if (builder_.is_too_large()) return too_large();
    }
  }

  Result<void> take_bounds(int64_t& least, int64_t& most) {
    PENSEE_ASSIGN_OR_RETURN(least, take_number());
    most = least;
    if (take(",")) {
      skip_blanks();
      most = GrammarBuilder::kForever;
      if (at_ < text_.size() && text_[at_] != '}') {
        PENSEE_ASSIGN_OR_RETURN(most, take_number());
      }
    }
    if (most < least) return expected("a larger number");
    return take("}") ? Result<void>() : expected("}");
  }
  Result<int64_t> take_number() {
    skip_blanks();
    int64_t number = 0;
    const size_t before = at_;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      number = number * 10 + (text_[at_] - '0');
      if (number > kMostTimes) return expected("at most " + std::to_string(kMostTimes));
    }
    if (at_ == before) return expected("a number");
    skip_blanks();
    return number;
  }

  Result<void> take_literal(Sequence& sequence) {
    ++at_;
    while (!take("\"")) {
      PENSEE_ASSIGN_OR_RETURN(const char32_t c, take_char());
      std::string bytes;
      append_utf8_character(c, bytes);
      builder_.append_text(bytes, sequence);
    }
    return {};
  }

  Result<Element> take_class() {
    ++at_;
    const bool inverted = take("^");
    std::vector<GrammarBuilder::Range> ranges;
    while (!take("]")) {
      PENSEE_ASSIGN_OR_RETURN(const char32_t first, take_char());
      char32_t last = first;
      if (text_.substr(at_, 1) == "-" && text_.substr(at_, 2) != "-]") {
        ++at_;
        PENSEE_ASSIGN_OR_RETURN(last, take_char());
      }
      if (last < first) return expected("a later character");
      ranges.emplace_back(first, last);
    }
    if (ranges.empty() && !inverted) return expected("a character before ]");
    const Element one = builder_.characters(std::move(ranges), inverted);
    const bool is_empty = one.byte_set == Grammar::kNone && one.rule == Grammar::kNone;
    return is_empty ? Result<Element>(expected("a class with characters")) : Result<Element>(one);
  }

  // A character of a text in quotes or of a class.
  Result<char32_t> take_char() {
    if (at_ >= text_.size() || text_[at_] == '\n') return expected("the end of the text or class");
    if (text_[at_] != '\\') {
      const Utf8Char c = read_utf8(text_.substr(at_));
      at_ += c.length;
      return c.code_point;
    }
    ++at_;
    const char c = at_ < text_.size() ? text_[at_++] : '\0';
    constexpr std::string_view kPlain = "\"\\[]-^";
    if (kPlain.find(c) != kPlain.npos && c != '\0') return static_cast<unsigned char>(c);
    switch (c) {
      case 'n':
        return U'\n';
      case 'r':
        return U'\r';
      case 't':
        return U'\t';
      case 'x':
        return take_hex(2);
      case 'u':
        return take_hex(4);
      case 'U':
        return take_hex(8);
      default:
        --at_;
        return expected("one of n r t x u U \" \\ [ ] - ^ after \\");
    }
  }
  Result<char32_t> take_hex(size_t digits) {
    char32_t c = 0;
    const size_t found = read_hex_digits(text_.substr(at_), digits, c);
    at_ += found;
    if (found < digits) return expected(std::to_string(digits) + " hexadecimal digits");
    const bool is_char = c <= GrammarBuilder::kLastChar && (c < 0xd800 || c > 0xdfff);
    return is_char ? Result<char32_t>(c) : Result<char32_t>(expected("a character of Unicode"));
  }

  std::string_view take_name() {
    const size_t before = at_;
    const auto is_part = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '-' || c == '_';
    };
    while (at_ < text_.size() && is_part(text_[at_])) ++at_;
    return text_.substr(before, at_ - before);
  }

  bool take(std::string_view text) {
    if (!text_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  // White space and comments.
  void skip_space() {
    constexpr std::string_view kSpace = " \t\r\n";
    while (at_ < text_.size() && (kSpace.find(text_[at_]) != kSpace.npos || text_[at_] == '#')) {
      at_ = text_[at_] == '#' ? std::min(text_.find('\n', at_), text_.size()) : at_ + 1;
    }
  }

  static Error too_large() { return invalid_argument("answer_grammar: too large"); }
  [[nodiscard]] Error expected(const std::string& what) const {
    const std::string_view before = text_.substr(0, at_);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t column = at_ - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    constexpr size_t kShown = 20;
    size_t end = std::min({text_.find('\n', at_), at_ + kShown, text_.size()});
    while (end < text_.size() && (static_cast<unsigned char>(text_[end]) & 0xC0U) == 0x80) --end;
    const std::string_view rest = text_.substr(at_, end - at_);
    return invalid_argument("answer_grammar: line " + std::to_string(line) + ", column " +
                            std::to_string(column) + ": expected " + what + ", found " +
                            (at_ < text_.size() ? printable(rest) : "the end"));
  }

  std::string_view text_;
  std::string_view other_;
  size_t at_ = 0;
  GrammarBuilder builder_;
  std::unordered_map<std::string, Named> names_;
};

}  // namespace grammar_detail

// Reads rules, a name and what it stands for with ::= between them, of which `root` is the whole:
// texts in quotes, classes of characters in brackets, a dot for any, other rules, groups in
// parentheses, alternatives with a bar between them, each repeated by a star, +, ?, {m}, {m,} or
// {m,n}; comments from # to the end of the line. Up to 16 characters of white space may come before
// it. `other`, if not empty, is a text that may stand in place of all of it. Errors:
// kInvalidArgument, naming the line and what was expected.
[[nodiscard]] inline Result<std::shared_ptr<const Grammar>> parse_grammar(
    std::string_view text, std::string_view other = {}) {
  return grammar_detail::Parser(text, other).parse();
}

}  // namespace pensee
