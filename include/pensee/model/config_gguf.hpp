// Reads a model's configuration from the metadata of a GGUF file: puts it into the form of Hugging
// Face's config.json, so that both formats go through the same checks.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "pensee/base/json.hpp"
#include "pensee/base/result.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/io/gguf_metadata.hpp"
#include "pensee/io/gguf_token_ids.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/config_json.hpp"

namespace pensee {

// X(general.architecture, model_type). deepseek2 stands for two: see model_type_of().
#define PENSEE_GGUF_ARCHITECTURES(X) \
  X("deepseek2", "deepseek_v3")      \
  X("qwen2", "qwen2")                \
  X("llama", "llama")                \
  X("qwen3", "qwen3")                \
  X("qwen3moe", "qwen3_moe")

// Numbers that have the same meaning in both formats; absent ones stay absent.
// X(key of config.json, key of the GGUF file after "<architecture>.")
#define PENSEE_GGUF_INTS(X)                                \
  X("hidden_size", "embedding_length")                     \
  X("intermediate_size", "feed_forward_length")            \
  X("moe_intermediate_size", "expert_feed_forward_length") \
  X("num_hidden_layers", "block_count")                    \
  X("num_attention_heads", "attention.head_count")         \
  X("max_position_embeddings", "context_length")           \
  X("n_shared_experts", "expert_shared_count")             \
  X("n_routed_experts", "expert_count")                    \
  X("num_experts", "expert_count")                         \
  X("num_experts_per_tok", "expert_used_count")            \
  X("n_group", "expert_group_count")                       \
  X("topk_group", "expert_group_used_count")               \
  X("first_k_dense_replace", "leading_dense_block_count")  \
  X("kv_lora_rank", "attention.kv_lora_rank")              \
  X("q_lora_rank", "attention.q_lora_rank")                \
  X("qk_rope_head_dim", "rope.dimension_count")
#define PENSEE_GGUF_DOUBLES(X)                          \
  X("rms_norm_eps", "attention.layer_norm_rms_epsilon") \
  X("routed_scaling_factor", "expert_weights_scale")    \
  X("rope_theta", "rope.freq_base")

namespace config_gguf_detail {

// The metadata of one file, with the architecture's prefix put before keys.
struct Source {
  const GgufMetadata& metadata;
  std::string prefix;  // "llama."

  [[nodiscard]] std::optional<GgufValue> find(std::string_view key) const {
    return metadata.find(prefix + std::string(key));
  }
  // A whole number of 0 or more; `fallback` where it is absent.
  [[nodiscard]] Result<int64_t> number(std::string_view key, int64_t fallback) const {
    const auto value = find(key);
    return value ? value->as_int(0) : Result<int64_t>(fallback);
  }
  [[nodiscard]] Error missing(std::string_view key) const {
    return corrupt_file(metadata.file() + ": " + prefix + std::string(key) + ": missing");
  }
};

// How experts' scores are made, llama.cpp's numbers. Files without the key are older than the first
// model with sigmoid scores.
inline constexpr int64_t kSoftmaxScores = 1;
inline constexpr int64_t kSigmoidScores = 2;

inline Result<void> add_numbers(const Source& source, Json& json) {
#define PENSEE_X(key, gguf_key)                                      \
  if (const auto value = source.find(gguf_key)) {                    \
    PENSEE_ASSIGN_OR_RETURN(const int64_t number, value->as_int(0)); \
    json[key] = number;                                              \
  }
  PENSEE_GGUF_INTS(PENSEE_X)
#undef PENSEE_X
#define PENSEE_X(key, gguf_key)                                       \
  if (const auto value = source.find(gguf_key)) {                     \
    PENSEE_ASSIGN_OR_RETURN(const double number, value->as_double()); \
    json[key] = number;                                               \
  }
  PENSEE_GGUF_DOUBLES(PENSEE_X)
#undef PENSEE_X
  // llama.cpp writes 0 where experts' weights are not scaled.
  if (json.value("routed_scaling_factor", 1.0) == 0.0) json["routed_scaling_factor"] = 1.0;
  // block_count has the prediction layers in it.
  PENSEE_ASSIGN_OR_RETURN(const int64_t next, source.number("nextn_predict_layers", 0));
  if (next > 0) json["num_hidden_layers"] = json.value("num_hidden_layers", int64_t{0}) - next;
  json["num_nextn_predict_layers"] = next;  // absent: none, other than in config.json
  if (const auto value = source.find("expert_weights_norm")) {
    PENSEE_ASSIGN_OR_RETURN(const bool norm, value->as_bool());
    json["norm_topk_prob"] = norm;
  } else {
    // llama.cpp normalises Qwen3's weights without being told, DeepSeek's only when told.
    json["norm_topk_prob"] = json["model_type"] == "qwen3_moe";
  }
  return {};
}

// The heads of latent attention. Files made for llama.cpp's latent attention call the sizes of the
// expanded form key_length_mla and value_length_mla; older files have no others.
inline Result<void> add_latent_heads(const Source& source, Json& json) {
  const bool is_new = source.find("attention.key_length_mla").has_value();
  const std::string suffix = is_new ? "_mla" : "";
  PENSEE_ASSIGN_OR_RETURN(const int64_t rope, source.number("rope.dimension_count", 0));
  PENSEE_ASSIGN_OR_RETURN(const int64_t key, source.number("attention.key_length" + suffix, 0));
  PENSEE_ASSIGN_OR_RETURN(const int64_t value, source.number("attention.value_length" + suffix, 0));
  if (key <= rope) {
    return corrupt_file(source.metadata.file() + ": " + source.prefix + "attention.key_length" +
                        suffix + ": expected more than rope.dimension_count (" +
                        std::to_string(rope) + "), found " + std::to_string(key));
  }
  json["qk_nope_head_dim"] = key - rope;
  json["v_head_dim"] = value;
  return {};
}

inline Result<void> add_heads(const Source& source, Json& json) {
  if (const auto value = source.find("attention.head_count_kv")) {
    PENSEE_ASSIGN_OR_RETURN(const int64_t number, value->as_int(0));
    json["num_key_value_heads"] = number;
  }
  json["head_dim"] = nullptr;  // hidden_size / num_attention_heads
  if (const auto value = source.find("attention.key_length")) {
    PENSEE_ASSIGN_OR_RETURN(const int64_t number, value->as_int(0));
    json["head_dim"] = number;
  }
  return {};
}

// Experts of deepseek2, which stands for DeepSeek-V2 and V3.
inline Result<void> add_deepseek_experts(const Source& source, Json& json) {
  PENSEE_ASSIGN_OR_RETURN(const int64_t scores,
                          source.number("expert_gating_func", kSoftmaxScores));
  if (scores != kSoftmaxScores && scores != kSigmoidScores) {
    return unsupported(source.metadata.file() + ": " + source.prefix +
                       "expert_gating_func: expected 1 or 2, found " + std::to_string(scores));
  }
  if (!json.contains("n_routed_experts")) json["n_routed_experts"] = 0;
  PENSEE_ASSIGN_OR_RETURN(int64_t groups, source.number("expert_group_count", 0));
  if (groups == 0) {
    // Files made before the key was written leave out the groups, which all such models with so
    // many experts have: 8.
    const bool is_v3 = scores == kSigmoidScores;
    const bool has_groups = json["n_routed_experts"] == (is_v3 ? 256 : 160);
    groups = has_groups ? 8 : 1;
    json["n_group"] = groups;
    json["topk_group"] = !has_groups ? 1 : is_v3 ? 4 : 3;
  }
  if (scores == kSoftmaxScores) {
    json["model_type"] = "deepseek_v2";
    json["topk_method"] = groups > 1 ? "group_limited_greedy" : "greedy";
  }
  json["num_key_value_heads"] = json["num_attention_heads"];
  return {};
}

// Refuses a factor that llama.cpp would apply and this library would not. `is_none` tells of a
// number other than 1 whether it means the same.
inline Result<void> refuse_factor(
    const Source& source, const char* key,
    bool (*is_none)(double) = [](double factor) { return factor == 0.0; }) {
  const auto value = source.find(key);
  if (!value) return {};
  PENSEE_ASSIGN_OR_RETURN(const double factor, value->as_double());
  if (factor == 1.0 || is_none(factor)) return {};
  return unsupported(value->where() + ": expected 1, found " + value->found());
}

// Refuses heads of which only a part is rotated.
inline Result<void> refuse_partial_rotation(const Source& source, const Config& config) {
  const char* const kKey = "rope.dimension_count";
  PENSEE_ASSIGN_OR_RETURN(const int64_t found, source.number(kKey, config.rope_dim()));
  if (found == config.rope_dim()) return {};
  return unsupported(source.metadata.file() + ": " + source.prefix + kKey + ": expected " +
                     std::to_string(config.rope_dim()) + ", all of a head, found " +
                     std::to_string(found));
}

inline Result<void> add_rope(const Source& source, Json& json) {
  const auto type = source.find("rope.scaling.type");
  std::string_view name = "linear";  // as llama.cpp takes a missing one
  if (type) {
    PENSEE_ASSIGN_OR_RETURN(name, type->as_string());
  }
  if (name == "linear") {
    // llama.cpp writes the name for models without scaling, too.
    for (const char* key : {"rope.scaling.factor", "rope.scale_linear"}) {
      PENSEE_RETURN_IF_ERROR(refuse_factor(source, key));
    }
  }
  if (name == "linear" || name == "none") return refuse_factor(source, "rope.scaling.attn_factor");
  if (name != "yarn") {
    return unsupported(type->where() + ": expected \"none\", \"linear\" or \"yarn\", found " +
                       type->found());
  }
  // Negative: as the type says, which is 1.
  PENSEE_RETURN_IF_ERROR(refuse_factor(source, "rope.scaling.yarn_ext_factor",
                                       [](double factor) { return factor < 0.0; }));
  Json& rope = json["rope_scaling"];
  rope["type"] = "yarn";
  // llama.cpp reads attn_factor. Its converter writes the other one, which may be meant as
  // transformers' attention_factor; of the models known here, none has that.
  const std::pair<const char*, const char*> fields[] = {
      {"factor", "rope.scaling.factor"},
      {"attn_factor", "rope.scaling.yarn_attn_factor"},
      {"attn_factor", "rope.scaling.attn_factor"},
      {"beta_fast", "rope.scaling.yarn_beta_fast"},
      {"beta_slow", "rope.scaling.yarn_beta_slow"}};
  for (const auto& [key, gguf_key] : fields) {
    const auto value = source.find(gguf_key);
    if (!value) continue;
    PENSEE_ASSIGN_OR_RETURN(const double number, value->as_double());
    rope[key] = number;
  }
  if (const auto original = source.find("rope.scaling.original_context_length")) {
    PENSEE_ASSIGN_OR_RETURN(const int64_t tokens, original->as_int(0));
    rope["original_max_position_embeddings"] = tokens;
  }
  if (json.contains("kv_lora_rank")) {
    // DeepSeek's cosines are not scaled: its mscale and mscale_all_dim are equal. The files have
    // the latter, times the 0.1 of the formula.
    const char* const kMultiplier = "rope.scaling.yarn_log_multiplier";
    const auto multiplier = source.find(kMultiplier);
    if (!multiplier) return source.missing(kMultiplier);
    PENSEE_ASSIGN_OR_RETURN(const double scaled, multiplier->as_double());
    rope["mscale"] = rope["mscale_all_dim"] = scaled / 0.1;
  }
  return {};
}

// `json` has vocab_size.
inline Result<void> add_tokens(const GgufMetadata& metadata, Json& json) {
  auto n_tokens = json["vocab_size"].get<int64_t>();
  if (const auto tokens = metadata.find("tokenizer.ggml.tokens")) {
    n_tokens = std::min(n_tokens, static_cast<int64_t>(tokens->size()));
  }
  json["bos_token_id"] = nullptr;
  PENSEE_ASSIGN_OR_RETURN(const auto begin,
                          find_gguf_token_id(metadata, "tokenizer.ggml.bos_token_id", n_tokens));
  if (begin) json["bos_token_id"] = *begin;
  Json& ends = json["eos_token_id"];
  ends = Json::array();
  for (const char* key : kGgufEndKeys) {
    PENSEE_ASSIGN_OR_RETURN(const auto id, find_gguf_token_id(metadata, key, n_tokens));
    if (id && std::find(ends.begin(), ends.end(), Json(*id)) == ends.end()) ends.push_back(*id);
  }
  return {};
}

}  // namespace config_gguf_detail

// Reads and checks the configuration of a GGUF file: its metadata, and of its tensors the number of
// embeddings and whether the output has a matrix of its own. Errors as Config::from_json, with
// config.json's names for fields, and kCorruptFile for metadata of the wrong type.
[[nodiscard]] inline Result<Config> config_from_gguf(const GgufMetadata& metadata,
                                                     const Checkpoint& checkpoint) {
  namespace detail = config_gguf_detail;
  PENSEE_ASSIGN_OR_RETURN(const GgufValue architecture, metadata.at("general.architecture"));
  PENSEE_ASSIGN_OR_RETURN(const std::string_view name, architecture.as_string());
  JsonDocument document(Json::object());
  Json& json = document.root();
  std::string known;
#define PENSEE_X(gguf_name, model_type)                   \
  if (name == gguf_name) json["model_type"] = model_type; \
  known += known.empty() ? gguf_name : ", " gguf_name;
  PENSEE_GGUF_ARCHITECTURES(PENSEE_X)
#undef PENSEE_X
  if (json.empty()) {
    return unsupported(architecture.where() + ": expected one of: " + known + ", found " +
                       architecture.found());
  }
  const detail::Source source{metadata, std::string(name) + "."};
  PENSEE_RETURN_IF_ERROR(detail::add_numbers(source, json));
  if (name == "deepseek2") {
    PENSEE_RETURN_IF_ERROR(detail::add_latent_heads(source, json));
    PENSEE_RETURN_IF_ERROR(detail::add_deepseek_experts(source, json));
  } else {
    PENSEE_RETURN_IF_ERROR(detail::add_heads(source, json));
  }
  PENSEE_RETURN_IF_ERROR(detail::add_rope(source, json));
  PENSEE_ASSIGN_OR_RETURN(const TensorView embeddings, checkpoint.require("token_embd.weight"));
  json["vocab_size"] = embeddings.shape[0];
  PENSEE_RETURN_IF_ERROR(detail::add_tokens(metadata, json));
  json["tie_word_embeddings"] = checkpoint.find("output.weight") == nullptr;
  PENSEE_ASSIGN_OR_RETURN(Config config, Config::from_json(JsonView(json, metadata.file())));
  PENSEE_RETURN_IF_ERROR(detail::refuse_partial_rotation(source, config));
  // Their rows are stored in the order that turns pairs half a head apart into neighbours.
  if (config.family == ModelFamily::kLlama) config.rope_interleave = true;
  return config;
}

}  // namespace pensee
