#include "pensee/text/chat_template.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "text/conversations.hpp"
#include "text/golden.hpp"

namespace pensee {
namespace {

using test::joined;

const Json& fixture() {
  static const Json json = test::read_json(test::golden_path("chat_templates.json"));
  return json;
}

std::string jinja_of(const std::string& name) {
  if (name != "tiny_r1") return test::read_file(test::golden_path("templates/" + name + ".jinja"));
  const Json config = test::read_json(std::string(PENSEE_TINY_R1) + "/tokenizer_config.json");
  return config["chat_template"].get<std::string>();
}

ChatTemplate load_text(const std::string& jinja) {
  SpecialTokens tokens;
  for (const auto& [name, text] : fixture()["tokens"].items()) {
    tokens.emplace_back(name, text.get<std::string>());
  }
  auto result = ChatTemplate::from_jinja(jinja, "chat_template", tokens);
  REQUIRE_MESSAGE(result, result.error().message);
  return *result;
}
ChatTemplate load(const std::string& name) {
  return load_text(jinja_of(name));
}

// The hash of a text in the fixture's spelling; dashes for an error.
std::string hash_of(const Result<std::vector<PromptPiece>>& pieces) {
  if (!pieces) return "--------";
  std::array<char, 9> hex{};
  std::snprintf(hex.data(), hex.size(), "%08x",
                static_cast<uint32_t>(test::fnv1a(joined(*pieces))));
  return hex.data();
}

// Renders every conversation with every setting; `expected` has the hashes, and perhaps some texts.
void check_prompts(const ChatTemplate& chat, const Json& expected) {
  const std::string hashes = expected["hashes"].get<std::string>();
  const Json prompts = expected.value("prompts", Json::array());
  size_t i = 0;
  for (size_t talk = 0; talk < fixture()["conversations"].size(); ++talk) {
    const Json& messages = fixture()["conversations"][talk];
    for (size_t set = 0; set < fixture()["settings"].size(); ++set, i += 8) {
      const Json& setting = fixture()["settings"][set];
      PromptOptions options;
      options.add_generation_prompt = setting["add_generation_prompt"].get<bool>();
      if (!setting["thinking"].is_null()) options.thinking = setting["thinking"].get<bool>();
      options.now = test::golden_date();
      const auto pieces = chat.render(test::messages_of(messages), options);
      CAPTURE(messages.dump());
      CAPTURE(setting.dump());
      CAPTURE((pieces ? joined(*pieces) : pieces.error().message));
      REQUIRE(i + 8 <= hashes.size());
      CHECK(hash_of(pieces) == hashes.substr(i, 8));
      if (talk < prompts.size() && prompts[talk][set].is_string()) {
        REQUIRE(pieces.ok());
        CHECK(joined(*pieces) == prompts[talk][set].get<std::string>());
      }
      if (!pieces) continue;
      for (size_t n = 0; n < pieces->size(); ++n) {
        CHECK_FALSE((*pieces)[n].text.empty());
        if (n > 0) CHECK((*pieces)[n].is_control != (*pieces)[n - 1].is_control);
      }
    }
  }
  CHECK(i == hashes.size());
}

TEST_CASE("prompts equal what Jinja renders") {
  REQUIRE(fixture()["templates"].size() == 16);
  REQUIRE(fixture()["conversations"].size() > 100);
  for (const auto& entry : fixture()["templates"].items()) {
    CAPTURE(entry.key());
    check_prompts(load(entry.key()), entry.value());
  }
}

TEST_CASE("prompts equal Jinja's for templates that are not in the repository") {
  // Their texts are looked for, by their hashes, in the directory PENSEE_TEMPLATES, if it is given.
  const std::string folder = PENSEE_TEMPLATES;
  if (folder.empty()) return;
  size_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".jinja") continue;
    const std::string jinja = test::read_file(entry.path().string());
    std::array<char, 17> hex{};
    std::snprintf(hex.data(), hex.size(), "%016llx",
                  static_cast<unsigned long long>(test::fnv1a(jinja)));
    for (const auto& other : fixture()["others"].items()) {
      if (other.value()["fnv1a"] != hex.data()) continue;
      CAPTURE(other.key());
      check_prompts(load_text(jinja), other.value());
      ++found;
    }
  }
  CHECK(found == fixture()["others"].size());
}

TEST_CASE("no template tires of a long conversation") {
  std::vector<Message> messages;
  for (int i = 0; i < 1000; ++i) {
    messages.push_back({Role::kUser, "Why?"});
    messages.push_back({Role::kAssistant, "<think>\nHm.\n</think>\n\nSo."});
  }
  for (const auto& entry : fixture()["templates"].items()) {
    CAPTURE(entry.key());
    const auto pieces = load(entry.key()).render(messages);
    REQUIRE_MESSAGE(pieces, pieces.error().message);
    CHECK(std::count_if(pieces->begin(), pieces->end(), [](const PromptPiece& piece) {
            return !piece.is_control && piece.text == "Why?";
          }) == 1000);
  }
}

TEST_CASE("what a template is like is found by trying it") {
  struct Row {
    const char* name;
    const char* form;
    bool opens_thought;
    bool has_switch;
    bool knows_thoughts;
    const char* end;  // of an answer
  };
  const std::string im_end = "<|im_end|>\n";
  for (const Row& row : {
           Row{"r1", "deepseek", true, false, true, "<｜end▁of▁sentence｜>"},
           Row{"r1_0528", "deepseek", false, false, true, "<｜end▁of▁sentence｜>"},
           Row{"v3", "deepseek", false, false, false, "<｜end▁of▁sentence｜>"},
           Row{"v3_0324", "deepseek", false, false, false, "<｜end▁of▁sentence｜>"},
           Row{"v3_1", "deepseek", false, true, true, "<｜end▁of▁sentence｜>"},
           Row{"v3_1_switches", "deepseek", false, true, true, "<｜end▁of▁sentence｜>"},
           Row{"r1_distill_llama", "deepseek", true, false, true, "<｜end▁of▁sentence｜>"},
           Row{"r1_distill_qwen_switch", "deepseek", false, true, true, "<｜end▁of▁sentence｜>"},
           Row{"qwen2_5", "chatml", false, false, false, "<|im_end|>"},
           Row{"qwq_32b", "chatml", true, false, true, "<|im_end|>"},
           Row{"qwq_32b_switch", "chatml", false, true, true, "<|im_end|>"},
           Row{"qwen3", "chatml", false, true, true, "<|im_end|>"},
           Row{"llama3_form", "llama3", false, false, false, "<|eot_id|>"},
           Row{"llama3_dated_form", "llama3", false, false, false, "<|eot_id|>"},
           Row{"spelled_thoughts", "other", true, false, true, "\n\n### user:"},
           Row{"tiny_r1", "deepseek", true, false, true, "<｜end▁of▁sentence｜>"},
       }) {
    CAPTURE(row.name);
    const ChatTemplate chat = load(row.name);
    CHECK(std::string(chat.form()) == row.form);
    CHECK(chat.opens_thought() == row.opens_thought);
    CHECK(chat.has_thinking_switch() == row.has_switch);
    CHECK(chat.knows_thoughts() == row.knows_thoughts);
    CHECK(chat.turn_end().starts_with(row.end));
    for (const std::string& word : chat.control_words()) {
      CHECK((word.starts_with("<|") || word.starts_with("<｜")));
      CHECK((word.ends_with("|>") || word.ends_with("｜>")));
    }
  }
  CHECK(load("qwen3").control_words() == std::vector<std::string>{"<|im_start|>", "<|im_end|>"});
}

TEST_CASE("thinking is switched in the template's own way, or by the prompt's end") {
  const std::vector<Message> messages = {{Role::kUser, "Hi"}};
  const auto end = [&](const std::string& name, std::optional<bool> thinking) {
    const std::string text = joined(*load(name).render(messages, {.thinking = thinking}));
    return text.substr(text.rfind("Hi") + 2);
  };
  CHECK(end("r1", {}) == "<｜Assistant｜><think>\n");
  CHECK(end("r1", true) == "<｜Assistant｜><think>\n");
  CHECK(end("r1", false) == "<｜Assistant｜><think>\n\n</think>\n\n");
  CHECK(end("r1_0528", {}) == "<｜Assistant｜>");
  CHECK(end("r1_0528", true) == "<｜Assistant｜><think>\n");
  CHECK(end("r1_0528", false) == "<｜Assistant｜><think>\n\n</think>\n\n");
  CHECK(end("v3_1", {}) == "<｜Assistant｜></think>");
  CHECK(end("v3_1", true) == "<｜Assistant｜><think>");
  CHECK(end("v3_1", false) == "<｜Assistant｜></think>");
  CHECK(end("qwen3", {}) == "<|im_end|>\n<|im_start|>assistant\n");
  CHECK(end("qwen3", true) == "<|im_end|>\n<|im_start|>assistant\n<think>\n");
  CHECK(end("qwen3", false) == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
}

TEST_CASE("a date is today's, or the one that is given") {
  const ChatTemplate chat = load("llama3_dated_form");
  const std::vector<Message> messages = {{Role::kUser, "Hi"}};
  CHECK(joined(*chat.render(messages, {.now = test::golden_date()})).find("Date: 05 Jul 2026\n") !=
        std::string::npos);
  const std::string today = joined(*chat.render(messages));
  const std::time_t seconds = std::time(nullptr);
  std::tm local{};
  localtime_r(&seconds, &local);
  CHECK(today.find(std::to_string(local.tm_year + 1900) + "\n") != std::string::npos);
}

TEST_CASE("a template that cannot be run, or says nothing, is refused with a way out") {
  for (const std::string other :
       {"", "text", "{{ bos_token }}", "{{ something_else }}", "{{ messages | tojson }}",
        "{% for m in messages %}{{ m.role }}{% endfor %}", "{% for m in messages %}", "{{ 'a }}",
        "{% include 'x' %}{{ messages[0].content }}", "{{ messages[0].content }",
        "{{ messages[0].content }}{{ messages[0].content }}", "{{ raise_exception('Never.') }}",
        "{{ messages[0].content.upper() }}", "{{ '\xff' }}{{ messages[0].content }}",
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}{{ m | tojson }}"
        "{% endif %}{% endfor %}"}) {
    CAPTURE(other);
    const auto result = ChatTemplate::from_jinja(other, "model/tokenizer_config.json");
    REQUIRE_FALSE(result);
    CHECK(result.error().status == Status::kUnsupported);
    CHECK(result.error().message.find("model/tokenizer_config.json") == 0);
    CHECK(result.error().message.find("ready-made") != std::string::npos);
  }
}

TEST_CASE("control words, however many, are listed once and in their order") {
  std::vector<std::string> words;
  std::string jinja = "{{ messages[0].content }}";
  for (int i = 0; i < 200000; ++i) {
    words.push_back("<|" + std::to_string(1000000 + i) + "|>");
    jinja += words.back();
  }
  const auto begin = std::chrono::steady_clock::now();
  CHECK(load_text(jinja + jinja.substr(jinja.find("<|"))).control_words() == words);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
}

TEST_CASE("a template may refuse some messages, and says so") {
  const ChatTemplate chat = load_text(
      "{% for m in messages %}{% if m.role == 'system' %}"
      "{{ raise_exception('No system role.') }}{% endif %}{{ m.content }}{% endfor %}");
  CHECK(chat.render(std::vector<Message>{{Role::kUser, "Hi"}}).ok());
  const auto refused = chat.render(std::vector<Message>{{Role::kSystem, "Hi"}});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().status == Status::kInvalidArgument);
  CHECK(refused.error().message.find("chat_template") == 0);
  CHECK(refused.error().message.find("No system role.") != std::string::npos);
}

}  // namespace
}  // namespace pensee
