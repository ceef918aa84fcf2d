#include "pensee/text/tokenizer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "pensee/io/gguf.hpp"
#include "text/golden.hpp"

namespace pensee {
namespace {

using test::deepseek_v3;
using test::tiny_r1;
using test::tokenizer_of;
using Ids = std::vector<int32_t>;

static_assert(!std::is_copy_constructible_v<Tokenizer>);
static_assert(std::is_move_constructible_v<Tokenizer>);

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
  auto ids = tokenizer.encode(text);
  REQUIRE_MESSAGE(ids, ids.error().message);
  return std::move(ids).value();
}

Ids encode_ordinary(const Tokenizer& tokenizer, std::string_view text) {
  auto ids = tokenizer.encode_ordinary(text);
  REQUIRE_MESSAGE(ids, ids.error().message);
  return std::move(ids).value();
}

bool has_file(const std::string& path) {
  return std::ifstream(path).good();
}

// All tokenizers with expected values of Hugging Face's tokenizers.
std::vector<std::string> golden_names() {
  std::vector<std::string> names = {"tiny_r1", "deepseek_v3", "qwen3"};
  for (const char* name : {"qwen2", "llama-bpe", "deepseek-llm", "deepseek-coder", "nfc_added"}) {
    names.push_back(std::string("variants/") + name);
  }
  if (has_file(test::outside_path("llama3_1/tokenizer.json"))) names.push_back("llama3_1");
  return names;
}

// Whether the text comes back: it does not where it was normalised, nor where a token of a letter
// stands for a byte, as in DeepSeek's older vocabularies.
bool gives_back(const std::string& name) {
  return name == "tiny_r1" || name == "deepseek_v3" || name.starts_with("llama") ||
         name == "variants/llama-bpe";
}

TEST_CASE("texts in many scripts have Hugging Face's ids") {
  const Json texts = test::read_json(test::golden_path("texts.json"));
  REQUIRE(texts.size() >= 20);
  for (const std::string& name : golden_names()) {
    const Tokenizer& tokenizer = tokenizer_of(name);
    const Json expected = test::read_json(test::expected_path(name) + ".json");
    CHECK(tokenizer.vocab_size() == expected["vocab_size"].get<int32_t>());
    REQUIRE(expected["texts"].size() == texts.size());
    for (const auto& entry : texts.items()) {
      const std::string& key = entry.key();
      CAPTURE(name);
      CAPTURE(key);
      const auto& string = entry.value().get_ref<const std::string&>();
      const Ids ids = encode(tokenizer, string);
      CHECK(ids == expected["texts"][key]["encode"].get<Ids>());
      CHECK(encode_ordinary(tokenizer, string) ==
            expected["texts"][key]["encode_ordinary"].get<Ids>());
      if (gives_back(name)) CHECK(tokenizer.decode(ids, false) == string);
    }
  }
}

TEST_CASE("50,000 random Unicode strings have Hugging Face's ids") {
  const Json kinds = test::read_json(test::golden_path("random_kinds.json"));
  for (const std::string& name : golden_names()) {
    CAPTURE(name);
    const Tokenizer& tokenizer = tokenizer_of(name);
    const Json expected = test::read_json(test::expected_path(name) + ".json")["strings"];
    REQUIRE(expected.size() == 40);
    const std::vector<uint32_t> hashes = test::read_hashes(name);
    for (uint64_t first = 0; first < test::kStrings; first += test::kStep) {
      test::GroupHash whole;
      test::GroupHash without;
      for (uint64_t i = first; i < first + test::kGroup; ++i) {
        const std::string string = test::random_string(i, kinds);
        const Ids ids = encode(tokenizer, string);
        const Ids ordinary = encode_ordinary(tokenizer, string);
        whole.add(ids);
        without.add(ordinary);
        if (i < expected.size()) {
          CAPTURE(string);
          CHECK(ids == expected[i]["encode"].get<Ids>());
          CHECK(ordinary == expected[i]["encode_ordinary"].get<Ids>());
        }
        if (gives_back(name)) REQUIRE(tokenizer.decode(ids, false) == string);
      }
      CAPTURE(first);
      CHECK(whole.value() == hashes[2 * (first / test::kGroup)]);
      CHECK(without.value() == hashes[2 * (first / test::kGroup) + 1]);
    }
  }
}

TEST_CASE("random ids decode to Hugging Face's text") {
  for (const std::string& name : golden_names()) {
    CAPTURE(name);
    const Tokenizer& tokenizer = tokenizer_of(name);
    const Json expected = test::read_json(test::expected_path(name) + ".json")["sequences"];
    REQUIRE(expected.size() == 20);
    const std::vector<uint32_t> hashes = test::read_hashes(name);
    for (uint64_t first = 0; first < test::kSequences; first += test::kStep) {
      test::GroupHash all;
      test::GroupHash unmarked;
      for (uint64_t i = first; i < first + test::kGroup; ++i) {
        const Ids ids = test::random_ids(i, static_cast<uint64_t>(tokenizer.vocab_size()));
        const std::string whole = tokenizer.decode(ids, false);
        const std::string skipping = tokenizer.decode(ids, true);
        all.add(whole);
        unmarked.add(skipping);
        if (i < expected.size()) {
          CHECK(whole == expected[i]["decode"].get<std::string>());
          CHECK(skipping == expected[i]["decode_skipping"].get<std::string>());
        }
      }
      CAPTURE(first);
      const size_t at = 2 * (test::kStrings + first) / test::kGroup;
      CHECK(all.value() == hashes[at]);
      CHECK(unmarked.value() == hashes[at + 1]);
    }
  }
}

// The texts of a file of llama.cpp's vectors and the ids of each.
std::vector<std::pair<std::string, Ids>> read_vectors(const std::string& name) {
  constexpr std::string_view kBetween = "\n__ggml_vocab_test__\n";
  const std::string texts = test::read_file(test::golden_path("llama_cpp/texts.inp"));
  std::istringstream lines(test::read_file(test::golden_path("llama_cpp/" + name + ".out")));
  std::vector<std::pair<std::string, Ids>> vectors;
  for (size_t begin = 0; begin < texts.size();) {
    const size_t end = std::min(texts.find(kBetween, begin), texts.size());
    std::string line;
    REQUIRE(std::getline(lines, line));
    std::istringstream numbers(line);
    vectors.emplace_back(texts.substr(begin, end - begin),
                         Ids(std::istream_iterator<int32_t>(numbers), {}));
    begin = end + kBetween.size();
  }
  return vectors;
}

TEST_CASE("llama.cpp's vectors have their ids") {
  const auto check = [](const Tokenizer& tokenizer, const std::string& name) {
    const auto vectors = read_vectors(name);
    CHECK(vectors.size() == 46);
    for (const auto& vector : vectors) {
      const auto& [text, ids] = vector;
      CAPTURE(name);
      CAPTURE(vector.first);
      CHECK(encode(tokenizer, text) == ids);
    }
  };
  // Qwen2 and Qwen3 have the same ordinary tokens.
  check(tokenizer_of("qwen3"), "qwen2");
  check(tokenizer_of("qwen3"), "deepseek-r1-qwen");
  if (has_file(test::outside_path("llama3_1/tokenizer.json"))) {
    check(tokenizer_of("llama3_1"), "llama-bpe");
  }
  for (const std::string name : {"deepseek-llm", "deepseek-coder"}) {
    const std::string path = test::outside_path("ggml-vocab-" + name + ".gguf");
    if (!has_file(path)) continue;
    const auto file = GgufFile::open(path);
    REQUIRE_MESSAGE(file, file.error().message);
    const auto tokenizer = Tokenizer::from_gguf((*file)->metadata());
    REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
    check(*tokenizer, name);
  }
}

TEST_CASE("DeepSeek-V3's control tokens have R1's ids") {
  const Tokenizer& tokenizer = deepseek_v3();
  CHECK(tokenizer.token_to_id("<｜begin▁of▁sentence｜>") == 0);
  CHECK(tokenizer.token_to_id("<｜end▁of▁sentence｜>") == 1);
  CHECK(tokenizer.token_to_id("<｜User｜>") == 128803);
  CHECK(tokenizer.token_to_id("<｜Assistant｜>") == 128804);
  CHECK(tokenizer.token_to_id("Ġthe").has_value());
  CHECK_FALSE(tokenizer.token_to_id(" the").has_value());
  CHECK(tokenizer.token_bytes(*tokenizer.token_to_id("Ġthe")) == " the");
  CHECK(tokenizer.token_bytes(128803) == "<｜User｜>");
  CHECK(encode(tokenizer, "<｜User｜>") == Ids{128803});
}

TEST_CASE("ordinary text never gets the id of an added token") {
  for (const Tokenizer* tokenizer : {&tiny_r1(), &deepseek_v3()}) {
    const Json file = Json::array({"<think>", "</think>", "<｜User｜>", "<｜Assistant｜>",
                                   "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|EOT|>"});
    for (const Json& content : file) {
      const auto& text = content.get_ref<const std::string&>();
      const auto id = tokenizer->token_to_id(text);
      const Ids ids = encode_ordinary(*tokenizer, "a" + text + text + "\n");
      CHECK(ids.size() > 4);
      if (id) CHECK(std::count(ids.begin(), ids.end(), *id) == 0);
      CHECK(tokenizer->decode(ids, true) == "a" + text + text + "\n");
    }
  }
}

TEST_CASE("special tokens are those that the file marks") {
  const Tokenizer& tokenizer = tiny_r1();
  const int32_t think = tokenizer.token_to_id("<think>").value();
  CHECK(tokenizer.is_special(0));
  CHECK(tokenizer.is_special(tokenizer.token_to_id("<|EOT|>").value()));
  CHECK_FALSE(tokenizer.is_special(think));
  CHECK_FALSE(tokenizer.is_special(-1));
  CHECK_FALSE(tokenizer.is_special(tokenizer.vocab_size()));
  const Ids ids = {0, think, 1};
  CHECK(tokenizer.decode(ids, true) == "<think>");
  CHECK(tokenizer.decode(ids, false) == "<｜begin▁of▁sentence｜><think><｜end▁of▁sentence｜>");
}

TEST_CASE("unknown ids have no bytes and no text") {
  const Tokenizer& tokenizer = tiny_r1();
  for (const int32_t id : {-1, INT32_MIN, INT32_MAX, tokenizer.vocab_size()}) {
    CHECK(tokenizer.token_bytes(id).empty());
    CHECK(tokenizer.decode(Ids{id}, false).empty());
  }
}

TEST_CASE("text that is not UTF-8 is an error that names the byte") {
  for (const std::string bad : {"abc\xff", "abc\xed\xa0\x80", "abc\xc0\x80", "abc\xe2\x82"}) {
    for (const auto& result : {tiny_r1().encode(bad), tiny_r1().encode_ordinary(bad)}) {
      REQUIRE_FALSE(result);
      CHECK(result.error().status == Status::kInvalidArgument);
      CHECK(result.error().message.find("byte 3") != std::string::npos);
    }
  }
}

TEST_CASE("long pieces and long runs take time that grows about linearly") {
  const Tokenizer& tokenizer = deepseek_v3();
  // Each is one piece to the merges, or hard on the regexes. A quadratic step would take hours.
  for (const std::string unit : {"a", "abcdefgh", " ", "\n ", "=", "语", "e\xCC\x81", "\x01"}) {
    std::string text;
    while (text.size() < 2'000'000) text += unit;
    const auto start = std::chrono::steady_clock::now();
    const Ids ids = encode(tokenizer, text + "x");
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    CAPTURE(unit);
    CHECK(seconds.count() < 60);
    CHECK(tokenizer.decode(ids, false) == text + "x");
  }
}

TEST_CASE("a moved tokenizer still works") {
  Tokenizer first = test::load_tokenizer("tiny_r1");
  const Ids expected = encode(first, "17 + 23 = 40<think>");
  Tokenizer second = std::move(first);
  CHECK(encode(second, "17 + 23 = 40<think>") == expected);
  Tokenizer third = test::load_tokenizer("tiny_r1");
  third = std::move(second);
  CHECK(encode(third, "17 + 23 = 40<think>") == expected);
}

TEST_CASE("threads share one tokenizer") {
  const Json kinds = test::read_json(test::golden_path("random_kinds.json"));
  const Tokenizer& tokenizer = tokenizer_of("variants/qwen2");
  std::vector<Ids> expected;
  for (uint64_t i = 0; i < 1000; ++i) {
    expected.push_back(encode(tokenizer, test::random_string(i, kinds)));
  }
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = t; i < expected.size(); ++i) {
        const auto ids = tokenizer.encode(test::random_string(i, kinds));
        if (!ids || *ids != expected[i]) ++wrong[t];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(wrong.size()));
}

}  // namespace
}  // namespace pensee
