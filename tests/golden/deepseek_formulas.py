"""DeepSeek-V3's and V2's forward pass written out in float64, as a second opinion on transformers.

The formulas follow DeepSeek's inference/model.py and the papers (arXiv:2405.04434, 2412.19437,
2309.00071). One point is open there: model.py knows a single mscale, the checkpoints two
(`mscale`, `mscale_all_dim`). `Yarn.score_scale` and `Yarn.rope_scale` follow the checkpoints'
meaning; both agree wherever the two numbers are equal, as they are in every published model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LATENT_EPS = 1e-6  # the norms of the latents do not take rms_norm_eps


@dataclass
class Yarn:
    """What the rotary embedding needs: angular frequencies of the pairs, the factor on cos and
    sin, and the factor on the softmax scale."""

    frequencies: Tensor  # (qk_rope_head_dim / 2)
    rope_scale: float
    score_scale: float


def magnitude(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


def yarn_frequencies(s: dict, dim: int, theta: float) -> Tensor:
    """Angular frequencies of the pairs (dim / 2); `s` is rope_scaling of config.json."""
    plain = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)

    def pair_with(turns: float) -> float:  # that turns so often within the original context
        length = s["original_max_position_embeddings"] / turns
        return dim * math.log(length / (2 * math.pi)) / (2 * math.log(theta))

    first = max(math.floor(pair_with(s.get("beta_fast", 32))), 0)
    last = min(math.ceil(pair_with(s.get("beta_slow", 1))), dim - 1)
    width = last - first if last != first else 0.001
    slow = ((torch.arange(dim // 2, dtype=torch.float64) - first) / width).clamp(0, 1)
    return plain * (1 - slow) + plain / s["factor"] * slow


def yarn(config: dict) -> Yarn:
    dim = config["qk_rope_head_dim"]
    s = config.get("rope_scaling") or config.get("rope_parameters") or {}
    theta = float(s.get("rope_theta", config.get("rope_theta", 10000.0)))
    if s.get("type", s.get("rope_type", "default")) == "default":
        return Yarn(theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim), 1.0, 1.0)
    everywhere = magnitude(s["factor"], s["mscale_all_dim"])
    return Yarn(yarn_frequencies(s, dim, theta), magnitude(s["factor"], s["mscale"]) / everywhere,
                everywhere ** 2)


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def mlp(w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    g = x @ w[at + "gate_proj.weight"].T
    return (g / (1 + (-g).exp()) * (x @ w[at + "up_proj.weight"].T)) @ w[at + "down_proj.weight"].T


def add_experts(w: dict[str, Tensor], at: str, residual: Tensor, x: Tensor, chosen: Tensor,
                share: Tensor) -> Tensor:
    """residual + what the chosen experts make of x, both (tokens, hidden_size). `at` is the prefix
    of the layer; chosen and share (tokens, num_experts_per_tok)."""
    y = residual.clone()
    for t in range(x.shape[0]):
        for e, a in zip(chosen[t].tolist(), share[t]):
            y[t] += a * mlp(w, f"{at}mlp.experts.{e}.", x[t])
    return y


def rotate(x: Tensor, angles: Tensor, scale: float) -> Tensor:
    """Dimensions (2i, 2i + 1) of the last axis are one complex number turned by angles[..., i]."""
    turn = torch.polar(torch.full_like(angles, scale), angles)
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
                              * turn).flatten(-2)


def attention(config: dict, w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    """x (tokens, hidden_size), already normed -> (tokens, hidden_size). `at` is the prefix of the
    layer's attention tensors. Written in the absorbed form; transformers uses the expanded one."""
    heads, nope = config["num_attention_heads"], config["qk_nope_head_dim"]
    rope, rank = config["qk_rope_head_dim"], config["kv_lora_rank"]
    r = yarn(config)
    angles = torch.arange(x.shape[0], dtype=torch.float64)[:, None] * r.frequencies
    if config["q_lora_rank"] is None:
        q = x @ w[at + "q_proj.weight"].T
    else:
        latent_q = norm(x @ w[at + "q_a_proj.weight"].T, w[at + "q_a_layernorm.weight"], LATENT_EPS)
        q = latent_q @ w[at + "q_b_proj.weight"].T
    q_nope, q_pe = q.unflatten(-1, (heads, nope + rope)).split([nope, rope], dim=-1)
    latent, k_pe = (x @ w[at + "kv_a_proj_with_mqa.weight"].T).split([rank, rope], dim=-1)
    latent = norm(latent, w[at + "kv_a_layernorm.weight"], LATENT_EPS)
    q_pe = rotate(q_pe, angles[:, None].expand(-1, heads, -1), r.rope_scale)
    k_pe = rotate(k_pe, angles, r.rope_scale)
    up = w[at + "kv_b_proj.weight"].unflatten(0, (heads, nope + config["v_head_dim"]))
    w_uk, w_uv = up.split([nope, config["v_head_dim"]], dim=1)  # (heads, nope | v, rank)
    scores = torch.einsum("thn,hnr,sr->hts", q_nope, w_uk, latent) \
        + torch.einsum("thd,sd->hts", q_pe, k_pe)
    scores = scores * ((nope + rope) ** -0.5 * r.score_scale)
    future = torch.ones(x.shape[0], x.shape[0]).triu(1).bool()
    share = scores.masked_fill(future, -math.inf).softmax(-1)
    out = torch.einsum("hts,sr,hvr->thv", share, latent, w_uv)
    return out.flatten(1) @ w[at + "o_proj.weight"].T


def route(config: dict, weight: Tensor, bias: Tensor, x: Tensor, excluded: float = -math.inf
          ) -> tuple[Tensor, Tensor]:
    """Chosen experts in ascending order and their weights, both (tokens, num_experts_per_tok).
    `excluded` is what the choice of experts outside the best groups becomes."""
    affinity = 1 / (1 + (-(x @ weight.T)).exp())
    choice = affinity + bias
    groups = choice.unflatten(-1, (config["n_group"], -1))
    group_score = groups.sort(-1, descending=True)[0][..., :2].sum(-1)
    best = group_score.argsort(-1, descending=True)[..., :config["topk_group"]]
    kept = torch.zeros_like(group_score).scatter(-1, best, 1.0).bool()
    choice = groups.masked_fill(~kept[..., None], excluded).flatten(-2)
    chosen = choice.argsort(-1, descending=True)[..., :config["num_experts_per_tok"]].sort(-1)[0]
    share = affinity.gather(-1, chosen)
    if config["norm_topk_prob"]:
        share = share / (share.sum(-1, keepdim=True) + 1e-20)
    return chosen, share * config["routed_scaling_factor"]


def route_v2(config: dict, weight: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """V2's router: as `route`, with the softmax's shares, groups by their best expert, no bias."""
    raw = (x @ weight.T).exp()
    share = raw / raw.sum(-1, keepdim=True)
    choice = share
    if config["topk_method"] == "group_limited_greedy":
        groups = share.unflatten(-1, (config["n_group"], -1))
        worst = groups.amax(-1).sort(-1, descending=True)[0][..., config["topk_group"] - 1, None]
        choice = groups.masked_fill((groups.amax(-1) < worst)[..., None], -math.inf).flatten(-2)
    chosen = choice.argsort(-1, descending=True)[..., :config["num_experts_per_tok"]].sort(-1)[0]
    return chosen, share.gather(-1, chosen) * config["routed_scaling_factor"]


def hidden_states(config: dict, w: dict[str, Tensor], ids: list[int]) -> Tensor:
    """(tokens, hidden_size) after the last norm; w in float64."""
    x = w["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        x = layer(config, w, i, x)
    return norm(x, w["model.norm.weight"], config["rms_norm_eps"])


def forward(config: dict, stored: dict[str, Tensor], ids: list[int]) -> Tensor:
    """Logits (tokens, vocab_size) from the dequantised tensors of a checkpoint."""
    w = {name: tensor.double() for name, tensor in stored.items()}
    head = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    return hidden_states(config, w, ids) @ w[head].T


def mtp_forward(config: dict, stored: dict[str, Tensor], ids: list[int]) -> Tensor:
    """Logits (tokens - 1, vocab_size) of the multi-token-prediction layer (arXiv:2412.19437,
    2.2): row i, from the hidden state of token i and from token i + 1, is about token i + 2."""
    w = {name: tensor.double() for name, tensor in stored.items()}
    at, eps = f"model.layers.{config['num_hidden_layers']}.", config["rms_norm_eps"]
    token = norm(w[at + "embed_tokens.weight"][ids[1:]], w[at + "enorm.weight"], eps)
    state = norm(hidden_states(config, w, ids[:-1]), w[at + "hnorm.weight"], eps)
    x = torch.cat([token, state], -1) @ w[at + "eh_proj.weight"].T
    x = layer(config, w, config["num_hidden_layers"], x)
    x = norm(x, w[at + "shared_head.norm.weight"], eps)
    return x @ w[at + "shared_head.head.weight"].T


def layer(config: dict, w: dict[str, Tensor], index: int, x: Tensor) -> Tensor:
    """The residual stream x (tokens, hidden_size) after one decoder layer."""
    at, eps = f"model.layers.{index}.", config["rms_norm_eps"]
    x = x + attention(config, w, at + "self_attn.", norm(x, w[at + "input_layernorm.weight"], eps))
    h = norm(x, w[at + "post_attention_layernorm.weight"], eps)
    if index < config["first_k_dense_replace"]:
        return x + mlp(w, at + "mlp.", h)
    gate = w[at + "mlp.gate.weight"]
    if config["model_type"] == "deepseek_v2":
        routes = route_v2(config, gate, h)
    else:
        routes = route(config, gate, w[at + "mlp.gate.e_score_correction_bias"], h)
    return add_experts(w, at, x + mlp(w, at + "mlp.shared_experts.", h), h, *routes)
