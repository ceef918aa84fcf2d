"""Writes the trained model as R1's files on Hugging Face are, with FP8 block-quantised weights.

    python export.py --checkpoint runs/final.pt --out model
    python export.py --verify model        compares with transformers' DeepseekV3ForCausalLM
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import Config, TinyR1

BLOCK = 128
FP8_MAX = 448.0
HERE = Path(__file__).parent


def in_fp8(name: str) -> bool:
    """Whether a tensor is stored as FP8: linear weights, but not the router, the norms, the
    embeddings, the heads or the MTP projection."""
    if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return True
    return name.endswith("_proj.weight") and not name.endswith("eh_proj.weight") or \
        name.endswith("kv_a_proj_with_mqa.weight")


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks of 128 by 128 (smaller at the ragged edge): e4m3 values and one scale a block."""
    rows, cols = weight.shape[-2:]
    high, wide = -(-rows // BLOCK), -(-cols // BLOCK)
    padded = torch.nn.functional.pad(weight, (0, wide * BLOCK - cols, 0, high * BLOCK - rows))
    blocks = padded.unflatten(-1, (wide, BLOCK)).unflatten(-3, (high, BLOCK))
    scale = blocks.abs().amax(dim=(-3, -1)).clamp(min=1e-12) / FP8_MAX
    full = spread(scale, rows, cols)
    return (weight / full).to(torch.float8_e4m3fn), scale


def spread(scale: Tensor, rows: int, cols: int) -> Tensor:
    """The scale of each element."""
    full = scale.repeat_interleave(BLOCK, -2).repeat_interleave(BLOCK, -1)
    return full[..., :rows, :cols]


def dequantise(weight: Tensor, scale: Tensor) -> Tensor:
    return weight.float() * spread(scale, *weight.shape[-2:])


def rounded(name: str, weight: Tensor) -> Tensor:
    """The value that the stored form of a weight stands for."""
    if not in_fp8(name):
        return weight.to(torch.bfloat16).float()
    if name.endswith("gate_up_proj"):  # stored as two matrices
        return torch.cat([dequantise(*quantise(w)) for w in weight.chunk(2, dim=1)], dim=1)
    return dequantise(*quantise(weight))


def tensors(model: TinyR1) -> dict[str, Tensor]:
    """The checkpoint's tensors under their Hugging Face names."""
    out: dict[str, Tensor] = {}

    def put(name: str, weight: Tensor, fp8: bool) -> None:
        if fp8:
            value, scale = quantise(weight.float())
            out[name], out[name + "_scale_inv"] = value.contiguous(), scale.contiguous()
        else:
            out[name] = weight.to(torch.bfloat16).contiguous()

    for name, weight in model.state_dict().items():
        full = name if name.startswith("lm_head") else "model." + name
        if name.endswith("e_score_correction_bias"):
            out[full] = weight.float().clone()
        elif name.endswith("experts.gate_up_proj"):
            for j, (gate, up) in enumerate(w.chunk(2, dim=0) for w in weight):
                stem = full.removesuffix("gate_up_proj") + str(j)
                put(stem + ".gate_proj.weight", gate, True)
                put(stem + ".up_proj.weight", up, True)
        elif name.endswith("experts.down_proj"):
            for j, down in enumerate(weight):
                put(full.removesuffix("down_proj") + f"{j}.down_proj.weight", down, True)
        else:
            put(full, weight, in_fp8(name))
    # R1 repeats the embedding and the head inside the MTP layer.
    last = f"model.layers.{model.c.num_hidden_layers}."
    out[last + "embed_tokens.weight"] = out["model.embed_tokens.weight"].clone()
    out[last + "shared_head.head.weight"] = out["lm_head.weight"].clone()
    return out


def hf_config(c: Config) -> dict:
    """config.json with R1's keys."""
    return {
        "architectures": ["DeepseekV3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "ep_size": 1,
        "first_k_dense_replace": c.first_k_dense_replace,
        "hidden_act": "silu",
        "hidden_size": c.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": c.intermediate_size,
        "kv_lora_rank": c.kv_lora_rank,
        "max_position_embeddings": c.max_position_embeddings,
        "model_type": "deepseek_v3",
        "moe_intermediate_size": c.moe_intermediate_size,
        "moe_layer_freq": 1,
        "n_group": c.n_group,
        "n_routed_experts": c.n_routed_experts,
        "n_shared_experts": c.n_shared_experts,
        "norm_topk_prob": True,
        "num_attention_heads": c.num_attention_heads,
        "num_experts_per_tok": c.num_experts_per_tok,
        "num_hidden_layers": c.num_hidden_layers,
        "num_key_value_heads": c.num_attention_heads,
        "num_nextn_predict_layers": c.num_nextn_predict_layers,
        "q_lora_rank": c.q_lora_rank,
        "qk_nope_head_dim": c.qk_nope_head_dim,
        "qk_rope_head_dim": c.qk_rope_head_dim,
        "quantization_config": {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [BLOCK, BLOCK],
        },
        "rms_norm_eps": c.rms_norm_eps,
        "rope_scaling": {
            "beta_fast": int(c.yarn_beta_fast),
            "beta_slow": int(c.yarn_beta_slow),
            "factor": int(c.yarn_factor),
            "mscale": c.yarn_mscale,
            "mscale_all_dim": c.yarn_mscale_all_dim,
            "original_max_position_embeddings": c.yarn_original,
            "type": "yarn",
        },
        "rope_theta": int(c.rope_theta),
        "routed_scaling_factor": c.routed_scaling_factor,
        "scoring_func": "sigmoid",
        "tie_word_embeddings": False,
        "topk_group": c.topk_group,
        "topk_method": "noaux_tc",
        "torch_dtype": "bfloat16",
        "transformers_version": "4.46.3",
        "use_cache": True,
        "v_head_dim": c.v_head_dim,
        "vocab_size": c.vocab_size,
    }


def write(model: TinyR1, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors(model), out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(hf_config(model.c), indent=2) + "\n")
    generation = {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1,
                  "do_sample": True, "temperature": 0.6, "top_p": 0.95,
                  "transformers_version": "4.46.3"}
    (out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def dequantised(folder: Path) -> dict[str, Tensor]:
    """The exported tensors in float32, under their Hugging Face names."""
    stored = load_file(folder / "model.safetensors")
    return {name: dequantise(w, stored[name + "_scale_inv"]) if w.dtype == torch.float8_e4m3fn
            else w.float() for name, w in stored.items() if not name.endswith("_scale_inv")}


def load(folder: Path) -> TinyR1:
    """The exported model, dequantised to float32."""
    hf = json.loads((folder / "config.json").read_text())
    scaling = hf["rope_scaling"]
    c = Config(**{k: v for k, v in hf.items() if k in Config.__dataclass_fields__})
    c.yarn_factor, c.yarn_original = scaling["factor"], scaling["original_max_position_embeddings"]
    c.yarn_beta_fast, c.yarn_beta_slow = scaling["beta_fast"], scaling["beta_slow"]
    c.yarn_mscale, c.yarn_mscale_all_dim = scaling["mscale"], scaling["mscale_all_dim"]
    model, stored = TinyR1(c), dequantised(folder)
    state = {}
    for name in model.state_dict():
        full = name if name.startswith("lm_head") else "model." + name
        if name.endswith("experts.gate_up_proj"):
            stem = full.removesuffix("gate_up_proj")
            state[name] = torch.stack([torch.cat([stored[f"{stem}{j}.{part}_proj.weight"]
                                                  for part in ("gate", "up")])
                                       for j in range(c.n_routed_experts)])
        elif name.endswith("experts.down_proj"):
            stem = full.removesuffix("down_proj")
            state[name] = torch.stack([stored[f"{stem}{j}.down_proj.weight"]
                                       for j in range(c.n_routed_experts)])
        else:
            state[name] = stored[full]
    model.load_state_dict(state)
    return model.eval()


def verify(folder: Path) -> float:
    """Largest difference between our logits and transformers' on random held-out-like ids."""
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    ours = load(folder)
    hf = json.loads((folder / "config.json").read_text())
    hf.pop("quantization_config")
    config = DeepseekV3Config(**hf)
    config._attn_implementation = "eager"
    reference = DeepseekV3ForCausalLM(config).float().eval()
    state = {k: v for k, v in ours.state_dict().items()
             if not k.startswith(f"layers.{ours.c.num_hidden_layers}.")}
    state = {k if k.startswith("lm_head") else "model." + k: v for k, v in state.items()}
    missing, unexpected = reference.load_state_dict(state, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, ours.c.vocab_size, (4, 300), generator=generator)
    with torch.inference_mode():
        return (ours(ids) - reference(ids).logits).abs().max().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint that train.py wrote")
    parser.add_argument("--out", type=Path, default=HERE / "model")
    parser.add_argument("--verify", type=Path, help="compare this exported folder with transformers")
    args = parser.parse_args()
    if args.checkpoint:
        saved = torch.load(args.checkpoint, weights_only=True)
        model = TinyR1(Config(**saved["config"]))
        model.load_state_dict(saved["model"])
        write(model, args.out)
    if args.verify:
        print(f"largest difference of logits: {verify(args.verify):.2e}")


if __name__ == "__main__":
    main()
