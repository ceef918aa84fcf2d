#include "pensee/reason/read_template.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "reason/tiny.hpp"

namespace pensee {
namespace {

const std::string kJinja = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";

// The template of a checkpoint in memory that has these files beside its weights.
Result<ChatTemplate> read_from(const std::map<std::string, std::string>& files) {
  static const std::string weights = [] {
    std::ifstream file(std::string(PENSEE_TINY_R1) + "/model.safetensors", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();
  std::vector<NamedBuffer> buffers = {{"model.safetensors", std::as_bytes(std::span(weights))}};
  for (const auto& [name, text] : files) buffers.push_back({name, std::as_bytes(std::span(text))});
  const auto checkpoint = Checkpoint::open_buffers(buffers);
  REQUIRE_MESSAGE(checkpoint, checkpoint.error().message);
  return read_chat_template(**checkpoint, tiny()->tokenizer());
}

std::string prompt_of(const Result<ChatTemplate>& chat) {
  REQUIRE_MESSAGE(chat, chat.error().message);
  std::string text;
  const auto pieces = chat->render(std::vector<Message>{{Role::kUser, "Hi"}});
  REQUIRE(pieces);
  for (const PromptPiece& piece : *pieces) text += piece.text;
  return text;
}

std::string quoted(const std::string& text) {
  return Json(text).dump();
}

TEST_CASE("the tokens that a template names come from tokenizer_config.json, as text or object") {
  const std::string chat = R"("chat_template": )" + quoted(kJinja);
  CHECK(prompt_of(read_from({{"tokenizer_config.json", "{" + chat + "}"}})) == "Hi");
  CHECK(prompt_of(read_from(
            {{"tokenizer_config.json", R"({"bos_token": "<b>", )" + chat + "}"}})) == "<b>Hi");
  CHECK(prompt_of(read_from(
            {{"tokenizer_config.json",
              R"({"bos_token": {"content": "<c>", "lstrip": false}, )" + chat + "}"}})) == "<c>Hi");
  CHECK(prompt_of(read_from({{"tokenizer_config.json", R"({"bos_token": null, )" + chat + "}"}})) ==
        "Hi");
  const auto wrong = read_from({{"tokenizer_config.json", R"({"bos_token": 5, )" + chat + "}"}});
  CHECK(wrong.error().status == Status::kCorruptFile);
  CHECK(wrong.error().message.find("bos_token") != std::string::npos);
}

TEST_CASE("of several templates the one named default counts, and a file of its own goes before") {
  const std::string several = R"({"chat_template": [{"name": "tools", "template": "x"},
      {"name": "default", "template": )" +
                              quoted(kJinja) + "}]}";
  CHECK(prompt_of(read_from({{"tokenizer_config.json", several}})) == "Hi");
  CHECK(prompt_of(read_from({{"tokenizer_config.json", several},
                             {"chat_template.jinja", "own {{ messages[0].content }}"}})) ==
        "own Hi");
  for (const std::string config :
       {R"({"chat_template": []})", R"({"chat_template": 1})",
        R"({"chat_template": [{"name": "default"}]})", R"({"chat_template": [{"name": 1}]})"}) {
    CAPTURE(config);
    CHECK(read_from({{"tokenizer_config.json", config}}).error().status == Status::kUnsupported);
  }
}

TEST_CASE("without a template, or what it needs, there is an error that names the file") {
  CHECK(read_from({}).error().status == Status::kNotFound);
  CHECK(read_from({{"tokenizer_config.json", "{}"}}).error().status == Status::kNotFound);
  CHECK(read_from({{"tokenizer_config.json", "[]"}}).error().status == Status::kCorruptFile);
  CHECK(read_from({{"tokenizer_config.json", "{"}}).error().status == Status::kCorruptFile);
  const auto lonely = read_from({{"chat_template.jinja", kJinja}});
  CHECK(lonely.error().status == Status::kUnsupported);
  CHECK(lonely.error().message.find("tokenizer_config.json") != std::string::npos);
  CHECK(prompt_of(read_from({{"chat_template.jinja", "{{ messages[0].content }}"}})) == "Hi");
}

}  // namespace
}  // namespace pensee
