// tokenizer.json, and texts encoded and decoded with what came of it.
#include <array>
#include <vector>

#include "fuzz.hpp"
#include "pensee/text/tokenizer.hpp"

std::span<const std::string_view> pensee::fuzz::words() {
  static constexpr auto kWords = std::to_array<std::string_view>({"\"added_tokens\":[",
                                                                  "\"id\":",
                                                                  "\"content\":",
                                                                  "\"special\":true",
                                                                  "\"normalized\":false",
                                                                  "\"lstrip\":true",
                                                                  "\"pre_tokenizer\":",
                                                                  "\"Sequence\"",
                                                                  "\"pretokenizers\":[",
                                                                  "\"Split\"",
                                                                  "\"Regex\":\"",
                                                                  "\"behavior\":\"Isolated\"",
                                                                  "\"ByteLevel\"",
                                                                  "\"use_regex\":true",
                                                                  "\"Digits\"",
                                                                  "\"merges\":[",
                                                                  "\"a b\"",
                                                                  "[\"a\",\"b\"]",
                                                                  "\"vocab\":{",
                                                                  "\"ignore_merges\":true",
                                                                  "\"normalizer\":null",
                                                                  "{\"type\":\"NFC\"}",
                                                                  "\\\\p{L}+",
                                                                  "[^\\\\s]",
                                                                  "(?i:'s|'t)",
                                                                  "\\\\s+(?!\\\\S)",
                                                                  "{1,3}",
                                                                  "(?:",
                                                                  "null",
                                                                  "true",
                                                                  "-1",
                                                                  "\\ud800",
                                                                  "\\u0000",
                                                                  "{}",
                                                                  "[]"});
  return kWords;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pensee;
  const std::string_view input = fuzz::text_of(data, size);
  const auto tokenizer = Tokenizer::from_json(input, "f");
  if (!tokenizer) {
    FUZZ_CHECK_ERROR(tokenizer.error());
    return 0;
  }
  FUZZ_CHECK(tokenizer->vocab_size() > 0);
  // What was encoded is decoded to the same text; texts that are not UTF-8 are errors.
  constexpr size_t kSome = 64;
  for (const std::string_view text :
       {std::string_view("It's 12345 \t\r\n  \xC3\xA9\xE2\x86\x92\xF0\x9F\x98\x80 <think> aab\n"),
        input.substr(0, kSome), input.substr(size - std::min(size, kSome))}) {
    for (const bool ordinary : {false, true}) {
      const auto ids = ordinary ? tokenizer->encode_ordinary(text) : tokenizer->encode(text);
      if (!ids) {
        FUZZ_CHECK(!ids.error().message.empty());
        continue;
      }
      for (const int32_t id : *ids) FUZZ_CHECK(id >= 0 && id < tokenizer->vocab_size());
      FUZZ_CHECK(tokenizer->decode(*ids, true).size() <= tokenizer->decode(*ids, false).size());
    }
  }
  return 0;
}
