// Takes a Jinja template apart into its tags, so that a known template can be told from others.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"

namespace pensee {

// Reads a template as transformers does (trim_blocks and lstrip_blocks on).
class JinjaReader {
 public:
  // The tags in order, each in one spelling: "{%if x=='a'%}" without white space outside strings,
  // without the "-" and "+" of white space control, strings in single quotes with their escapes
  // resolved. Comments are left out. kCorruptFile for an unclosed tag or string; kUnsupported if
  // the template writes text outside its tags, since the tags are then not all that it says.
  static Result<std::vector<std::string>> tags(std::string_view text, const std::string& file) {
    JinjaReader reader(text, file);
    if (reader.text_.ends_with('\n')) reader.text_.remove_suffix(1);  // as Jinja does
    while (reader.at_ < reader.text_.size()) PENSEE_RETURN_IF_ERROR(reader.next());
    return std::move(reader.tags_);
  }

 private:
  static constexpr std::string_view kSpaces = " \t\n\r\f\v";

  JinjaReader(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  // Reads the text up to the next tag, and the tag.
  Result<void> next() {
    size_t open = at_;
    while (open < text_.size() && !is_opening(text_.substr(open, 2))) ++open;
    const std::string_view tag = text_.substr(open);
    PENSEE_RETURN_IF_ERROR(check_literal(text_.substr(at_, open - at_), tag));
    if (tag.empty()) {
      at_ = text_.size();
      return {};
    }
    return tag[1] == '#' ? skip_comment(open) : read_tag(open);
  }

  static bool is_opening(std::string_view two) { return two == "{%" || two == "{{" || two == "{#"; }

  // An error unless nothing of `literal` is written; `tag` is what follows it.
  Result<void> check_literal(std::string_view literal, std::string_view tag) const {
    if (after_ == After::kStrip) {
      literal.remove_prefix(std::min(literal.find_first_not_of(kSpaces), literal.size()));
    } else if (after_ == After::kBlock && literal.starts_with('\n')) {
      literal.remove_prefix(1);
    }
    const char control = tag.size() > 2 ? tag[2] : ' ';
    if (control == '-') {
      literal = literal.substr(0, literal.find_last_not_of(kSpaces) + 1);
    } else if (control != '+' && !tag.empty() && tag[1] != '{') {
      const size_t line = literal.find_last_of('\n') + 1;
      const bool starts_line = line > 0 || at_ == 0 || after_ == After::kBlock;
      if (starts_line && literal.find_first_not_of(" \t", line) == literal.npos) {
        literal = literal.substr(0, line);
      }
    }
    if (literal.empty()) return {};
    return unsupported(file_ + ": the chat template writes \"" + printable(literal) +
                       "\" outside its tags");
  }

  Result<void> skip_comment(size_t open) {
    const size_t close = text_.find("#}", open + 2);
    if (close == text_.npos) return unclosed(open);
    after_ = text_[close - 1] == '-' ? After::kStrip : After::kBlock;
    at_ = close + 2;
    return {};
  }

  Result<void> read_tag(size_t open) {
    const bool is_block = text_[open + 1] == '%';
    const std::string_view end = is_block ? "%}" : "}}";
    std::string tag(text_.substr(open, 2));
    size_t i = open + 2;
    if (i < text_.size() && (text_[i] == '-' || text_[i] == '+')) ++i;
    while (!text_.substr(i).starts_with(end)) {
      if (i >= text_.size()) return unclosed(open);
      if (text_[i] == '\'' || text_[i] == '"') {
        i = read_string(i, tag);
        if (i == text_.npos) return unclosed(open);
        continue;
      }
      if (kSpaces.find(text_[i]) == kSpaces.npos) tag.push_back(text_[i]);
      ++i;
    }
    const char control = text_[i - 1];
    after_ = control == '-' ? After::kStrip : is_block ? After::kBlock : After::kOutput;
    if ((control == '-' || control == '+') && tag.size() > 2) tag.pop_back();
    tags_.push_back(tag.append(end));
    at_ = i + 2;
    return {};
  }

  // Appends the string that opens at byte i; returns the byte after it, npos if it is unclosed.
  size_t read_string(size_t i, std::string& tag) const {
    const char quote = text_[i];
    tag.push_back('\'');
    for (++i; i < text_.size() && text_[i] != quote; ++i) {
      if (text_[i] != '\\' || i + 1 == text_.size()) {
        tag.push_back(text_[i]);
        continue;
      }
      const char escaped = text_[++i];
      tag.push_back(escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped);
    }
    tag.push_back('\'');
    return i < text_.size() ? i + 1 : text_.npos;
  }

  [[nodiscard]] Error unclosed(size_t open) const {
    return corrupt_file(file_ + ": chat template: the tag at byte " + std::to_string(open) +
                        " is not closed");
  }

  enum class After { kOutput, kBlock, kStrip };  // what the tag before does to the text after it

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
  After after_ = After::kOutput;
  std::vector<std::string> tags_;
};

}  // namespace pensee
