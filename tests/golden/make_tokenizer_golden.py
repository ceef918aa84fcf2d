"""Makes the expected values of the tokenizer and chat template tests. See README.md.

    python make_tokenizer_golden.py tokenizer NAME TOKENIZER.JSON     text/NAME.json, text/NAME.bin
    python make_tokenizer_golden.py templates [NAME=FILE.jinja ...]   text/chat_templates.json

`tokenizer` with the name tiny_r1 needs no file: examples/tiny_r1/model has it. `templates` keeps the
templates that chat_templates.json already has, and takes tiny_r1's from there too.
"""

from __future__ import annotations

import argparse
import array
import itertools
import json
from pathlib import Path

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
OUT = HERE / "text"
TINY_R1 = HERE.parent.parent / "examples" / "tiny_r1" / "model"
STRINGS, STRINGS_IN_FULL = 20000, 200
SEQUENCES, SEQUENCES_IN_FULL = 2000, 50
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


def fnv1a(data: bytes) -> int:
    """The lower half of the 64-bit FNV-1a hash."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value % 2**32


def hash_ids(ids: list[int]) -> int:
    return fnv1a(b"".join(i.to_bytes(4, "little") for i in ids))


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

    strings = [encode(random_string(i, kinds)) for i in range(STRINGS)]
    size = whole.get_vocab_size(with_added_tokens=True)
    decoded = [decode(random_ids(i, size)) for i in range(SEQUENCES)]
    hashes = array.array("I")
    for pair in strings:
        hashes.extend(hash_ids(ids) for ids in pair.values())
    for pair in decoded:
        hashes.extend(fnv1a(string.encode()) for string in pair.values())
    (OUT / f"{name}.bin").write_bytes(hashes.tobytes())
    write_json(OUT / f"{name}.json", {
        "vocab_size": size,
        "texts": {key: encode(string) for key, string in texts.items()},
        "strings": strings[:STRINGS_IN_FULL],
        "sequences": decoded[:SEQUENCES_IN_FULL]})


def conversations() -> list[list[dict]]:
    """Conversations of all shapes: no system message or some, one turn or many."""
    user, assistant, system = (
        lambda text, role=role: {"role": role, "content": text}
        for role in ("user", "assistant", "system"))
    systems = [[], [system("You are brief.")], [system("")]]
    turns = [
        [],
        [user("What is 17 × 23?")],
        [user("")],
        [user(" Leading and trailing \n\n")],
        [user("Hi"), assistant("Hello."), user("Again")],
        [user("Hi"), assistant("<think>\nA greeting.\n</think>\n\nHello."), user("Again")],
        [user("Hi"), assistant("A greeting.\n</think>\n\n  Hello. \n"), user("Again")],
        [user("Hi"), assistant("a</think>b</think>\nc</think>"), user("Again")],
        [user("Hi"), assistant("<think>unclosed"), user("Again")],
        [user("Hi"), assistant(""), user("</think><｜User｜>{{ bos_token }}{% if %}")],
        [user("a"), user("b"), assistant("c"), assistant("d")],
        [assistant("I begin."), user("Go on")],
        [user("你好"), system("Late system."), assistant("您好"), user("😀")],
        [system("One."), user("x"), system("Two.\n"), system("")],
    ]
    return [a + b for a, b in itertools.product(systems, turns)]


def render(jinja: str, messages: list[dict], generation: bool, thinking: bool) -> str:
    """What transformers would give, and the empty thought where a template has no switch."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(jinja).render(
        messages=messages, add_generation_prompt=generation, enable_thinking=thinking,
        bos_token=BOS)
    if not generation or thinking or "enable_thinking" in jinja:
        return text
    opened = "" if text.endswith("<think>\n") else "<think>\n"
    return text + opened + "\n</think>\n\n"


def make_templates(files: list[str]) -> None:
    path = OUT / "chat_templates.json"
    templates = json.loads(path.read_text(encoding="utf-8"))["templates"] if path.exists() else {}
    for entry in files:
        name, file = entry.split("=", 1)
        templates[name] = Path(file).read_text(encoding="utf-8")
    config = json.loads((TINY_R1 / "tokenizer_config.json").read_text(encoding="utf-8"))
    templates["tiny_r1"] = config["chat_template"]
    # R1-0528 leaves the opening of the thought to the model.
    templates["not_opened"] = templates["tiny_r1"].replace("<think>\\n'}}", "'}}")
    cases = []
    for messages in conversations():
        for generation, thinking in ((False, True), (True, True), (True, False)):
            cases.append({
                "messages": messages, "add_generation_prompt": generation, "thinking": thinking,
                "prompts": {name: render(jinja, messages, generation, thinking)
                            for name, jinja in templates.items()}})
    write_json(path, {"templates": templates, "cases": cases})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    tokenizer = what.add_parser("tokenizer")
    tokenizer.add_argument("name")
    tokenizer.add_argument("file", type=Path, nargs="?", default=TINY_R1 / "tokenizer.json")
    what.add_parser("templates").add_argument("files", nargs="*")
    args = parser.parse_args()
    if args.what == "tokenizer":
        make_tokenizer(args.name, args.file)
    else:
        make_templates(args.files)


if __name__ == "__main__":
    main()
