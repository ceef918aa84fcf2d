// ChatTemplate: conversations to prompts, as a checkpoint's own Jinja template writes them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/text/jinja_tags.hpp"

namespace pensee {

enum class Role { kSystem, kUser, kAssistant };

// One turn of a conversation. An assistant's content may hold its thought, up to </think>.
struct Message {
  Role role = Role::kUser;
  std::string content;
};

// A part of a prompt. Control pieces are the template's own words and go through
// Tokenizer::encode; the others are what people and models wrote, and go through encode_ordinary,
// so that "</think>" typed by a user stays ordinary text.
struct PromptPiece {
  std::string text;
  bool is_control = false;
};

// What the known variants of DeepSeek-R1's template differ in.
struct ChatTemplateTraits {
  bool joins_system_messages = false;  // with an empty line between; otherwise the last one counts
  bool opens_thought = false;          // the generation prompt ends in <think> and a line end
  bool has_thinking_switch = false;    // enable_thinking=False closes the thought at once
};

// The chat template of the DeepSeek-R1 family, recognised in the Jinja text and rendered without
// Jinja. Immutable; any thread.
class ChatTemplate {
 public:
  // The control tokens of the family's prompts.
  static constexpr std::string_view kBegin = "<｜begin▁of▁sentence｜>";
  static constexpr std::string_view kUser = "<｜User｜>";
  static constexpr std::string_view kAssistant = "<｜Assistant｜>";
  static constexpr std::string_view kEnd = "<｜end▁of▁sentence｜>";
  static constexpr std::string_view kThoughtOpen = "<think>";
  static constexpr std::string_view kThoughtClose = "</think>";

  // Recognises a template by its tags, whatever their layout; `file` is for messages. All tags
  // must be known, other than those about tools, which no message here can reach. kUnsupported
  // for another template: what it would write is not known.
  static Result<ChatTemplate> from_jinja(std::string_view jinja, const std::string& file);

  // The pieces whose joined text is what the template writes; no piece is empty. System messages
  // come first wherever they stand; of assistant messages what follows the last </think> stays.
  // With `add_generation_prompt` it is then the assistant's turn. `thinking` = false prefills an
  // empty thought: in the template's own way if it has one, else "<think>\n\n</think>\n\n".
  [[nodiscard]] std::vector<PromptPiece> render(std::span<const Message> messages,  // (n_messages)
                                                bool add_generation_prompt, bool thinking) const;

  // Whether a generation prompt with thinking ends inside the thought. If not, the model is
  // expected to write <think> itself.
  [[nodiscard]] bool opens_thought() const { return traits_.opens_thought; }

 private:
  explicit ChatTemplate(ChatTemplateTraits traits) : traits_(traits) {}

  [[nodiscard]] std::string system_text(std::span<const Message> messages) const;
  [[nodiscard]] std::string generation_prompt(bool thinking) const;

  ChatTemplateTraits traits_;
};

// The tags of the family's templates in JinjaReader's spelling: those that every one has, those
// that a trait follows from, and others.
namespace r1_tags {
inline constexpr auto kRequired = std::to_array<std::string_view>({
    "{%formessageinmessages%}",
    "{%ifmessage['role']=='system'%}",
    "{{bos_token}}",
    "{{ns.system_prompt}}",
    "{%ifmessage['role']=='user'%}",
    "{{'<｜User｜>'+message['content']}}",
    "{%if'</think>'incontent%}",
    "{%setcontent=content.split('</think>')[-1]%}",
    "{{'<｜Assistant｜>'+content+'<｜end▁of▁sentence｜>'}}",
});
inline constexpr std::string_view kLastSystem = "{%setns.system_prompt=message['content']%}";
inline constexpr std::string_view kJoinSystem =
    "{%setns.system_prompt=ns.system_prompt+'\n\n'+message['content']%}";
inline constexpr std::string_view kAssistantTurn = "{{'<｜Assistant｜>'}}";
inline constexpr std::string_view kAssistantThinks = "{{'<｜Assistant｜><think>\n'}}";
inline constexpr std::string_view kIfNotThinking = "{%ifnotenable_thinking%}";
inline constexpr std::string_view kCloseThought = "{{'</think>'}}";
inline constexpr auto kOther = std::to_array<std::string_view>({
    "{%ifnotadd_generation_promptisdefined%}",
    "{%setadd_generation_prompt=false%}",
    "{%setns.system_prompt=ns.system_prompt+message['content']%}",
    "{%ifns.is_first_sp%}",
    "{%setns.is_first_sp=false%}",
    "{%ifns.is_output_first%}",
    "{%setns.is_output_first=false%}",
    "{%ifnotns.is_first%}",
    "{%setns.is_first=true%}",
    "{%setns.is_first=false%}",
    "{%ifmessage['content']isnone%}",
    "{%ifmessage['role']=='assistant'andmessage['content']isnone%}",
    "{%ifmessage['role']=='assistant'andmessage['content']isnotnone%}",
    "{%setcontent=message['content']%}",
    "{%else%}",
    "{%endif%}",
    "{%endfor%}",
});

// Whether a template may have this tag. Of the tags about tools any will do: messages here have
// none, so they write nothing.
[[nodiscard]] inline bool is_known(std::string_view tag) {
  const auto in = [&](const auto& list) {
    return std::find(std::begin(list), std::end(list), tag) != std::end(list);
  };
  return in(kRequired) || in(kOther) || tag.find("tool") != tag.npos ||
         in(std::to_array({kLastSystem, kJoinSystem, kAssistantTurn, kAssistantThinks,
                           kIfNotThinking, kCloseThought}));
}
}  // namespace r1_tags

inline Result<ChatTemplate> ChatTemplate::from_jinja(std::string_view jinja,
                                                     const std::string& file) {
  const auto unknown = [&](const std::string& why) {
    return unsupported(file + ": this chat template is not known (" + why +
                       "); give the prompt ready-made, as text or tokens, instead of messages");
  };
  auto tags = JinjaReader::tags(jinja, file);
  if (!tags && tags.error().status == Status::kUnsupported) return unknown(tags.error().message);
  if (!tags) return std::move(tags).error();
  const auto has = [&](std::string_view tag) {
    return std::find(tags->begin(), tags->end(), tag) != tags->end();
  };
  for (const std::string& tag : *tags) {
    if (!r1_tags::is_known(tag)) return unknown("its part " + printable(tag));
  }
  for (const std::string_view tag : r1_tags::kRequired) {
    if (!has(tag)) return unknown("it lacks " + std::string(tag));
  }
  // Each pair decides one trait: exactly one of the first two, both or none of the last.
  const std::pair<bool, bool> system{has(r1_tags::kLastSystem), has(r1_tags::kJoinSystem)};
  const std::pair<bool, bool> turn{has(r1_tags::kAssistantTurn), has(r1_tags::kAssistantThinks)};
  const std::pair<bool, bool> off{has(r1_tags::kIfNotThinking), has(r1_tags::kCloseThought)};
  if (system.first == system.second) return unknown("its rule for system messages");
  if (turn.first == turn.second) return unknown("its generation prompt");
  if (off.first != off.second || (off.first && turn.first)) return unknown("its thinking switch");
  return ChatTemplate(ChatTemplateTraits{system.second, turn.second, off.first});
}

inline std::vector<PromptPiece> ChatTemplate::render(std::span<const Message> messages,
                                                     bool add_generation_prompt,
                                                     bool thinking) const {
  std::vector<PromptPiece> pieces;
  const auto add = [&](std::string_view text, bool is_control) {
    if (!text.empty()) pieces.push_back({std::string(text), is_control});
  };
  add(kBegin, true);
  add(system_text(messages), false);
  for (const Message& message : messages) {
    std::string_view content = message.content;
    if (message.role == Role::kUser) {
      add(kUser, true);
      add(content, false);
    } else if (message.role == Role::kAssistant) {
      if (const size_t close = content.rfind(kThoughtClose); close != content.npos) {
        content.remove_prefix(close + kThoughtClose.size());
      }
      add(kAssistant, true);
      add(content, false);
      add(kEnd, true);
    }
  }
  if (add_generation_prompt) add(generation_prompt(thinking), true);
  return pieces;
}

inline std::string ChatTemplate::system_text(std::span<const Message> messages) const {
  std::string text;
  bool is_first = true;
  for (const Message& message : messages) {
    if (message.role != Role::kSystem) continue;
    if (!traits_.joins_system_messages) {
      text = message.content;
    } else {
      text.append(is_first ? "" : "\n\n").append(message.content);
    }
    is_first = false;
  }
  return text;
}

inline std::string ChatTemplate::generation_prompt(bool thinking) const {
  std::string text(kAssistant);
  if (traits_.opens_thought || !thinking) text.append(kThoughtOpen).append("\n");
  if (thinking) return text;
  if (traits_.has_thinking_switch) return text.append(kThoughtClose);
  return text.append("\n").append(kThoughtClose).append("\n\n");
}

}  // namespace pensee
