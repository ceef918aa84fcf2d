"""Weights in the block types of GGUF: quantised by the `gguf` package where it can, else random
valid blocks of the wanted spread. What they stand for is what the package decodes them to."""

from __future__ import annotations

import re
from dataclasses import dataclass

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from torch import Tensor

import deepseek_fixtures as deepseek
import gqa_fixtures as gqa
from gguf_fixtures import always_f32, tensors
from model_fixtures import random_weights

# Where the float16 scales of a block lie, in bytes, and what each is to be multiplied by. Those
# with a minimum have it so large that the weights' mean is about 0.
SCALES = {Type.Q2_K: {80: 1.0, 82: 1.5}, Type.Q3_K: {108: 1.0}, Type.Q4_K: {0: 1.0, 2: 7.5},
          Type.Q5_K: {0: 1.0, 2: 15.5}, Type.Q6_K: {208: 1.0}, Type.IQ1_S: {0: 1.0},
          Type.IQ2_XXS: {0: 1.0}, Type.IQ2_XS: {0: 1.0}, Type.IQ2_S: {0: 1.0},
          Type.IQ3_XXS: {0: 1.0}, Type.IQ3_S: {0: 1.0}, Type.IQ4_NL: {0: 1.0},
          Type.IQ4_XS: {0: 1.0}}

Q8_0 = {"": "Q8_0"}
MIXED_32 = {"attn_q": "Q4_0", "attn_k": "Q4_1", "attn_v": "Q5_0", "attn_output": "Q5_1",
            "ffn_gate": "IQ4_NL", "ffn_up": "MXFP4", "ffn_down": "Q8_0", "token_embd": "F16",
            "^output": "Q8_0"}
K_QUANTS = {r"0\.attn_q": "Q4_K", r"0\.attn_k": "Q5_K", r"0\.attn_v": "Q6_K",
            r"0\.ffn_gate": "Q3_K", r"0\.ffn_up": "Q2_K", r"1\.attn_q": "Q2_K", r"1\.attn_k": "Q3_K", r"1\.attn_v": "Q4_K",
            r"1\.ffn_gate": "Q4_K", r"1\.ffn_up": "IQ4_XS", "ffn_down": "Q5_0",
            "attn_output": "Q8_0", "token_embd": "Q4_K", "^output": "Q6_K"}
R1_DYNAMIC = {r"0\.ffn_gate_exps": "IQ1_S", r"0\.ffn_up_exps": "IQ2_XXS",
              r"1\.ffn_gate_exps": "IQ1_M", r"1\.ffn_up_exps": "IQ3_XXS",
              "ffn_down_exps": "IQ4_NL", "ffn_gate_shexp": "IQ2_XS", "ffn_up_shexp": "IQ2_S",
              "ffn_down_shexp": "Q4_0", "attn_q_a": "Q4_K", r"0\.attn_kv_a_mqa": "Q5_K",
              r"1\.attn_kv_a_mqa": "IQ3_S", "token_embd": "Q4_K", "^output": "Q6_K", "": "Q8_0"}

CONFIGS = {
    "llama_256": gqa.LLAMA_KEYS | dict(
        hidden_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, intermediate_size=64, vocab_size=72, max_position_embeddings=512),
    "qwen3_64": gqa.QWEN3_KEYS | dict(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=24, intermediate_size=96, vocab_size=80, max_position_embeddings=512,
        tie_word_embeddings=True),
    "qwen2_64": gqa.QWEN2_KEYS | dict(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=96, vocab_size=80, max_position_embeddings=512),
    "v3_256": deepseek.V3_KEYS | dict(
        hidden_size=256, num_hidden_layers=2, num_attention_heads=2, q_lora_rank=32,
        kv_lora_rank=32, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=16, vocab_size=66,
        intermediate_size=64, moe_intermediate_size=32, n_routed_experts=4, n_group=2,
        topk_group=1, num_experts_per_tok=1, n_shared_experts=1, first_k_dense_replace=0,
        norm_topk_prob=True, routed_scaling_factor=2.5, rms_norm_eps=1e-6, rope_theta=10000,
        max_position_embeddings=4096,
        rope_scaling=deepseek.yarn(16, 256, 32, 1, 1.0, 1.0)),
}


@dataclass
class BlockFixture:
    """One directory of models/ with a quantised GGUF file."""

    name: str
    config: str  # a key of CONFIGS
    types: dict[str, str]  # the first pattern found in a tensor's name gives its type
    seed: int
    # Factor on the last norm. Activations rounded to 8 bits change logits by a share of their
    # spread; with this, llama.cpp's logits have a mean KL of about 5e-5 from the expected ones.
    last_norm: float


BLOCK_FIXTURES = [
    BlockFixture("qwen3_q8_0", "qwen3_64", Q8_0, seed=61, last_norm=0.2),
    BlockFixture("qwen2_blocks_of_32", "qwen2_64", MIXED_32, seed=62, last_norm=0.15),
    BlockFixture("llama_k_quants", "llama_256", K_QUANTS, seed=63, last_norm=0.12),
    BlockFixture("v3_iq", "v3_256", R1_DYNAMIC, seed=64, last_norm=0.1),
]


def set_scale(blocks: np.ndarray, kind: Type, scale: float) -> None:
    """blocks (count, bytes of one): every float16 scale becomes `scale`, or what SCALES makes of
    it."""
    if kind == Type.IQ1_M:  # a quarter of the scale's bits on top of each of four 16-bit numbers
        bits = int(np.float16(scale).view(np.uint16))
        last = blocks[:, -8:].copy().view("<u2")
        last[:] = (last & 0x0FFF) | ((bits >> np.array([0, 4, 8, 12]) & 15) << 12).astype("<u2")
        blocks[:, -8:] = last.view(np.uint8)
        return
    for at, factor in SCALES[kind].items():
        blocks[:, at:at + 2] = np.array([scale * factor], "<f2").view(np.uint8)


def random_blocks(shape: tuple[int, ...], kind: Type, spread: float, draw: np.random.Generator
                  ) -> np.ndarray:
    """Bytes of a tensor whose weights have about the standard deviation `spread`."""
    row = gguf.quant_shape_to_byte_shape(shape, kind)
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = draw.integers(0, 256, (int(np.prod(row)) // size, size), np.uint8)
    set_scale(blocks, kind, 1.0)
    set_scale(blocks, kind, spread / gguf.quants.dequantize(blocks, kind).std())
    return blocks.reshape(row)


def encode(value: np.ndarray, kind: Type, draw: np.random.Generator) -> np.ndarray:
    if kind == Type.F32:
        return value
    try:
        return gguf.quants.quantize(value, kind)
    except NotImplementedError:
        return random_blocks(value.shape, kind, float(value.std()), draw)


def quantised(fixture: BlockFixture
              ) -> tuple[dict[str, tuple[np.ndarray, Type]], dict[str, Tensor]]:
    """The tensors of the GGUF file, and the checkpoint that they stand for."""
    config = CONFIGS[fixture.config]
    draw = np.random.default_rng(fixture.seed)
    weights = {n: t.numpy() for n, t in random_weights(config, fixture.seed).items()}
    weights["model.norm.weight"] *= np.float32(fixture.last_norm)
    # Each weight gets a number, so that wherever the layout of GGUF puts it, it is found again.
    numbers, count = {}, 0
    for name, value in weights.items():
        numbers[name] = np.arange(count, count + value.size).reshape(value.shape)
        count += value.size
    places = tensors(config, numbers, merged=False)
    meant = np.zeros(count, np.float32)
    stored = {}
    for name, value in tensors(config, weights, merged=False).items():
        kind = Type.F32
        if not always_f32(name, value):
            kind = Type[next(t for p, t in fixture.types.items() if re.search(p, name))]
        data = encode(np.ascontiguousarray(value), kind, draw)
        stored[name] = data, kind
        meant[places[name]] = gguf.quants.dequantize(data, kind).reshape(value.shape)
    return stored, {n: torch.from_numpy(meant[number]) for n, number in numbers.items()}
