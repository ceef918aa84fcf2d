#include "pensee/model/config_gguf.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "io/gguf_bytes.hpp"
#include "pensee/model/read_config.hpp"

namespace pensee {
namespace {

using pensee_test::key;
using pensee_test::raw;

using Value = std::variant<uint32_t, float, bool, std::string>;
using Keys = std::map<std::string, Value>;

std::string bytes_of(const std::string& name, const Value& value) {
  if (const auto* number = std::get_if<uint32_t>(&value)) return key(name, *number);
  if (const auto* number = std::get_if<float>(&value)) {
    return key(name, GgufType::kF32, raw(*number));
  }
  if (const auto* flag = std::get_if<bool>(&value)) {
    return key(name, GgufType::kBool, raw(static_cast<uint8_t>(*flag)));
  }
  return key(name, std::string_view(std::get<std::string>(value)));
}

// R1 as llama.cpp's converter writes it; `latent` names the sizes of latent attention as newer
// files do.
Keys r1(bool latent) {
  Keys keys = {{"general.architecture", "deepseek2"},
               {"deepseek2.block_count", 61U},
               {"deepseek2.context_length", 163840U},
               {"deepseek2.embedding_length", 7168U},
               {"deepseek2.feed_forward_length", 18432U},
               {"deepseek2.attention.head_count", 128U},
               {"deepseek2.attention.head_count_kv", latent ? 1U : 128U},
               {"deepseek2.rope.freq_base", 10000.0F},
               {"deepseek2.attention.layer_norm_rms_epsilon", 1e-6F},
               {"deepseek2.expert_used_count", 8U},
               {"deepseek2.leading_dense_block_count", 3U},
               {"deepseek2.attention.q_lora_rank", 1536U},
               {"deepseek2.attention.kv_lora_rank", 512U},
               {"deepseek2.attention.key_length", latent ? 576U : 192U},
               {"deepseek2.attention.value_length", latent ? 512U : 128U},
               {"deepseek2.expert_feed_forward_length", 2048U},
               {"deepseek2.expert_count", 256U},
               {"deepseek2.expert_shared_count", 1U},
               {"deepseek2.expert_weights_scale", 2.5F},
               {"deepseek2.expert_weights_norm", true},
               {"deepseek2.expert_gating_func", 2U},
               {"deepseek2.rope.dimension_count", 64U},
               {"deepseek2.rope.scaling.type", "yarn"},
               {"deepseek2.rope.scaling.factor", 40.0F},
               {"deepseek2.rope.scaling.original_context_length", 4096U},
               {"deepseek2.rope.scaling.yarn_log_multiplier", 0.1F},
               {"tokenizer.ggml.bos_token_id", 0U},
               {"tokenizer.ggml.eos_token_id", 1U}};
  if (latent) keys["deepseek2.attention.key_length_mla"] = 192U;
  if (latent) keys["deepseek2.attention.value_length_mla"] = 128U;
  return keys;
}

Keys llama() {
  return {{"general.architecture", "llama"},
          {"llama.block_count", 2U},
          {"llama.embedding_length", 64U},
          {"llama.feed_forward_length", 96U},
          {"llama.attention.head_count", 8U},
          {"llama.attention.head_count_kv", 2U},
          {"llama.attention.layer_norm_rms_epsilon", 1e-5F},
          {"llama.rope.freq_base", 500000.0F},
          {"tokenizer.ggml.eos_token_id", 5U},
          {"tokenizer.ggml.eot_token_id", 5U}};
}

// A file with these keys and one tensor of embeddings, (8, 1).
Result<Config> read(const Keys& keys) {
  pensee_test::GgufParts parts;
  for (const auto& [name, value] : keys) parts.keys.push_back(bytes_of(name, value));
  parts.tensors = {pensee_test::tensor("token_embd.weight", {1, 8}, 0, 0)};
  parts.data_bytes = 32;
  const std::string bytes = pensee_test::gguf(parts);
  const NamedBuffer buffer{"m.gguf", std::as_bytes(std::span(bytes))};
  const auto checkpoint = Checkpoint::open_buffers({&buffer, 1});
  REQUIRE_MESSAGE(checkpoint.ok(), checkpoint.error().message);
  return read_config(**checkpoint);
}

Config good(const Keys& keys) {
  auto config = read(keys);
  REQUIRE_MESSAGE(config.ok(), config.error().message);
  return *config;
}

void expect_error(Keys keys, const std::string& name, const Value& value, Status status,
                  std::string_view words) {
  keys[name] = value;
  const auto config = read(keys);
  REQUIRE_MESSAGE(!config.ok(), "expected an error with: ", std::string(words));
  CAPTURE(config.error().message);
  CHECK(config.error().status == status);
  CHECK(config.error().message.starts_with("m.gguf: "));
  CHECK(config.error().message.find(words) != std::string::npos);
}

TEST_CASE("R1 is read alike from older and newer files") {
  for (const bool latent : {false, true}) {
    Keys keys = r1(latent);
    keys["tokenizer.ggml.bos_token_id"] = 0U;
    const Config c = good(keys);
    CHECK(c.model_type == "deepseek_v3");
    CHECK(c.vocab_size == 8);
    CHECK(c.n_layers == 61);
    CHECK(c.n_kv_heads == 128);
    CHECK(c.qk_nope_head_dim == 128);
    CHECK(c.qk_rope_head_dim == 64);
    CHECK(c.v_head_dim == 128);
    CHECK(c.kv_lora_rank == 512);
    CHECK(c.q_lora_rank == 1536);
    CHECK(c.n_group == 8);  // not in the file
    CHECK(c.topk_group == 4);
    CHECK(c.norm_topk_prob);
    CHECK(c.routed_scaling_factor == 2.5);
    CHECK(c.rope_interleave);
    CHECK(c.tie_word_embeddings);  // there is no output.weight
    REQUIRE(c.rope_scaling.has_value());
    CHECK(c.rope_scaling->mscale_all_dim == doctest::Approx(1.0));
    CHECK(c.rope_scaling->mscale == c.rope_scaling->mscale_all_dim);
    CHECK(c.bos_token_id == 0);
    CHECK(c.eos_token_id == std::vector<int32_t>{1});
  }
}

TEST_CASE("deepseek2 with softmax scores is DeepSeek-V2") {
  Keys keys = r1(false);
  keys.erase("deepseek2.expert_gating_func");  // as in files older than V3
  CHECK(good(keys).model_type == "deepseek_v2");
  CHECK(good(keys).topk_method == TopkMethod::kGreedy);
  // Files of the large DeepSeek-V2 are older than the key for its groups.
  keys["deepseek2.expert_count"] = 160U;
  CHECK(good(keys).topk_method == TopkMethod::kGroupLimitedGreedy);
  CHECK(good(keys).n_group == 8);
  CHECK(good(keys).topk_group == 3);
  keys["deepseek2.expert_count"] = 256U;
  keys["deepseek2.expert_gating_func"] = 1U;
  keys["deepseek2.expert_group_count"] = 8U;
  keys["deepseek2.expert_group_used_count"] = 3U;
  CHECK(good(keys).topk_method == TopkMethod::kGroupLimitedGreedy);
  CHECK(good(keys).topk_group == 3);
  expect_error(keys, "deepseek2.expert_gating_func", 3U, Status::kUnsupported,
               "deepseek2.expert_gating_func: expected 1 or 2, found 3");
}

TEST_CASE("prediction layers are not among the model's layers") {
  Keys keys = r1(true);
  CHECK(good(keys).num_nextn_predict_layers == 0);  // other than in config.json
  keys["deepseek2.block_count"] = 62U;
  keys["deepseek2.nextn_predict_layers"] = 1U;
  CHECK(good(keys).n_layers == 61);
  CHECK(good(keys).num_nextn_predict_layers == 1);
}

TEST_CASE("a distill: heads, neighbours as pairs, ends of text each once") {
  Keys keys = llama();
  const Config c = good(keys);
  CHECK(c.model_type == "llama");
  CHECK(c.head_dim == 8);
  CHECK(c.rope_interleave);
  CHECK(!c.rope_scaling.has_value());
  CHECK(!c.bos_token_id.has_value());
  CHECK(c.eos_token_id == std::vector<int32_t>{5});
  // Llama 3.1 has three, each in a role of its own.
  keys["tokenizer.ggml.eot_token_id"] = 6U;
  keys["tokenizer.ggml.eom_token_id"] = 7U;
  CHECK(good(keys).eos_token_id == std::vector<int32_t>{5, 6, 7});
  keys["llama.attention.key_length"] = 16U;
  CHECK(good(keys).head_dim == 16);
}

TEST_CASE("YaRN of a distill, and what multiplies its factor") {
  Keys keys = llama();
  keys["llama.rope.scaling.type"] = "yarn";
  keys["llama.rope.scaling.factor"] = 4.0F;
  keys["llama.rope.scaling.original_context_length"] = 32768U;
  CHECK(good(keys).rope_scaling->attn_factor == 1.0);
  keys["llama.rope.scaling.yarn_attn_factor"] = 0.875F;
  const Config c = good(keys);
  CHECK(c.rope_scaling->factor == 4.0);
  CHECK(c.rope_scaling->attn_factor == 0.875);
  keys.erase("llama.rope.scaling.yarn_attn_factor");
  keys["llama.rope.scaling.attn_factor"] = 0.5F;
  CHECK(good(keys).rope_scaling->attn_factor == 0.5);
}

TEST_CASE("files as llama.cpp itself saves them") {
  Keys keys = llama();
  keys["llama.rope.scaling.type"] = "linear";
  keys["llama.rope.scaling.attn_factor"] = 1.0F;
  CHECK(!good(keys).rope_scaling);
  for (const float none : {0.0F, 1.0F}) {
    keys["llama.rope.scaling.factor"] = none;
    CHECK(!good(keys).rope_scaling);
  }
  expect_error(keys, "llama.rope.scaling.factor", 4.0F, Status::kUnsupported,
               "llama.rope.scaling.factor: expected 1, found 4");
  // Roles that no token has, and one beyond the 8 embeddings.
  for (const char* role : {"bos", "eos", "eot", "eom"}) {
    keys["tokenizer.ggml." + std::string(role) + "_token_id"] = 4294967295U;
  }
  CHECK(!good(keys).bos_token_id);
  CHECK(good(keys).eos_token_id.empty());
  keys["tokenizer.ggml.bos_token_id"] = 8U;
  keys["tokenizer.ggml.eot_token_id"] = 7U;
  CHECK(!good(keys).bos_token_id);
  CHECK(good(keys).eos_token_id == std::vector<int32_t>{7});
  // 0 for what the model has not.
  Keys experts = r1(false);
  experts["deepseek2.expert_weights_scale"] = 0.0F;
  CHECK(good(experts).routed_scaling_factor == 1.0);
}

TEST_CASE("rotations that would be computed otherwise are refused") {
  Keys keys = llama();
  keys["llama.rope.dimension_count"] = 8U;
  CHECK(good(keys).head_dim == 8);
  expect_error(keys, "llama.rope.dimension_count", 4U, Status::kUnsupported,
               "llama.rope.dimension_count: expected 8, all of a head, found 4");
  expect_error(keys, "llama.attention.key_length", 16U, Status::kUnsupported,
               "llama.rope.dimension_count: expected 16, all of a head, found 8");
  keys["llama.rope.scaling.type"] = "yarn";
  keys["llama.rope.scaling.factor"] = 4.0F;
  for (const float same : {1.0F, -1.0F}) {
    keys["llama.rope.scaling.yarn_ext_factor"] = same;
    CHECK(good(keys).rope_scaling.has_value());
  }
  for (const float other : {0.0F, 0.5F}) {
    expect_error(keys, "llama.rope.scaling.yarn_ext_factor", other, Status::kUnsupported,
                 "llama.rope.scaling.yarn_ext_factor: expected 1, found 0");
  }
}

TEST_CASE("what is wrong is named") {
  expect_error(llama(), "general.architecture", "gpt2", Status::kUnsupported,
               "general.architecture: expected one of: deepseek2, qwen2, llama, qwen3, qwen3moe");
  expect_error(llama(), "general.architecture", 3U, Status::kCorruptFile, "expected a string");
  expect_error(llama(), "llama.block_count", "two", Status::kCorruptFile, "llama.block_count");
  expect_error(llama(), "llama.block_count", 0U, Status::kCorruptFile, "num_hidden_layers");
  expect_error(llama(), "llama.rope.scaling.type", "longrope", Status::kUnsupported,
               "llama.rope.scaling.type: expected \"none\", \"linear\" or \"yarn\", found "
               "\"longrope\"");
  expect_error(llama(), "llama.rope.scaling.type", "yarn", Status::kCorruptFile,
               "rope_scaling.factor: missing");
  for (const char* key :
       {"llama.rope.scaling.attn_factor", "llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    expect_error(llama(), key, 4.0F, Status::kUnsupported, key);
    Keys keys = llama();
    keys[key] = 1.0F;
    CHECK(!good(keys).rope_scaling);
  }
  expect_error(llama(), "tokenizer.ggml.eos_token_id", "</s>", Status::kCorruptFile,
               "tokenizer.ggml.eos_token_id: expected an integer");
  expect_error(r1(false), "deepseek2.attention.key_length", 64U, Status::kCorruptFile,
               "deepseek2.attention.key_length: expected more than rope.dimension_count (64)");
  Keys keys = r1(false);
  keys.erase("deepseek2.rope.scaling.yarn_log_multiplier");
  expect_error(keys, "general.name", "x", Status::kCorruptFile,
               "deepseek2.rope.scaling.yarn_log_multiplier: missing");
}

}  // namespace
}  // namespace pensee
