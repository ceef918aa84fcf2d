#include "pensee/reason/read_template.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pensee/io/gguf_writer.hpp"
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

TEST_CASE("a file of its own that cannot be taken is not passed over") {
  const std::string config = R"({"chat_template": )" + quoted(kJinja) + "}";
  const auto chat =
      read_from({{"tokenizer_config.json", config},
                 {"chat_template.jinja", std::string(ModelFiles::kMaxTextBytes + 1, ' ')}});
  CHECK(chat.error().status == Status::kUnsupported);
  CHECK(chat.error().message.starts_with("chat_template.jinja: expected at most"));
}

TEST_CASE("a GGUF file has its template in its metadata, and tokens by their numbers") {
  std::string name = (std::filesystem::temp_directory_path() / "pensee-template-XXXXXX").string();
  REQUIRE(mkdtemp(name.data()) != nullptr);
  const std::string path = name + "/model.gguf";
  const auto read = [&](const std::function<void(GgufHeader&)>& set) -> Result<ChatTemplate> {
    GgufHeader header;
    set(header);
    REQUIRE(header.add_tensor("a", DType::kI8, {{4}, 1}).ok());
    auto writer = GgufWriter::create(path, std::move(header));
    REQUIRE_MESSAGE(writer, writer.error().message);
    REQUIRE(writer->write(std::array<std::byte, 4>{}).ok());
    REQUIRE(writer->finish().ok());
    const auto checkpoint = Checkpoint::open(path);
    REQUIRE_MESSAGE(checkpoint, checkpoint.error().message);
    auto chat = read_chat_template(**checkpoint, tiny()->tokenizer());
    std::filesystem::remove(path);
    return chat;
  };
  const std::string key = "tokenizer.chat_template";
  CHECK(prompt_of(read([&](GgufHeader& header) {
          header.set(key, kJinja);
          header.set("tokenizer.ggml.bos_token_id", uint32_t{0});
        })) == std::string(tiny()->tokenizer().token_bytes(0)) + "Hi");
  CHECK(prompt_of(read([&](GgufHeader& header) { header.set(key, kJinja); })) == "Hi");
  CHECK(prompt_of(read([&](GgufHeader& header) {
          header.set(key, kJinja);
          header.set("tokenizer.ggml.bos_token_id", uint32_t{0});
          header.set("tokenizer.ggml.unknown_token_id", uint32_t{4294967295});  // none
        })) == std::string(tiny()->tokenizer().token_bytes(0)) + "Hi");
  const auto none = read([](GgufHeader&) {});
  CHECK(none.error().status == Status::kNotFound);
  CHECK(none.error().message.find(path + ": no " + key) == 0);
  const auto other = read([&](GgufHeader& header) { header.set(key, "{% include 'a' %}"); });
  CHECK(other.error().status == Status::kUnsupported);
  CHECK(other.error().message.find(path + ": " + key) == 0);
  CHECK(read([&](GgufHeader& header) { header.set(key, uint32_t{1}); }).error().status ==
        Status::kCorruptFile);
  std::filesystem::remove(name);
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
