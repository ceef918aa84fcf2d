"""Makes the expected values of the tokenizer tests. See README.md.

    python make_tokenizer_golden.py tokenizer NAME TOKENIZER.JSON     text/NAME.json, text/NAME.bin
    python make_tokenizer_golden.py variants                          text/variants, and the same of them
    python make_tokenizer_golden.py compact NAME TOKENIZER.JSON       text/NAME_settings.json, _merges.bin.gz

`tokenizer` with the name tiny_r1 needs no file: examples/tiny_r1/model has it.
"""

from __future__ import annotations

import argparse
import array
import copy
import gzip
import json
from pathlib import Path

from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
OUT = HERE / "text"
TINY_R1 = HERE.parent.parent / "examples" / "tiny_r1" / "model"
STRINGS, STRINGS_IN_FULL = 50000, 40
SEQUENCES, SEQUENCES_IN_FULL = 2000, 20
GROUP = 25  # strings or sequences behind one hash
BOS = "<｜begin▁of▁sentence｜>"


class SplitMix64:
    """The generator that tests/text/golden.hpp has too."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def next(self) -> int:
        mask = 2**64 - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    def below(self, end: int) -> int:
        return self.next() % end


def random_string(seed: int, kinds: list[dict]) -> str:
    """String number `seed`; see random_kinds.json for what it is drawn from."""
    rng = SplitMix64(seed)
    kind = kinds[rng.below(len(kinds))]
    ranges, words = kind["ranges"], kind["words"]
    out = []
    for _ in range(1 + rng.below(40)):
        choice = rng.below(len(ranges) + len(words))
        if choice < len(ranges):
            first, last = ranges[choice]
            item = chr(first + rng.below(last - first + 1))
        else:
            item = words[choice - len(ranges)]
        times = 1 + rng.below(20) if rng.below(16) == 0 else 1
        out.append(item * times)
    return "".join(out)


def random_ids(seed: int, vocab_size: int) -> list[int]:
    """Sequence number `seed` of ids, few of them unknown, for decoding."""
    rng = SplitMix64(seed + 2**32)
    return [rng.below(vocab_size + vocab_size // 50) for _ in range(1 + rng.below(30))]


class Hash:
    """The lower half of the 64-bit FNV-1a hash."""

    def __init__(self) -> None:
        self.value = 0xCBF29CE484222325

    def add(self, data: bytes) -> None:
        value = self.value
        for byte in data:
            value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
        self.value = value

    def add_ids(self, ids: list[int]) -> None:
        self.add(b"".join(i.to_bytes(4, "little") for i in [*ids, 2**32 - 1]))

    def add_text(self, text: str) -> None:
        self.add(text.encode() + b"\xff")


def write_json(path: Path, value: dict) -> None:
    """Writes one line for each item of each value."""
    parts = []
    for key, items in value.items():
        if isinstance(items, dict):
            lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in items.items()]
            parts.append(f"{json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n}")
        elif isinstance(items, list):
            lines = [json.dumps(v) for v in items]
            parts.append(f"{json.dumps(key)}: [\n" + ",\n".join(lines) + "\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(items)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="ascii")


def make_tokenizer(name: str, file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    whole = Tokenizer.from_str(text)
    # What users write: the same tokenizer without added tokens.
    ordinary = Tokenizer.from_str(json.dumps(json.loads(text) | {"added_tokens": []}))
    kinds = json.loads((OUT / "random_kinds.json").read_text(encoding="utf-8"))
    texts = json.loads((OUT / "texts.json").read_text(encoding="utf-8"))

    def encode(string: str) -> dict:
        return {"encode": whole.encode(string, add_special_tokens=False).ids,
                "encode_ordinary": ordinary.encode(string, add_special_tokens=False).ids}

    def decode(ids: list[int]) -> dict:
        return {"decode": whole.decode(ids, skip_special_tokens=False),
                "decode_skipping": whole.decode(ids, skip_special_tokens=True)}

    hashes = array.array("I")

    def hash_groups(items: list[dict], add: str) -> None:
        for start in range(0, len(items), GROUP):
            for key in items[0]:
                group = Hash()
                for item in items[start:start + GROUP]:
                    getattr(group, add)(item[key])
                hashes.append(group.value % 2**32)

    strings = [encode(random_string(i, kinds)) for i in range(STRINGS)]
    size = whole.get_vocab_size(with_added_tokens=True)
    decoded = [decode(random_ids(i, size)) for i in range(SEQUENCES)]
    hash_groups(strings, "add_ids")
    hash_groups(decoded, "add_text")
    (OUT / f"{name}.bin").write_bytes(hashes.tobytes())
    write_json(OUT / f"{name}.json", {
        "vocab_size": size,
        "texts": {key: encode(string) for key, string in texts.items()},
        "strings": strings[:STRINGS_IN_FULL],
        "sequences": decoded[:SEQUENCES_IN_FULL]})


def split(regex: str) -> dict:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


# The pre-tokenizers of the families, by the names that GGUF files give them.
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
OTHERS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CJK = split("[一-龥ࠀ-一가-퟿]+")
DIGITS = {"type": "Digits", "individual_digits": True}
CUTS = {
    "qwen2": [split(CONTRACTIONS + r"\p{N}" + OTHERS)],
    "llama-bpe": [split(CONTRACTIONS + r"\p{N}{1,3}" + OTHERS)],
    "deepseek-llm": [
        split("[\r\n]"),
        split(r"\s?["
              "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ"
              "-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ"
              "-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲ"
              "ⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
              "]+"),
        split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"), CJK, DIGITS],
    "deepseek-coder": [split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), CJK, DIGITS],
}
BEGIN = {"SpecialToken": {"id": BOS, "type_id": 0}}
AROUND = {"type": "TemplateProcessing", "single": [BEGIN, {"Sequence": {"id": "A", "type_id": 0}}],
          "pair": [BEGIN, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
          "special_tokens": {BOS: {"id": BOS, "ids": [0], "tokens": [BOS]}}}


def add_tokens(tokenizer: dict, tokens: dict[str, bool]) -> None:
    """Adds tokens behind all others; the values say whether they are normalised."""
    for content, normalized in tokens.items():
        tokenizer["added_tokens"].append({
            "id": len(tokenizer["model"]["vocab"].keys() | {a["content"] for a in tokenizer["added_tokens"]}),
            "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": normalized, "special": False})


def variant(base: dict, name: str) -> dict:
    """The small tokenizer with the settings of a family."""
    out = copy.deepcopy(base)
    model = out["model"]
    family = "qwen2" if name == "nfc_added" else name
    out["pre_tokenizer"]["pretokenizers"][:-1] = CUTS[family]
    for token in out["added_tokens"]:
        token["normalized"] = name == "nfc_added"
    if family == "qwen2":
        out["normalizer"] = {"type": "NFC"}
    if name == "nfc_added":
        add_tokens(out, {"\u00e9le": True, "A\u030a": False})
    if name == "llama-bpe":
        model["ignore_merges"] = True
        model["merges"] = [m for i, m in enumerate(model["merges"]) if i % 3]
        out["post_processor"] = AROUND
    if name.startswith("deepseek"):
        # As there: no tokens for bytes that UTF-8 has not, and their characters as added tokens.
        unused = [chr(byte) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))]
        contents = {a["content"] for a in out["added_tokens"]}
        words = [t for t in sorted(model["vocab"], key=model["vocab"].get)
                 if t not in unused and t not in contents]
        begin = [a["content"] for a in out["added_tokens"] if a["content"] in model["vocab"]]
        model["vocab"] = {token: i for i, token in enumerate(begin + words)}
        out["added_tokens"], old = [], out["added_tokens"]
        for token in old:
            known = model["vocab"].get(token["content"])
            taken = {*model["vocab"], *(a["content"] for a in out["added_tokens"])}
            out["added_tokens"].append(token | {"id": len(taken) if known is None else known})
        add_tokens(out, dict.fromkeys(unused, False))
    return out


def make_variants() -> None:
    base = json.loads((TINY_R1 / "tokenizer.json").read_text(encoding="utf-8"))
    for name in [*CUTS, "nfc_added"]:
        path = OUT / "variants" / f"{name}.json"
        path.write_text(json.dumps(variant(base, name)) + "\n", encoding="ascii")
        make_tokenizer(f"variants/{name}_expected", path)


def make_compact(name: str, file: Path) -> None:
    """Keeps a tokenizer whose tokens are the bytes and what the merges make, in this order."""
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    model = tokenizer["model"]
    vocab, merges = model["vocab"], model["merges"]
    assert [vocab[a + b] for a, b in merges] == list(range(256, len(vocab)))
    ids = array.array("I", [vocab[token] for merge in merges for token in merge]).tobytes()
    planes = b"".join(ids[start::8] for start in (0, 1, 2, 4, 5, 6))
    (OUT / f"{name}_merges.bin.gz").write_bytes(gzip.compress(planes, 9, mtime=0))
    model["vocab"] = {token: i for token, i in vocab.items() if i < 256}
    model["merges"] = []
    (OUT / f"{name}_settings.json").write_text(json.dumps(tokenizer, indent=1) + "\n", encoding="ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    tokenizer = what.add_parser("tokenizer")
    tokenizer.add_argument("name")
    tokenizer.add_argument("file", type=Path, nargs="?", default=TINY_R1 / "tokenizer.json")
    compact = what.add_parser("compact")
    compact.add_argument("name")
    compact.add_argument("file", type=Path)
    what.add_parser("variants")
    args = parser.parse_args()
    if args.what == "tokenizer":
        make_tokenizer(args.name, args.file)
    elif args.what == "variants":
        make_variants()
    else:
        make_compact(args.name, args.file)


if __name__ == "__main__":
    main()
