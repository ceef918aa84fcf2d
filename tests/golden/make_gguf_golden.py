"""Writes the GGUF files of the model tests. See README.md.

    python make_gguf_golden.py plain [NAME ...]    models/gguf: checkpoints of models/ as GGUF
    python make_gguf_golden.py blocks [NAME ...]   models/NAME: quantised files, what they compute
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from safetensors.torch import save_file

from gguf_blocks import BLOCK_FIXTURES, CONFIGS, BlockFixture, quantised
from gguf_fixtures import GGUF_FIXTURES, ROPE_FREQS, GgufFixture, always_f32, tensors, write
from make_model_golden import ALLOWED, MODELS, make_index, routed_prompt, save, settle
from model_fixtures import FIXTURES, dequantised, write_json
from model_reference import Reference

FOLDER = MODELS / "gguf"
TOKENS = 64  # of the quantised files
CLEAR_ROUTE = 0.05  # an engine that rounds activations to 8 bits must choose the same experts


def encode(value: np.ndarray, kind: Type) -> np.ndarray:
    return value if kind == Type.F32 else gguf.quants.quantize(value, kind)


def read_back(paths: list[Path]) -> dict[str, np.ndarray]:
    out = {}
    for path in paths:
        for t in gguf.GGUFReader(path).tensors:
            shape = [int(n) for n in reversed(t.shape)]
            out[t.name] = gguf.quants.dequantize(t.data, t.tensor_type).reshape(shape)
    return out


def make_plain(fixture: GgufFixture) -> None:
    of = next(f for f in FIXTURES if f.name == fixture.of)
    config = json.loads((MODELS / of.name / "config.json").read_text())
    weights = {name: tensor.numpy() for name, tensor in dequantised(MODELS / of.name).items()}
    values = tensors(config, weights, fixture.merged, fixture.nextn)
    kinds = {name: Type.F32 if always_f32(name, value) else Type[of.form.upper()]
             for name, value in values.items()}
    for old in fixture.paths(FOLDER):
        old.unlink(missing_ok=True)
    FOLDER.mkdir(exist_ok=True)
    write(FOLDER / f"{fixture.name}.gguf", config,
          {name: (encode(value, kinds[name]), kinds[name]) for name, value in values.items()},
          fixture.merged, fixture.files, fixture.nextn)
    found = read_back(fixture.paths(FOLDER))
    found.pop(ROPE_FREQS, None)
    assert found.keys() == values.keys()
    assert all(np.array_equal(found[name], value) for name, value in values.items())
    print(fixture.name, sum(path.stat().st_size for path in fixture.paths(FOLDER)) // 1000, "kB")


def make_blocks(fixture: BlockFixture) -> None:
    """The expected values are of the checkpoint that the blocks stand for, in float32."""
    folder = MODELS / fixture.name
    folder.mkdir(exist_ok=True)
    config = CONFIGS[fixture.config] | {"torch_dtype": "float32"}
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    stored, meant = quantised(fixture)
    (folder / "model.gguf").unlink(missing_ok=True)
    write(folder / "model.gguf", config, stored)
    with tempfile.TemporaryDirectory() as scratch:
        write_json(Path(scratch) / "config.json", config)
        save_file(meant, Path(scratch) / "model.safetensors", metadata={"format": "pt"})
        reference = Reference(Path(scratch))
    prompt = routed_prompt(reference, random.Random(fixture.seed), [0], TOKENS, CLEAR_ROUTE)
    facts = save(folder, reference, prompt, [], TOKENS, ALLOWED)
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{fixture.name}: {size / 1000:.0f} kB, {facts}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["plain", "blocks"])
    parser.add_argument("names", nargs="*", help="only these")
    args = parser.parse_args()
    settle()
    fixtures, make = {"plain": (GGUF_FIXTURES, make_plain),
                      "blocks": (BLOCK_FIXTURES, make_blocks)}[args.what]
    for fixture in fixtures:
        if not args.names or fixture.name in args.names:
            make(fixture)
    make_index()


if __name__ == "__main__":
    main()
