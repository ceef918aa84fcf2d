// History: conversations as prompts, with earlier thoughts or without.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pensee/base/hash.hpp"
#include "pensee/base/result.hpp"
#include "pensee/text/chat_template.hpp"

namespace pensee {

namespace history_detail {

// A text that no message has, for message i to be found again by.
inline std::string mark_of(std::string_view unseen, size_t i) {
  return std::string(unseen) + std::to_string(i) + std::string(unseen);
}

// Made of all texts, so that nobody has written it into one.
inline std::string unseen_in(std::span<const Message> messages) {
  Fnv1a64 hash;
  for (const Message& m : messages) hash.add(m.content);
  std::string unseen;
  const auto has_it = [&](const Message& m) { return m.content.find(unseen) != std::string::npos; };
  do {
    unseen = std::to_string(hash.add("again").value());
    unseen.insert(0, 1, '\x01').push_back('\x01');
  } while (std::any_of(messages.begin(), messages.end(), has_it));
  return unseen;
}

inline void append(std::vector<PromptPiece>& pieces, std::string_view text, bool is_control) {
  if (text.empty()) return;
  if (!pieces.empty() && pieces.back().is_control == is_control) {
    pieces.back().text += text;
  } else {
    pieces.push_back({std::string(text), is_control});
  }
}

// Takes away the delimiter at the end of the template's words, with white space around it; whether
// it was there.
inline bool remove_delimiter(std::string& text, std::string_view delimiter) {
  const std::string_view words =
      std::string_view(text).substr(0, text.size() - trailing_spaces(text));
  if (!words.ends_with(delimiter)) return false;
  text.resize(words.size() - delimiter.size());
  return true;
}

// Where templates write before an answer that there was no thought, it is not true here.
inline void remove_empty_thought(std::vector<PromptPiece>& pieces) {
  if (pieces.empty() || !pieces.back().is_control) return;
  std::string& text = pieces.back().text;
  if (remove_delimiter(text, ChatTemplate::kThoughtClose)) {
    static_cast<void>(remove_delimiter(text, ChatTemplate::kThoughtOpen));
  }
  if (text.empty()) pieces.pop_back();
}

inline void append_answer(std::vector<PromptPiece>& pieces, const Message& message,
                          const std::string& space) {
  remove_empty_thought(pieces);
  append(pieces, std::string(ChatTemplate::kThoughtOpen) + space, true);
  append(pieces, *message.reasoning_content, false);
  append(pieces, space + std::string(ChatTemplate::kThoughtClose) + space + space, true);
  append(pieces, message.content, false);
}

}  // namespace history_detail

// The pieces of a prompt in which every thought, an assistant's reasoning_content, stands between
// its delimiters before its answer, whatever the template does with thoughts. Errors: those of
// ChatTemplate::render; kUnsupported if the template does not write each answer once.
[[nodiscard]] inline Result<std::vector<PromptPiece>> render_with_thoughts(
    const ChatTemplate& chat_template, std::span<const Message> messages,
    const PromptOptions& options) {
  const std::string unseen = history_detail::unseen_in(messages);
  const auto has_thought = [&](const Message& m) {
    return m.role == Role::kAssistant && m.reasoning_content && !m.reasoning_content->empty();
  };
  std::vector<Message> marked(messages.begin(), messages.end());
  std::vector<size_t> wanted;
  for (size_t i = 0; i < marked.size(); ++i) {
    if (has_thought(marked[i])) {
      wanted.push_back(i);
      marked[i].content = history_detail::mark_of(unseen, i);
    }
    marked[i].reasoning_content.reset();
  }
  PENSEE_ASSIGN_OR_RETURN(const auto found, chat_template.render(marked, options));
  std::vector<PromptPiece> pieces;
  auto next = wanted.begin();
  bool is_once = true;
  for (const PromptPiece& piece : found) {
    std::string_view text = piece.text;
    while (next != wanted.end() && !piece.is_control) {
      const std::string mark = history_detail::mark_of(unseen, *next);
      const size_t at = text.find(mark);
      if (at == text.npos) break;
      is_once = is_once && text.substr(0, at).find(unseen) == text.npos;
      history_detail::append(pieces, text.substr(0, at), false);
      history_detail::append_answer(pieces, messages[*next++], chat_template.thought_space());
      text.remove_prefix(at + mark.size());
    }
    is_once = is_once && (piece.is_control || text.find(unseen) == text.npos);
    history_detail::append(pieces, text, piece.is_control);
  }
  if (is_once && next == wanted.end()) return pieces;
  return unsupported("history: this chat template does not write each answer once");
}

// The same without thoughts: for templates that would write some of them.
[[nodiscard]] inline Result<std::vector<PromptPiece>> render_without_thoughts(
    const ChatTemplate& chat_template, std::span<const Message> messages,
    const PromptOptions& options) {
  std::vector<Message> stripped(messages.begin(), messages.end());
  for (Message& message : stripped) message.reasoning_content.reset();
  return chat_template.render(stripped, options);
}

}  // namespace pensee
