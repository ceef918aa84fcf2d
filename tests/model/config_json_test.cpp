#include "pensee/model/config_json.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using pensee::Config;
using pensee::Json;
using pensee::Result;
using pensee::Status;

namespace {

// R1's own config.json, without what does not concern the forward pass.
Json r1() {
  return Json::parse(R"({
    "model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"],
    "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432,
    "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 128,
    "num_key_value_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256,
    "routed_scaling_factor": 2.5, "kv_lora_rank": 512, "q_lora_rank": 1536,
    "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "n_group": 8,
    "topk_group": 4, "num_experts_per_tok": 8, "first_k_dense_replace": 3, "moe_layer_freq": 1,
    "norm_topk_prob": true, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
    "rms_norm_eps": 1e-06, "rope_theta": 10000,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096,
                     "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
    "max_position_embeddings": 163840, "num_nextn_predict_layers": 1,
    "tie_word_embeddings": false, "hidden_act": "silu", "attention_bias": false,
    "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                            "weight_block_size": [128, 128]}
  })");
}

Result<Config> read(const Json& json) {
  return Config::from_json(json.dump(), "config.json");
}

Config good(const Json& json) {
  auto config = read(json);
  REQUIRE_MESSAGE(config.ok(), config.error().message);
  return std::move(config).value();
}

// R1's configuration with `key` (a JSON pointer such as "/rope_scaling/factor") set to `value`.
Json with(const char* key, const Json& value) {
  Json json = r1();
  json[Json::json_pointer(key)] = value;
  return json;
}
Json without(const char* key) {
  Json json = r1();
  json.erase(key);
  return json;
}

void expect_error(const Json& json, Status status, std::string_view words) {
  const auto config = read(json);
  REQUIRE_MESSAGE(!config.ok(), "expected an error with: ", std::string(words));
  CAPTURE(config.error().message);
  CHECK(config.error().status == status);
  CHECK(config.error().message.starts_with("config.json: "));
  CHECK(config.error().message.find(words) != std::string::npos);
}

}  // namespace

TEST_CASE("R1's configuration is read as it is") {
  const Config c = good(r1());
  CHECK(c.model_type == "deepseek_v3");
  CHECK(c.vocab_size == 129280);
  CHECK(c.hidden_size == 7168);
  CHECK(c.intermediate_size == 18432);
  CHECK(c.moe_intermediate_size == 2048);
  CHECK(c.n_layers == 61);
  CHECK(c.n_heads == 128);
  CHECK(c.n_kv_heads == 128);
  CHECK(c.n_shared_experts == 1);
  CHECK(c.n_routed_experts == 256);
  CHECK(c.routed_scaling_factor == 2.5);
  CHECK(c.kv_lora_rank == 512);
  CHECK(c.q_lora_rank == 1536);
  CHECK(c.qk_rope_head_dim == 64);
  CHECK(c.qk_nope_head_dim == 128);
  CHECK(c.qk_head_dim() == 192);
  CHECK(c.v_head_dim == 128);
  CHECK(c.n_group == 8);
  CHECK(c.topk_group == 4);
  CHECK(c.num_experts_per_tok == 8);
  CHECK(c.first_k_dense_replace == 3);
  CHECK(c.norm_topk_prob);
  CHECK(c.rms_norm_eps == 1e-6);
  CHECK(c.rope_theta == 10000.0);
  CHECK(c.max_position_embeddings == 163840);
  CHECK(c.num_nextn_predict_layers == 1);
  CHECK(!c.tie_word_embeddings);
  CHECK(c.bos_token_id == 0);
  CHECK(c.eos_token_id == std::vector<int32_t>{1});
  CHECK(c.torch_dtype == "bfloat16");
  CHECK(c.quant_method == "fp8");
  REQUIRE(c.rope_scaling.has_value());
  CHECK(c.rope_scaling->factor == 40.0);
  CHECK(c.rope_scaling->original_max_position_embeddings == 4096);
  CHECK(c.rope_scaling->beta_fast == 32.0);
  CHECK(c.rope_scaling->beta_slow == 1.0);
  CHECK(c.rope_scaling->mscale == 1.0);
  CHECK(c.rope_scaling->mscale_all_dim == 1.0);
  CHECK(c.has_moe());
  CHECK(!c.is_moe_layer(2));
  CHECK(c.is_moe_layer(3));
  CHECK(c.is_moe_layer(61));  // the prediction layer
}

TEST_CASE("the bundled model's configuration is read") {
  std::ifstream in(PENSEE_TINY_R1 "/config.json", std::ios::binary);
  REQUIRE(in.good());
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const auto config = Config::from_json(text, "config.json");
  REQUIRE_MESSAGE(config.ok(), config.error().message);
  CHECK(config->has_moe());
  CHECK(config->quant_method == "fp8");
  CHECK(config->rope_scaling.has_value());
  CHECK(config->q_lora_rank > 0);
}

TEST_CASE("absent keys have the defaults of Hugging Face") {
  Json json = r1();
  for (const char* key : {"moe_intermediate_size",
                          "num_key_value_heads",
                          "n_shared_experts",
                          "routed_scaling_factor",
                          "n_group",
                          "topk_group",
                          "num_experts_per_tok",
                          "first_k_dense_replace",
                          "moe_layer_freq",
                          "norm_topk_prob",
                          "scoring_func",
                          "topk_method",
                          "rms_norm_eps",
                          "rope_theta",
                          "rope_scaling",
                          "max_position_embeddings",
                          "num_nextn_predict_layers",
                          "tie_word_embeddings",
                          "hidden_act",
                          "attention_bias",
                          "bos_token_id",
                          "eos_token_id",
                          "torch_dtype",
                          "quantization_config",
                          "q_lora_rank",
                          "architectures"}) {
    REQUIRE(json.erase(key) == 1);
  }
  json["num_attention_heads"] = 16;
  const Config c = good(json);
  CHECK(c.moe_intermediate_size == 2048);
  CHECK(c.n_kv_heads == 16);
  CHECK(c.n_shared_experts == 1);
  CHECK(c.routed_scaling_factor == 2.5);
  CHECK(c.n_group == 8);
  CHECK(c.topk_group == 4);
  CHECK(c.num_experts_per_tok == 8);
  CHECK(c.first_k_dense_replace == 3);
  CHECK(c.norm_topk_prob);
  CHECK(c.rms_norm_eps == 1e-6);
  CHECK(c.rope_theta == 10000.0);
  CHECK(!c.rope_scaling.has_value());
  CHECK(c.max_position_embeddings == 4096);
  CHECK(c.num_nextn_predict_layers == 1);
  CHECK(!c.tie_word_embeddings);
  CHECK(c.bos_token_id == 0);
  CHECK(c.eos_token_id == std::vector<int32_t>{1});
  CHECK(c.torch_dtype.empty());
  CHECK(c.quant_method.empty());
  CHECK(c.q_lora_rank == 0);
}

TEST_CASE("sizes without which nothing can be loaded are required") {
  for (const char* key : {"model_type", "vocab_size", "hidden_size", "intermediate_size",
                          "num_hidden_layers", "num_attention_heads", "n_routed_experts",
                          "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"}) {
    expect_error(without(key), Status::kCorruptFile, std::string(key) + ": missing");
  }
}

TEST_CASE("every number is held to its type and limits") {
  const auto refuse = [](const char* key, const Json& value) {
    CAPTURE(value.dump());
    Json json = r1();
    json[key] = value;
    expect_error(json, Status::kCorruptFile, std::string(key) + ": expected");
  };
  for (const auto& row : pensee::config_detail::kInts) {
    if ((row.families & pensee::families::kDeepseekV3) == 0) continue;
    for (const Json& value :
         {Json(row.least - 1), Json(row.most + 1), Json(std::numeric_limits<int64_t>::max()),
          Json(-1), Json(2.5), Json("4"), Json(true), Json::array({4})}) {
      refuse(row.key, value);
    }
  }
  for (const auto& row : pensee::config_detail::kDoubles) {
    for (const Json& value : {Json(row.least * 0.5), Json(row.most * 2.0), Json(-1.0), Json(0),
                              Json("4"), Json(nullptr), Json(false)}) {
      refuse(row.key, value);
    }
  }
  for (const auto& row : pensee::config_detail::kBools) {
    for (const Json& value : {Json(1), Json("true"), Json(nullptr)}) refuse(row.key, value);
  }
  expect_error(with("/hidden_size", 0), Status::kCorruptFile,
               "hidden_size: expected an integer from 1 to 131072, found 0");
  expect_error(with("/rms_norm_eps", 2), Status::kCorruptFile,
               "rms_norm_eps: expected a number from 1e-30 to 1, found 2");
}

TEST_CASE("numbers that are not finite are not JSON") {
  for (const char* number : {"NaN", "Infinity", "-Infinity", "1e999"}) {
    std::string text = r1().dump();
    text.replace(text.find("1e-06"), 5, number);
    const auto config = Config::from_json(text, "config.json");
    REQUIRE(!config.ok());
    CHECK(config.error().status == Status::kCorruptFile);
  }
}

TEST_CASE("null means none where none is possible") {
  CHECK(good(with("/q_lora_rank", nullptr)).q_lora_rank == 0);
  CHECK(good(with("/rope_scaling", nullptr)).rope_scaling.has_value() == false);
  CHECK(good(with("/num_key_value_heads", nullptr)).n_kv_heads == 128);
  CHECK(good(with("/n_shared_experts", nullptr)).n_shared_experts == 0);
  CHECK(good(with("/num_nextn_predict_layers", nullptr)).num_nextn_predict_layers == 0);
  CHECK(good(with("/quantization_config", nullptr)).quant_method.empty());
  CHECK(!good(with("/bos_token_id", nullptr)).bos_token_id.has_value());
  CHECK(good(with("/eos_token_id", nullptr)).eos_token_id.empty());
  CHECK(good(with("/torch_dtype", nullptr)).torch_dtype.empty());
  expect_error(with("/hidden_size", nullptr), Status::kCorruptFile, "hidden_size: expected");
}

TEST_CASE("models without routed experts need none of their fields") {
  Json json = with("/n_routed_experts", nullptr);
  for (const char* key : {"n_group", "topk_group", "num_experts_per_tok", "n_shared_experts",
                          "moe_intermediate_size", "first_k_dense_replace"}) {
    json[key] = nullptr;
  }
  const Config none = good(json);
  CHECK(!none.has_moe());
  CHECK(!none.is_moe_layer(60));
  CHECK(!good(with("/n_routed_experts", 0)).has_moe());

  Json all_dense = with("/first_k_dense_replace", 61);
  all_dense["topk_group"] = 100;  // never used, so not an error
  CHECK(!good(all_dense).has_moe());
  CHECK(good(with("/first_k_dense_replace", 60)).has_moe());
}

TEST_CASE("fields that contradict each other") {
  expect_error(with("/num_key_value_heads", 64), Status::kCorruptFile,
               "num_key_value_heads: expected 128 (num_attention_heads), found 64");
  expect_error(with("/qk_rope_head_dim", 63), Status::kCorruptFile,
               "qk_rope_head_dim: expected an even number, found 63");
  expect_error(with("/n_group", 7), Status::kCorruptFile,
               "n_routed_experts: expected a multiple of n_group (7), found 256");
  expect_error(with("/n_group", 256), Status::kCorruptFile, "n_group: expected 1 to 128");
  expect_error(with("/n_group", 0), Status::kCorruptFile, "n_group: expected 1 to 128");
  expect_error(with("/n_routed_experts", 1), Status::kCorruptFile, "n_group: expected");
  expect_error(with("/topk_group", 9), Status::kCorruptFile, "topk_group: expected 1 to 8");
  expect_error(with("/topk_group", 0), Status::kCorruptFile, "topk_group: expected 1 to 8");
  expect_error(with("/num_experts_per_tok", 129), Status::kCorruptFile,
               "num_experts_per_tok: expected 1 to 128 (at most the experts in topk_group groups), "
               "found 129");
  expect_error(with("/num_experts_per_tok", 0), Status::kCorruptFile, "num_experts_per_tok");
  expect_error(with("/moe_intermediate_size", 0), Status::kCorruptFile, "moe_intermediate_size");
  CHECK(good(with("/num_experts_per_tok", 128)).num_experts_per_tok == 128);
  CHECK(good(with("/n_group", 128)).n_group == 128);
}

TEST_CASE("what cannot be computed is unsupported, by name") {
  expect_error(with("/model_type", "gpt2"), Status::kUnsupported,
               "model_type: expected one of: deepseek_v3, deepseek_v2, qwen2, llama, qwen3, "
               "qwen3_moe, found \"gpt2\"");
  expect_error(with("/model_type", 3), Status::kCorruptFile, "model_type: expected a string");
  expect_error(with("/hidden_act", "gelu"), Status::kUnsupported,
               "hidden_act: expected \"silu\", found \"gelu\"");
  expect_error(with("/attention_bias", true), Status::kUnsupported, "attention_bias");
  expect_error(with("/scoring_func", "softmax"), Status::kUnsupported, "scoring_func");
  expect_error(with("/topk_method", "greedy"), Status::kUnsupported, "topk_method");
  expect_error(with("/rope_interleave", false), Status::kUnsupported, "rope_interleave");
  expect_error(with("/moe_layer_freq", 2), Status::kUnsupported, "moe_layer_freq");
}

TEST_CASE("rotary angles: both ways to write them") {
  CHECK(!good(with("/rope_scaling", Json{{"rope_type", "default"}})).rope_scaling.has_value());
  CHECK(!good(with("/rope_scaling", Json{{"type", "default"}})).rope_scaling.has_value());

  Json json = r1();
  Json rope = json["rope_scaling"];
  json.erase("rope_scaling");
  json.erase("rope_theta");
  rope.erase("type");
  rope["rope_type"] = "yarn";
  rope["rope_theta"] = 50000.0;
  json["rope_parameters"] = rope;
  const Config c = good(json);
  CHECK(c.rope_theta == 50000.0);
  REQUIRE(c.rope_scaling.has_value());
  CHECK(c.rope_scaling->factor == 40.0);
  CHECK(c.rope_scaling->original_max_position_embeddings == 4096);

  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 500.0}};
  CHECK(good(json).rope_theta == 500.0);
  CHECK(!good(json).rope_scaling.has_value());
  json["rope_scaling"] = nullptr;  // does not hide rope_parameters
  CHECK(good(json).rope_theta == 500.0);
}

TEST_CASE("YaRN: defaults and errors") {
  const Json least = {{"type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 64}};
  const Config c = good(with("/rope_scaling", least));
  CHECK(c.rope_scaling->beta_fast == 32.0);
  CHECK(c.rope_scaling->beta_slow == 1.0);
  CHECK(c.rope_scaling->mscale == 0.0);
  CHECK(c.rope_scaling->mscale_all_dim == 0.0);
  CHECK(c.context_limit() == c.max_position_embeddings);
  // Made for more tokens than max_position_embeddings, with which YaRN begins if nothing is said.
  Json longer = with("/rope_scaling", {{"type", "yarn"}, {"factor", 4}});
  longer["max_position_embeddings"] = 32768;
  CHECK(good(longer).rope_scaling->original_max_position_embeddings == 32768);
  CHECK(good(longer).context_limit() == 131072);

  const auto bad = [](const char* key, const Json& value, const char* words) {
    Json json = r1();
    json["rope_scaling"][key] = value;
    expect_error(json, Status::kCorruptFile, words);
  };
  bad("factor", 0.5, "rope_scaling.factor: expected a number from 1 to 1e+06, found 0.5");
  bad("factor", nullptr, "rope_scaling.factor: expected a number, found null");
  bad("beta_fast", 0, "rope_scaling.beta_fast");
  bad("beta_fast", 1, "rope_scaling.beta_fast: expected more than beta_slow (1), found 1");
  bad("beta_slow", -1, "rope_scaling.beta_slow");
  bad("mscale", 1e9, "rope_scaling.mscale");
  bad("mscale_all_dim", "1", "rope_scaling.mscale_all_dim");
  bad("original_max_position_embeddings", 0, "rope_scaling.original_max_position_embeddings");
  bad("rope_theta", 1, "rope_scaling.rope_theta");
  bad("type", 3, "rope_scaling.type: expected a string");
  Json json = r1();
  json["rope_scaling"].erase("factor");
  expect_error(json, Status::kCorruptFile, "rope_scaling.factor: missing");
  expect_error(with("/rope_scaling", 3), Status::kCorruptFile, "rope_scaling: expected an object");
  expect_error(with("/rope_scaling/type", "llama3"), Status::kUnsupported, "rope_scaling.type");
  expect_error(with("/rope_scaling/truncate", false), Status::kUnsupported, "truncate");
  expect_error(with("/rope_scaling/extrapolation_factor", 0.5), Status::kUnsupported,
               "rope_scaling.extrapolation_factor: expected 1.0, found 0.5");
  CHECK(good(with("/rope_scaling/extrapolation_factor", 1)).rope_scaling.has_value());
  expect_error(with("/partial_rotary_factor", 0.5), Status::kUnsupported,
               "config.json: partial_rotary_factor: expected 1.0, found 0.5");
  CHECK(good(with("/partial_rotary_factor", 1)).rope_scaling.has_value());
  bad("attention_factor", -1.0, "rope_scaling.attention_factor");
  bad("attn_factor", 0, "rope_scaling.attn_factor");
  CHECK(good(with("/rope_scaling/attention_factor", nullptr)).rope_scaling->attention_factor ==
        0.0);
}

TEST_CASE("control tokens") {
  CHECK(good(with("/eos_token_id", {1, 5, 129279})).eos_token_id ==
        std::vector<int32_t>{1, 5, 129279});
  CHECK(good(with("/eos_token_id", Json::array())).eos_token_id.empty());
  expect_error(with("/eos_token_id", 129280), Status::kCorruptFile,
               "eos_token_id: expected an integer from 0 to 129279, found 129280");
  expect_error(with("/eos_token_id", {1, -1}), Status::kCorruptFile, "eos_token_id[1]");
  expect_error(with("/eos_token_id", "1"), Status::kCorruptFile, "eos_token_id");
  expect_error(with("/bos_token_id", 129280), Status::kCorruptFile, "bos_token_id");
  expect_error(with("/bos_token_id", {0}), Status::kCorruptFile, "bos_token_id");
}

TEST_CASE("element types and quantization") {
  CHECK(good(with("/dtype", "float32")).torch_dtype == "bfloat16");  // the older key wins
  Json json = without("torch_dtype");
  json["dtype"] = "float32";
  CHECK(good(json).torch_dtype == "float32");

  const auto set = [](const char* key, const Json& value) {
    Json changed = r1();
    changed["quantization_config"][key] = value;
    return changed;
  };
  Json short_form = r1();
  short_form["quantization_config"] = {{"quant_method", "fp8"}};
  CHECK(good(short_form).quant_method == "fp8");
  expect_error(set("quant_method", "gptq"), Status::kUnsupported,
               "quantization_config.quant_method: expected \"fp8\", found \"gptq\"");
  expect_error(set("quant_method", nullptr), Status::kUnsupported, "found nothing");
  expect_error(set("fmt", "e5m2"), Status::kUnsupported, "quantization_config.fmt");
  expect_error(set("activation_scheme", "static"), Status::kUnsupported, "activation_scheme");
  expect_error(set("weight_block_size", {64, 128}), Status::kUnsupported, "weight_block_size");
  expect_error(set("weight_block_size", {128}), Status::kUnsupported, "weight_block_size");
  expect_error(with("/quantization_config", "fp8"), Status::kCorruptFile, "quantization_config");
}

TEST_CASE("a distill's configuration is read as it is") {
  const Json json = Json::parse(R"({
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "max_position_embeddings": 131072,
    "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "attention_bias": false, "mlp_bias": false, "hidden_act": "silu", "bos_token_id": 128000,
    "eos_token_id": [128001, 128008], "tie_word_embeddings": false})");
  const Config c = good(json);
  CHECK(c.family == pensee::ModelFamily::kLlama);
  CHECK(!c.has_mla());
  CHECK(!c.has_moe());
  CHECK(!c.has_qkv_bias());
  CHECK(!c.has_qk_norm());
  CHECK(!c.rope_interleave);
  CHECK(c.head_dim == 128);  // hidden_size / num_attention_heads
  CHECK(c.attention_size() == 4096);
  REQUIRE(c.rope_scaling.has_value());
  CHECK(c.rope_scaling->type == pensee::RopeScaling::Type::kLlama3);
  CHECK(c.rope_scaling->high_freq_factor == 4.0);
  CHECK(c.rope_scaling->original_max_position_embeddings == 8192);
  for (const auto& [key, value] : c.fields()) {
    CHECK(key != "kv_lora_rank");
    if (key == "rope_scaling") CHECK(value.starts_with("llama3, "));
  }

  const auto changed = [&](const char* pointer, const Json& value) {
    Json copy = json;
    copy[Json::json_pointer(pointer)] = value;
    return copy;
  };
  expect_error(changed("/num_key_value_heads", 5), Status::kCorruptFile,
               "num_attention_heads: expected a multiple of num_key_value_heads (5), found 32");
  expect_error(changed("/hidden_size", 4097), Status::kCorruptFile,
               "hidden_size: expected a multiple of num_attention_heads (32)");
  expect_error(changed("/head_dim", 127), Status::kCorruptFile, "head_dim: expected an even");
  expect_error(changed("/mlp_bias", true), Status::kUnsupported, "mlp_bias");
  expect_error(changed("/attention_bias", true), Status::kUnsupported, "attention_bias");
  expect_error(changed("/rope_scaling/rope_type", "linear"), Status::kUnsupported,
               "expected \"default\", \"yarn\" or \"llama3\", found \"linear\"");
  expect_error(changed("/rope_scaling/high_freq_factor", 1.0), Status::kCorruptFile,
               "high_freq_factor: expected more than low_freq_factor (1), found 1");
  CHECK(good(changed("/head_dim", 64)).head_dim == 64);
  CHECK(good(changed("/model_type", "qwen2")).has_qkv_bias());
}

TEST_CASE("families with experts: their own keys and defaults") {
  Json json = Json::parse(R"({
    "model_type": "qwen3_moe", "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144,
    "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8,
    "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": []})");
  const Config c = good(json);
  CHECK(c.n_routed_experts == 128);
  CHECK(c.topk_method == pensee::TopkMethod::kGreedy);
  CHECK(c.has_qk_norm());
  CHECK(c.is_moe_layer(0));
  CHECK(c.n_shared_experts == 0);
  CHECK(c.routed_scaling_factor == 1.0);
  CHECK(c.max_position_embeddings == 32768);
  json["mlp_only_layers"] = {1};
  expect_error(json, Status::kUnsupported, "mlp_only_layers");
  json["mlp_only_layers"] = Json::array();
  json["num_experts_per_tok"] = 129;
  expect_error(json, Status::kCorruptFile, "num_experts_per_tok: expected 1 to 128");
  json.erase("num_experts");
  expect_error(json, Status::kCorruptFile, "num_experts: missing");
  json["num_experts_per_tok"] = 8;
  json["num_local_experts"] = 64;  // as transformers 5 writes it
  CHECK(good(json).n_routed_experts == 64);

  Json v2 = r1();
  v2["model_type"] = "deepseek_v2";
  v2["scoring_func"] = "softmax";
  v2["topk_method"] = "group_limited_greedy";
  CHECK(good(v2).topk_method == pensee::TopkMethod::kGroupLimitedGreedy);
  CHECK(good(v2).num_nextn_predict_layers == 0);
  v2["topk_method"] = "greedy";
  CHECK(good(v2).topk_method == pensee::TopkMethod::kGreedy);
  v2["topk_method"] = "noaux_tc";
  expect_error(v2, Status::kUnsupported, "topk_method: expected \"greedy\" or");
  v2.erase("topk_method");
  v2.erase("norm_topk_prob");
  v2.erase("routed_scaling_factor");
  CHECK(good(v2).topk_method == pensee::TopkMethod::kGreedy);
  CHECK(!good(v2).norm_topk_prob);
  CHECK(good(v2).routed_scaling_factor == 1.0);
  v2["scoring_func"] = "sigmoid";
  expect_error(v2, Status::kUnsupported, "scoring_func");
}

TEST_CASE("text that is not a configuration") {
  for (const char* text : {"", "{", "[]", "3", "\"deepseek_v3\""}) {
    const auto config = Config::from_json(text, "some/config.json");
    REQUIRE(!config.ok());
    CHECK(config.error().status == Status::kCorruptFile);
    CHECK(config.error().message.starts_with("some/config.json: "));
  }
  std::string twice = r1().dump();
  twice.insert(1, R"("hidden_size":1,)");
  CHECK(Config::from_json(twice, "f").error().message == "f: key \"hidden_size\" is written twice");
}

TEST_CASE("the fields can be listed, each once, by the keys of the file") {
  const auto fields = good(r1()).fields();
  std::map<std::string, std::string> map(fields.begin(), fields.end());
  CHECK(map.size() == fields.size());
  const Json json = r1();
  for (const auto& field : json.items()) {
    const std::string& key = field.key();
    const Json& value = field.value();
    if (key == "architectures" || key == "quantization_config") continue;
    CAPTURE(key);
    CHECK(map.count(key) == 1);
    if (value.is_number_integer()) CHECK(map[key] == value.dump());
  }
  CHECK(map["rms_norm_eps"] == "1e-06");
  CHECK(map["norm_topk_prob"] == "true");
  CHECK(map["scoring_func"] == "\"sigmoid\"");
  CHECK(map["quant_method"] == "fp8");
  CHECK(map["rope_scaling"].find("factor 40") != std::string::npos);
  CHECK(map["rope_scaling"].find("original_max_position_embeddings 4096") != std::string::npos);
}

TEST_CASE("random damage never crashes, and what is accepted is consistent") {
  const std::string base = r1().dump();
  std::mt19937 random(11);
  const auto below = [&](size_t n) { return static_cast<size_t>(random()) % n; };
  constexpr std::string_view kPieces[] = {"null", "-1", "0", "1e30", "\"", "{",   "}",
                                          "[",    "]",  ",", ":",    "9",  "true"};
  int accepted = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string text = base;
    for (size_t i = 0; i < 1 + below(3) && !text.empty(); ++i) {
      const size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + below(6));
          break;
        case 2:
          text.insert(at, kPieces[below(std::size(kPieces))]);
          break;
        default:
          text[at] = static_cast<char>('0' + below(10));
          break;
      }
    }
    const auto config = Config::from_json(text, "f");
    if (!config.ok()) {
      REQUIRE(!config.error().message.empty());
      continue;
    }
    ++accepted;
    REQUIRE(config->n_kv_heads == config->n_heads);
    REQUIRE(config->qk_rope_head_dim % 2 == 0);
    if (config->has_moe()) REQUIRE(config->n_routed_experts % config->n_group == 0);
  }
  CHECK(accepted > 0);
}

TEST_CASE("random values in any field never crash") {
  const Json base = r1();
  std::vector<std::string> keys;
  for (const auto& [key, value] : base.items()) keys.push_back(key);
  const Json values[] = {nullptr,
                         true,
                         0,
                         1,
                         -1,
                         2,
                         3.5,
                         1e300,
                         "x",
                         Json::array(),
                         Json::object(),
                         Json::array({1}),
                         INT64_MIN,
                         INT64_MAX,
                         UINT64_MAX,
                         64};
  std::mt19937 random(12);
  for (int round = 0; round < 4000; ++round) {
    Json json = base;
    for (int i = 0; i < 3; ++i) {
      json[keys[random() % keys.size()]] = values[random() % std::size(values)];
    }
    const auto config = read(json);
    if (config.ok()) REQUIRE(!config->fields().empty());
  }
}
