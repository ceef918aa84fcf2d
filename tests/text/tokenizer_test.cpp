#include "pensee/text/tokenizer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "text/golden.hpp"

namespace pensee {
namespace {

using test::deepseek_v3;
using test::tiny_r1;
using Ids = std::vector<int32_t>;

constexpr uint64_t kStrings = 20000;   // random strings of the generator
constexpr uint64_t kSequences = 2000;  // random id sequences of the generator

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

const Tokenizer& tokenizer_of(const std::string& name) {
  return name == "tiny_r1" ? tiny_r1() : deepseek_v3();
}

// The hashes of NAME.bin: two for each string (encode, encode_ordinary), two for each sequence
// (decode without and with skipping).
std::vector<uint32_t> read_hashes(const std::string& name) {
  const std::string bytes = test::read_file(test::golden_path(name + ".bin"));
  REQUIRE(bytes.size() == 4 * 2 * (kStrings + kSequences));
  std::vector<uint32_t> hashes(bytes.size() / 4);
  for (size_t i = 0; i < bytes.size(); ++i) {
    hashes[i / 4] |= uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * (i % 4));
  }
  return hashes;
}

TEST_CASE("texts in many scripts have Hugging Face's ids") {
  const Json texts = test::read_json(test::golden_path("texts.json"));
  REQUIRE(texts.size() >= 20);
  for (const std::string name : {"tiny_r1", "deepseek_v3"}) {
    const Tokenizer& tokenizer = tokenizer_of(name);
    const Json expected = test::read_json(test::golden_path(name + ".json"));
    CHECK(tokenizer.vocab_size() == expected["vocab_size"].get<int32_t>());
    REQUIRE(expected["texts"].size() == texts.size());
    for (const auto& [key, text] : texts.items()) {
      CAPTURE(name);
      CAPTURE(key);
      const auto& string = text.get_ref<const std::string&>();
      const Ids ids = encode(tokenizer, string);
      CHECK(ids == expected["texts"][key]["encode"].get<Ids>());
      CHECK(encode_ordinary(tokenizer, string) ==
            expected["texts"][key]["encode_ordinary"].get<Ids>());
      CHECK(tokenizer.decode(ids, false) == string);
    }
  }
}

TEST_CASE("20,000 random Unicode strings have Hugging Face's ids") {
  const Json kinds = test::read_json(test::golden_path("random_kinds.json"));
  for (const std::string name : {"tiny_r1", "deepseek_v3"}) {
    CAPTURE(name);
    const Tokenizer& tokenizer = tokenizer_of(name);
    const Json expected = test::read_json(test::golden_path(name + ".json"))["strings"];
    REQUIRE(expected.size() == 200);
    const std::vector<uint32_t> hashes = read_hashes(name);
    for (uint64_t i = 0; i < kStrings; ++i) {
      const std::string string = test::random_string(i, kinds);
      const Ids ids = encode(tokenizer, string);
      const Ids ordinary = encode_ordinary(tokenizer, string);
      const bool same = test::hash_ids(ids) == hashes[2 * i] &&
                        test::hash_ids(ordinary) == hashes[2 * i + 1] &&
                        tokenizer.decode(ids, false) == string;
      if (same && i >= expected.size()) continue;  // keeps the log short
      CAPTURE(i);
      CAPTURE(string);
      CHECK(same);
      if (i < expected.size()) {
        CHECK(ids == expected[i]["encode"].get<Ids>());
        CHECK(ordinary == expected[i]["encode_ordinary"].get<Ids>());
      }
    }
  }
}

TEST_CASE("random ids decode to Hugging Face's text") {
  for (const std::string name : {"tiny_r1", "deepseek_v3"}) {
    CAPTURE(name);
    const Tokenizer& tokenizer = tokenizer_of(name);
    const Json expected = test::read_json(test::golden_path(name + ".json"))["sequences"];
    REQUIRE(expected.size() == 50);
    const std::vector<uint32_t> hashes = read_hashes(name);
    for (uint64_t i = 0; i < kSequences; ++i) {
      const Ids ids = test::random_ids(i, static_cast<uint64_t>(tokenizer.vocab_size()));
      const std::string whole = tokenizer.decode(ids, false);
      const std::string skipping = tokenizer.decode(ids, true);
      CAPTURE(i);
      if (i < expected.size()) {
        CHECK(whole == expected[i]["decode"].get<std::string>());
        CHECK(skipping == expected[i]["decode_skipping"].get<std::string>());
      }
      CHECK(test::hash_text(whole) == hashes[2 * (kStrings + i)]);
      CHECK(test::hash_text(skipping) == hashes[2 * (kStrings + i) + 1]);
    }
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
  const std::vector<uint32_t> hashes = read_hashes("tiny_r1");
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = t; i < 1000; ++i) {
        const auto ids = tiny_r1().encode(test::random_string(i, kinds));
        if (!ids || test::hash_ids(*ids) != hashes[2 * i]) ++wrong[t];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(wrong.size()));
}

}  // namespace
}  // namespace pensee
