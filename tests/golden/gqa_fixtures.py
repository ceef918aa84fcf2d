"""Random checkpoints of the families with grouped-query attention."""

from __future__ import annotations

import torch
from torch import Tensor

# Keys that the checkpoints of each family have beside the sizes.
COMMON_KEYS = {
    "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1, "hidden_act": "silu",
    "initializer_range": 0.02, "rope_scaling": None, "tie_word_embeddings": False,
    "use_cache": True,
}
QWEN2_KEYS = COMMON_KEYS | {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "max_window_layers": 1,
    "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "sliding_window": 16,
    "transformers_version": "4.43.1", "use_sliding_window": False,
}
LLAMA_KEYS = COMMON_KEYS | {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "mlp_bias": False,
    "model_type": "llama", "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
    "transformers_version": "4.43.0",
}
QWEN3_KEYS = COMMON_KEYS | {
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "max_window_layers": 1,
    "model_type": "qwen3", "rms_norm_eps": 1e-6, "rope_theta": 1000000, "sliding_window": None,
    "transformers_version": "4.51.0", "use_sliding_window": False,
}
QWEN3_MOE_KEYS = QWEN3_KEYS | {
    "architectures": ["Qwen3MoeForCausalLM"], "decoder_sparse_step": 1, "mlp_only_layers": [],
    "model_type": "qwen3_moe", "norm_topk_prob": True, "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
}

LLAMA3_SCALING = {
    # With heads of 16, angles of pair 0 stay, those of pair 1 lie between, the others are slowed.
    "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
    "original_max_position_embeddings": 64, "rope_type": "llama3",
}

CONFIGS = {
    "qwen2": QWEN2_KEYS | dict(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        intermediate_size=42, vocab_size=109, max_position_embeddings=256),
    # One key-value head for all, tied embeddings, a large rms_norm_eps.
    "qwen2_tied": QWEN2_KEYS | dict(
        hidden_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1,
        intermediate_size=58, vocab_size=103, max_position_embeddings=256, rms_norm_eps=1e-3,
        tie_word_embeddings=True),
    # The scaling that Qwen2.5 documents for long contexts, with a shorter original context.
    "qwen2_yarn": QWEN2_KEYS | dict(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3,
        intermediate_size=38, vocab_size=98, max_position_embeddings=2048,
        rope_scaling={"factor": 4.0, "original_max_position_embeddings": 512, "type": "yarn"}),
    "llama": LLAMA_KEYS | dict(
        hidden_size=36, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3,
        head_dim=10, intermediate_size=49, vocab_size=113, max_position_embeddings=256),
    "llama3_rope": LLAMA_KEYS | dict(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, intermediate_size=35, vocab_size=107, max_position_embeddings=512,
        rope_scaling=LLAMA3_SCALING),
    "llama3_tied": LLAMA_KEYS | dict(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1,
        intermediate_size=61, vocab_size=104, max_position_embeddings=512,
        rope_scaling=LLAMA3_SCALING, tie_word_embeddings=True),
    "qwen3": QWEN3_KEYS | dict(
        hidden_size=40, num_hidden_layers=2, num_attention_heads=5, num_key_value_heads=1,
        head_dim=12, intermediate_size=45, vocab_size=105, max_position_embeddings=256,
        tie_word_embeddings=True),
    "qwen3_yarn": QWEN3_KEYS | dict(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, intermediate_size=50, vocab_size=99, max_position_embeddings=2048,
        rope_scaling={"factor": 4.0, "original_max_position_embeddings": 512,
                      "rope_type": "yarn"}),
    "qwen3_moe": QWEN3_MOE_KEYS | dict(
        hidden_size=36, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=14, intermediate_size=90, moe_intermediate_size=11, num_experts=9,
        num_experts_per_tok=3, vocab_size=102, max_position_embeddings=256),
}


def head_dim(c: dict) -> int:
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def random_weights(c: dict, seed: int) -> dict[str, Tensor]:
    """Float32 tensors under the names of the checkpoints. Scales are chosen so that logits spread
    over several units, attention and routing are decisive, and biases matter."""
    g = torch.Generator().manual_seed(seed)
    out: dict[str, Tensor] = {}
    hidden, heads, dim = c["hidden_size"], c["num_attention_heads"], head_dim(c)

    def matrix(name: str, rows: int, cols: int, gain: float = 1.0) -> None:
        out[name + ".weight"] = torch.randn(rows, cols, generator=g) * (gain * cols ** -0.5)

    def norm(name: str, size: int) -> None:
        out[name + ".weight"] = 0.5 + torch.rand(size, generator=g)

    def gated(at: str, inner: int) -> None:
        matrix(at + ".gate_proj", inner, hidden, 1.5)
        matrix(at + ".up_proj", inner, hidden, 1.5)
        matrix(at + ".down_proj", hidden, inner)

    out["model.embed_tokens.weight"] = 0.3 * torch.randn(c["vocab_size"], hidden, generator=g)
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        norm(at + "input_layernorm", hidden)
        for name, n, gain in (("q", heads, 1.5), ("k", c["num_key_value_heads"], 1.5),
                              ("v", c["num_key_value_heads"], 1.0)):
            matrix(f"{at}self_attn.{name}_proj", n * dim, hidden, gain)
            if c["model_type"] == "qwen2":
                bias = 0.5 * torch.randn(n * dim, generator=g)
                out[f"{at}self_attn.{name}_proj.bias"] = bias
        matrix(at + "self_attn.o_proj", hidden, heads * dim)
        if c["model_type"].startswith("qwen3"):
            norm(at + "self_attn.q_norm", dim)
            norm(at + "self_attn.k_norm", dim)
        norm(at + "post_attention_layernorm", hidden)
        if "num_experts" not in c:
            gated(at + "mlp", c["intermediate_size"])
            continue
        matrix(at + "mlp.gate", c["num_experts"], hidden, 2.0)
        for e in range(c["num_experts"]):
            gated(f"{at}mlp.experts.{e}", c["moe_intermediate_size"])
    norm("model.norm", hidden)
    if not c["tie_word_embeddings"]:
        matrix("lm_head", c["vocab_size"], hidden, 2.5)
    return out
