"""Makes the expected values of routers and rotary angles by themselves. See README.md.

    python make_part_golden.py       models/parts
"""

from __future__ import annotations

import json

import torch
from transformers import DeepseekV2Config, DeepseekV3Config, LlamaConfig, Qwen3MoeConfig
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

import deepseek_formulas as formulas
import gqa_formulas
from make_model_golden import MODELS, settle

ROUTERS = [  # experts, groups, groups kept, experts a token, normalised, factor, hidden, bias range
    (16, 4, 2, 4, True, 2.5, 24, (-1.2, -0.2)),
    (15, 5, 3, 5, False, 0.9, 21, (-0.4, 0.4)),
    (12, 1, 1, 3, True, 1.0, 17, (-0.3, 0.3)),
    (32, 8, 4, 8, True, 2.5, 40, (-1.5, 0.0)),
    (6, 3, 1, 2, True, 1.7, 9, (-2.0, -1.0)),
]
ROUTER_TOKENS = 12


def router_case(row: tuple, seed: int) -> dict:
    experts, groups, kept, picks, normal, factor, hidden, (low, high) = row
    c = {"n_routed_experts": experts, "n_group": groups, "topk_group": kept,
         "num_experts_per_tok": picks, "norm_topk_prob": normal, "routed_scaling_factor": factor,
         "hidden_size": hidden}
    g = torch.Generator().manual_seed(seed)
    router = hf.DeepseekV3TopkRouter(DeepseekV3Config(**c))
    router.weight.data = torch.randn(experts, hidden, generator=g) * (2 * hidden ** -0.5)
    router.e_score_correction_bias = low + (high - low) * torch.rand(experts, generator=g)
    x = torch.randn(400, hidden, generator=g)
    inputs = (router.weight.data.double(), router.e_score_correction_bias.double(), x.double())
    with torch.inference_mode():
        weights, chosen = router(x)[1:]
    chosen, order = chosen.sort(-1)
    weights = weights.gather(-1, order)
    other, share = formulas.route(c, *inputs)
    assert (chosen == other).all() and (weights - share).abs().max() < 1e-6
    # The tokens that tell wrong routers from right ones come first.
    zero = (formulas.route(c, *inputs, excluded=0.0)[0] != chosen).any(-1)
    unbiased = (formulas.route(c, inputs[0], 0 * inputs[1], inputs[2])[0] != chosen).any(-1)
    assert unbiased.any() and (groups == kept or not (high <= 0) or zero.any())
    take = (2 * zero.int() + unbiased.int()).argsort(descending=True, stable=True)
    take = take[:ROUTER_TOKENS]
    return c | {"tokens": ROUTER_TOKENS, "mask_of_zero_would_differ": int(zero[take].sum()),
                "no_bias_would_differ": int(unbiased[take].sum()),
                "weight": router.weight.data.flatten().tolist(),
                "e_score_correction_bias": router.e_score_correction_bias.tolist(),
                "x": x[take].flatten().tolist(), "experts": chosen[take].flatten().tolist(),
                "weights": weights[take].flatten().tolist()}


def scaling(factor: float, original: int, fast: float, slow: float, **mscales: float) -> dict:
    return {"type": "yarn", "factor": factor, "original_max_position_embeddings": original,
            "beta_fast": fast, "beta_slow": slow, **mscales}


ROPES = [  # name, qk_nope_head_dim, qk_rope_head_dim, rope_theta, max_position_embeddings, scaling
    ("r1", 128, 64, 10000, 163840, scaling(40, 4096, 32, 1, mscale=1.0, mscale_all_dim=1.0)),
    ("two_mscales", 14, 6, 500, 128, scaling(8, 16, 4, 0.25, mscale=0.707, mscale_all_dim=1.0)),
    ("v2_lite", 128, 64, 10000, 163840,
     scaling(40, 4096, 32, 1, mscale=0.707, mscale_all_dim=0.707)),
    ("no_mscale", 40, 32, 1000000, 32768, scaling(4, 8192, 32, 1)),
    ("one_pair_ramp", 10, 20, 10000, 96, scaling(3, 32, 2.6, 2.4, mscale=1.0, mscale_all_dim=1.0)),
    ("off", 9, 12, 5000, 128, None),
]


def rope_case(name: str, nope: int, rope: int, theta: float, longest: int, scale: dict | None
              ) -> dict:
    keys = {"qk_nope_head_dim": nope, "qk_rope_head_dim": rope, "rope_theta": theta,
            "max_position_embeddings": longest, "rope_scaling": scale}
    config = DeepseekV3Config(num_attention_heads=2, hidden_size=8, q_lora_rank=4, kv_lora_rank=4,
                              v_head_dim=4, **json.loads(json.dumps(keys)))
    table = hf.DeepseekV3RotaryEmbedding(config)
    softmax = hf.DeepseekV3Attention(config, 0).scaling
    if scale is None or "mscale" in scale:
        other = formulas.yarn(keys)
        assert (other.frequencies / table.inv_freq - 1).abs().max() < 1e-6
        assert abs(other.rope_scale - table.attention_scaling) < 1e-12
        assert abs((nope + rope) ** -0.5 * other.score_scale - softmax) < 1e-12
    return {"name": name, **keys, "inv_freq": table.inv_freq.tolist(),
            "attention_factor": float(table.attention_scaling), "softmax_scale": softmax}


# model_type, topk_method, experts, groups, groups kept, experts a token, factor, hidden
SOFTMAX_ROUTERS = [
    ("deepseek_v2", "greedy", 10, 1, 1, 3, 1.0, 23),
    ("deepseek_v2", "group_limited_greedy", 16, 4, 2, 4, 16.0, 24),
    ("deepseek_v2", "group_limited_greedy", 20, 5, 3, 6, 2.5, 19),
    ("qwen3_moe", "greedy", 16, 1, 1, 4, 1.0, 21),
]


def softmax_router_case(row: tuple, seed: int) -> dict:
    family, method, experts, groups, kept, picks, factor, hidden = row
    c = {"model_type": family, "topk_method": method, "scoring_func": "softmax",
         "n_routed_experts": experts, "n_group": groups, "topk_group": kept,
         "num_experts_per_tok": picks, "norm_topk_prob": family == "qwen3_moe",
         "routed_scaling_factor": factor, "hidden_size": hidden}
    g = torch.Generator().manual_seed(100 + seed)
    if family == "qwen3_moe":
        keys = {k: c[k] for k in ("num_experts_per_tok", "norm_topk_prob", "hidden_size")}
        router = Qwen3MoeTopKRouter(Qwen3MoeConfig(num_experts=experts, **keys))
        route = gqa_formulas.route
    else:
        keys = {k: v for k, v in c.items() if k not in ("model_type", "hidden_size")}
        router = DeepseekV2TopkRouter(
            DeepseekV2Config(hidden_size=hidden, num_attention_heads=1, **keys))
        route = formulas.route_v2
    router.weight.data = torch.randn(experts, hidden, generator=g) * (1.5 * hidden ** -0.5)
    x = torch.randn(400, hidden, generator=g)
    with torch.inference_mode():
        weights, chosen = router(x)[1:]
    chosen, order = chosen.sort(-1)
    weights = weights.gather(-1, order)
    other, share = route(c, router.weight.data.double(), x.double())
    assert (chosen == other).all() and (weights - share).abs().max() < 1e-6 * factor
    # First the tokens where scoring groups as V3 does, or ignoring them, would choose others.
    logits = (x @ router.weight.data.T).softmax(-1)
    free = logits.topk(picks, -1)[1].sort(-1)[0]
    pairs = logits.unflatten(-1, (groups, -1)).topk(2, -1)[0].sum(-1).topk(kept, -1)[1]
    mask = torch.zeros(len(x), groups).scatter(-1, pairs, 1.0).repeat_interleave(
        experts // groups, -1)
    summed = logits.masked_fill(mask == 0, -1.0).topk(picks, -1)[1].sort(-1)[0]
    told = [(other != chosen).any(-1) for other in (summed, free)]
    assert groups == 1 or (told[0].any() and told[1].any())
    take = (2 * told[0].int() + told[1].int()).argsort(descending=True, stable=True)
    take = take[:ROUTER_TOKENS]
    return c | {"tokens": ROUTER_TOKENS, "sum_of_two_would_differ": int(told[0][take].sum()),
                "no_groups_would_differ": int(told[1][take].sum()),
                "weight": router.weight.data.flatten().tolist(), "x": x[take].flatten().tolist(),
                "experts": chosen[take].flatten().tolist(),
                "weights": weights[take].flatten().tolist()}


def llama3(factor: float) -> dict:
    return {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


QWEN_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
ANGLES = [  # name, head_dim, rope_theta, max_position_embeddings, rope_scaling
    ("qwen2.5", 128, 1000000.0, 32768, None),
    ("qwen2.5_long", 128, 1000000.0, 32768, QWEN_YARN),
    ("r1_0528_qwen3_8b", 128, 1000000, 131072, QWEN_YARN | {"attn_factor": 0.8782488562869419}),
    ("r1_distill_llama", 128, 500000.0, 131072, llama3(8.0)),
    ("llama3.2_1b", 64, 500000.0, 131072, llama3(32.0)),
    ("given_attention_factor", 20, 10000.0, 512,
     {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "beta_fast": 8.0,
      "beta_slow": 0.5, "attention_factor": 1.25}),
]


def angles_case(name: str, dim: int, theta: float, longest: int, scale: dict | None) -> dict:
    """The rotary embedding of all families but DeepSeek's is one in transformers."""
    keys = {"head_dim": dim, "rope_theta": theta, "max_position_embeddings": longest,
            "rope_scaling": scale}
    config = LlamaConfig(num_attention_heads=2, hidden_size=8, **json.loads(json.dumps(keys)))
    table = LlamaRotaryEmbedding(config)
    frequencies, factor = gqa_formulas.rotary(keys, dim)
    assert (frequencies / table.inv_freq - 1).abs().max() < 1e-6
    assert abs(factor - table.attention_scaling) < 1e-12
    return {"name": name, **keys, "inv_freq": table.inv_freq.tolist(),
            "attention_factor": float(table.attention_scaling)}


def make_parts() -> None:
    folder = MODELS / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    router = [router_case(row, seed) for seed, row in enumerate(ROUTERS)]
    rope = [rope_case(*row) for row in ROPES]
    softmax = [softmax_router_case(row, seed) for seed, row in enumerate(SOFTMAX_ROUTERS)]
    angles = [angles_case(*row) for row in ANGLES]
    for name, cases in (("router", router), ("yarn", rope), ("softmax_router", softmax),
                        ("angles", angles)):
        (folder / f"{name}.json").write_text(json.dumps({"cases": cases}) + "\n")
        for case in cases:
            print(name, {k: v for k, v in case.items() if not isinstance(v, list)})


if __name__ == "__main__":
    settle()
    make_parts()
