#!/usr/bin/env python3
"""Writes include/pensee/kernels/block_grids.hpp from the tables in the PyPI package gguf.

    pip install gguf numpy
    python make_block_grids.py
"""
import pathlib

from gguf import quants

HEADER = """\
/* The grids of the IQ types: what their indices stand for, element 0 in the lowest bits. Written by
 * tests/golden/make_block_grids.py from the facts of the format. Plain data with internal linkage,
 * which kernel files may include. */
#pragma once

#include <stdint.h>

namespace pensee {
"""

# (class, name, comment, bits an element)
GRIDS = [
    (quants.IQ2_XXS, "kGridIQ2_XXS", "8 elements of 2 bits: 0, 1, 2 stand for 8, 25, 43", 2),
    (quants.IQ2_XS, "kGridIQ2_XS", "as kGridIQ2_XXS", 2),
    (quants.IQ2_S, "kGridIQ2_S", "as kGridIQ2_XXS", 2),
    (quants.IQ1_S, "kGridIQ1_S", "8 elements of 2 bits: 0, 1, 2 stand for -1, 0, 1", 2),
    (quants.IQ3_XXS, "kGridIQ3_XXS",
     "4 elements of 4 bits: 0 to 7 stand for 4, 12, 20, 28, 36, 44, 52, 62", 4),
    (quants.IQ3_S, "kGridIQ3_S", "4 elements of 4 bits: 0 to 7 stand for 1, 3, ... 15", 4),
]


def main():
    text = HEADER
    for grid_class, name, comment, bits in GRIDS:
        grid_class.init_grid()
        grid = grid_class.grid.reshape(grid_class.grid_shape)
        codes = [sum(grid_class.grid_map.index(int(v)) << (bits * i) for i, v in enumerate(row))
                 for row in grid]
        text += f"\n/* {comment}. */\n"
        text += f"static constexpr uint16_t {name}[{len(codes)}] = {{\n"
        for i in range(0, len(codes), 12):
            text += "    " + " ".join(f"0x{c:04x}," for c in codes[i:i + 12]) + "\n"
        text += "};\n"
    text += "\n} /* namespace pensee */\n"
    root = pathlib.Path(__file__).resolve().parents[2]
    (root / "include/pensee/kernels/block_grids.hpp").write_text(text)


if __name__ == "__main__":
    main()
