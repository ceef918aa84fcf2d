// What a GGUF file says of a model: config_gguf.hpp reads it back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "pensee/base/result.hpp"
#include "pensee/io/gguf_header.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/rope.hpp"

namespace pensee {

namespace gguf_keys_detail {

// Sets keys behind the architecture's prefix. Numbers are 32 bits wide, as llama.cpp expects.
struct Writer {
  GgufHeader& header;
  std::string prefix;  // "llama."

  void number(std::string_view key, int64_t value) {
    header.set(prefix + std::string(key), static_cast<uint32_t>(value));
  }
  void fraction(std::string_view key, double value) {
    header.set(prefix + std::string(key), static_cast<float>(value));
  }
};

inline void add_sizes(const Config& c, bool mtp, Writer& writer) {
  writer.number("block_count", c.n_layers + (mtp ? 1 : 0));
  if (mtp) writer.number("nextn_predict_layers", 1);
  writer.number("context_length", c.max_position_embeddings);
  writer.number("embedding_length", c.hidden_size);
  writer.number("feed_forward_length", c.intermediate_size);
  writer.number("vocab_size", c.vocab_size);
  writer.number("attention.head_count", c.n_heads);
  writer.fraction("attention.layer_norm_rms_epsilon", c.rms_norm_eps);
  writer.number("rope.dimension_count", c.rope_dim());
  if (!c.has_mla()) {
    writer.number("attention.head_count_kv", c.n_kv_heads);
    writer.number("attention.key_length", c.head_dim);
    writer.number("attention.value_length", c.head_dim);
    return;
  }
  // llama.cpp computes latent attention as one key-value head of latents.
  if (c.q_lora_rank > 0) writer.number("attention.q_lora_rank", c.q_lora_rank);
  writer.number("attention.kv_lora_rank", c.kv_lora_rank);
  writer.number("attention.head_count_kv", 1);
  writer.number("attention.key_length", c.kv_lora_rank + c.qk_rope_head_dim);
  writer.number("attention.value_length", c.kv_lora_rank);
  writer.number("attention.key_length_mla", c.qk_head_dim());
  writer.number("attention.value_length_mla", c.v_head_dim);
}

inline void add_experts(const Config& c, Writer& writer) {
  if (!c.is_one_of(families::kMoe) || c.n_routed_experts == 0) return;
  constexpr int64_t kSoftmax = 1;
  constexpr int64_t kSigmoid = 2;
  writer.number("expert_count", c.n_routed_experts);
  writer.number("expert_used_count", c.num_experts_per_tok);
  writer.number("expert_feed_forward_length", c.moe_intermediate_size);
  writer.header.set(writer.prefix + "expert_weights_norm", c.norm_topk_prob);
  if (!c.has_mla()) return;
  writer.number("expert_shared_count", c.n_shared_experts);
  writer.fraction("expert_weights_scale", c.routed_scaling_factor);
  writer.number("leading_dense_block_count", c.first_k_dense_replace);
  writer.number("expert_gating_func", c.family == ModelFamily::kDeepseekV3 ? kSigmoid : kSoftmax);
  const bool has_groups = c.topk_method != TopkMethod::kGreedy;
  writer.number("expert_group_count", has_groups ? c.n_group : 1);
  writer.number("expert_group_used_count", has_groups ? c.topk_group : 1);
}

inline Result<void> add_rope(const Config& c, const std::string& where, Writer& writer) {
  writer.fraction("rope.freq_base", c.rope_theta);
  if (!c.rope_scaling || c.rope_scaling->type != RopeScaling::Type::kYarn) return {};
  const RopeScaling& yarn = *c.rope_scaling;
  writer.header.set(writer.prefix + "rope.scaling.type", "yarn");
  writer.fraction("rope.scaling.factor", yarn.factor);
  writer.number("rope.scaling.original_context_length", yarn.original_max_position_embeddings);
  writer.fraction("rope.scaling.yarn_beta_fast", yarn.beta_fast);
  writer.fraction("rope.scaling.yarn_beta_slow", yarn.beta_slow);
  // llama.cpp multiplies the formula's factor by it.
  RopeScaling formula = yarn;
  formula.attention_factor = 0.0;
  formula.attn_factor = 1.0;
  const double factor = yarn_attention_factor(yarn) / yarn_attention_factor(formula);
  if (factor != 1.0) writer.fraction("rope.scaling.attn_factor", factor);
  if (c.has_mla() ? yarn.mscale != yarn.mscale_all_dim || yarn.mscale == 0.0
                  : yarn.mscale != 0.0 || yarn.mscale_all_dim != 0.0) {
    return unsupported(where + ": rope_scaling: expected " +
                       (c.has_mla() ? "mscale and mscale_all_dim to be equal" : "no mscale") +
                       ", since GGUF files cannot tell otherwise, found " +
                       std::to_string(yarn.mscale) + " and " + std::to_string(yarn.mscale_all_dim));
  }
  // Times the 0.1 of the formula, by an old habit of the format.
  if (c.has_mla()) writer.fraction("rope.scaling.yarn_log_multiplier", 0.1 * yarn.mscale_all_dim);
  return {};
}

}  // namespace gguf_keys_detail

// The architecture of a GGUF file with a model of this family.
[[nodiscard]] constexpr const char* gguf_architecture(ModelFamily family) noexcept {
  switch (family) {
    case ModelFamily::kDeepseekV3:
    case ModelFamily::kDeepseekV2:
      return "deepseek2";
    case ModelFamily::kQwen2:
      return "qwen2";
    case ModelFamily::kLlama:
      return "llama";
    case ModelFamily::kQwen3:
      return "qwen3";
    case ModelFamily::kQwen3Moe:
      return "qwen3moe";
  }
  return "";
}

// Sets the keys of the architecture. `where` begins messages. kUnsupported for a configuration that
// GGUF files have no keys for.
[[nodiscard]] inline Result<void> set_architecture_keys(const Config& config,
                                                        const std::string& where, bool mtp,
                                                        GgufHeader& header) {
  const std::string architecture = gguf_architecture(config.family);
  header.set("general.architecture", architecture);
  header.set("general.type", "model");
  gguf_keys_detail::Writer writer{header, architecture + "."};
  gguf_keys_detail::add_sizes(config, mtp, writer);
  gguf_keys_detail::add_experts(config, writer);
  return gguf_keys_detail::add_rope(config, where, writer);
}

}  // namespace pensee
