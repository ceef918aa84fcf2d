// What checkpoints call their tensors: Hugging Face's names, and those of GGUF files.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace pensee {

// X(name in a Hugging Face checkpoint, name in a GGUF file), without what stands before them
// ("model.layers.3." and "blk.3.") and without ".weight" or ".bias" after them. The engine asks for
// tensors by the first name. Source of the second: llama.cpp's and the gguf package's constants.
#define PENSEE_LAYER_TENSORS(X)                                                  \
  X("input_layernorm", "attn_norm")                                              \
  X("post_attention_layernorm", "ffn_norm")                                      \
  X("self_attn.q_proj", "attn_q")                                                \
  X("self_attn.k_proj", "attn_k")                                                \
  X("self_attn.v_proj", "attn_v")                                                \
  X("self_attn.q_norm", "attn_q_norm")                                           \
  X("self_attn.k_norm", "attn_k_norm")                                           \
  X("self_attn.q_a_proj", "attn_q_a")                                            \
  X("self_attn.q_a_layernorm", "attn_q_a_norm")                                  \
  X("self_attn.q_b_proj", "attn_q_b")                                            \
  X("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa")                             \
  X("self_attn.kv_a_layernorm", "attn_kv_a_norm")                                \
  X("self_attn.kv_b_proj", "attn_kv_b")                                          \
  X("self_attn.k_b_proj", "attn_k_b") /* GGUF alone: kv_b_proj in two */         \
  X("self_attn.v_b_proj", "attn_v_b")                                            \
  X("self_attn.o_proj", "attn_output")                                           \
  X("mlp.gate_proj", "ffn_gate")                                                 \
  X("mlp.up_proj", "ffn_up")                                                     \
  X("mlp.down_proj", "ffn_down")                                                 \
  X("mlp.gate", "ffn_gate_inp")                                                  \
  X("mlp.gate.e_score_correction_bias", "exp_probs_b.bias") /* the whole name */ \
  X("mlp.shared_experts.gate_proj", "ffn_gate_shexp")                            \
  X("mlp.shared_experts.up_proj", "ffn_up_shexp")                                \
  X("mlp.shared_experts.down_proj", "ffn_down_shexp")                            \
  X("mlp.experts.gate_proj", "ffn_gate_exps") /* all experts in one tensor */    \
  X("mlp.experts.up_proj", "ffn_up_exps")                                        \
  X("mlp.experts.gate_up_proj", "ffn_gate_up_exps") /* both, GGUF alone */       \
  X("mlp.experts.down_proj", "ffn_down_exps")                                    \
  X("eh_proj", "nextn.eh_proj")                                                  \
  X("enorm", "nextn.enorm")                                                      \
  X("hnorm", "nextn.hnorm")                                                      \
  X("embed_tokens", "nextn.embed_tokens")                                        \
  X("shared_head.head", "nextn.shared_head_head")                                \
  X("shared_head.norm", "nextn.shared_head_norm")

// The same for tensors outside the layers; the first names are whole but for ".weight".
#define PENSEE_MODEL_TENSORS(X)         \
  X("model.embed_tokens", "token_embd") \
  X("model.norm", "output_norm")        \
  X("lm_head", "output")                \
  X("rope_freqs", "rope_freqs") /* GGUF alone: divisors of the rotary speeds */

struct TensorName {
  std::string_view hf;
  std::string_view gguf;
};

#define PENSEE_X(hf, gguf) TensorName{hf, gguf},
inline constexpr TensorName kLayerTensors[] = {PENSEE_LAYER_TENSORS(PENSEE_X)};
inline constexpr TensorName kModelTensors[] = {PENSEE_MODEL_TENSORS(PENSEE_X)};
#undef PENSEE_X

enum class NamingScheme { kHuggingFace, kGguf };

namespace tensor_names_detail {
// `hf` with its suffix, in the scheme; names outside the table stay as they are.
template <size_t n>
std::string translate(const TensorName (&table)[n], NamingScheme scheme, std::string_view hf) {
  if (scheme == NamingScheme::kHuggingFace) return std::string(hf);
  for (const std::string_view suffix : {"", ".weight", ".bias"}) {
    if (!hf.ends_with(suffix)) continue;
    const std::string_view stem = hf.substr(0, hf.size() - suffix.size());
    const auto row = std::find_if(std::begin(table), std::end(table),
                                  [&](const TensorName& name) { return name.hf == stem; });
    if (row != std::end(table)) return std::string(row->gguf).append(suffix);
  }
  return std::string(hf);
}
}  // namespace tensor_names_detail

// The name of a tensor outside the layers, "model.norm.weight" say.
[[nodiscard]] inline std::string model_tensor_name(NamingScheme scheme, std::string_view hf) {
  return tensor_names_detail::translate(kModelTensors, scheme, hf);
}

// The layer of a tensor of a GGUF file, 7 of "blk.7.attn_q.weight"; none for others.
[[nodiscard]] inline std::optional<int64_t> gguf_layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  int64_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (error != std::errc() || layer < 0 || end == name.data() + name.size() || *end != '.') {
    return std::nullopt;
  }
  return layer;
}

// The name of a tensor of layer `layer`, "self_attn.q_proj.weight" say. Old GGUF files have each
// expert in a tensor of its own, and call "mlp.experts.7.up_proj.weight" "ffn_up.7.weight".
[[nodiscard]] inline std::string layer_tensor_name(NamingScheme scheme, int64_t layer,
                                                   std::string_view hf) {
  using tensor_names_detail::translate;
  constexpr std::string_view kExperts = "mlp.experts.";
  const char* prefix = scheme == NamingScheme::kGguf ? "blk." : "model.layers.";
  std::string name = prefix + std::to_string(layer) + ".";
  const std::string_view rest = hf.starts_with(kExperts) ? hf.substr(kExperts.size()) : "";
  if (scheme == NamingScheme::kGguf && !rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
    const size_t dot = rest.find('.');
    const std::string part(rest.substr(dot + 1, rest.rfind('.') - dot - 1));  // "up_proj"
    return name.append(translate(kLayerTensors, scheme, "mlp." + part))
        .append(".")
        .append(rest.substr(0, dot))
        .append(rest.substr(rest.rfind('.')));
  }
  return name.append(translate(kLayerTensors, scheme, hf));
}

}  // namespace pensee
