#include "pensee/decode/generation_config.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "io/gguf_bytes.hpp"

using pensee::Checkpoint;
using pensee::GenerationConfig;
using pensee::GgufType;
using pensee::NamedBuffer;
using pensee::Result;
using pensee::SamplerOptions;
using pensee::Status;
using pensee_test::as_bytes;
using pensee_test::key;
using pensee_test::raw;

namespace {

// Of a checkpoint of safetensors with this generation_config.json; none if it is empty.
Result<GenerationConfig> read_json(const std::string& json) {
  const std::string weights = pensee_test::safetensors("{}", 0);
  std::vector<NamedBuffer> files = {{"model.safetensors", as_bytes(weights)}};
  if (!json.empty()) files.push_back({"generation_config.json", as_bytes(json)});
  return pensee::read_generation_config(*Checkpoint::open_buffers(files).value());
}

// Of a GGUF file with these keys.
Result<GenerationConfig> read_gguf(const std::vector<std::string>& keys) {
  const std::string bytes = pensee_test::gguf({keys, {}, 0});
  const NamedBuffer file{"m.gguf", as_bytes(bytes)};
  return pensee::read_generation_config(*Checkpoint::open_buffers({&file, 1}).value());
}

SamplerOptions sampler_of(const Result<GenerationConfig>& config) {
  REQUIRE_MESSAGE(config.ok(), config.error().message);
  return config->sampler.over({});
}

std::string f32(const std::string& name, float value) {
  return key("general.sampling." + name, GgufType::kF32, raw(value));
}
std::string i32(const std::string& name, int32_t value) {
  return key("general.sampling." + name, GgufType::kI32, raw(value));
}

}  // namespace

TEST_CASE("settings of generation_config.json") {
  const auto config = read_json(
      R"({"eos_token_id": [1, 2], "temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.05,
          "repetition_penalty": 1.1, "do_sample": true})");
  CHECK(sampler_of(config) == SamplerOptions{.temperature = 0.7F,
                                             .top_k = 20,
                                             .top_p = 0.8F,
                                             .min_p = 0.05F,
                                             .repetition_penalty = 1.1F});
  CHECK(config->eos_token_id == std::vector<int32_t>{1, 2});
  CHECK(read_json(R"({"eos_token_id": 3})")->eos_token_id == std::vector<int32_t>{3});
  CHECK(sampler_of(read_json(R"({"do_sample": false, "temperature": 0.7})")).temperature == 0);
  for (const std::string off : {"-1", "0", "null"}) {
    CHECK(sampler_of(read_json(R"({"top_k": )" + off + "}")).top_k == 0);
  }
  for (const std::string none : {"", "{}"}) {
    const auto empty = read_json(none);
    CHECK(sampler_of(empty) == SamplerOptions{});
    CHECK(!empty->sampler.temperature);
    CHECK(!empty->eos_token_id);
  }
}

TEST_CASE("settings of a GGUF file, as any type of number") {
  CHECK(sampler_of(read_gguf({f32("temp", 0.7F), i32("top_k", 20), f32("top_p", 0.8F),
                              f32("min_p", 0.05F), f32("penalty_repeat", 1.1F)})) ==
        SamplerOptions{.temperature = 0.7F,
                       .top_k = 20,
                       .top_p = 0.8F,
                       .min_p = 0.05F,
                       .repetition_penalty = 1.1F});
  CHECK(sampler_of(read_gguf({i32("temp", 1), f32("top_k", 40.0F), i32("top_p", 1)})) ==
        SamplerOptions{.temperature = 1.0F, .top_k = 40, .top_p = 1.0F});
  for (const int32_t off : {-1, 0}) CHECK(sampler_of(read_gguf({i32("top_k", off)})).top_k == 0);
  const auto none = read_gguf({i32("mirostat", 0)});
  CHECK(sampler_of(none) == SamplerOptions{});
  CHECK(!none->sampler.temperature);
}

TEST_CASE("settings that are malformed or absurd are named") {
  const auto expect = [](const Result<GenerationConfig>& config, const std::string& words) {
    CAPTURE(words);
    REQUIRE(!config.ok());
    CAPTURE(config.error().message);
    CHECK(config.error().status == Status::kCorruptFile);
    CHECK(config.error().message.find(words) == 0);
  };
  expect(read_json("{"), "generation_config.json: ");
  expect(read_json(R"({"top_k": 0.5})"),
         "generation_config.json: top_k: expected a whole number from -1 to 2147483647, found 0.5");
  expect(read_json(R"({"top_k": -2})"), "generation_config.json: top_k: expected");
  expect(read_json(R"({"min_p": 2})"), "generation_config.json: min_p: expected 0 to 1");
  expect(read_json(R"({"eos_token_id": [1, -1]})"), "generation_config.json: eos_token_id[1]");
  const std::string at = "m.gguf: general.sampling.";
  expect(read_gguf({f32("temp", -1.0F)}), at + "temp: temperature: expected");
  expect(read_gguf({f32("top_p", 0.0F)}), at + "top_p: top_p: expected");
  expect(read_gguf({f32("penalty_repeat", 0.0F)}), at + "penalty_repeat: repetition_penalty");
  expect(read_gguf({f32("top_k", 1e30F)}), at + "top_k: expected a whole number from -1");
  expect(read_gguf({key("general.sampling.temp", "hot")}), at + "temp: expected a number");
}
