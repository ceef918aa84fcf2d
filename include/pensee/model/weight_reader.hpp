// Reads the weights of a model out of a checkpoint.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "pensee/base/json.hpp"
#include "pensee/base/tensor_view.hpp"
#include "pensee/io/checkpoint.hpp"
#include "pensee/model/config.hpp"
#include "pensee/model/tensor_names.hpp"
#include "pensee/model/weights.hpp"

namespace pensee {

[[nodiscard]] inline NamingScheme naming_scheme_of(const Checkpoint& checkpoint) {
  return checkpoint.gguf() == nullptr ? NamingScheme::kHuggingFace : NamingScheme::kGguf;
}

// Takes tensors out of a checkpoint by name and checks each against the shape the configuration
// asks for.
class WeightReader {
 public:
  WeightReader(const Checkpoint& checkpoint, Weights& weights)
      : checkpoint_(checkpoint), scheme_(naming_scheme_of(checkpoint)), weights_(weights) {}

  // The tensors that follow are those of layer `index`.
  void enter_layer(int64_t index) { layer_ = index; }

  // The checkpoint's name of a tensor, of this layer once there is one.
  [[nodiscard]] std::string name(std::string_view hf) const {
    return layer_ < 0 ? model_tensor_name(scheme_, hf) : layer_tensor_name(scheme_, layer_, hf);
  }
  [[nodiscard]] bool has(std::string_view hf) const {
    return checkpoint_.find(name(hf)) != nullptr;
  }

  // A matrix used in place. FP8 needs `<name>_scale_inv` beside it.
  Result<void> matrix(std::string_view hf, int64_t rows, int64_t cols, Matrix& out) {
    const std::string full = name(hf);
    PENSEE_ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_.require(full));
    PENSEE_RETURN_IF_ERROR(expect(tensor, {{rows, cols}, 2}));
    out = used_in_place(tensor, rows, cols);
    if (tensor.dtype == DType::kF8E4M3) return scales(full + "_scale_inv", out);
    return {};
  }

  // A tensor of `n` matrices (n, rows, cols), or (n * rows, cols) as some converters have it, as
  // one of (n * rows, cols).
  Result<void> stack(std::string_view hf, int64_t n, int64_t rows, int64_t cols, Matrix& out) {
    PENSEE_ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_.require(name(hf)));
    const Shape flat{{n * rows, cols}, 2};
    PENSEE_RETURN_IF_ERROR(expect(tensor, tensor.shape == flat ? flat : Shape{{n, rows, cols}, 3}));
    if (tensor.dtype == DType::kF8E4M3) {
      return error(tensor, "expected no block scales", "F8_E4M3");
    }
    out = used_in_place(tensor, n * rows, cols);
    return {};
  }

  // A small vector of numbers above zero.
  Result<void> divisors(std::string_view hf, int64_t size, std::vector<float>& out) {
    PENSEE_RETURN_IF_ERROR(vector(hf, size, out));
    for (size_t i = 0; i < out.size(); ++i) {
      if (out[i] > 0) continue;
      PENSEE_ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_.require(name(hf)));
      return error(tensor, "expected values above 0",
                   "element " + std::to_string(i) + " is " + std::to_string(out[i]));
    }
    return {};
  }

  // A small vector, as float32.
  Result<void> vector(std::string_view hf, int64_t size, std::vector<float>& out) {
    PENSEE_ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_.require(name(hf)));
    PENSEE_RETURN_IF_ERROR(expect(tensor, {{size}, 1}));
    PENSEE_RETURN_IF_ERROR(expect_plain(tensor));
    if (tensor.name.ends_with(kBias)) biases_.emplace(tensor.name);
    out.resize(static_cast<size_t>(size));
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = element(tensor, i);
      if (!std::isfinite(out[i])) {
        return error(tensor, "expected finite values",
                     "element " + std::to_string(i) + " is " + std::to_string(out[i]));
      }
    }
    return {};
  }

  Result<void> ffn(const std::string& prefix, int64_t hidden, int64_t intermediate,
                   FfnWeights& out) {
    PENSEE_RETURN_IF_ERROR(
        matrix(prefix + "gate_proj.weight", intermediate, hidden, out.gate_proj));
    PENSEE_RETURN_IF_ERROR(matrix(prefix + "up_proj.weight", intermediate, hidden, out.up_proj));
    return matrix(prefix + "down_proj.weight", hidden, intermediate, out.down_proj);
  }

  Result<void> mla(const Config& c, MlaWeights& out) {
    const std::string prefix = "self_attn.";
    const int64_t nope = c.qk_nope_head_dim;
    const int64_t q_rows = c.n_heads * c.qk_head_dim();
    if (c.q_lora_rank > 0) {
      PENSEE_RETURN_IF_ERROR(
          matrix(prefix + "q_a_proj.weight", c.q_lora_rank, c.hidden_size, out.q_a_proj));
      PENSEE_RETURN_IF_ERROR(
          vector(prefix + "q_a_layernorm.weight", c.q_lora_rank, out.q_a_layernorm));
      PENSEE_RETURN_IF_ERROR(
          matrix(prefix + "q_b_proj.weight", q_rows, c.q_lora_rank, out.q_b_proj));
    } else {
      PENSEE_RETURN_IF_ERROR(matrix(prefix + "q_proj.weight", q_rows, c.hidden_size, out.q_proj));
    }
    PENSEE_RETURN_IF_ERROR(matrix(prefix + "kv_a_proj_with_mqa.weight",
                                  c.kv_lora_rank + c.qk_rope_head_dim, c.hidden_size,
                                  out.kv_a_proj_with_mqa));
    PENSEE_RETURN_IF_ERROR(
        vector(prefix + "kv_a_layernorm.weight", c.kv_lora_rank, out.kv_a_layernorm));
    if (has(prefix + "k_b_proj.weight")) {
      PENSEE_RETURN_IF_ERROR(
          stack(prefix + "k_b_proj.weight", c.n_heads, c.kv_lora_rank, nope, out.k_b_proj));
      PENSEE_RETURN_IF_ERROR(
          stack(prefix + "v_b_proj.weight", c.n_heads, c.v_head_dim, c.kv_lora_rank, out.v_b_proj));
    } else {
      PENSEE_RETURN_IF_ERROR(matrix(prefix + "kv_b_proj.weight", c.n_heads * (nope + c.v_head_dim),
                                    c.kv_lora_rank, out.kv_b_proj));
    }
    return matrix(prefix + "o_proj.weight", c.hidden_size, c.attention_size(), out.o_proj);
  }

  Result<void> gqa(const Config& c, GqaWeights& out) {
    const int64_t q_rows = c.n_heads * c.head_dim;
    const int64_t kv_rows = c.n_kv_heads * c.head_dim;
    PENSEE_RETURN_IF_ERROR(matrix("self_attn.q_proj.weight", q_rows, c.hidden_size, out.q_proj));
    PENSEE_RETURN_IF_ERROR(matrix("self_attn.k_proj.weight", kv_rows, c.hidden_size, out.k_proj));
    PENSEE_RETURN_IF_ERROR(matrix("self_attn.v_proj.weight", kv_rows, c.hidden_size, out.v_proj));
    if (c.has_qkv_bias()) {
      PENSEE_RETURN_IF_ERROR(vector("self_attn.q_proj.bias", q_rows, out.q_bias));
      PENSEE_RETURN_IF_ERROR(vector("self_attn.k_proj.bias", kv_rows, out.k_bias));
      PENSEE_RETURN_IF_ERROR(vector("self_attn.v_proj.bias", kv_rows, out.v_bias));
    }
    if (c.has_qk_norm()) {
      PENSEE_RETURN_IF_ERROR(vector("self_attn.q_norm.weight", c.head_dim, out.q_norm));
      PENSEE_RETURN_IF_ERROR(vector("self_attn.k_norm.weight", c.head_dim, out.k_norm));
    }
    return matrix("self_attn.o_proj.weight", c.hidden_size, c.attention_size(), out.o_proj);
  }

  Result<void> moe(const Config& c, MoeWeights& out) {
    PENSEE_RETURN_IF_ERROR(matrix("mlp.gate.weight", c.n_routed_experts, c.hidden_size, out.gate));
    if (c.topk_method == TopkMethod::kNoauxTc) {
      PENSEE_RETURN_IF_ERROR(vector("mlp.gate.e_score_correction_bias", c.n_routed_experts,
                                    out.e_score_correction_bias));
    }
    out.experts.resize(static_cast<size_t>(c.n_routed_experts));
    PENSEE_RETURN_IF_ERROR(gates_and_ups(c.moe_intermediate_size, c.hidden_size, out.experts));
    PENSEE_RETURN_IF_ERROR(experts("down_proj", c.hidden_size, c.moe_intermediate_size,
                                   &FfnWeights::down_proj, out.experts));
    if (c.n_shared_experts == 0) return {};
    return ffn("mlp.shared_experts.", c.hidden_size, c.moe_intermediate_size * c.n_shared_experts,
               out.shared_experts);
  }

  Result<void> layer(const Config& c, int64_t index, LayerWeights& out) {
    enter_layer(index);
    PENSEE_RETURN_IF_ERROR(vector("input_layernorm.weight", c.hidden_size, out.input_layernorm));
    PENSEE_RETURN_IF_ERROR(c.has_mla() ? mla(c, out.mla) : gqa(c, out.gqa));
    PENSEE_RETURN_IF_ERROR(
        vector("post_attention_layernorm.weight", c.hidden_size, out.post_attention_layernorm));
    if (!c.is_moe_layer(index)) return ffn("mlp.", c.hidden_size, c.intermediate_size, out.mlp);
    out.moe = std::make_unique<MoeWeights>();
    return moe(c, *out.moe);
  }

  // The layer of multi-token prediction, at the index after the last one. Where it has no embedding
  // or head of its own, those of the model are its own.
  Result<void> mtp(const Config& c, MtpWeights& out) {
    PENSEE_RETURN_IF_ERROR(layer(c, c.n_layers, out.layer));
    PENSEE_RETURN_IF_ERROR(vector("enorm.weight", c.hidden_size, out.enorm));
    PENSEE_RETURN_IF_ERROR(vector("hnorm.weight", c.hidden_size, out.hnorm));
    PENSEE_RETURN_IF_ERROR(matrix("eh_proj.weight", c.hidden_size, 2 * c.hidden_size, out.eh_proj));
    PENSEE_RETURN_IF_ERROR(vector("shared_head.norm.weight", c.hidden_size, out.norm));
    out.embed_tokens = weights_.embed_tokens;
    if (has("embed_tokens.weight")) {
      PENSEE_RETURN_IF_ERROR(
          matrix("embed_tokens.weight", c.vocab_size, c.hidden_size, out.embed_tokens));
    }
    out.head = weights_.lm_head;
    if (!has("shared_head.head.weight")) return {};
    return matrix("shared_head.head.weight", c.vocab_size, c.hidden_size, out.head);
  }

  // GGUF files do not say whether there are biases, and no product may lose one silently.
  // kUnsupported for one of the first n_layers, or of the output, that has not been read.
  [[nodiscard]] Result<void> refuse_other_biases(int64_t n_layers) const {
    if (scheme_ != NamingScheme::kGguf) return {};
    for (const TensorView& tensor : checkpoint_.tensors()) {
      const std::string_view name = tensor.name;
      if (!name.ends_with(kBias) || biases_.contains(name)) continue;
      const std::optional<int64_t> index = gguf_layer_of(name);
      if (index ? *index >= n_layers : !name.starts_with("output")) continue;
      return unsupported(std::string(tensor.file) + ": tensor " + printable(name) +
                         ": a bias that models of this architecture do not have here");
    }
    return {};
  }

 private:
  static constexpr std::string_view kBias = ".bias";

  // One matrix of every expert: each in its own tensor, as in Hugging Face's files and old GGUF
  // files, or all in one.
  Result<void> experts(const std::string& part, int64_t rows, int64_t cols,
                       Matrix FfnWeights::*member, std::vector<FfnWeights>& out) {
    const std::string merged = "mlp.experts." + part + ".weight";
    if (scheme_ == NamingScheme::kGguf && has(merged)) {
      Matrix all;
      PENSEE_RETURN_IF_ERROR(stack(merged, static_cast<int64_t>(out.size()), rows, cols, all));
      hand_out(all, rows, 0, member, out);
      return {};
    }
    for (size_t e = 0; e < out.size(); ++e) {
      PENSEE_RETURN_IF_ERROR(matrix("mlp.experts." + std::to_string(e) + "." + part + ".weight",
                                    rows, cols, out[e].*member));
    }
    return {};
  }

  // The gate of every expert and its up matrix: in tensors of their own, or one after the other in
  // the tensor of both.
  Result<void> gates_and_ups(int64_t rows, int64_t cols, std::vector<FfnWeights>& out) {
    const std::string both = "mlp.experts.gate_up_proj.weight";
    if (scheme_ == NamingScheme::kGguf && has(both)) {
      Matrix all;
      PENSEE_RETURN_IF_ERROR(stack(both, static_cast<int64_t>(out.size()), 2 * rows, cols, all));
      hand_out(all, rows, 0, &FfnWeights::gate_proj, out);
      hand_out(all, rows, rows, &FfnWeights::up_proj, out);
      return {};
    }
    PENSEE_RETURN_IF_ERROR(experts("gate_proj", rows, cols, &FfnWeights::gate_proj, out));
    return experts("up_proj", rows, cols, &FfnWeights::up_proj, out);
  }

  // `all` has as many rows of each expert: to each `rows` of its own, from its row `first` on.
  static void hand_out(const Matrix& all, int64_t rows, int64_t first, Matrix FfnWeights::*member,
                       std::vector<FfnWeights>& out) {
    const int64_t rows_each = all.rows / static_cast<int64_t>(out.size());
    for (size_t e = 0; e < out.size(); ++e) {
      Matrix& one = out[e].*member;
      one = all;
      one.rows = rows;
      one.data = static_cast<const char*>(all.data) +
                 (static_cast<int64_t>(e) * rows_each + first) * all.row_bytes;
    }
  }

  Matrix used_in_place(const TensorView& tensor, int64_t rows, int64_t cols) {
    weights_.all_in_blocks = weights_.all_in_blocks && is_block_type(tensor.dtype);
    return {tensor.data, nullptr, tensor.dtype, rows, cols, dtype_row_bytes(tensor.dtype, cols)};
  }

  static Error error(const TensorView& tensor, const std::string& expected,
                     const std::string& found) {
    return corrupt_file(std::string(tensor.file) + ": tensor " + std::string(tensor.name) + ": " +
                        expected + ", found " + found);
  }

  static Result<void> expect(const TensorView& tensor, const Shape& shape) {
    if (!(tensor.shape == shape)) {
      return error(tensor, "expected shape " + shape.to_string(), tensor.shape.to_string());
    }
    if (!is_weight_type(tensor.dtype)) {
      return error(tensor, "expected dtype F32, F16, BF16, F8_E4M3 or a block type of GGUF",
                   std::string(dtype_name(tensor.dtype)));
    }
    const int64_t block = dtype_block_elements(tensor.dtype);
    const int64_t cols = shape[shape.rank - 1];
    if (cols % block != 0) {
      return error(tensor, "expected rows of whole blocks of " + std::to_string(block),
                   "rows of " + std::to_string(cols));
    }
    return {};
  }

  static Result<void> expect_plain(const TensorView& tensor) {
    if (tensor.dtype != DType::kF8E4M3 && !is_block_type(tensor.dtype)) return {};
    return error(tensor, "expected dtype F32, F16 or BF16", std::string(dtype_name(tensor.dtype)));
  }

  static float element(const TensorView& tensor, size_t i) {
    if (tensor.dtype == DType::kF32) {
      float value;
      std::memcpy(&value, tensor.data + i * sizeof(float), sizeof(float));
      return value;
    }
    uint16_t bits;
    std::memcpy(&bits, tensor.data + i * sizeof(uint16_t), sizeof(uint16_t));
    return tensor.dtype == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
  }

  Result<void> scales(const std::string& name, Matrix& out) {
    PENSEE_ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_.require(name));
    const Shape shape{{ceil_div(out.rows, kScaleBlock), ceil_div(out.cols, kScaleBlock)}, 2};
    PENSEE_RETURN_IF_ERROR(expect(tensor, shape));
    PENSEE_RETURN_IF_ERROR(expect_plain(tensor));
    std::vector<float> values(static_cast<size_t>(shape[0] * shape[1]));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = element(tensor, i);
      if (!std::isfinite(values[i])) {
        return error(tensor, "expected finite scales",
                     "scale " + std::to_string(i) + " is " + std::to_string(values[i]));
      }
    }
    weights_.owned.push_back(std::move(values));
    out.scales = weights_.owned.back().data();
    return {};
  }

  const Checkpoint& checkpoint_;
  NamingScheme scheme_;
  Weights& weights_;
  int64_t layer_ = -1;                           // none yet
  std::unordered_set<std::string_view> biases_;  // those read
};

// Whether the checkpoint has the layer of multi-token prediction, whatever the configuration says:
// converted files often lack it. One that alone had experts counts as none, since nobody would have
// checked their numbers.
[[nodiscard]] inline bool has_mtp_layer(const Checkpoint& checkpoint, const Config& config) {
  const bool is_checked = config.has_moe() || !config.is_moe_layer(config.n_layers);
  if (config.num_nextn_predict_layers == 0 || !is_checked) return false;
  const NamingScheme scheme = naming_scheme_of(checkpoint);
  return checkpoint.find(layer_tensor_name(scheme, config.n_layers, "eh_proj.weight")) != nullptr;
}

// Every tensor of the model that the configuration asks for; others are left alone, but for biases
// of a GGUF file. The layer of multi-token prediction is read as a whole where it is there. Errors:
// kNotFound, kCorruptFile, kUnsupported, kCancelled.
inline Result<Weights> Weights::load(const Checkpoint& checkpoint, const Config& config,
                                     const LoadProgress& progress) {
  Weights weights;
  WeightReader reader(checkpoint, weights);
  PENSEE_RETURN_IF_ERROR(reader.matrix("model.embed_tokens.weight", config.vocab_size,
                                       config.hidden_size, weights.embed_tokens));
  PENSEE_RETURN_IF_ERROR(reader.vector("model.norm.weight", config.hidden_size, weights.norm));
  if (config.tie_word_embeddings) {
    weights.lm_head = weights.embed_tokens;
  } else {
    PENSEE_RETURN_IF_ERROR(
        reader.matrix("lm_head.weight", config.vocab_size, config.hidden_size, weights.lm_head));
  }
  if (reader.has("rope_freqs.weight")) {
    PENSEE_RETURN_IF_ERROR(
        reader.divisors("rope_freqs.weight", config.rope_dim() / 2, weights.rope_freqs));
  }
  for (int64_t i = 0; i < config.n_layers; ++i) {
    const double done = static_cast<double>(i) / static_cast<double>(config.n_layers);
    PENSEE_RETURN_IF_ERROR(report_progress(progress, done, checkpoint.source()));
    PENSEE_RETURN_IF_ERROR(reader.layer(config, i, weights.layers.emplace_back()));
  }
  if (has_mtp_layer(checkpoint, config)) {
    weights.mtp = std::make_unique<MtpWeights>();
    PENSEE_RETURN_IF_ERROR(reader.mtp(config, *weights.mtp));
  }
  const int64_t n_layers = config.n_layers + (weights.mtp ? 1 : 0);
  PENSEE_RETURN_IF_ERROR(reader.refuse_other_biases(n_layers));
  return weights;
}

}  // namespace pensee
