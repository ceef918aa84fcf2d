#include "pensee/convert/gguf_tokenizer.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "pensee/io/gguf.hpp"
#include "pensee/text/tokenizer.hpp"

using pensee::Checkpoint;
using pensee::Config;
using pensee::GgufFile;
using pensee::GgufHeader;
using pensee::NamedBuffer;
using pensee::Status;
using pensee::Tokenizer;
using pensee_test::as_bytes;

namespace {

// A checkpoint without weights, but with these files.
struct Files {
  explicit Files(const std::string& tokenizer) : text(tokenizer) { add("tokenizer.json", text); }
  void add(const char* name, const std::string& content) {
    buffers.push_back({name, as_bytes(content)});
  }
  // Its keys as a file.
  pensee::Result<std::unique_ptr<const GgufFile>> convert(const Config& config) {
    const auto checkpoint = Checkpoint::open_buffers(buffers).value();
    GgufHeader header;
    PENSEE_RETURN_IF_ERROR(pensee::set_tokenizer_keys(*checkpoint, config, header));
    encoded = header.encode();
    return GgufFile::from_bytes(as_bytes(encoded), "new.gguf");
  }
  std::string text;
  std::string weights = pensee_test::safetensors("{}", 0);
  std::string encoded;
  std::vector<NamedBuffer> buffers = {{"model.safetensors", as_bytes(weights)}};
};

Config small_config(int64_t vocab_size) {
  Config config;
  config.vocab_size = vocab_size;
  config.eos_token_id = {1};
  return config;
}

const std::vector<std::string> kTexts = {"",
                                         "Hello world, 1234567!",
                                         "naïve Ångström é  \r\n\t x",
                                         "日本語 and 中文 🤔",
                                         "12 + 30",
                                         "<think>\nx</think><｜User｜>",
                                         "don't WON'T  ...\n\n\n",
                                         "e\u0301 \u2126"};

void expect_same(const Tokenizer& a, const Tokenizer& b) {
  REQUIRE(a.vocab_size() <= b.vocab_size());
  for (const std::string& text : kTexts) {
    CAPTURE(text);
    CHECK(a.encode(text).value() == b.encode(text).value());
    CHECK(a.encode_ordinary(text).value() == b.encode_ordinary(text).value());
  }
}

}  // namespace

TEST_CASE("a tokenizer is the same by way of GGUF") {
  const std::string folder = PENSEE_TEST_DATA "/text/variants/";
  for (const auto& source :
       {std::pair{std::string(PENSEE_TINY_R1 "/tokenizer.json"), "deepseek-v3"},
        {folder + "llama-bpe.json", "llama-bpe"},
        {folder + "deepseek-llm.json", "deepseek-llm"},
        {folder + "deepseek-coder.json", "deepseek-coder"},
        {folder + "qwen2.json", "deepseek-r1-qwen"}}) {  // Qwen's settings, DeepSeek's words
    const auto& [path, pre] = source;
    CAPTURE(source.first);
    Files files(pensee_test::read_file(path));
    const auto direct = Tokenizer::from_json(files.text, path);
    REQUIRE_MESSAGE(direct.ok(), direct.error().message);
    const auto file = files.convert(small_config(direct->vocab_size() + 3));
    REQUIRE_MESSAGE(file.ok(), file.error().message);
    CHECK((*file)->metadata().at("tokenizer.ggml.pre")->as_string().value() == pre);
    const auto again = Tokenizer::from_gguf((*file)->metadata());
    REQUIRE_MESSAGE(again.ok(), again.error().message);
    CHECK(again->vocab_size() == direct->vocab_size() + 3);  // filled up
    expect_same(*direct, *again);
  }
}

TEST_CASE("roles of tokens and the template") {
  Files files(pensee_test::read_file(PENSEE_TINY_R1 "/tokenizer.json"));
  const std::string settings = pensee_test::read_file(PENSEE_TINY_R1 "/tokenizer_config.json");
  const std::string generation = R"({"eos_token_id":[1,5,6,7]})";
  files.add("tokenizer_config.json", settings);
  files.add("generation_config.json", generation);
  const auto opened = files.convert(small_config(640));
  REQUIRE_MESSAGE(opened.ok(), opened.error().message);
  const pensee::GgufMetadata& keys = (*opened)->metadata();
  CHECK(keys.at("tokenizer.ggml.bos_token_id")->as_int().value() == 0);
  CHECK(keys.at("tokenizer.ggml.eos_token_id")->as_int().value() == 1);
  CHECK(keys.at("tokenizer.ggml.eot_token_id")->as_int().value() == 5);
  CHECK(keys.at("tokenizer.ggml.eom_token_id")->as_int().value() == 6);
  CHECK(keys.at("tokenizer.ggml.padding_token_id")->as_int().value() == 1);
  CHECK(keys.at("tokenizer.ggml.add_bos_token")->as_bool().value());
  CHECK(!keys.at("tokenizer.ggml.add_eos_token")->as_bool().value());
  const std::string jinja(keys.at("tokenizer.chat_template")->as_string().value());
  CHECK(settings.find("add_generation_prompt") != std::string::npos);
  CHECK(jinja.find("add_generation_prompt") != std::string::npos);
  const std::string own = "its own";
  files.add("chat_template.jinja", own);
  CHECK((*files.convert(small_config(640)))->metadata().at("tokenizer.chat_template")->found() ==
        "\"its own\"");
}

TEST_CASE("of several templates the one named default is taken, as where they are read") {
  const auto found = [](const std::string& list) {
    Files files(pensee_test::read_file(PENSEE_TINY_R1 "/tokenizer.json"));
    const std::string settings = R"({"chat_template":)" + list + "}";
    files.add("tokenizer_config.json", settings);
    const auto file = files.convert(small_config(640));
    REQUIRE_MESSAGE(file.ok(), file.error().message);
    const auto entry = (*file)->metadata().find("tokenizer.chat_template");
    return entry ? entry->found() : "none";
  };
  CHECK(found(R"([{"name":"tool_use","template":"b"},{"name":"default","template":"a"}])") ==
        "\"a\"");
  CHECK(found(R"([{"name":"tool_use","template":"b"}])") == "none");
  CHECK(found("[]") == "none");
  CHECK(found("null") == "none");
}

TEST_CASE("control words are control tokens, others those of users") {
  Files files(pensee_test::read_file(PENSEE_TINY_R1 "/tokenizer.json"));
  const auto file = files.convert(small_config(640)).value();
  const auto tokens = file->metadata().at("tokenizer.ggml.tokens")->as_strings().value();
  const auto types = file->metadata().at("tokenizer.ggml.token_type")->as_ints().value();
  REQUIRE(tokens.size() == 640);
  REQUIRE(types.size() == 640);
  int checked = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] == "<｜User｜>" || tokens[i] == "<think>" || tokens[i] == "a" ||
        tokens[i] == "[PAD639]") {
      ++checked;
      CAPTURE(tokens[i]);
      CHECK(types[i] == (tokens[i] == "<think>"    ? 4
                         : tokens[i] == "a"        ? 1
                         : tokens[i] == "[PAD639]" ? 5
                                                   : 3));
    }
  }
  CHECK(checked >= 3);
}

TEST_CASE("checkpoints without a tokenizer, or with one that GGUF has no name for") {
  const std::string weights = pensee_test::safetensors("{}", 0);
  const std::vector<NamedBuffer> buffers = {{"model.safetensors", as_bytes(weights)}};
  const auto checkpoint = Checkpoint::open_buffers(buffers).value();
  GgufHeader header;
  REQUIRE(pensee::set_tokenizer_keys(*checkpoint, small_config(8), header).ok());
  const std::string encoded = header.encode();
  CHECK(GgufFile::from_bytes(as_bytes(encoded), "x")
            .value()
            ->metadata()
            .at("tokenizer.ggml.model")
            ->as_string()
            .value() == "no_vocab");

  std::string text = pensee_test::read_file(PENSEE_TINY_R1 "/tokenizer.json");
  CHECK(Files(text)
            .convert(small_config(100))
            .error()
            .message.find("tokenizer.json: expected at most 100 tokens (vocab_size), found") == 0);
  const size_t at = text.find("{1,3}");
  REQUIRE(at != std::string::npos);
  text[at + 3] = '4';
  CHECK(Files(text).convert(small_config(640)).error().message ==
        "tokenizer.json: pre_tokenizer: no GGUF file has this one");
}

TEST_CASE("what a tokenizer.json is refused for where it is loaded, or GGUF cannot say") {
  const std::string folder = PENSEE_TEST_DATA "/text/variants/";
  const auto error_of = [&](const char* name, const auto& change) {
    auto root = pensee::Json::parse(pensee_test::read_file(folder + name));
    change(root);
    const auto file = Files(root.dump()).convert(small_config(100'000));
    REQUIRE(!file.ok());
    CHECK(file.error().status == Status::kUnsupported);
    CHECK(file.error().message.find("tokenizer.json: ") == 0);
    return file.error().message;
  };
  const auto contains = [](const std::string& message, const char* words) {
    CAPTURE(message);
    CHECK(message.find(words) != std::string::npos);
  };
  using pensee::Json;
  const auto step = [](Json& root, const char* type) -> Json& {
    for (Json& one : root["pre_tokenizer"]["pretokenizers"]) {
      if (one["type"] == type) return one;
    }
    FAIL("no such step");
    return root;
  };
  contains(error_of("deepseek-coder.json",
                    [&](Json& root) { step(root, "Digits")["individual_digits"] = false; }),
           ": individual_digits: expected true");
  contains(error_of("deepseek-coder.json",
                    [&](Json& root) { step(root, "Digits").erase("individual_digits"); }),
           ": individual_digits: expected true");
  contains(
      error_of("llama-bpe.json", [&](Json& root) { step(root, "Split")["behavior"] = "Removed"; }),
      "behavior: \"Removed\" is not supported");
  contains(error_of("llama-bpe.json", [&](Json& root) { step(root, "Split")["invert"] = true; }),
           "invert = true");
  contains(error_of("llama-bpe.json",
                    [&](Json& root) { step(root, "ByteLevel")["add_prefix_space"] = true; }),
           "add_prefix_space = true");
  contains(error_of("llama-bpe.json",
                    [&](Json& root) { root["pre_tokenizer"] = step(root, "ByteLevel"); }),
           "pre_tokenizer: no GGUF file has this one");
  contains(
      error_of("llama-bpe.json",
               [](Json& root) {
                 const Json id = root["model"]["vocab"]["a"];
                 root["added_tokens"].push_back({{"id", id}, {"content", "a"}, {"special", false}});
               }),
      "added token \"a\" can also be made of ordinary text");
}
