#!/usr/bin/env python3
"""Writes a GGUF file with the tensors of a real model and random weights in them.

Speed depends on shapes and types, not on values: what is measured on such a file holds for the real
one. The file has no vocabulary.

    pip install gguf numpy
    python make_model.py r1slice q4_k r1.gguf

Models: qwen1.5b (R1-Distill-Qwen-1.5B), llama8b (R1-Distill-Llama-8B), v2lite (DeepSeek-V2-Lite),
r1slice (DeepSeek-R1 with one dense layer and one with experts, and 32,000 embeddings), r1moe (the
same with two layers with experts, 13.3 GB).
Types: f16, bf16, q8_0, q4_0, q4_k, q6_k; of q4_k models the output matrix is q6_k, as is usual, and
matrices whose rows are not whole blocks have the type that llama.cpp's quantiser takes instead.
"""
import argparse

import gguf
import numpy

Type = gguf.GGMLQuantizationType

# Of each block type: the float16 numbers in a block, as (byte offset, value); the rest is noise.
SCALES = {
    Type.Q8_0: [(0, 4e-4)],
    Type.Q4_0: [(0, 6e-3)],
    Type.Q5_0: [(0, 3e-3)],
    Type.Q4_K: [(0, 2e-4), (2, 1.5e-3)],
    Type.Q6_K: [(208, 2e-5)],
}

FALLBACK = {Type.Q4_K: Type.Q5_0, Type.Q6_K: Type.Q8_0}

DENSE = {  # layers, hidden, heads, key-value heads, intermediate, vocabulary
    "qwen1.5b": ("qwen2", 28, 1536, 12, 2, 8960, 151936),
    "llama8b": ("llama", 32, 4096, 32, 8, 14336, 128256),
}
HEAD_DIM = 128

LATENT = {
    "v2lite": dict(layers=27, hidden=2048, heads=16, q_lora=0, intermediate=10944, experts=64,
                   used=6, expert_size=1408, shared=2, scale=1.0, sigmoid=False, vocab=102400,
                   dense=1),
    "r1slice": dict(layers=2, hidden=7168, heads=128, q_lora=1536, intermediate=18432, experts=256,
                    used=8, expert_size=2048, shared=1, scale=2.5, sigmoid=True, vocab=32000,
                    dense=1),
}
LATENT["r1moe"] = LATENT["r1slice"] | dict(dense=0)

KV_LORA, NOPE, ROPE, VALUE = 512, 128, 64, 128


class Model:
    """A file being written; tensors are added by name and shape."""

    def __init__(self, path, architecture, kind):
        self.writer = gguf.GGUFWriter(path, architecture, use_temp_file=True)
        self.writer.add_string("tokenizer.ggml.model", "no_vocab")
        self.kind = kind
        self.random = numpy.random.default_rng(1)
        self.noise = self.random.integers(0, 256, 1 << 24, dtype=numpy.uint8)

    def matrix(self, name, *shape, kind=None):
        """(rows, cols), or (experts, rows, cols)."""
        kind = kind or self.kind
        *rows, cols = shape
        if kind in (Type.F32, Type.F16, Type.BF16):
            values = self.random.standard_normal(shape, dtype=numpy.float32) * numpy.float32(0.02)
            if kind == Type.F16:
                values = values.astype(numpy.float16)
            if kind == Type.BF16:
                values = (values.view(numpy.uint32) >> 16).astype(numpy.uint16)
                values = values.view(numpy.uint8)
        else:
            if cols % gguf.GGML_QUANT_SIZES[kind][0] != 0:
                kind = FALLBACK[kind]
            elements, size = gguf.GGML_QUANT_SIZES[kind]
            values = self.blocks(int(numpy.prod(rows)) * cols // elements, size, kind)
            values = values.reshape(*rows, cols // elements * size)
        plain = kind in (Type.F32, Type.F16)
        self.writer.add_tensor(name, values, raw_dtype=None if plain else kind)

    def blocks(self, count, size, kind):
        need = count * size
        start = int(self.random.integers(0, 4096))
        repeats = (start + need) // self.noise.size + 1
        data = numpy.tile(self.noise, repeats)[start:start + need].reshape(count, size).copy()
        for offset, value in SCALES[kind]:
            half = numpy.float16(value).tobytes()
            data[:, offset:offset + 2] = numpy.frombuffer(half, numpy.uint8)
        return data

    def ones(self, name, size):
        self.writer.add_tensor(name, numpy.ones(size, numpy.float32))

    def zeros(self, name, size):
        self.writer.add_tensor(name, numpy.zeros(size, numpy.float32))

    def head(self, layers, hidden, heads, intermediate, vocab):
        w = self.writer
        w.add_block_count(layers)
        w.add_context_length(131072)
        w.add_embedding_length(hidden)
        w.add_feed_forward_length(intermediate)
        w.add_head_count(heads)
        w.add_layer_norm_rms_eps(1e-6)
        w.add_rope_freq_base(10000.0)
        w.add_vocab_size(vocab)
        self.matrix("token_embd.weight", vocab, hidden)
        self.ones("output_norm.weight", hidden)
        self.matrix("output.weight", vocab, hidden,
                    kind=Type.Q6_K if self.kind == Type.Q4_K else None)

    def feed_forward(self, layer, hidden, size, suffix=""):
        self.matrix(f"{layer}ffn_gate{suffix}.weight", size, hidden)
        self.matrix(f"{layer}ffn_up{suffix}.weight", size, hidden)
        self.matrix(f"{layer}ffn_down{suffix}.weight", hidden, size)

    def close(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def dense(path, name, kind):
    architecture, layers, hidden, heads, kv_heads, intermediate, vocab = DENSE[name]
    model = Model(path, architecture, kind)
    model.head(layers, hidden, heads, intermediate, vocab)
    model.writer.add_head_count_kv(kv_heads)
    model.writer.add_rope_dimension_count(HEAD_DIM)
    rows = {"q": heads * HEAD_DIM, "k": kv_heads * HEAD_DIM, "v": kv_heads * HEAD_DIM}
    for i in range(layers):
        layer = f"blk.{i}."
        model.ones(layer + "attn_norm.weight", hidden)
        model.ones(layer + "ffn_norm.weight", hidden)
        for part, size in rows.items():
            model.matrix(f"{layer}attn_{part}.weight", size, hidden)
            if architecture == "qwen2":
                model.zeros(f"{layer}attn_{part}.bias", size)
        model.matrix(layer + "attn_output.weight", hidden, heads * HEAD_DIM)
        model.feed_forward(layer, hidden, intermediate)
    model.close()


def latent(path, name, kind):
    c = LATENT[name]
    hidden, heads = c["hidden"], c["heads"]
    model = Model(path, "deepseek2", kind)
    model.head(c["layers"], hidden, heads, c["intermediate"], c["vocab"])
    w = model.writer
    w.add_head_count_kv(heads)
    w.add_kv_lora_rank(KV_LORA)
    w.add_key_length(NOPE + ROPE)
    w.add_value_length(VALUE)
    w.add_rope_dimension_count(ROPE)
    if c["q_lora"]:
        w.add_q_lora_rank(c["q_lora"])
    w.add_leading_dense_block_count(c["dense"])
    w.add_expert_count(c["experts"])
    w.add_expert_used_count(c["used"])
    w.add_expert_shared_count(c["shared"])
    w.add_expert_feed_forward_length(c["expert_size"])
    w.add_expert_weights_scale(c["scale"])
    w.add_expert_weights_norm(c["sigmoid"])
    scores = gguf.ExpertGatingFuncType
    w.add_expert_gating_func(scores.SIGMOID if c["sigmoid"] else scores.SOFTMAX)
    for i in range(c["layers"]):
        layer = f"blk.{i}."
        model.ones(layer + "attn_norm.weight", hidden)
        model.ones(layer + "ffn_norm.weight", hidden)
        queries = heads * (NOPE + ROPE)
        if c["q_lora"]:
            model.matrix(layer + "attn_q_a.weight", c["q_lora"], hidden)
            model.ones(layer + "attn_q_a_norm.weight", c["q_lora"])
            model.matrix(layer + "attn_q_b.weight", queries, c["q_lora"])
        else:
            model.matrix(layer + "attn_q.weight", queries, hidden)
        model.matrix(layer + "attn_kv_a_mqa.weight", KV_LORA + ROPE, hidden)
        model.ones(layer + "attn_kv_a_norm.weight", KV_LORA)
        model.matrix(layer + "attn_kv_b.weight", heads * (NOPE + VALUE), KV_LORA)
        model.matrix(layer + "attn_output.weight", hidden, heads * VALUE)
        if i < c["dense"]:
            model.feed_forward(layer, hidden, c["intermediate"])
            continue
        experts, size = c["experts"], c["expert_size"]
        model.matrix(layer + "ffn_gate_inp.weight", experts, hidden, kind=Type.F32)
        if c["sigmoid"]:
            model.zeros(layer + "exp_probs_b.bias", experts)
        model.matrix(layer + "ffn_gate_exps.weight", experts, size, hidden)
        model.matrix(layer + "ffn_up_exps.weight", experts, size, hidden)
        model.matrix(layer + "ffn_down_exps.weight", experts, hidden, size)
        model.feed_forward(layer, hidden, size * c["shared"], "_shexp")
    model.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", choices=[*DENSE, *LATENT])
    parser.add_argument("type", choices=["f16", "bf16", "q8_0", "q4_0", "q4_k", "q6_k"])
    parser.add_argument("out")
    a = parser.parse_args()
    (dense if a.model in DENSE else latent)(a.out, a.model, Type[a.type.upper()])


main()
