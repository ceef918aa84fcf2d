#include "pensee/text/utf8_stream.hpp"

#include <doctest/doctest.h>

#include <string>

#include "text/golden.hpp"

namespace pensee {
namespace {

// Bytes in which valid characters, cut characters and stray bytes all are frequent.
std::string random_bytes(test::SplitMix64& random) {
  constexpr std::string_view kParts[] = {"a",
                                         "é",
                                         "中",
                                         "😀",
                                         "\xC3",
                                         "\xE4\xB8",
                                         "\xF0\x9F\x98",
                                         "\xE0",
                                         "\xE0\x80",
                                         "\xED\xA0",
                                         "\xF4\x90",
                                         "\x80",
                                         "\xFF",
                                         "\xF0\x90",
                                         "\xC0\xAF",
                                         "\xF5",
                                         "\xEF\xBF",
                                         "\xED\xBF\xBF",
                                         "\xF1\x80",
                                         "\xC2"};
  std::string bytes;
  for (uint64_t n = random.below(12); n > 0; --n) {
    if (random.below(4) == 0) {
      bytes.push_back(static_cast<char>(random.below(256)));
    } else {
      bytes += kParts[random.below(std::size(kParts))];
    }
  }
  return bytes;
}

bool is_utf8(std::string_view text) {
  return !find_malformed_utf8(text).has_value();
}

TEST_CASE("split at every position, the pieces join to the whole and are UTF-8") {
  test::SplitMix64 random(1);
  for (int i = 0; i < 3000; ++i) {
    const std::string bytes = random_bytes(random);
    const std::string whole = to_utf8(bytes);
    CAPTURE(i);
    REQUIRE(is_utf8(whole));
    for (size_t first = 0; first <= bytes.size(); ++first) {
      for (size_t second = first; second <= bytes.size(); ++second) {
        Utf8Stream stream;
        const std::string a = stream.push(std::string_view(bytes).substr(0, first));
        const std::string b = stream.push(std::string_view(bytes).substr(first, second - first));
        const std::string c = stream.push(std::string_view(bytes).substr(second));
        CHECK(stream.waiting().size() <= 3);
        const std::string d = stream.flush();
        REQUIRE(a + b + c + d == whole);
        REQUIRE((is_utf8(a) && is_utf8(b) && is_utf8(c) && is_utf8(d)));
      }
    }
    Utf8Stream stream;
    std::string joined;
    for (const char byte : bytes) joined += stream.push({&byte, 1});
    REQUIRE(joined + stream.flush() == whole);
  }
}

TEST_CASE("an incomplete character waits, everything before it does not") {
  Utf8Stream stream;
  CHECK(stream.push("ab\xE4\xB8") == "ab");
  CHECK(stream.waiting() == "\xE4\xB8");
  CHECK(stream.push("") == "");
  CHECK(stream.push("\xADx") == "中x");
  CHECK(stream.push("\xF0\x9F\x98") == "");
  CHECK(stream.flush() == "\uFFFD");
  CHECK(stream.flush() == "");
  CHECK(stream.push("\x80") == "\uFFFD");
}

TEST_CASE("a stream of tokens equals the decoded whole") {
  for (const Tokenizer* tokenizer : {&test::tiny_r1(), &test::deepseek_v3()}) {
    for (uint64_t i = 0; i < 500; ++i) {
      const auto ids = test::random_ids(i, static_cast<uint64_t>(tokenizer->vocab_size()));
      Utf8Stream stream;
      std::string joined;
      for (const int32_t id : ids) joined += stream.push(tokenizer->token_bytes(id));
      CHECK(joined + stream.flush() == tokenizer->decode(ids, false));
    }
  }
}

}  // namespace
}  // namespace pensee
