// The weights of a model, each with its shape.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "pensee/base/tensor_view.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/model/config.hpp"

namespace pensee {

// Multi-head latent attention. Head h owns rows [h * (nope + v), (h + 1) * (nope + v)) of
// kv_b_proj: its key rows first, then its value rows. Newer GGUF files have it in two, the keys of
// each head transposed: head h owns rows [h * kv_lora_rank, (h + 1) * kv_lora_rank) of k_b_proj and
// rows [h * v, (h + 1) * v) of v_b_proj.
struct MlaWeights {
  Matrix q_proj;                      // (n_heads * (nope + rope), hidden); without q_lora_rank
  Matrix q_a_proj;                    // (q_lora_rank, hidden)
  std::vector<float> q_a_layernorm;   // (q_lora_rank)
  Matrix q_b_proj;                    // (n_heads * (nope + rope), q_lora_rank)
  Matrix kv_a_proj_with_mqa;          // (kv_lora_rank + rope, hidden)
  std::vector<float> kv_a_layernorm;  // (kv_lora_rank)
  Matrix kv_b_proj;                   // (n_heads * (nope + v), kv_lora_rank); or, data null,
  Matrix k_b_proj;                    // (n_heads * kv_lora_rank, nope)
  Matrix v_b_proj;                    // (n_heads * v, kv_lora_rank)
  Matrix o_proj;                      // (hidden, n_heads * v)

  [[nodiscard]] bool is_split() const noexcept { return kv_b_proj.data == nullptr; }
};

// Grouped-query attention. Query head h meets key-value head h / (n_heads / n_kv_heads).
struct GqaWeights {
  Matrix q_proj;              // (n_heads * head_dim, hidden)
  Matrix k_proj;              // (n_kv_heads * head_dim, hidden)
  Matrix v_proj;              // (n_kv_heads * head_dim, hidden)
  std::vector<float> q_bias;  // (n_heads * head_dim); empty without biases, as the next two
  std::vector<float> k_bias;  // (n_kv_heads * head_dim)
  std::vector<float> v_bias;  // (n_kv_heads * head_dim)
  std::vector<float> q_norm;  // (head_dim); empty without norms of heads, as the next
  std::vector<float> k_norm;  // (head_dim)
  Matrix o_proj;              // (hidden, n_heads * head_dim)
};

// down(silu(gate(x)) * up(x)): a dense layer, a routed expert, or the shared experts as one.
struct FfnWeights {
  Matrix gate_proj;  // (intermediate, hidden)
  Matrix up_proj;    // (intermediate, hidden)
  Matrix down_proj;  // (hidden, intermediate)
};

struct MoeWeights {
  Matrix gate;                                 // (n_routed_experts, hidden): the router
  std::vector<float> e_score_correction_bias;  // (n_routed_experts); noaux_tc only
  std::vector<FfnWeights> experts;             // (n_routed_experts) of moe_intermediate_size
  FfnWeights shared_experts;                   // moe_intermediate_size * n_shared_experts
};

struct LayerWeights {
  std::vector<float> input_layernorm;           // (hidden)
  MlaWeights mla;                               // self_attn of models with latent attention
  GqaWeights gqa;                               // self_attn of the others
  std::vector<float> post_attention_layernorm;  // (hidden)
  std::unique_ptr<MoeWeights> moe;              // null in a dense layer
  FfnWeights mlp;                               // of intermediate_size; dense layers only
};

// The multi-token-prediction layer (DeepSeek-V3, arXiv:2412.19437, section 2.2): from the main
// model's state of one token and from the next token it predicts the one after.
struct MtpWeights {
  Matrix embed_tokens;       // (vocab_size, hidden)
  std::vector<float> enorm;  // (hidden): of the embedding
  std::vector<float> hnorm;  // (hidden): of the state
  Matrix eh_proj;            // (hidden, 2 * hidden): of the embedding, then the state
  LayerWeights layer;
  std::vector<float> norm;  // (hidden): shared_head.norm
  Matrix head;              // (vocab_size, hidden): shared_head.head
};

struct Weights {
  Matrix embed_tokens;      // (vocab_size, hidden)
  std::vector<float> norm;  // (hidden)
  Matrix lm_head;           // (vocab_size, hidden)
  // (rope_dim / 2): what the rotary speeds are divided by; empty unless the file has it, as GGUF
  // files of Llama 3 do.
  std::vector<float> rope_freqs;
  std::vector<LayerWeights> layers;
  std::unique_ptr<MtpWeights> mtp;  // null if the checkpoint has none
  bool all_in_blocks = true;        // every matrix is of a block type

  // Scales and realigned tensors that the matrices point to; everything else stays in the mapped
  // file.
  std::deque<std::vector<float>> owned;

  // In weight_reader.hpp.
  static Result<Weights> load(const Checkpoint& checkpoint, const Config& config,
                              const LoadProgress& progress);
};

}  // namespace pensee
