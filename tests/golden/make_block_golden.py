#!/usr/bin/env python3
"""Writes blocks.json: hashes of what the PyPI package gguf decodes block-quantised weights to.

    pip install gguf==0.19.0 numpy
    python make_block_golden.py
"""
import json
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

# The types of include/pensee/base/weight_types.hpp, and the high bytes of the float16 numbers in a
# block, where they are not just the second byte.
TYPES = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_S",
         "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "MXFP4"]
HIGH_BYTES = {"Q4_1": [1, 3], "Q5_1": [1, 3], "Q4_K": [1, 3], "Q5_K": [1, 3], "Q2_K": [81, 83],
              "Q3_K": [109], "Q6_K": [209], "IQ1_M": [55], "MXFP4": []}
BLOCKS = 400
MASK = 2**64 - 1


def split_mix(seed):
    """The numbers of SplitMix64, as tests/split_mix.hpp has them."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def random_block(name, size, index):
    """As random_block in tests/kernels/random_blocks.hpp."""
    numbers = split_mix(index)
    block = [0 if index == 0 else 0xFF if index == 1 else next(numbers) >> 56
             for _ in range(size)]
    for high in HIGH_BYTES.get(name, [1]):
        block[high] &= 0xBF
    return block


def fnv1a(data):
    state = 0xCBF29CE484222325
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


def main():
    hashes = {}
    for name in TYPES:
        kind = GGMLQuantizationType[name]
        elements, size = GGML_QUANT_SIZES[kind]
        blocks = np.array([random_block(name, size, i) for i in range(BLOCKS)], dtype=np.uint8)
        with np.errstate(over="ignore"):  # MXFP4's largest scales overflow
            values = quants.dequantize(blocks, kind)
        assert values.shape == (BLOCKS, elements) and values.dtype == np.float32
        # The lower half of the 64 bits.
        hashes[name] = " ".join(f"{fnv1a(row.tobytes()) & 0xFFFFFFFF:08x}" for row in values)
    path = pathlib.Path(__file__).parent / "blocks.json"
    path.write_text(json.dumps(hashes, indent=0) + "\n")


if __name__ == "__main__":
    main()
