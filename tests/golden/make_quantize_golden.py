"""Errors of other quantisers on the numbers of tests/io/quantize_test.cpp. See README.md.

usage: make_quantize_golden.py      (gguf 0.19.0, xllamacpp 2026.10.11549 for llama.cpp, numpy)
"""
import ctypes
import json
import pathlib

import gguf
import numpy as np
import xllamacpp

OUT = pathlib.Path(__file__).resolve().parent / "gguf" / "quantize.json"
TYPES = "Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
ROWS, COLS = 16, 512
MASK = 2**64 - 1


def uniform(n: int) -> np.ndarray:
    """Multiples of 2^-24 in [-1, 1), by SplitMix64 from 0."""
    out, state = [], 0
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out.append(((z ^ (z >> 31)) >> 39) - 2**24)
    return np.array(out, np.float32) * np.float32(2.0**-24)


def kinds() -> dict[str, np.ndarray]:
    u = uniform(ROWS * COLS)
    return {"uniform": u, "peaked": u * u * u, "shifted": np.float32(0.25) * u + np.float32(0.5)}


def llama_cpp():
    library = ctypes.CDLL(str(next(pathlib.Path(xllamacpp.__file__).parent.glob("*.so"))))
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + 3 * [ctypes.c_int64] + [
        ctypes.c_void_p]
    return quantize


def squared_error(raw: np.ndarray, x: np.ndarray, kind) -> float:
    back = gguf.quants.dequantize(raw.reshape(ROWS, -1), kind).ravel()
    return float(np.sum((back.astype(np.float64) - x) ** 2))


def main() -> None:
    quantize = llama_cpp()
    out = {}
    for name, x in kinds().items():
        out[name] = {"sum_of_squares": float(np.sum(x.astype(np.float64) ** 2))}
        for type_name in TYPES:
            kind = gguf.GGMLQuantizationType[type_name]
            elements, size = gguf.GGML_QUANT_SIZES[kind]
            raw = np.zeros(x.size // elements * size, np.uint8)
            quantize(int(kind), x.ctypes.data, raw.ctypes.data, 0, ROWS, COLS, None)
            errors = {"llama.cpp": squared_error(raw, x, kind)}
            try:
                package = gguf.quants.quantize(x.reshape(ROWS, COLS), kind)
                errors["gguf"] = squared_error(package, x, kind)
            except NotImplementedError:
                pass
            out[name][type_name] = errors
    OUT.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
