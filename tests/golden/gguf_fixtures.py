"""Writes checkpoints as GGUF: the tensor names, layouts and metadata keys that llama.cpp's
convert_hf_to_gguf.py gives them. Names come from the `gguf` package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import MODEL_ARCH as Arch

import gqa_fixtures as gqa
import gqa_formulas
from model_fixtures import is_mla

ARCHITECTURES = {"deepseek_v2": Arch.DEEPSEEK2, "deepseek_v3": Arch.DEEPSEEK2,
                 "llama": Arch.LLAMA, "qwen2": Arch.QWEN2, "qwen3": Arch.QWEN3,
                 "qwen3_moe": Arch.QWEN3MOE}
NEXTN = {"enorm": gguf.MODEL_TENSOR.NEXTN_ENORM, "hnorm": gguf.MODEL_TENSOR.NEXTN_HNORM,
         "eh_proj": gguf.MODEL_TENSOR.NEXTN_EH_PROJ,
         "embed_tokens": gguf.MODEL_TENSOR.NEXTN_EMBED_TOKENS,
         "shared_head.head": gguf.MODEL_TENSOR.NEXTN_SHARED_HEAD_HEAD,
         "shared_head.norm": gguf.MODEL_TENSOR.NEXTN_SHARED_HEAD_NORM}
ROPE_FREQS = gguf.TENSOR_NAMES[gguf.MODEL_TENSOR.ROPE_FREQS] + ".weight"
FILE_TYPES = {Type.F32: gguf.LlamaFileType.ALL_F32, Type.BF16: gguf.LlamaFileType.MOSTLY_BF16}


@dataclass
class GgufFixture:
    """One GGUF file, or two, with the weights of a checkpoint of models/."""

    name: str
    of: str  # the checkpoint
    merged: bool = False  # MLA as in files of before April 2025: attn_kv_b, no *_mla lengths
    files: int = 1
    nextn: bool = False  # with the multi-token-prediction layer

    def paths(self, folder: Path) -> list[Path]:
        whole = folder / f"{self.name}.gguf"
        return [whole] if self.files == 1 else [
            folder / gguf.gguf_writer.SHARD_NAME_FORMAT.format(self.name, i + 1, self.files)
            for i in range(self.files)]


GGUF_FIXTURES = [
    GgufFixture("v3_split_kv_b", "v3_mtp_bf16"),
    GgufFixture("v3_merged_kv_b", "v3_mtp_bf16", merged=True),
    GgufFixture("v3_nextn", "v3_mtp_bf16", nextn=True),
    GgufFixture("v2_greedy_merged_kv_b", "v2_greedy_f32", merged=True),
    GgufFixture("v2_groups", "v2_groups_bf16"),
    GgufFixture("qwen2_tied", "qwen2_tied_bf16"),
    GgufFixture("qwen2_yarn", "qwen2_yarn_f32"),
    GgufFixture("llama", "llama_f32"),
    GgufFixture("llama3_rope", "llama3_tied_bf16", files=2),
    GgufFixture("qwen3", "qwen3_f32"),
    GgufFixture("qwen3_yarn", "qwen3_yarn_bf16"),
    GgufFixture("qwen3_moe", "qwen3_moe_bf16"),
]


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head reordered from halves (0 .. n/2, n/2 .. n) to pairs (0, n/2, 1, ...)."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def tensors(config: dict, weights: dict[str, np.ndarray], merged: bool, nextn: bool = False
            ) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint under their names in GGUF; the last axis is the one that GGUF
    counts first."""
    layers = config["num_hidden_layers"] + nextn
    names = gguf.get_tensor_name_map(ARCHITECTURES[config["model_type"]], layers)
    out: dict[str, np.ndarray] = {}

    def put(name: str, value: np.ndarray) -> None:
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        part = re.fullmatch(r"model\.layers\.(\d+)\.([\w.]+)\.weight", name)
        if new is None and part:  # the package's map knows these for other architectures only
            new = gguf.TENSOR_NAMES[NEXTN[part[2]]].format(bid=part[1]) + ".weight"
        assert new is not None, name
        out[new] = value

    for name, value in weights.items():
        layer = re.match(r"model\.layers\.(\d+)\.", name)
        if layer and int(layer[1]) >= layers:
            continue
        expert = re.match(r"(.*\.experts)\.(\d+)\.(\w+\.weight)", name)
        if expert:
            count = config.get("n_routed_experts", config.get("num_experts"))
            if expert[2] == "0":
                put(f"{expert[1]}.{expert[3]}", np.stack(
                    [weights[f"{expert[1]}.{e}.{expert[3]}"] for e in range(count)]))
        elif name.endswith("kv_b_proj.weight") and not merged:
            nope = config["qk_nope_head_dim"]
            heads = value.reshape(config["num_attention_heads"], -1, value.shape[-1])
            put(name.replace("kv_b_proj", "k_b_proj"), heads[:, :nope].swapaxes(1, 2))
            put(name.replace("kv_b_proj", "v_b_proj"), heads[:, nope:])
        elif config["model_type"] == "llama" and name.endswith("q_proj.weight"):
            put(name, interleaved(value, config["num_attention_heads"]))
        elif config["model_type"] == "llama" and name.endswith("k_proj.weight"):
            put(name, interleaved(value, config["num_key_value_heads"]))
        elif name.endswith("e_score_correction_bias"):
            put(name.replace("_bias", ".bias"), value)
        else:
            put(name, value)
    return out


def always_f32(name: str, value: np.ndarray) -> bool:
    return value.ndim == 1 or name.endswith("ffn_gate_inp.weight")


def add_rope(w: gguf.GGUFWriter, config: dict) -> None:
    w.add_rope_freq_base(config["rope_theta"])
    s = config["rope_scaling"] or {}
    kind = s.get("rope_type", s.get("type"))
    if kind == "llama3":  # no keys, but a tensor of divisors
        dim = gqa.head_dim(config)
        plain, scaled = (gqa_formulas.rotary(c, dim)[0] for c in
                         (config | {"rope_scaling": None}, config))
        w.add_tensor(ROPE_FREQS, (plain / scaled).numpy().astype(np.float32))
    if kind != "yarn":
        return
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(s["factor"])
    w.add_rope_scaling_orig_ctx_len(s["original_max_position_embeddings"])
    if "beta_fast" in s:
        w.add_rope_scaling_yarn_beta_fast(s["beta_fast"])
        w.add_rope_scaling_yarn_beta_slow(s["beta_slow"])
    if "mscale_all_dim" in s:  # a tenth of it, by an old habit of the converter
        assert s["mscale"] == s["mscale_all_dim"], "GGUF cannot say two"
        w.add_rope_scaling_yarn_log_mul(0.1 * s["mscale_all_dim"])


def add_attention(w: gguf.GGUFWriter, config: dict, merged: bool) -> None:
    w.add_head_count(config["num_attention_heads"])
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if not is_mla(config):
        w.add_head_count_kv(config["num_key_value_heads"])
        if "head_dim" in config:
            w.add_key_length(config["head_dim"])
            w.add_value_length(config["head_dim"])
        if config["model_type"] == "llama":
            w.add_rope_dimension_count(gqa.head_dim(config))
        return
    rank, rope, value = (config[k] for k in ("kv_lora_rank", "qk_rope_head_dim", "v_head_dim"))
    if config["q_lora_rank"] is not None:
        w.add_q_lora_rank(config["q_lora_rank"])
    w.add_kv_lora_rank(rank)
    w.add_rope_dimension_count(rope)
    key = config["qk_nope_head_dim"] + rope
    w.add_head_count_kv(config["num_attention_heads"] if merged else 1)
    w.add_key_length(key if merged else rank + rope)
    w.add_value_length(value if merged else rank)
    if not merged:
        w.add_key_length_mla(key)
        w.add_value_length_mla(value)


def add_experts(w: gguf.GGUFWriter, config: dict, merged: bool) -> None:
    if "moe_intermediate_size" not in config:
        return
    w.add_expert_count(config.get("n_routed_experts", config.get("num_experts")))
    w.add_expert_used_count(config["num_experts_per_tok"])
    w.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if not is_mla(config):
        return  # normalised shares of a softmax go without saying
    w.add_leading_dense_block_count(config["first_k_dense_replace"])
    w.add_expert_shared_count(config["n_shared_experts"])
    w.add_expert_weights_scale(config["routed_scaling_factor"])
    if config["norm_topk_prob"]:
        w.add_expert_weights_norm(True)
    if merged and config["model_type"] == "deepseek_v2":
        return  # files of that age say nothing of groups, and of the softmax neither
    kinds = gguf.ExpertGatingFuncType
    w.add_expert_gating_func(kinds.SIGMOID if config["scoring_func"] == "sigmoid"
                             else kinds.SOFTMAX)
    w.add_expert_group_count(config["n_group"])
    w.add_expert_group_used_count(config["topk_group"])


def write(path: Path, config: dict, stored: dict[str, tuple[np.ndarray, Type]],
          merged: bool = False, files: int = 1, nextn: bool = False) -> None:
    """stored: each tensor's data and type; bytes for all types but F32 and F16. With `files` of 2,
    NAME.gguf becomes NAME-00001-of-00002.gguf and its fellow."""
    arch = gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config["model_type"]]]
    most = len(stored) // files + 1 if files > 1 else 0
    w = gguf.GGUFWriter(path, arch, split_max_tensors=most)
    w.add_type(gguf.GGUFType.MODEL)
    w.add_name(path.stem)
    w.add_block_count(config["num_hidden_layers"] + nextn)
    if nextn:
        w.add_nextn_predict_layers(1)
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_vocab_size(config["vocab_size"])
    add_attention(w, config, merged)
    add_experts(w, config, merged)
    add_rope(w, config)
    types = [kind for _, kind in stored.values()]
    common = max(sorted(set(types)), key=types.count)
    w.add_file_type(FILE_TYPES.get(common, gguf.LlamaFileType.GUESSED))
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_tokenizer_model("no_vocab")
    for name, (data, kind) in stored.items():
        w.add_tensor(name, data, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
