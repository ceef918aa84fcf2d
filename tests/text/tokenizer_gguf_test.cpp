#include "pensee/text/tokenizer_gguf.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/gguf_bytes.hpp"
#include "pensee/io/gguf.hpp"
#include "text/golden.hpp"

namespace pensee {
namespace {

using pensee_test::array_key;
using pensee_test::key;
using pensee_test::raw;
using pensee_test::raw_string;

// The keys of a vocabulary, to be changed and written.
struct Vocabulary {
  std::string model = "gpt2";
  std::string pre = "deepseek-v3";
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<std::string> merges;
  std::vector<std::string> others;  // whole keys

  // As llama.cpp's converter writes a tokenizer.json.
  static Vocabulary of(const Json& json, std::string pre) {
    Vocabulary out;
    out.pre = std::move(pre);
    const Json& vocab = json["model"]["vocab"];
    const auto set = [&](size_t id, const std::string& token, int32_t type) {
      if (out.tokens.size() <= id) out.tokens.resize(id + 1);
      out.types.resize(out.tokens.size());
      out.tokens[id] = token;
      out.types[id] = type;
    };
    for (const auto& [token, id] : vocab.items()) set(id.get<size_t>(), token, 1);
    for (const Json& added : json["added_tokens"]) {
      set(added["id"].get<size_t>(), added["content"], added["special"].get<bool>() ? 3 : 4);
    }
    for (const Json& merge : json["model"]["merges"]) out.merges.push_back(merge);
    return out;
  }

  [[nodiscard]] std::string bytes() const {
    std::string token_bytes;
    for (const std::string& token : tokens) token_bytes += raw_string(token);
    std::string type_bytes;
    for (const int32_t type : types) type_bytes += raw(type);
    std::string merge_bytes;
    for (const std::string& merge : merges) merge_bytes += raw_string(merge);
    pensee_test::GgufParts parts;
    parts.keys = others;
    if (!model.empty()) parts.keys.push_back(key("tokenizer.ggml.model", model));
    if (!pre.empty()) parts.keys.push_back(key("tokenizer.ggml.pre", pre));
    const auto add = [&](const char* name, GgufType type, size_t count, const std::string& all) {
      if (count > 0) parts.keys.push_back(array_key(name, type, count, all));
    };
    add("tokenizer.ggml.tokens", GgufType::kString, tokens.size(), token_bytes);
    add("tokenizer.ggml.token_type", GgufType::kI32, types.size(), type_bytes);
    add("tokenizer.ggml.merges", GgufType::kString, merges.size(), merge_bytes);
    return pensee_test::gguf(parts);
  }
};

const Vocabulary& tiny_vocabulary() {
  static const Vocabulary vocabulary =
      Vocabulary::of(Json::parse(test::read_tokenizer_json("tiny_r1")), "deepseek-v3");
  return vocabulary;
}

// A file in memory, and what is read from it.
struct File {
  explicit File(std::string content) : bytes(std::move(content)) {
    auto opened = GgufFile::from_bytes(std::as_bytes(std::span(bytes)), "m.gguf");
    REQUIRE_MESSAGE(opened, opened.error().message);
    gguf = std::move(opened).value();
  }
  [[nodiscard]] const GgufMetadata& metadata() const { return gguf->metadata(); }

  std::string bytes;
  std::unique_ptr<const GgufFile> gguf;
};

Result<Tokenizer> load(const Vocabulary& vocabulary) {
  const File file(vocabulary.bytes());  // gone when the tokenizer is used
  return Tokenizer::from_gguf(file.metadata());
}

TEST_CASE("vocabularies of every pre-tokenizer have Hugging Face's ids") {
  constexpr uint64_t kSome = 5000;  // of the random strings: tokenizer.json files go through all
  const Json kinds = test::read_json(test::golden_path("random_kinds.json"));
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"deepseek-v3", "tiny_r1"},
      {"deepseek-llm", "variants/deepseek-llm"},
      {"deepseek-coder", "variants/deepseek-coder"},
      {"deepseek-r1-qwen", "variants/qwen2"},
      {"qwen2", "variants/qwen2"},
      {"llama-bpe", "variants/llama-bpe"},
      {"llama-v3", "variants/llama-bpe"},
      {"llama3", "variants/llama-bpe"}};
  CHECK(cases.size() == gguf_detail::kPreTokenizers.size());
  for (const auto& entry : cases) {
    const auto& [pre, name] = entry;
    CAPTURE(entry.first);
    const Json json = Json::parse(test::read_tokenizer_json(name));
    const auto tokenizer = load(Vocabulary::of(json, pre));
    REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
    const std::vector<uint32_t> hashes = test::read_hashes(name);
    for (uint64_t first = 0; first < kSome; first += test::kStep) {
      test::GroupHash whole;
      test::GroupHash without;
      for (uint64_t i = first; i < first + test::kGroup; ++i) {
        const std::string string = test::random_string(i, kinds);
        const auto ids = tokenizer->encode(string);
        const auto ordinary = tokenizer->encode_ordinary(string);
        REQUIRE(ids);
        REQUIRE(ordinary);
        whole.add(*ids);
        without.add(*ordinary);
      }
      CAPTURE(first);
      CHECK(whole.value() == hashes[2 * (first / test::kGroup)]);
      CHECK(without.value() == hashes[2 * (first / test::kGroup) + 1]);
    }
    for (const Json& added : json["added_tokens"]) {
      CHECK(tokenizer->is_special(added["id"]) == added["special"].get<bool>());
    }
  }
}

TEST_CASE("unused tokens and those that fill holes are never found in text") {
  Vocabulary vocabulary = tiny_vocabulary();
  const auto unused = static_cast<int32_t>(vocabulary.tokens.size());
  const std::string filler = "[PAD" + std::to_string(unused + 1) + "]";
  vocabulary.tokens.insert(vocabulary.tokens.end(), {"unused", filler, "<unk>"});
  vocabulary.types.insert(vocabulary.types.end(), {5, 4, 2});
  const auto tokenizer = load(vocabulary);
  REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
  CHECK(tokenizer->vocab_size() == unused + 3);
  auto ids = tokenizer->encode("unused" + filler + "<unk>");
  REQUIRE(ids);
  CHECK(ids->back() == unused + 2);
  CHECK(tokenizer->is_special(unused + 2));
  ids->pop_back();
  for (const int32_t id : *ids) CHECK(id < unused);
}

TEST_CASE("tokens of an undefined type are normal") {
  Vocabulary vocabulary = tiny_vocabulary();
  for (int32_t& type : vocabulary.types) type = type == 1 ? 0 : type;
  const auto tokenizer = load(vocabulary);
  REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
  const auto normal = load(tiny_vocabulary());
  for (const std::string text : {"What is 34 + 57?", "<｜User｜>a<think>"}) {
    CHECK(tokenizer->encode(text).value() == normal->encode(text).value());
  }
}

TEST_CASE("a file without vocabulary is known") {
  Vocabulary none;
  none.model = "";
  CHECK_FALSE(has_vocabulary(File(none.bytes()).metadata()));
  none.model = "no_vocab";
  CHECK_FALSE(has_vocabulary(File(none.bytes()).metadata()));
  const auto tokenizer = load(none);
  REQUIRE_FALSE(tokenizer);
  CHECK(tokenizer.error().status == Status::kUnsupported);
  CHECK(tokenizer.error().message.find("no_vocab") != std::string::npos);
  CHECK(has_vocabulary(File(tiny_vocabulary().bytes()).metadata()));
}

TEST_CASE("what is malformed is an error that says where") {
  struct Case {
    std::string word;  // must be in the message
    std::function<void(Vocabulary&)> change;
    Status status = Status::kCorruptFile;
  };
  const std::vector<Case> cases = {
      {"tokenizer.ggml.model: missing", [](auto& v) { v.model = ""; }},
      {"only \"gpt2\"", [](auto& v) { v.model = "llama"; }, Status::kUnsupported},
      {"tokenizer.ggml.pre: missing, as in files of before May 2024", [](auto& v) { v.pre = ""; },
       Status::kUnsupported},
      {"unknown pre-tokenizer \"gpt-5\"; known are deepseek-v3, deepseek-llm",
       [](auto& v) { v.pre = "gpt-5"; }, Status::kUnsupported},
      {"tokenizer.ggml.tokens: missing", [](auto& v) { v.tokens.clear(); }},
      {"tokenizer.ggml.token_type: missing", [](auto& v) { v.types.clear(); }},
      {"tokenizer.ggml.merges: missing", [](auto& v) { v.merges.clear(); }},
      {"one for each of the 637 tokens", [](auto& v) { v.types.pop_back(); }},
      {"tokens[600]: expected a token, found an empty one", [](auto& v) { v.tokens[600] = ""; }},
      {"tokens[601]: not UTF-8", [](auto& v) { v.tokens[601] = "\xC3"; }},
      {"tokens[602]: \"a\" is also token ", [](auto& v) { v.tokens[602] = "a"; }},
      {"token_type[603]: expected an array of integers from 0 to 6, found -1",
       [](auto& v) { v.types[603] = -1; }},
      {"token_type[603]: expected an array of integers from 0 to 6, found 7",
       [](auto& v) { v.types[603] = 7; }},
      {"token_type[604]: byte tokens", [](auto& v) { v.types[604] = 6; }, Status::kUnsupported},
      {"merges[1]: \"ab\" is not two tokens", [](auto& v) { v.merges[1] = "ab"; }},
      {"merges[1]: \"a b c\" is not two tokens", [](auto& v) { v.merges[1] = "a b c"; }},
      {"merges[1]: \" a\" is not two tokens", [](auto& v) { v.merges[1] = " a"; }},
      {"merges[1]: \"~~\" is not in the vocabulary", [](auto& v) { v.merges[1] = "~ ~"; }},
      {"no token for byte 113 (\"q\")",
       [](auto& v) {
         for (auto& token : v.tokens) token = token == "q" ? "no q" : token;
         std::erase_if(v.merges, [](const auto& m) { return m.find('q') != m.npos; });
       }},
      {"expected an added token of at most 256 bytes, found 257",
       [](auto& v) {
         const auto control = std::find(v.types.begin(), v.types.end(), 3);
         v.tokens[static_cast<size_t>(control - v.types.begin())] = std::string(257, 'x');
       },
       Status::kUnsupported},
      {"can also be made of ordinary text", [](auto& v) { v.types[619] = 4; },
       Status::kUnsupported},
      {"expected an array of strings",
       [](auto& v) {
         v.tokens.clear();
         v.others.push_back(array_key("tokenizer.ggml.tokens", GgufType::kI32, 637,
                                      std::string(4 * v.types.size(), '\1')));
       }},
      {"expected a string, found 3",
       [](auto& v) {
         v.pre = "";
         v.others.push_back(key("tokenizer.ggml.pre", uint32_t{3}));
       }},
  };
  REQUIRE(tiny_vocabulary().tokens.size() == 637);
  for (const Case& item : cases) {
    CAPTURE(item.word);
    Vocabulary vocabulary = tiny_vocabulary();
    item.change(vocabulary);
    const auto tokenizer = load(vocabulary);
    REQUIRE_FALSE(tokenizer);
    CAPTURE(tokenizer.error().message);
    CHECK(tokenizer.error().status == item.status);
    CHECK(tokenizer.error().message.find("m.gguf: ") == 0);
    CHECK(tokenizer.error().message.find(item.word) != std::string::npos);
  }
}

TEST_CASE("an absurd number of tokens is refused before they are read") {
  constexpr uint64_t kCount = uint64_t{kMaxVocabSize} + 1;
  Vocabulary vocabulary;
  vocabulary.others = {
      array_key("tokenizer.ggml.tokens", GgufType::kI8, kCount, std::string(kCount, '\0')),
      array_key("tokenizer.ggml.token_type", GgufType::kI8, 1, "\1")};
  const auto tokenizer = load(vocabulary);
  REQUIRE_FALSE(tokenizer);
  CHECK(tokenizer.error().status == Status::kCorruptFile);
  CHECK(tokenizer.error().message.find("at most 16777216 tokens, found an array of 16777217") !=
        std::string::npos);
}

TEST_CASE("a file damaged anywhere is an error or a tokenizer, never a crash") {
  const std::string whole = tiny_vocabulary().bytes();
  test::SplitMix64 random(4);
  int errors = 0;
  for (int i = 0; i < 300; ++i) {
    std::string bytes = whole;
    for (int k = 0; k < 3; ++k) {
      bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
    }
    const auto file = GgufFile::from_bytes(std::as_bytes(std::span(bytes)), "m.gguf");
    if (!file) continue;  // the subject of gguf_test.cpp
    const auto result = Tokenizer::from_gguf((*file)->metadata());
    if (!result) {
      ++errors;
      CHECK(result.error().message.find("m.gguf: ") == 0);
    } else {
      CHECK(result->encode("Any text 123").ok());
    }
  }
  CHECK(errors >= 20);
}

}  // namespace
}  // namespace pensee
