// The tensors of a Hugging Face checkpoint as GGUF files have them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "pensee/base/result.hpp"
#include "pensee/convert/converted_tensor.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/rope.hpp"
#include "pensee/model/tensor_names.hpp"
#include "pensee/model/weight_reader.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

// What is different from the checkpoint: names; the experts of a layer in one tensor; kv_b_proj in
// two, the keys of each head transposed; for Llama the rows of q_proj and k_proj reordered, since
// llama.cpp rotates neighbours there, and Llama 3's scaling of angles as a tensor of divisors.
class HfTensors {
 public:
  // The weights are mapped, not read. Without `mtp` the layer of multi-token prediction is left
  // out; with it embeddings and head are read, to see whether its own are copies. Errors: those of
  // Weights::load; kUnsupported if there shall be such a layer and is none. The checkpoint must
  // outlive the result.
  static Result<HfTensors> load(const Checkpoint& checkpoint, const Config& config, bool mtp) {
    HfTensors tensors;
    PENSEE_ASSIGN_OR_RETURN(tensors.weights_, Weights::load(checkpoint, config, {}));
    if (mtp && tensors.weights_.mtp == nullptr) {
      return unsupported(checkpoint.source() +
                         ": expected a layer of multi-token prediction, found none");
    }
    tensors.add_all(config, mtp);
    return tensors;
  }

  // In the order of their computation.
  [[nodiscard]] const std::vector<ConvertedTensor>& list() const noexcept { return list_; }

 private:
  HfTensors() = default;

  void add_all(const Config& c, bool mtp) {
    const Weights& w = weights_;
    add("model.embed_tokens.weight", w.embed_tokens);
    for (layer_ = 0; layer_ < c.n_layers; ++layer_) {
      add_layer(c, w.layers[static_cast<size_t>(layer_)]);
    }
    if (mtp) add_mtp(c, *w.mtp);  // with the number of one more layer
    layer_ = -1;
    add("model.norm.weight", w.norm);
    if (!c.tie_word_embeddings) add("lm_head.weight", w.lm_head);
    if (c.rope_scaling && c.rope_scaling->type == RopeScaling::Type::kLlama3) add_rope_freqs(c);
  }

  void add_layer(const Config& c, const LayerWeights& w) {
    add("input_layernorm.weight", w.input_layernorm);
    if (c.has_mla()) {
      add_mla(c, w.mla);
    } else {
      add_gqa(c, w.gqa);
    }
    add("post_attention_layernorm.weight", w.post_attention_layernorm);
    if (w.moe == nullptr) return add_ffn("mlp.", w.mlp);
    add("mlp.gate.weight", w.moe->gate);
    add("mlp.gate.e_score_correction_bias", w.moe->e_score_correction_bias);
    add_experts("mlp.experts.gate_proj.weight", &FfnWeights::gate_proj, w.moe->experts);
    add_experts("mlp.experts.up_proj.weight", &FfnWeights::up_proj, w.moe->experts);
    add_experts("mlp.experts.down_proj.weight", &FfnWeights::down_proj, w.moe->experts);
    add_ffn("mlp.shared_experts.", w.moe->shared_experts);
  }

  // Its embeddings and head only if they are not the model's, of which checkpoints have copies
  // here.
  void add_mtp(const Config& c, const MtpWeights& w) {
    add_layer(c, w.layer);
    add("eh_proj.weight", w.eh_proj);
    add("enorm.weight", w.enorm);
    add("hnorm.weight", w.hnorm);
    add("shared_head.norm.weight", w.norm);
    if (!is_copy(w.embed_tokens, weights_.embed_tokens)) add("embed_tokens.weight", w.embed_tokens);
    if (!is_copy(w.head, weights_.lm_head)) add("shared_head.head.weight", w.head);
  }
  // Of two matrices of the same shape, without scales beside them.
  [[nodiscard]] static bool is_copy(const Matrix& a, const Matrix& b) {
    if (a.data == b.data) return true;
    return a.dtype == b.dtype && a.row_bytes == b.row_bytes && a.scales == nullptr &&
           b.scales == nullptr &&
           std::memcmp(a.data, b.data, static_cast<size_t>(a.rows * a.row_bytes)) == 0;
  }

  void add_mla(const Config& c, const MlaWeights& w) {
    add("self_attn.q_proj.weight", w.q_proj);
    add("self_attn.q_a_proj.weight", w.q_a_proj);
    add("self_attn.q_a_layernorm.weight", w.q_a_layernorm);
    add("self_attn.q_b_proj.weight", w.q_b_proj);
    add("self_attn.kv_a_proj_with_mqa.weight", w.kv_a_proj_with_mqa);
    add("self_attn.kv_a_layernorm.weight", w.kv_a_layernorm);
    ConvertedTensor keys =
        ConvertedTensor::whole(name("self_attn.k_b_proj.weight"),
                               {{c.n_heads, c.kv_lora_rank, c.qk_nope_head_dim}, 3}, w.kv_b_proj);
    keys.head_rows = c.qk_nope_head_dim + c.v_head_dim;
    keys.taken = c.qk_nope_head_dim;
    keys.transposed = true;
    ConvertedTensor values =
        ConvertedTensor::whole(name("self_attn.v_b_proj.weight"),
                               {{c.n_heads, c.v_head_dim, c.kv_lora_rank}, 3}, w.kv_b_proj);
    values.head_rows = keys.head_rows;
    values.first = c.qk_nope_head_dim;
    values.taken = c.v_head_dim;
    list_.push_back(std::move(keys));
    list_.push_back(std::move(values));
    add("self_attn.o_proj.weight", w.o_proj);
  }

  void add_gqa(const Config& c, const GqaWeights& w) {
    for (const auto& [hf, matrix] : {std::pair{"self_attn.q_proj.weight", &w.q_proj},
                                     {"self_attn.k_proj.weight", &w.k_proj}}) {
      add(hf, *matrix);
      if (c.family != ModelFamily::kLlama) continue;
      list_.back().head_rows = list_.back().taken = c.head_dim;
      list_.back().pairs = true;
    }
    add("self_attn.v_proj.weight", w.v_proj);
    add("self_attn.q_proj.bias", w.q_bias);
    add("self_attn.k_proj.bias", w.k_bias);
    add("self_attn.v_proj.bias", w.v_bias);
    add("self_attn.q_norm.weight", w.q_norm);
    add("self_attn.k_norm.weight", w.k_norm);
    add("self_attn.o_proj.weight", w.o_proj);
  }

  void add_ffn(const std::string& prefix, const FfnWeights& w) {
    add(prefix + "gate_proj.weight", w.gate_proj);
    add(prefix + "up_proj.weight", w.up_proj);
    add(prefix + "down_proj.weight", w.down_proj);
  }

  void add_experts(const char* hf, Matrix FfnWeights::*member,
                   const std::vector<FfnWeights>& experts) {
    const Matrix& one = experts[0].*member;
    const auto n = static_cast<int64_t>(experts.size());
    ConvertedTensor tensor = ConvertedTensor::whole(name(hf), {{n, one.rows, one.cols}, 3}, one);
    tensor.parts.clear();
    for (const FfnWeights& expert : experts) tensor.parts.push_back(expert.*member);
    list_.push_back(std::move(tensor));
  }

  // llama.cpp divides the plain speeds by these.
  void add_rope_freqs(Config config) {
    const std::vector<float> scaled = RotaryTable::create(config).inv_freq;
    config.rope_scaling.reset();
    std::vector<float> divisors = RotaryTable::create(config).inv_freq;
    for (size_t i = 0; i < divisors.size(); ++i) divisors[i] /= scaled[i];
    add("rope_freqs.weight", weights_.owned.emplace_back(std::move(divisors)));
  }

  // A matrix that the model has.
  void add(const std::string& hf, const Matrix& matrix) {
    if (matrix.data == nullptr) return;
    list_.push_back(ConvertedTensor::whole(name(hf), {{matrix.rows, matrix.cols}, 2}, matrix));
  }
  // A vector that the model has. It must stay where it is.
  void add(const std::string& hf, const std::vector<float>& values) {
    if (values.empty()) return;
    const auto n = static_cast<int64_t>(values.size());
    const Matrix matrix{values.data(), nullptr, DType::kF32, 1, n, dtype_row_bytes(DType::kF32, n)};
    list_.push_back(ConvertedTensor::whole(name(hf), {{n}, 1}, matrix));
  }

  // The name in a GGUF file, of this layer if there is one.
  [[nodiscard]] std::string name(const std::string& hf) const {
    return layer_ < 0 ? model_tensor_name(NamingScheme::kGguf, hf)
                      : layer_tensor_name(NamingScheme::kGguf, layer_, hf);
  }

  Weights weights_;
  std::vector<ConvertedTensor> list_;
  int64_t layer_ = -1;
};

}  // namespace pensee
