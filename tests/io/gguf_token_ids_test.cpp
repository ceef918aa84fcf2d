#include "pensee/io/gguf_token_ids.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"
#include "pensee/io/gguf.hpp"

using pensee::GgufFile;
using pensee::GgufType;
using pensee_test::key;
using pensee_test::raw;

TEST_CASE("a role's token, or none where the number is no token's") {
  const std::string bytes = pensee_test::gguf(
      {{key("tokenizer.ggml.bos_token_id", 9U), key("tokenizer.ggml.eos_token_id", 4294967295U),
        key("tokenizer.ggml.eot_token_id", 10U),
        key("tokenizer.ggml.unknown_token_id", GgufType::kI32, raw(int32_t{-1})),
        key("tokenizer.ggml.padding_token_id", "0")},
       {},
       0});
  const auto file = GgufFile::from_bytes(pensee_test::as_bytes(bytes), "m.gguf").value();
  const auto find = [&](const char* name) {
    return pensee::find_gguf_token_id(file->metadata(), name, 10);
  };
  CHECK(find("tokenizer.ggml.bos_token_id").value() == std::optional<int32_t>(9));
  for (const char* name : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                           "tokenizer.ggml.eom_token_id", "tokenizer.ggml.unknown_token_id"}) {
    CAPTURE(name);
    CHECK(find(name).value() == std::nullopt);
  }
  const auto text = find("tokenizer.ggml.padding_token_id");
  REQUIRE(!text.ok());
  CHECK(text.error().status == pensee::Status::kCorruptFile);
  CHECK(text.error().message.find("m.gguf: tokenizer.ggml.padding_token_id: expected") == 0);

  CHECK(pensee::describe_absent_tokens(file->metadata(), 10) ==
        "m.gguf: not among its 10 tokens, taken as absent: tokenizer.ggml.eos_token_id 4294967295, "
        "tokenizer.ggml.eot_token_id 10, tokenizer.ggml.unknown_token_id -1");
  const std::string good = pensee_test::gguf({{key("tokenizer.ggml.bos_token_id", 9U)}, {}, 0});
  const auto other = GgufFile::from_bytes(pensee_test::as_bytes(good), "m.gguf").value();
  CHECK(pensee::describe_absent_tokens(other->metadata(), 10).empty());
}
