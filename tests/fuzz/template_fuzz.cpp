// Chat templates, and conversations rendered with those that are known.
#include <array>
#include <ctime>
#include <optional>
#include <vector>

#include "fuzz.hpp"
#include "pensee/text/chat_template.hpp"

std::span<const std::string_view> pensee::fuzz::words() {
  static constexpr auto kWords = std::to_array<std::string_view>({"{%",
                                                                  "%}",
                                                                  "{{",
                                                                  "}}",
                                                                  "{#",
                                                                  "#}",
                                                                  "{%-",
                                                                  "-%}",
                                                                  "{%+",
                                                                  "{% if true %}",
                                                                  "{% else %}",
                                                                  "{% elif x %}",
                                                                  "{% endif %}",
                                                                  "{% for m in messages %}",
                                                                  "{% for a in range(9) %}",
                                                                  "{% endfor %}",
                                                                  "{% set ns = namespace(a=1) %}",
                                                                  "{% set ns.a = ns.a * 9 %}",
                                                                  "{% set x = x ~ x %}",
                                                                  "messages[::-1]",
                                                                  "messages[1:]",
                                                                  ".content[1:]",
                                                                  "[::-2]",
                                                                  "['role']",
                                                                  ".content",
                                                                  "bos_token",
                                                                  "add_generation_prompt",
                                                                  "enable_thinking",
                                                                  "tools",
                                                                  " is defined",
                                                                  " is not none",
                                                                  " is string",
                                                                  " not ",
                                                                  " and ",
                                                                  " in ",
                                                                  " ~ ",
                                                                  " + ",
                                                                  " * ",
                                                                  " // ",
                                                                  " % ",
                                                                  " if x else ",
                                                                  "'",
                                                                  "\"",
                                                                  "\\n",
                                                                  "<think>",
                                                                  "</think>",
                                                                  ".split('</think>')[-1]",
                                                                  ".strip('\\n')",
                                                                  ".replace('a', 'aa')",
                                                                  ".startswith('a')",
                                                                  ".rstrip()",
                                                                  ".items()",
                                                                  "loop.index0",
                                                                  "loop.previtem",
                                                                  "raise_exception('a')",
                                                                  "strftime_now('%d %b %Y')",
                                                                  "|trim",
                                                                  "|length",
                                                                  "|join(',')",
                                                                  "|tojson",
                                                                  "|replace('a','b')",
                                                                  "|default(1)",
                                                                  "[",
                                                                  "]",
                                                                  "(",
                                                                  ")",
                                                                  "-1",
                                                                  "((((((((((",
                                                                  "[[[[[[[[[["});
  return kWords;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pensee;
  const auto chat = ChatTemplate::from_jinja(fuzz::text_of(data, size), "f",
                                             {{"bos_token", "<bos>"}, {"eos_token", "<eos>"}});
  if (!chat) {
    FUZZ_CHECK_ERROR(chat.error());
    return 0;
  }
  FUZZ_CHECK(chat->form() != nullptr);
  std::vector<Message> messages(5);
  messages[0] = {Role::kSystem, "Be brief."};
  messages[1] = {Role::kUser, "1+1? <think>"};
  messages[2] = {Role::kAssistant, "<think>\nhm</think>\n2"};
  messages[3] = {Role::kSystem, ""};
  messages[4] = {Role::kUser, "\xC3\xA9"};
  for (size_t n = 0; n <= messages.size(); ++n) {
    for (const std::optional<bool> thinking : {std::optional<bool>(), {false}, {true}}) {
      PromptOptions options;
      options.add_generation_prompt = n % 2 == 0;
      options.thinking = thinking;
      options.now = std::tm();
      const auto pieces = chat->render(std::span(messages).first(n), options);
      if (!pieces) {
        FUZZ_CHECK(!pieces.error().message.empty());
        continue;
      }
      for (const PromptPiece& piece : *pieces) FUZZ_CHECK(!piece.text.empty());
    }
  }
  return 0;
}
