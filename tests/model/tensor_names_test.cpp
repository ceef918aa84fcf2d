#include "pensee/model/tensor_names.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>

using pensee::layer_tensor_name;
using pensee::model_tensor_name;
using pensee::NamingScheme;

TEST_CASE("Hugging Face's names are taken as they are") {
  constexpr auto kScheme = NamingScheme::kHuggingFace;
  CHECK(model_tensor_name(kScheme, "model.norm.weight") == "model.norm.weight");
  CHECK(layer_tensor_name(kScheme, 12, "self_attn.q_proj.bias") ==
        "model.layers.12.self_attn.q_proj.bias");
}

TEST_CASE("GGUF files have names of their own") {
  constexpr auto kScheme = NamingScheme::kGguf;
  CHECK(model_tensor_name(kScheme, "model.embed_tokens.weight") == "token_embd.weight");
  CHECK(model_tensor_name(kScheme, "lm_head.weight") == "output.weight");
  CHECK(layer_tensor_name(kScheme, 0, "self_attn.k_proj.bias") == "blk.0.attn_k.bias");
  CHECK(layer_tensor_name(kScheme, 3, "mlp.gate.weight") == "blk.3.ffn_gate_inp.weight");
  CHECK(layer_tensor_name(kScheme, 3, "mlp.gate.e_score_correction_bias") ==
        "blk.3.exp_probs_b.bias");
  CHECK(layer_tensor_name(kScheme, 60, "mlp.experts.down_proj.weight") ==
        "blk.60.ffn_down_exps.weight");
  CHECK(layer_tensor_name(kScheme, 60, "mlp.experts.17.down_proj.weight") ==
        "blk.60.ffn_down.17.weight");
}

TEST_CASE("no two tensors share a name") {
  std::set<std::string_view> hf;
  std::set<std::string_view> gguf;
  for (const auto& name : pensee::kLayerTensors) {
    CAPTURE(std::string(name.hf));
    CHECK(hf.insert(name.hf).second);
    CHECK(gguf.insert(name.gguf).second);
  }
}
