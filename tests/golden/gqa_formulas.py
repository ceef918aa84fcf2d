"""The forward pass of Qwen2, Llama, Qwen3 and Qwen3-MoE written out in float64, as a second opinion
on transformers. The formulas follow the models' reports, YaRN's paper (arXiv:2309.00071) and, for
the `llama3` scaling of angles, the code that Meta publishes with Llama 3.1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deepseek_formulas import add_experts, magnitude, mlp, norm, yarn_frequencies


def rotary(config: dict, dim: int) -> tuple[Tensor, float]:
    """Angular frequencies of the pairs (dim / 2), and the factor on cos and sin."""
    s = config.get("rope_scaling") or {}
    theta = float(config["rope_theta"])
    plain = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    kind = s.get("rope_type", s.get("type"))
    if kind == "yarn":
        return (yarn_frequencies(s, dim, theta),
                s.get("attention_factor", magnitude(s["factor"], 1.0)))
    if kind == "llama3":  # slowed down by `factor` where fewer turns than low_freq_factor fit
        turns = s["original_max_position_embeddings"] * plain / (2 * math.pi)
        low, high = s["low_freq_factor"], s["high_freq_factor"]
        kept = ((turns - low) / (high - low)).clamp(0, 1)
        return plain * (kept + (1 - kept) / s["factor"]), 1.0
    return plain, 1.0


def rotate(x: Tensor, angles: Tensor, scale: float) -> Tensor:
    """Dimensions (i, i + dim / 2) of the last axis are one complex number turned by angles[..., i].
    """
    first, second = x.chunk(2, -1)
    turned = torch.complex(first, second) * torch.polar(torch.full_like(angles, scale), angles)
    return torch.cat([turned.real, turned.imag], -1)


def attention(config: dict, w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    """x (tokens, hidden_size), already normed -> (tokens, hidden_size). `at` is the prefix of the
    layer's attention tensors. One head after another."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim") or config["hidden_size"] // heads
    frequencies, scale = rotary(config, dim)
    angles = torch.arange(x.shape[0], dtype=torch.float64)[:, None] * frequencies

    def project(name: str) -> list[Tensor]:  # (tokens, dim) of each head
        y = x @ w[f"{at}{name}_proj.weight"].T + w.get(f"{at}{name}_proj.bias", 0.0)
        each = list(y.split(dim, -1))
        if f"{at}{name}_norm.weight" in w:
            each = [norm(h, w[f"{at}{name}_norm.weight"], config["rms_norm_eps"]) for h in each]
        return each if name == "v" else [rotate(h, angles, scale) for h in each]

    q, k, v = project("q"), project("k"), project("v")
    future = torch.ones(x.shape[0], x.shape[0]).triu(1).bool()
    out = []
    for h in range(heads):
        g = h * groups // heads
        scores = q[h] @ k[g].T * dim ** -0.5
        out.append(scores.masked_fill(future, -math.inf).softmax(-1) @ v[g])
    return torch.cat(out, -1) @ w[at + "o_proj.weight"].T


def route(config: dict, weight: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Chosen experts in ascending order and their weights, both (tokens, num_experts_per_tok)."""
    share = (x @ weight.T).exp()
    chosen = share.argsort(-1, descending=True)[..., :config["num_experts_per_tok"]].sort(-1)[0]
    best = share.gather(-1, chosen)
    return chosen, best / (best if config["norm_topk_prob"] else share).sum(-1, keepdim=True)


def forward(config: dict, stored: dict[str, Tensor], ids: list[int]) -> Tensor:
    """Logits (tokens, vocab_size) from the dequantised tensors of a checkpoint."""
    w = {name: tensor.double() for name, tensor in stored.items()}
    eps = config["rms_norm_eps"]
    x = w["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        x = x + attention(config, w, at + "self_attn.",
                          norm(x, w[at + "input_layernorm.weight"], eps))
        h = norm(x, w[at + "post_attention_layernorm.weight"], eps)
        if at + "mlp.gate.weight" in w:
            x = add_experts(w, at, x, h, *route(config, w[at + "mlp.gate.weight"], h))
        else:
            x = x + mlp(w, at + "mlp.", h)
    head = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    return norm(x, w["model.norm.weight"], eps) @ w[head].T
