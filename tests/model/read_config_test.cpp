#include "pensee/model/read_config.hpp"

#include <doctest/doctest.h>

#include <string>

TEST_CASE("both formats of one model have the same configuration, but for the order of rows") {
  const std::string models = PENSEE_TEST_DATA "/models/";
  const auto read = [&](const std::string& name) {
    const auto checkpoint = pensee::Checkpoint::open(models + name);
    REQUIRE_MESSAGE(checkpoint.ok(), checkpoint.error().message);
    const auto config = pensee::read_config(**checkpoint);
    REQUIRE_MESSAGE(config.ok(), config.error().message);
    return *config;
  };
  const pensee::Config hf = read("llama_f32");
  const pensee::Config gguf = read("gguf/llama.gguf");
  CHECK(hf.hidden_size == gguf.hidden_size);
  CHECK(hf.head_dim == gguf.head_dim);
  CHECK(hf.n_kv_heads == gguf.n_kv_heads);
  CHECK(!hf.rope_interleave);
  CHECK(gguf.rope_interleave);
}
