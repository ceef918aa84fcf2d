"""Scores the tiny R1 on the held-out problems, with torch.

The answer is the integer in the last \\boxed{} after the thought; nothing else counts.

    python evaluate.py                     the exported model in model/
    python evaluate.py --no-think          the same with an empty thought
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import defaultdict
from pathlib import Path

import torch
from tokenizers import Tokenizer

from data import ASSISTANT, BOS, USER
from model import TinyR1, generate

HERE = Path(__file__).parent


def last_boxed(text: str) -> int | None:
    found = re.findall(r"\\boxed\{\s*(-?\d+)\s*\}", text)
    return int(found[-1]) if found else None


def prompt_text(question: str, think: bool) -> str:
    return BOS + USER + question + ASSISTANT + ("<think>\n" if think else "<think>\n\n</think>\n\n")


def count_load(model: TinyR1) -> tuple[list, list[torch.Tensor]]:
    """Hooks that add up each MoE layer's expert load over a run."""
    totals = [torch.zeros(model.c.n_routed_experts, dtype=torch.long) for _ in model.moe_layers()]

    def hook(total: torch.Tensor):
        def add(module, _inputs, _output) -> None:
            total.add_(module.load)
        return add

    hooks = [m.register_forward_hook(hook(t)) for m, t in zip(model.moe_layers(), totals)]
    return hooks, totals


def run(model: TinyR1, tokenizer: Tokenizer, problems: list[dict], think: bool = True,
        batch: int = 250, most: int = 512) -> dict:
    """Greedy answers to the problems: right or wrong, texts, and expert loads."""
    right: list[bool] = []
    texts: list[str] = []
    tokens = 0
    hooks, totals = count_load(model)
    close = tokenizer.token_to_id("</think>")
    for i in range(0, len(problems), batch):
        part = problems[i:i + batch]
        prompts = [tokenizer.encode(prompt_text(p["prompt"], think)).ids for p in part]
        for p, out in zip(part, generate(model, prompts, most=most)):
            tokens += len(out)
            closed = not think or close in out
            answer = out[out.index(close) + 1:] if think and closed else out
            text = tokenizer.decode(answer, skip_special_tokens=True) if closed else ""
            right.append(last_boxed(text) == p["answer"])
            texts.append(tokenizer.decode(out, skip_special_tokens=False))
    for hook in hooks:
        hook.remove()
    return {"right": right, "texts": texts, "tokens": tokens, "load": totals}


def load_exported(folder: Path) -> TinyR1:
    from export import load
    return load(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=HERE / "model")
    parser.add_argument("--heldout", type=Path, default=HERE / "heldout.jsonl")
    parser.add_argument("--no-think", action="store_true")
    parser.add_argument("--wrong", type=int, default=0, help="print this many wrong outputs")
    args = parser.parse_args()
    problems = [json.loads(line) for line in open(args.heldout, encoding="utf-8")]
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    model = load_exported(args.model)
    start = time.time()
    result = run(model, tokenizer, problems, think=not args.no_think)
    kinds: dict[str, list[bool]] = defaultdict(list)
    for p, ok in zip(problems, result["right"]):
        kinds[p["kind"]].append(ok)
    for kind, oks in sorted(kinds.items()):
        print(f"{kind:14s} {sum(oks):4d} / {len(oks):4d}")
    total = sum(result["right"])
    print(f"{'all':14s} {total:4d} / {len(problems):4d} = {100 * total / len(problems):.1f} %")
    print(f"{result['tokens']} tokens in {time.time() - start:.1f} s")
    for i, load in enumerate(result["load"][:-1]):  # the last one is the MTP layer, unused here
        ratio = load / load.float().mean()
        print(f"layer {i + model.c.first_k_dense_replace}: expert load {ratio.min():.2f} to "
              f"{ratio.max():.2f} of the mean")
    shown = 0
    for p, ok, text in zip(problems, result["right"], result["texts"]):
        if not ok and shown < args.wrong:
            shown += 1
            print("---", p, text, sep="\n")


if __name__ == "__main__":
    main()
