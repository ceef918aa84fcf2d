// ChatTemplate: conversations to prompts, as a checkpoint's own Jinja template writes them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/text/jinja_parser.hpp"
#include "pensee/text/jinja_run.hpp"
#include "pensee/text/jinja_value.hpp"
#include "pensee/text/utf8.hpp"

namespace pensee {

// A part of a prompt. Control pieces are the template's own words; the others are what people and
// models wrote, so that "</think>" typed by a user stays ordinary text. encode_prompt() has the
// tokens.
struct PromptPiece {
  std::string text;
  bool is_control = false;
};

// The tokens that templates know by name, "bos_token" and the like, and their texts.
using SpecialTokens = std::vector<std::pair<std::string, std::string>>;

// The template in what tokenizer_config.json has as chat_template: a text, or several with names,
// of which "default" counts. kUnsupported if it is not there, kCorruptFile for another form.
[[nodiscard]] inline Result<std::string_view> default_template(const JsonView& entry) {
  if (!entry.is_array()) return entry.as_string();
  for (size_t i = 0; i < entry.size(); ++i) {
    const auto name = entry[i].find("name");
    const auto text = entry[i].find("template");
    const Result<std::string_view> value = name ? name->as_string() : std::string_view{};
    if (value && *value == "default" && text) return text->as_string();
  }
  return unsupported(entry.where() + ": no template \"default\"");
}

struct PromptOptions {
  bool add_generation_prompt = true;  // then it is the assistant's turn
  // Unset: as the template does by itself. Where the template's own switch, if any, leaves the
  // thought otherwise, true opens one, and false prefills an empty one.
  std::optional<bool> thinking = {};
  std::optional<std::tm> now = {};  // for templates that write the date; unset: the local time
};

// A template in the part of Jinja that chat templates use, run as transformers runs it, but without
// tools. Immutable; any thread.
class ChatTemplate {
 public:
  static constexpr std::string_view kThoughtOpen = "<think>";
  static constexpr std::string_view kThoughtClose = "</think>";

  // Reads the template and tries it; `file` is for messages. kUnsupported for one that is no Jinja,
  // that needs more of it than there is here, or that does not write what a user says: what it
  // would write is not known.
  static Result<ChatTemplate> from_jinja(std::string_view jinja, const std::string& file,
                                         SpecialTokens special_tokens = {});

  // The pieces whose joined text is what the template writes; no piece is empty, and neighbours
  // differ in kind. Errors: kInvalidArgument if the template refuses these messages, kUnsupported
  // if they lead it to what is not supported.
  [[nodiscard]] Result<std::vector<PromptPiece>> render(std::span<const Message> messages,  // (n)
                                                        const PromptOptions& options = {}) const;

  // Whether a prompt of PromptOptions as they are ends inside the thought. If not, a model that
  // thinks is expected to write <think> itself.
  [[nodiscard]] bool opens_thought() const noexcept { return opens_thought_; }
  // Whether the template has a switch of its own for thinking.
  [[nodiscard]] bool has_thinking_switch() const noexcept { return has_thinking_switch_; }
  // Whether the template knows of thoughts: it has <think> or </think> somewhere.
  [[nodiscard]] bool knows_thoughts() const noexcept { return knows_thoughts_; }
  // Its own words of the form <|...|> or <｜...｜> in a usual prompt: tokens that it relies on.
  [[nodiscard]] const std::vector<std::string>& control_words() const noexcept { return words_; }
  // What it writes after an assistant's answer, which is how the model ends one; may be empty.
  [[nodiscard]] const std::string& turn_end() const noexcept { return turn_end_; }
  // The white space after the delimiter that opens a thought in a prompt.
  [[nodiscard]] const std::string& thought_space() const noexcept { return thought_space_; }
  // A name for the form of the turns: "deepseek", "chatml", "llama3", or "other".
  [[nodiscard]] const char* form() const;

 private:
  ChatTemplate(JinjaProgram program, const std::string& file, SpecialTokens special_tokens)
      : program_(std::move(program)), file_(file), special_tokens_(std::move(special_tokens)) {}

  [[nodiscard]] Error unknown(const std::string& why) const { return unknown(file_, why); }
  static Error unknown(const std::string& file, const std::string& why) {
    return unsupported(file + ": this chat template is not known (" + why +
                       "); give the prompt ready-made, as text or tokens, instead of messages");
  }

  [[nodiscard]] Result<void> try_out();
  [[nodiscard]] Result<MarkedText> run(std::span<const Message> messages,
                                       const PromptOptions& options) const;
  void add_control_words(const std::vector<PromptPiece>& pieces);

  JinjaProgram program_;
  std::string file_;
  SpecialTokens special_tokens_;
  bool opens_thought_ = false;
  bool has_thinking_switch_ = false;
  bool knows_thoughts_ = false;
  std::vector<std::string> words_;
  std::string turn_end_;
  std::string thought_space_;
};

// Whether the prompt ends with this delimiter, in the template's words and but for white space.
[[nodiscard]] inline bool ends_with_delimiter(std::span<const PromptPiece> pieces,
                                              std::string_view delimiter) {
  if (pieces.empty() || !pieces.back().is_control) return false;
  std::string_view text = pieces.back().text;
  text.remove_suffix(trailing_spaces(text));
  // "</think>" does not end with "<think>", so that neither is taken for the other.
  return text.ends_with(delimiter);
}

inline Result<ChatTemplate> ChatTemplate::from_jinja(std::string_view jinja,
                                                     const std::string& file,
                                                     SpecialTokens special_tokens) {
  if (const auto byte = find_malformed_utf8(jinja)) {
    return unknown(file, "not UTF-8 at byte " + std::to_string(*byte));
  }
  Result<JinjaProgram> program = JinjaParser::parse(jinja, file);
  if (!program) return unknown(file, program.error().message);
  ChatTemplate chat_template(std::move(program).value(), file, std::move(special_tokens));
  chat_template.knows_thoughts_ =
      jinja.find(kThoughtOpen) != jinja.npos || jinja.find(kThoughtClose) != jinja.npos;
  PENSEE_RETURN_IF_ERROR(chat_template.try_out());
  return chat_template;
}

// Renders small conversations, to see whether the template can be run and what it writes.
inline Result<void> ChatTemplate::try_out() {
  constexpr const char* kQuestion = "What is 2 + 3?";
  constexpr const char* kAnswer = "It is 5.";
  const std::vector<Message> one = {{Role::kUser, kQuestion}};
  const auto prompt = render(one);
  if (!prompt) return unknown(prompt.error().message);
  const auto is_question = [&](const PromptPiece& piece) { return piece.text == kQuestion; };
  if (std::count_if(prompt->begin(), prompt->end(), is_question) != 1) {
    return unknown("it does not write what a user says");
  }
  opens_thought_ = ends_with_delimiter(*prompt, kThoughtOpen);
  add_control_words(*prompt);

  PENSEE_ASSIGN_OR_RETURN(const MarkedText on, run(one, {.thinking = true}));
  PENSEE_ASSIGN_OR_RETURN(const MarkedText off, run(one, {.thinking = false}));
  has_thinking_switch_ = on.text() != off.text();
  PENSEE_ASSIGN_OR_RETURN(const auto open, render(one, {.thinking = true}));
  const std::string& end = open.back().text;  // which has the delimiter at least
  thought_space_ = end.substr(end.size() - trailing_spaces(end));

  const std::vector<Message> several = {{Role::kSystem, "Be brief."},
                                        {Role::kUser, kQuestion},
                                        {Role::kAssistant, kAnswer},
                                        {Role::kUser, "And 2 + 4?"}};
  // Some templates refuse system messages; then the rest shall do.
  auto pieces = render(several);
  if (!pieces) pieces = render(std::span(several).subspan(1));
  if (!pieces) return unknown(pieces.error().message);
  add_control_words(*pieces);
  for (size_t i = 0; i + 1 < pieces->size(); ++i) {
    if ((*pieces)[i].text == kAnswer) turn_end_ = (*pieces)[i + 1].text;
  }
  return {};
}

inline Result<MarkedText> ChatTemplate::run(std::span<const Message> messages,
                                            const PromptOptions& options) const {
  // What transformers gives to a template when there are no tools.
  std::vector<JinjaVariable> variables = {
      {"add_generation_prompt", JinjaValue::boolean(options.add_generation_prompt)},
      {"tools", JinjaValue::none()},
      {"documents", JinjaValue::none()}};
  for (const auto& [name, text] : special_tokens_) {
    variables.emplace_back(name, JinjaValue::words(text));
  }
  if (options.thinking) {  // Qwen3's switch, and that of DeepSeek-V3.1
    variables.emplace_back("enable_thinking", JinjaValue::boolean(*options.thinking));
    variables.emplace_back("thinking", JinjaValue::boolean(*options.thinking));
  }
  auto text = JinjaRun::render(program_, messages, std::move(variables), options.now);
  if (text) return text;
  if (text.error().status == Status::kUnsupported) return unknown(text.error().message);
  return Error{text.error().status, file_ + ": " + text.error().message};
}

inline Result<std::vector<PromptPiece>> ChatTemplate::render(std::span<const Message> messages,
                                                             const PromptOptions& options) const {
  PENSEE_ASSIGN_OR_RETURN(const MarkedText text, run(messages, options));
  std::vector<PromptPiece> pieces;
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    end = text.run_end(begin);
    pieces.push_back({text.text().substr(begin, end - begin), text.is_control(begin)});
  }
  if (!options.add_generation_prompt || !options.thinking) return pieces;
  if (pieces.empty() || !pieces.back().is_control) pieces.push_back({"", true});
  std::string& end = pieces.back().text;
  const bool is_open = ends_with_delimiter(pieces, kThoughtOpen);
  if (*options.thinking) {
    if (!is_open) end.append(kThoughtOpen).append("\n");
  } else if (!ends_with_delimiter(pieces, kThoughtClose)) {
    if (!is_open) end.append(kThoughtOpen);
    if (!end.ends_with('\n')) end.append("\n");
    end.append("\n").append(kThoughtClose).append("\n\n");
  }
  return pieces;
}

inline void ChatTemplate::add_control_words(const std::vector<PromptPiece>& pieces) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kForms = {
      {{"<|", "|>"}, {"<｜", "｜>"}}};
  std::unordered_set<std::string> known(words_.begin(), words_.end());
  for (const PromptPiece& piece : pieces) {
    if (!piece.is_control) continue;
    for (const auto& [open, close] : kForms) {
      for (size_t at = 0; (at = piece.text.find(open, at)) != std::string::npos;) {
        size_t end = piece.text.find(close, at + open.size());
        if (end == std::string::npos) break;
        end += close.size();
        const std::string word = piece.text.substr(at, end - at);
        if (known.insert(word).second) words_.push_back(word);
        at = end;
      }
    }
  }
}

inline const char* ChatTemplate::form() const {
  const auto has = [&](std::string_view word) {
    return std::find(words_.begin(), words_.end(), word) != words_.end();
  };
  if (has("<｜User｜>")) return "deepseek";
  if (has("<|im_start|>")) return "chatml";
  return has("<|start_header_id|>") ? "llama3" : "other";
}

}  // namespace pensee
