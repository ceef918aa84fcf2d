// Reads the conversations of the chat-template fixtures.
#pragma once

#include <doctest/doctest.h>

#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/text/chat_template.hpp"

namespace pensee::test {

inline std::vector<Message> messages_of(const Json& json) {
  const std::map<std::string, Role> roles = {
      {"system", Role::kSystem}, {"user", Role::kUser}, {"assistant", Role::kAssistant}};
  std::vector<Message> messages;
  for (const Json& item : json) {
    Message message;
    message.role = roles.at(item["role"].get<std::string>());
    message.content = item["content"].get<std::string>();
    if (item.contains("reasoning_content")) {
      message.reasoning_content = item["reasoning_content"].get<std::string>();
    }
    messages.push_back(std::move(message));
  }
  return messages;
}

// When the generator of the fixtures thinks it is: Sunday, 5 July 2026, 9:08:07.
inline std::tm golden_date() {
  std::tm date{};
  date.tm_year = 126;
  date.tm_mon = 6;
  date.tm_mday = 5;
  date.tm_hour = 9;
  date.tm_min = 8;
  date.tm_sec = 7;
  return date;
}

inline std::string joined(const std::vector<PromptPiece>& pieces) {
  std::string text;
  for (const PromptPiece& piece : pieces) text += piece.text;
  return text;
}

}  // namespace pensee::test
