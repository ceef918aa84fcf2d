#include "pensee/text/load_tokenizer.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "io/gguf_bytes.hpp"
#include "text/golden.hpp"

namespace pensee {
namespace {

using pensee_test::key;

Result<std::optional<Tokenizer>> load_from(const std::vector<std::string>& keys) {
  pensee_test::GgufParts parts;
  parts.keys = keys;
  const std::string bytes = pensee_test::gguf(parts);
  const NamedBuffer buffer{"m.gguf", std::as_bytes(std::span(bytes))};
  const auto checkpoint = Checkpoint::open_buffers(std::span(&buffer, 1));
  REQUIRE_MESSAGE(checkpoint, checkpoint.error().message);
  return load_tokenizer(**checkpoint);
}

TEST_CASE("a safetensors checkpoint has tokenizer.json, and must") {
  const auto checkpoint = Checkpoint::open(PENSEE_TINY_R1);
  REQUIRE(checkpoint);
  const auto tokenizer = load_tokenizer(**checkpoint);
  REQUIRE_MESSAGE(tokenizer, tokenizer.error().message);
  REQUIRE(tokenizer->has_value());
  CHECK((*tokenizer)->vocab_size() == test::tiny_r1().vocab_size());

  const auto weights = Checkpoint::open(std::string(PENSEE_TEST_DATA) + "/models/dense_only_f32");
  REQUIRE(weights);
  const auto none = load_tokenizer(**weights);
  REQUIRE_FALSE(none);
  CHECK(none.error().message.find("dense_only_f32/tokenizer.json") != std::string::npos);
}

TEST_CASE("a GGUF checkpoint has its vocabulary within, or none") {
  const auto none = load_from({key("tokenizer.ggml.model", "no_vocab")});
  REQUIRE_MESSAGE(none, none.error().message);
  CHECK_FALSE(none->has_value());
  const auto other = load_from({key("tokenizer.ggml.model", "llama")});
  REQUIRE_FALSE(other);
  CHECK(other.error().message.find("m.gguf: tokenizer.ggml.model: \"llama\"") == 0);
}

}  // namespace
}  // namespace pensee
