"""The small random checkpoints under models/: how each is stored and read back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import deepseek_fixtures as deepseek
import gqa_fixtures as gqa

BLOCK = 128  # rows and columns that share one FP8 scale
FP8_MAX = 448.0
STORED = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
          "fp8": torch.bfloat16}  # fp8: the type of what is not quantised


@dataclass
class Fixture:
    """One directory of models/: a configuration, how its weights are stored, its seed."""

    name: str
    sizes: str  # a key of CONFIGS
    form: str  # a key of STORED
    seed: int
    shards: int = 1
    new_config: bool = False  # config.json in transformers 5's own form
    config: dict = field(init=False)

    def __post_init__(self) -> None:
        self.config = (deepseek.CONFIGS | gqa.CONFIGS)[self.sizes].copy()
        self.config.setdefault("num_key_value_heads", self.config["num_attention_heads"])
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
    Fixture("qwen2_f32", "qwen2", "f32", seed=11),
    Fixture("qwen2_tied_bf16", "qwen2_tied", "bf16", seed=12),
    Fixture("qwen2_yarn_f32", "qwen2_yarn", "f32", seed=13),
    Fixture("llama_f32", "llama", "f32", seed=21),
    Fixture("llama3_rope_f32", "llama3_rope", "f32", seed=22),
    Fixture("llama3_tied_bf16", "llama3_tied", "bf16", seed=23),
    Fixture("v3_mtp_bf16", "v3_mtp", "bf16", seed=6),
    Fixture("v2_greedy_f32", "v2_greedy", "f32", seed=31),
    Fixture("v2_groups_bf16", "v2_groups", "bf16", seed=32),
    Fixture("qwen3_f32", "qwen3", "f32", seed=41),
    Fixture("qwen3_yarn_bf16", "qwen3_yarn", "bf16", seed=42),
    Fixture("qwen3_moe_f32", "qwen3_moe", "f32", seed=51),
    Fixture("qwen3_moe_bf16", "qwen3_moe", "bf16", seed=52),
]


def is_mla(config: dict) -> bool:
    return config["model_type"].startswith("deepseek")


def random_weights(config: dict, seed: int) -> dict[str, Tensor]:
    return (deepseek if is_mla(config) else gqa).random_weights(config, seed)


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
