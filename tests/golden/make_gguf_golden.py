"""Writes the GGUF files of the model tests. See README.md.

    python make_gguf_golden.py plain [NAME ...]      models/gguf: checkpoints of models/ as GGUF
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from gguf_fixtures import GGUF_FIXTURES, ROPE_FREQS, GgufFixture, tensors, write
from make_model_golden import MODELS, make_index
from model_fixtures import FIXTURES, dequantised

FOLDER = MODELS / "gguf"


def always_f32(name: str, value: np.ndarray) -> bool:
    return value.ndim == 1 or name.endswith("ffn_gate_inp.weight")


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
    values = tensors(config, weights, fixture.merged)
    kinds = {name: Type.F32 if always_f32(name, value) else Type[of.form.upper()]
             for name, value in values.items()}
    for old in fixture.paths(FOLDER):
        old.unlink(missing_ok=True)
    FOLDER.mkdir(exist_ok=True)
    write(FOLDER / f"{fixture.name}.gguf", config,
          {name: (encode(value, kinds[name]), kinds[name]) for name, value in values.items()},
          fixture.merged, fixture.files)
    found = read_back(fixture.paths(FOLDER))
    found.pop(ROPE_FREQS, None)
    assert found.keys() == values.keys()
    for name, value in values.items():
        assert np.array_equal(found[name], value), name
    print(fixture.name, sum(path.stat().st_size for path in fixture.paths(FOLDER)) // 1000, "kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["plain"])
    parser.add_argument("names", nargs="*", help="only these")
    args = parser.parse_args()
    for fixture in GGUF_FIXTURES:
        if not args.names or fixture.name in args.names:
            make_plain(fixture)
    make_index()


if __name__ == "__main__":
    main()
