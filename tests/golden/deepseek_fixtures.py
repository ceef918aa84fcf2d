"""Random checkpoints in DeepSeek's format: configurations and weights."""

from __future__ import annotations

import torch
from torch import Tensor


def yarn(factor: float, original: int, fast: float, slow: float, mscale: float, all_dim: float
         ) -> dict:
    return {"beta_fast": fast, "beta_slow": slow, "factor": factor, "mscale": mscale,
            "mscale_all_dim": all_dim, "original_max_position_embeddings": original,
            "type": "yarn"}


# R1's keys; every fixture overrides all the sizes.
V3_KEYS = {
    "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "hidden_act": "silu",
    "initializer_range": 0.02, "model_type": "deepseek_v3", "moe_layer_freq": 1,
    "num_nextn_predict_layers": 0, "rope_scaling": None, "scoring_func": "sigmoid",
    "tie_word_embeddings": False, "topk_method": "noaux_tc", "transformers_version": "4.46.3",
    "use_cache": True,
}

# V2's keys; every fixture overrides all the sizes.
V2_KEYS = {
    "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "aux_loss_alpha": 0.001, "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1,
    "hidden_act": "silu", "initializer_range": 0.02, "model_type": "deepseek_v2",
    "moe_layer_freq": 1, "norm_topk_prob": False, "pretraining_tp": 1, "scoring_func": "softmax",
    "seq_aux": True, "tie_word_embeddings": False, "transformers_version": "4.39.3",
    "use_cache": True,
}

CONFIGS = {
    # YaRN with two different mscales, two shared experts, an MTP layer.
    "mla_yarn": V3_KEYS | dict(
        hidden_size=28, num_hidden_layers=2, num_attention_heads=5, q_lora_rank=18,
        kv_lora_rank=12, qk_nope_head_dim=14, qk_rope_head_dim=6, v_head_dim=18, vocab_size=112,
        intermediate_size=130, moe_intermediate_size=5, n_routed_experts=12, n_group=4,
        topk_group=2, num_experts_per_tok=3, n_shared_experts=2, first_k_dense_replace=1,
        norm_topk_prob=True, routed_scaling_factor=2.5, rms_norm_eps=1e-6, rope_theta=500,
        max_position_embeddings=128, num_nextn_predict_layers=1,
        rope_scaling=yarn(8, 16, 4, 0.25, 0.707, 1.0)),
    # No q_lora, no YaRN, no dense layer, weights not normalised, tied embeddings, odd sizes.
    "plain_rope": V3_KEYS | dict(
        hidden_size=33, num_hidden_layers=3, num_attention_heads=3, q_lora_rank=None,
        kv_lora_rank=25, qk_nope_head_dim=9, qk_rope_head_dim=12, v_head_dim=7, vocab_size=101,
        intermediate_size=50, moe_intermediate_size=11, n_routed_experts=9, n_group=3,
        topk_group=2, num_experts_per_tok=4, n_shared_experts=1, first_k_dense_replace=0,
        norm_topk_prob=False, routed_scaling_factor=1.7, rms_norm_eps=1e-5, rope_theta=5000,
        max_position_embeddings=128, tie_word_embeddings=True),
    # Dense layers only, and an rms_norm_eps large enough to show where it is (not) used.
    "dense_only": V3_KEYS | dict(
        hidden_size=40, num_hidden_layers=2, num_attention_heads=4, q_lora_rank=17,
        kv_lora_rank=30, qk_nope_head_dim=13, qk_rope_head_dim=8, v_head_dim=21, vocab_size=97,
        intermediate_size=90, moe_intermediate_size=9, n_routed_experts=8, n_group=2,
        topk_group=1, num_experts_per_tok=2, n_shared_experts=1, first_k_dense_replace=2,
        norm_topk_prob=True, routed_scaling_factor=1.0, rms_norm_eps=1e-2, rope_theta=300,
        max_position_embeddings=96, rope_scaling=yarn(6, 16, 32, 0.1, 1.0, 1.0)),
    # The mscale above mscale_all_dim, weights scaled down, small negative routing scores.
    "five_groups": V3_KEYS | dict(
        hidden_size=52, num_hidden_layers=3, num_attention_heads=6, q_lora_rank=31,
        kv_lora_rank=19, qk_nope_head_dim=11, qk_rope_head_dim=4, v_head_dim=15, vocab_size=131,
        intermediate_size=61, moe_intermediate_size=10, n_routed_experts=15, n_group=5,
        topk_group=3, num_experts_per_tok=5, n_shared_experts=1, first_k_dense_replace=1,
        norm_topk_prob=True, routed_scaling_factor=0.9, rms_norm_eps=1e-4, rope_theta=60,
        max_position_embeddings=96, rope_scaling=yarn(4, 24, 8, 0.25, 1.3, 0.6)),
    # Matrices of several ragged FP8 blocks in both directions; two dense layers before the experts.
    "wide_blocks": V3_KEYS | dict(
        hidden_size=140, num_hidden_layers=2, num_attention_heads=3, q_lora_rank=40,
        kv_lora_rank=130, qk_nope_head_dim=24, qk_rope_head_dim=10, v_head_dim=22, vocab_size=90,
        intermediate_size=131, moe_intermediate_size=10, n_routed_experts=6, n_group=1,
        topk_group=1, num_experts_per_tok=2, n_shared_experts=1, first_k_dense_replace=1,
        norm_topk_prob=True, routed_scaling_factor=2.5, rms_norm_eps=1e-6, rope_theta=10000,
        max_position_embeddings=800, rope_scaling=yarn(40, 20, 32, 1, 1.0, 1.0)),
    # R1's form in small: equal mscales, groups, weights normalised, an MTP layer.
    "v3_mtp": V3_KEYS | dict(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, q_lora_rank=20,
        kv_lora_rank=16, qk_nope_head_dim=10, qk_rope_head_dim=8, v_head_dim=12, vocab_size=108,
        intermediate_size=60, moe_intermediate_size=7, n_routed_experts=12, n_group=4,
        topk_group=2, num_experts_per_tok=3, n_shared_experts=1, first_k_dense_replace=1,
        norm_topk_prob=True, routed_scaling_factor=2.5, rms_norm_eps=1e-6, rope_theta=500,
        max_position_embeddings=2048, num_nextn_predict_layers=1,
        rope_scaling=yarn(8, 256, 32, 1, 1.0, 1.0)),
    # As V2-Lite: no q_lora, the softmax's largest experts, one dense layer.
    "v2_greedy": V2_KEYS | dict(
        hidden_size=36, num_hidden_layers=2, num_attention_heads=4, q_lora_rank=None,
        kv_lora_rank=22, qk_nope_head_dim=10, qk_rope_head_dim=8, v_head_dim=13, vocab_size=106,
        intermediate_size=77, moe_intermediate_size=9, n_routed_experts=10, n_group=1,
        topk_group=1, num_experts_per_tok=3, n_shared_experts=2, first_k_dense_replace=1,
        routed_scaling_factor=1.0, rms_norm_eps=1e-6, rope_theta=500, topk_method="greedy",
        max_position_embeddings=2048, rope_scaling=yarn(8, 256, 32, 1, 0.707, 0.707)),
    # As V2: q_lora, experts of the groups with the largest softmax, weights scaled up.
    "v2_groups": V2_KEYS | dict(
        hidden_size=40, num_hidden_layers=2, num_attention_heads=5, q_lora_rank=19,
        kv_lora_rank=16, qk_nope_head_dim=10, qk_rope_head_dim=6, v_head_dim=12, vocab_size=111,
        intermediate_size=70, moe_intermediate_size=7, n_routed_experts=12, n_group=4,
        topk_group=2, num_experts_per_tok=4, n_shared_experts=1, first_k_dense_replace=0,
        routed_scaling_factor=6.0, rms_norm_eps=1e-5, rope_theta=800,
        topk_method="group_limited_greedy", max_position_embeddings=2048,
        rope_scaling=yarn(5, 300, 32, 1, 0.707, 0.707)),
}


def random_weights(c: dict, seed: int) -> dict[str, Tensor]:
    """Float32 tensors under the names of R1's checkpoint. Scales are chosen so that logits spread
    over several units, attention and routing are decisive, and routing biases change choices."""
    g = torch.Generator().manual_seed(seed)
    out: dict[str, Tensor] = {}
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    qk = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]

    def matrix(name: str, rows: int, cols: int, gain: float = 1.0) -> None:
        out[name + ".weight"] = torch.randn(rows, cols, generator=g) * (gain * cols ** -0.5)

    def norm(name: str, size: int) -> None:
        out[name + ".weight"] = 0.5 + torch.rand(size, generator=g)

    def gated(at: str, inner: int) -> None:
        matrix(at + ".gate_proj", inner, hidden, 1.5)
        matrix(at + ".up_proj", inner, hidden, 1.5)
        matrix(at + ".down_proj", hidden, inner)

    def layer(index: int) -> None:
        at = f"model.layers.{index}."
        attn = at + "self_attn."
        norm(at + "input_layernorm", hidden)
        if c["q_lora_rank"] is None:
            matrix(attn + "q_proj", heads * qk, hidden, 1.5)
        else:
            matrix(attn + "q_a_proj", c["q_lora_rank"], hidden)
            norm(attn + "q_a_layernorm", c["q_lora_rank"])
            matrix(attn + "q_b_proj", heads * qk, c["q_lora_rank"], 1.5)
        matrix(attn + "kv_a_proj_with_mqa", c["kv_lora_rank"] + c["qk_rope_head_dim"], hidden)
        norm(attn + "kv_a_layernorm", c["kv_lora_rank"])
        matrix(attn + "kv_b_proj", heads * (c["qk_nope_head_dim"] + c["v_head_dim"]),
               c["kv_lora_rank"], 1.5)
        matrix(attn + "o_proj", hidden, heads * c["v_head_dim"])
        norm(at + "post_attention_layernorm", hidden)
        if index < c["first_k_dense_replace"]:
            gated(at + "mlp", c["intermediate_size"])
            return
        experts = c["n_routed_experts"]
        matrix(at + "mlp.gate", experts, hidden, 2.0)
        if c["scoring_func"] == "sigmoid":
            bias = torch.rand(experts, generator=g) - 1.1  # most biased scores are negative
            out[at + "mlp.gate.e_score_correction_bias"] = bias
        for e in range(experts):
            gated(f"{at}mlp.experts.{e}", c["moe_intermediate_size"])
        gated(at + "mlp.shared_experts", c["n_shared_experts"] * c["moe_intermediate_size"])

    out["model.embed_tokens.weight"] = 0.3 * torch.randn(c["vocab_size"], hidden, generator=g)
    mtp = range(c["num_hidden_layers"],
                c["num_hidden_layers"] + c.get("num_nextn_predict_layers", 0))
    for i in range(mtp.stop):
        layer(i)
    norm("model.norm", hidden)
    if not c["tie_word_embeddings"]:
        matrix("lm_head", c["vocab_size"], hidden, 2.5)
    for i in mtp:
        at = f"model.layers.{i}."
        norm(at + "enorm", hidden)
        norm(at + "hnorm", hidden)
        matrix(at + "eh_proj", hidden, 2 * hidden)
        norm(at + "shared_head.norm", hidden)
        out[at + "embed_tokens.weight"] = out["model.embed_tokens.weight"].clone()
        out[at + "shared_head.head.weight"] = out["lm_head.weight"].clone()
    return out
