"""GGUF files written by the gguf package, and what its reader says is in them. See README.md.

usage: make_gguf_file_golden.py      (gguf 0.19.0, numpy)
"""
import json
import pathlib

import gguf
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent / "gguf"
TYPES = (
    "F32 F16 BF16 I8 I16 I32 I64 F64 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ1_S IQ1_M "
    "IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ4_NL IQ4_XS MXFP4"
).split()
PLAIN = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "I16": np.int16, "I32": np.int32,
         "I64": np.int64, "F64": np.float64}


def fnv(data: bytes) -> str:
    """64-bit FNV-1a, as base/hash.hpp has it."""
    state = 0xCBF29CE484222325
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & (2**64 - 1)
    return f"{state:016x}"


def add_every_kind_of_key(writer: gguf.GGUFWriter) -> None:
    writer.add_uint8("kinds.u8", 255)
    writer.add_int8("kinds.i8", -128)
    writer.add_uint16("kinds.u16", 65535)
    writer.add_int16("kinds.i16", -32768)
    writer.add_uint32("kinds.u32", 2**32 - 1)
    writer.add_int32("kinds.i32", -(2**31))
    writer.add_uint64("kinds.u64", 2**63 - 1)
    writer.add_int64("kinds.i64", -(2**63))
    writer.add_float32("kinds.f32", 0.25)
    writer.add_float64("kinds.f64", 0.1)
    writer.add_bool("kinds.true", True)
    writer.add_bool("kinds.false", False)
    writer.add_string("kinds.string", "Pensée 思 🤔")
    writer.add_array("kinds.ints", [3, -1, 2])
    writer.add_array("kinds.floats", [0.5, -1.5])
    writer.add_array("kinds.strings", ["a", "Ġb", "<｜end▁of▁sentence｜>", "é"])


def write(path: pathlib.Path, tensors: dict, keys=None, **options) -> None:
    writer = gguf.GGUFWriter(path, "llama", **options)
    if keys:
        keys(writer)
    for name, (data, raw_type) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=raw_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path: pathlib.Path) -> list:
    """What the package's reader finds: shapes row-major, as here."""
    return [
        {
            "name": tensor.name,
            "type": tensor.tensor_type.name,
            "shape": [int(n) for n in reversed(tensor.shape)],
            "bytes": int(tensor.n_bytes),
            "hash": fnv(np.ascontiguousarray(tensor.data).tobytes()),
        }
        for tensor in gguf.GGUFReader(path).tensors
    ]


def main() -> None:
    HERE.mkdir(exist_ok=True)
    random = np.random.default_rng(41)
    kinds = {}
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        raw = random.integers(0, 256, (3, 2 * size), dtype=np.uint8)
        is_plain = name in PLAIN
        kinds[f"{name}.weight"] = (raw.view(PLAIN[name]), None) if is_plain else (raw, kind)
    kinds["vector"] = (random.standard_normal(7, dtype=np.float32), None)
    kinds["experts"] = (random.standard_normal((2, 3, 5), dtype=np.float32), None)
    kinds["four"] = (random.standard_normal((2, 1, 3, 1), dtype=np.float32), None)
    expected = {}
    write(HERE / "kinds.gguf", kinds, add_every_kind_of_key)
    expected["kinds.gguf"] = read(HERE / "kinds.gguf")

    parts = {f"t{i}": (random.standard_normal((2, 3), dtype=np.float32), None) for i in range(5)}
    write(HERE / "parts.gguf", parts, add_every_kind_of_key, split_max_tensors=2)
    for path in sorted(HERE.glob("parts-*.gguf")):
        expected[path.name] = read(path)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
