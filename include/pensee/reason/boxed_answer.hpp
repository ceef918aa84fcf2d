// What an answer has in its \boxed{}, in one spelling, so that equal answers are equal texts.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pensee {

namespace boxed_answer_detail {

inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
inline bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// What is between the brace at the start of `text` and the one that closes it; false if none does.
inline bool read_braces(std::string_view text, std::string_view& inside) {
  if (text.empty() || text[0] != '{') return false;
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;  // \{ is no brace
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}' && --depth == 0) {
      inside = text.substr(1, i - 1);
      return true;
    }
  }
  return false;
}

// Signs, and what stands for them.
inline constexpr std::pair<std::string_view, std::string_view> kSigns[] = {
    {"\\\\", "\\\\"},     {"\\{", "\\{"},    {"\\}", "\\}"},
    {"\\%", "%"},         {"\\$", ""},       {"$", ""},
    {"\\,", ""},          {"\\!", ""},       {"\\;", ""},
    {"\\:", ""},          {"\\ ", ""},       {" ", ""},
    {"\t", ""},           {"\r", ""},        {"\n", ""},
    {"{,}", ","},         {"^{\\circ}", ""}, {"\\dfrac", "\\frac"},
    {"\\tfrac", "\\frac"}};

// Without spaces, and what only says how it shall look. Precondition: braces come in pairs.
inline std::string without_looks(std::string_view text) {
  static constexpr std::array<std::string_view, 4> kWords = {"\\left", "\\right", "\\displaystyle",
                                                             "^\\circ"};
  static constexpr std::array<std::string_view, 4> kFonts = {"\\text{", "\\textbf{", "\\mathrm{",
                                                             "\\mathbf{"};
  const auto begins = [&](std::string_view s) { return text.starts_with(s); };
  std::string out;
  std::vector<bool> is_font;  // of the braces that are open
  while (!text.empty()) {
    size_t size = 1;
    const auto* sign = std::find_if(std::begin(kSigns), std::end(kSigns),
                                    [&](const auto& known) { return begins(known.first); });
    const auto word = std::find_if(kWords.begin(), kWords.end(), [&](std::string_view s) {
      return begins(s) && (text.size() == s.size() || !is_letter(text[s.size()]));
    });
    const auto font = std::find_if(kFonts.begin(), kFonts.end(), begins);
    if (sign != std::end(kSigns)) {
      size = sign->first.size();
      out += sign->second;
    } else if (word != kWords.end()) {
      size = word->size();
    } else if (font != kFonts.end()) {
      size = font->size();
      is_font.push_back(true);
    } else if (text[0] == '{') {
      is_font.push_back(false);
      out += '{';
    } else if (text[0] == '}') {
      if (!is_font.back()) out += '}';
      is_font.pop_back();
    } else {
      out += text[0];
    }
    text.remove_prefix(size);
  }
  return out;
}

// A number without commas between its thousands, plus sign, and zeros that say nothing; anything
// else as it is.
inline std::string plain_number(const std::string& text) {
  const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  const size_t point = std::min(text.find('.', sign), text.size());
  std::string whole;
  const bool has_commas = text.find(',') < point;
  for (size_t i = sign; i < point; ++i) {
    const bool is_comma = has_commas && i > sign && (point - i) % 4 == 0;
    if (is_comma ? text[i] != ',' : !is_digit(text[i])) return text;
    if (!is_comma) whole += text[i];
  }
  std::string fraction = point < text.size() ? text.substr(point + 1) : "";
  if (!std::all_of(fraction.begin(), fraction.end(), is_digit)) return text;
  if (whole.empty() && fraction.empty()) return text;
  fraction.resize(fraction.find_last_not_of('0') + 1);
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  if (whole.empty()) whole = "0";
  const bool is_negative = text[0] == '-' && (whole != "0" || !fraction.empty());
  return (is_negative ? "-" : "") + whole + (fraction.empty() ? "" : "." + fraction);
}

}  // namespace boxed_answer_detail

// The content of the last \boxed{} that is closed; "" if there is none. White space, LaTeX's
// commands for spacing and fonts, dollar signs, degrees and a full stop at the end are left out,
// fractions have one name, and plain numbers one form: of \boxed{\$1{,}234.50} it is 1234.5.
[[nodiscard]] inline std::string boxed_answer(std::string_view answer) {
  constexpr std::string_view kBox = "\\boxed";
  for (size_t end = answer.npos; (end = answer.rfind(kBox, end)) != answer.npos; --end) {
    std::string_view rest = answer.substr(end + kBox.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    std::string_view inside;
    if (boxed_answer_detail::read_braces(rest, inside)) {
      std::string text = boxed_answer_detail::without_looks(inside);
      while (text.ends_with('.')) text.pop_back();
      return boxed_answer_detail::plain_number(text);
    }
    if (end == 0) break;
  }
  return "";
}

}  // namespace pensee
