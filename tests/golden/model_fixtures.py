"""Small random checkpoints in DeepSeek-R1's format: configurations, weights, storage forms."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

BLOCK = 128  # rows and columns that share one FP8 scale
FP8_MAX = 448.0
STORED = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
          "fp8": torch.bfloat16}  # fp8: the type of what is not quantised


def yarn(factor: float, original: int, fast: float, slow: float, mscale: float, all_dim: float
         ) -> dict:
    return {"beta_fast": fast, "beta_slow": slow, "factor": factor, "mscale": mscale,
            "mscale_all_dim": all_dim, "original_max_position_embeddings": original,
            "type": "yarn"}


# R1's keys; every fixture overrides all the sizes.
R1_KEYS = {
    "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "hidden_act": "silu",
    "initializer_range": 0.02, "model_type": "deepseek_v3", "moe_layer_freq": 1,
    "num_nextn_predict_layers": 0, "rope_scaling": None, "scoring_func": "sigmoid",
    "tie_word_embeddings": False, "topk_method": "noaux_tc", "transformers_version": "4.46.3",
    "use_cache": True,
}

SIZES = {
    # YaRN with two different mscales, two shared experts, an MTP layer.
    "mla_yarn": dict(
        hidden_size=28, num_hidden_layers=2, num_attention_heads=5, q_lora_rank=18,
        kv_lora_rank=12, qk_nope_head_dim=14, qk_rope_head_dim=6, v_head_dim=18, vocab_size=112,
        intermediate_size=130, moe_intermediate_size=5, n_routed_experts=12, n_group=4,
        topk_group=2, num_experts_per_tok=3, n_shared_experts=2, first_k_dense_replace=1,
        norm_topk_prob=True, routed_scaling_factor=2.5, rms_norm_eps=1e-6, rope_theta=500,
        max_position_embeddings=128, num_nextn_predict_layers=1,
        rope_scaling=yarn(8, 16, 4, 0.25, 0.707, 1.0)),
    # No q_lora, no YaRN, no dense layer, weights not normalised, tied embeddings, odd sizes.
    "plain_rope": dict(
        hidden_size=33, num_hidden_layers=3, num_attention_heads=3, q_lora_rank=None,
        kv_lora_rank=25, qk_nope_head_dim=9, qk_rope_head_dim=12, v_head_dim=7, vocab_size=101,
        intermediate_size=50, moe_intermediate_size=11, n_routed_experts=9, n_group=3,
        topk_group=2, num_experts_per_tok=4, n_shared_experts=1, first_k_dense_replace=0,
        norm_topk_prob=False, routed_scaling_factor=1.7, rms_norm_eps=1e-5, rope_theta=5000,
        max_position_embeddings=128, tie_word_embeddings=True),
    # Dense layers only, and an rms_norm_eps large enough to show where it is (not) used.
    "dense_only": dict(
        hidden_size=40, num_hidden_layers=2, num_attention_heads=4, q_lora_rank=17,
        kv_lora_rank=30, qk_nope_head_dim=13, qk_rope_head_dim=8, v_head_dim=21, vocab_size=97,
        intermediate_size=90, moe_intermediate_size=9, n_routed_experts=8, n_group=2,
        topk_group=1, num_experts_per_tok=2, n_shared_experts=1, first_k_dense_replace=2,
        norm_topk_prob=True, routed_scaling_factor=1.0, rms_norm_eps=1e-2, rope_theta=300,
        max_position_embeddings=96, rope_scaling=yarn(6, 16, 32, 0.1, 1.0, 1.0)),
    # The mscale above mscale_all_dim, weights scaled down, small negative routing scores.
    "five_groups": dict(
        hidden_size=52, num_hidden_layers=3, num_attention_heads=6, q_lora_rank=31,
        kv_lora_rank=19, qk_nope_head_dim=11, qk_rope_head_dim=4, v_head_dim=15, vocab_size=131,
        intermediate_size=61, moe_intermediate_size=10, n_routed_experts=15, n_group=5,
        topk_group=3, num_experts_per_tok=5, n_shared_experts=1, first_k_dense_replace=1,
        norm_topk_prob=True, routed_scaling_factor=0.9, rms_norm_eps=1e-4, rope_theta=60,
        max_position_embeddings=96, rope_scaling=yarn(4, 24, 8, 0.25, 1.3, 0.6)),
    # Matrices of several ragged FP8 blocks in both directions; two dense layers before the experts.
    "wide_blocks": dict(
        hidden_size=140, num_hidden_layers=2, num_attention_heads=3, q_lora_rank=40,
        kv_lora_rank=130, qk_nope_head_dim=24, qk_rope_head_dim=10, v_head_dim=22, vocab_size=90,
        intermediate_size=131, moe_intermediate_size=10, n_routed_experts=6, n_group=1,
        topk_group=1, num_experts_per_tok=2, n_shared_experts=1, first_k_dense_replace=1,
        norm_topk_prob=True, routed_scaling_factor=2.5, rms_norm_eps=1e-6, rope_theta=10000,
        max_position_embeddings=800, rope_scaling=yarn(40, 20, 32, 1, 1.0, 1.0)),
}


@dataclass
class Fixture:
    """One directory of models/: a configuration, how its weights are stored, its seed."""

    name: str
    sizes: str
    form: str  # a key of STORED
    seed: int
    shards: int = 1
    new_config: bool = False  # config.json in transformers 5's own form
    config: dict = field(init=False)

    def __post_init__(self) -> None:
        self.config = R1_KEYS | SIZES[self.sizes]
        self.config["num_key_value_heads"] = self.config["num_attention_heads"]
        self.config["torch_dtype"] = str(STORED[self.form]).removeprefix("torch.")
        if self.form == "fp8":
            self.config["quantization_config"] = {
                "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                "weight_block_size": [BLOCK, BLOCK]}


FIXTURES = [
    Fixture("mla_yarn_f32", "mla_yarn", "f32", seed=1),
    Fixture("mla_yarn_bf16", "mla_yarn", "bf16", seed=1),
    Fixture("mla_yarn_f16", "mla_yarn", "f16", seed=1),
    Fixture("mla_yarn_fp8", "mla_yarn", "fp8", seed=1),
    Fixture("plain_rope_f32", "plain_rope", "f32", seed=2, shards=2),
    Fixture("dense_only_f32", "dense_only", "f32", seed=3),
    Fixture("five_groups_bf16", "five_groups", "bf16", seed=4, new_config=True),
    Fixture("wide_blocks_fp8", "wide_blocks", "fp8", seed=5),
]


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
        bias = torch.rand(experts, generator=g) - 1.1  # most biased scores are negative
        out[at + "mlp.gate.e_score_correction_bias"] = bias
        for e in range(experts):
            gated(f"{at}mlp.experts.{e}", c["moe_intermediate_size"])
        gated(at + "mlp.shared_experts", c["n_shared_experts"] * c["moe_intermediate_size"])

    out["model.embed_tokens.weight"] = 0.3 * torch.randn(c["vocab_size"], hidden, generator=g)
    for i in range(c["num_hidden_layers"] + c["num_nextn_predict_layers"]):
        layer(i)
    norm("model.norm", hidden)
    if not c["tie_word_embeddings"]:
        matrix("lm_head", c["vocab_size"], hidden, 2.5)
    for i in range(c["num_hidden_layers"], c["num_hidden_layers"] + c["num_nextn_predict_layers"]):
        at = f"model.layers.{i}."
        norm(at + "enorm", hidden)
        norm(at + "hnorm", hidden)
        matrix(at + "eh_proj", hidden, 2 * hidden)
        norm(at + "shared_head.norm", hidden)
        out[at + "embed_tokens.weight"] = out["model.embed_tokens.weight"].clone()
        out[at + "shared_head.head.weight"] = out["lm_head.weight"].clone()
    return out


def in_fp8(name: str) -> bool:
    """Whether R1's checkpoint stores the tensor as FP8: the projections of attention and of the
    experts; not the router, norms, embeddings, heads or eh_proj."""
    return (".self_attn." in name or ".mlp." in name) and "_proj" in name


def spread(scales: Tensor, rows: int, cols: int) -> Tensor:
    """The scale of each element, from one scale a block."""
    return scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:rows, :cols]


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    rows, cols = weight.shape
    scales = torch.stack([torch.stack([block.abs().max() / FP8_MAX for block in band.split(BLOCK, 1)])
                          for band in weight.split(BLOCK, 0)])
    return (weight / spread(scales, rows, cols)).to(torch.float8_e4m3fn), scales


def stored_form(weights: dict[str, Tensor], form: str) -> dict[str, Tensor]:
    out = {}
    for name, weight in weights.items():
        if name.endswith("e_score_correction_bias"):
            out[name] = weight
        elif form == "fp8" and in_fp8(name):
            out[name], out[name + "_scale_inv"] = quantise(weight)
        else:
            out[name] = weight.to(STORED[form])
    return out


def new_form(config: dict) -> dict:
    """The configuration as transformers 5 saves it: rope_parameters, dtype, no V3-only keys."""
    from transformers import DeepseekV3Config

    old = {k: v for k, v in config.items()
           if k not in ("ep_size", "moe_layer_freq", "scoring_func", "topk_method", "rope_scaling",
                        "rope_theta", "torch_dtype", "transformers_version")}
    rope = dict(config["rope_scaling"], rope_theta=float(config["rope_theta"]))
    rope["rope_type"] = rope.pop("type")
    return DeepseekV3Config(**old, rope_parameters=rope, dtype=config["torch_dtype"]).to_diff_dict()


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)


def write(fixture: Fixture, folder: Path) -> None:
    """config.json and the weights, in one file or in shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    config = new_form(fixture.config) if fixture.new_config else fixture.config
    write_json(folder / "config.json", config)
    tensors = stored_form(random_weights(fixture.config, fixture.seed), fixture.form)
    if fixture.shards == 1:
        save(tensors, folder / "model.safetensors")
        return
    names, index = sorted(tensors), {}
    for i in range(fixture.shards):
        file = f"model-{i + 1:05}-of-{fixture.shards:06}.safetensors"
        part = names[i * len(names) // fixture.shards:(i + 1) * len(names) // fixture.shards]
        save({n: tensors[n] for n in part}, folder / file)
        index |= {n: file for n in part}
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": index})


def dequantised(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint as the float32 number it stands for."""
    stored: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        stored |= load_file(file)
    out = {}
    for name, tensor in stored.items():
        if not name.endswith("_scale_inv"):
            out[name] = tensor.float()
            if tensor.dtype == torch.float8_e4m3fn:
                out[name] *= spread(stored[name + "_scale_inv"], *tensor.shape)
    return out
