"""Makes the expected values of the model tests with torch and transformers. See README.md.

    python make_model_golden.py random [NAME ...]   models/NAME: checkpoints and what they compute
    python make_model_golden.py tiny_r1             models/tiny_r1: the bundled model
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import logging

from gguf_blocks import BLOCK_FIXTURES, CONFIGS
from gguf_fixtures import GGUF_FIXTURES
from model_fixtures import FIXTURES, Fixture, write
from model_reference import Reference

HERE = Path(__file__).parent
MODELS = HERE / "models"
TINY_R1 = HERE.parent.parent / "examples" / "tiny_r1"
PROMPT, GREEDY = 48, 32  # tokens of the random checkpoints
TINY_PROMPT, TINY_GREEDY = 200, 128
ROUTE_MARGIN, TINY_ROUTE_MARGIN = 1e-3, 1e-5  # a choice of experts may not hang on less than this
LOGIT_MARGIN, TINY_LOGIT_MARGIN = 1e-2, 1e-3  # nor a greedy token
ALLOWED, TINY_ALLOWED = 1e-4, 5e-4  # difference between two computations of the same logits


def greedy(reference: Reference, prompt: list[int], count: int, route: float, gap: float
           ) -> list[int] | None:
    """`count` greedy tokens, or None where a choice of experts or a token is decided by less than
    the given margins."""
    ids = list(prompt)
    for _ in range(count):
        logits, margins = reference.logits(ids)
        first, second = logits[-1].topk(2)[0].tolist()
        if margins[-1] < route or first - second < gap:
            return None
        ids.append(int(logits[-1].argmax()))
    return ids[len(prompt):]


def routed_prompt(reference: Reference, draw: random.Random, prompt: list[int], count: int,
                  margin: float) -> list[int]:
    """`prompt` and random tokens, `count` in all, whose experts are decided by `margin`."""
    while len(prompt) < count:
        candidate = prompt + [draw.randrange(2, reference.config["vocab_size"])]
        if reference.logits(candidate)[1][-1] >= margin:
            prompt = candidate
    return prompt


def decided_prompt(reference: Reference, seed: int) -> tuple[list[int], list[int]]:
    """A random prompt and its greedy tokens, in which nothing hangs on rounding."""
    draw, prompt = random.Random(seed), [0]
    for _ in range(400):
        prompt = routed_prompt(reference, draw, prompt, PROMPT, ROUTE_MARGIN)
        tokens = greedy(reference, prompt, GREEDY, ROUTE_MARGIN, LOGIT_MARGIN)
        if tokens is not None and len(set(tokens)) >= 6:
            return prompt, tokens
        prompt = prompt[:-6]
    raise RuntimeError("no decided prompt: choose another seed")


def save(folder: Path, reference: Reference, prompt: list[int], tokens: list[int], rows: int,
         allowed: float) -> dict:
    """expected.json and logits.npy: the logits after each of the first `rows` of prompt + tokens."""
    logits, margins = reference.logits(prompt + tokens)
    best = logits[len(prompt) - 1:-1].topk(2)[0]
    gap = (best[:, 0] - best[:, 1]).min().item() if tokens else None
    route = margins.min().item()
    facts = {"logits_std": logits.std().item(),
             "smallest_greedy_gap": gap,
             "smallest_routing_margin": route if route < torch.inf else None,
             "largest_difference": reference.check(prompt + tokens, logits, allowed)}
    np.save(folder / "logits.npy", logits[:rows].numpy())
    shape = {"file": "logits.npy", "shape": [rows, logits.shape[1]], "dtype": "float32"}
    (folder / "expected.json").write_text(json.dumps(
        {"prompt": prompt, "greedy": tokens, "logits": shape, **facts}) + "\n")
    return facts


def attention_example(reference: Reference, folder: Path, seed: int) -> None:
    """Input (after the norm) and output of layer 0's attention for positions 0 to 23."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 24, reference.config["hidden_size"], generator=g)
    places = torch.arange(x.shape[1])[None]
    future = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)
    with torch.inference_mode():
        rope = reference.model.model.rotary_emb(x, places)
        attention = reference.model.model.layers[0].self_attn
        y = attention(x, position_embeddings=rope, attention_mask=future[None, None])[0]
    double = {k: v.double() for k, v in reference.weights.items()}
    other = reference.formulas.attention(reference.config, double, "model.layers.0.self_attn.",
                                         x[0].double())
    assert (other - y[0]).abs().max() < 1e-5
    np.save(folder / "attention_input.npy", x[0].numpy())
    np.save(folder / "attention_output.npy", y[0].numpy())


def layer_outputs(reference: Reference, folder: Path, prompt: list[int]) -> None:
    """The residual stream after each layer: (num_hidden_layers, tokens, hidden_size)."""
    seen: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda m, i, out: seen.append(out[0]))
             for layer in reference.model.model.layers]
    reference.logits(prompt)
    for hook in hooks:
        hook.remove()
    np.save(folder / "layer_outputs.npy", torch.stack(seen).numpy())


def make_index() -> None:
    """models/index.json: what families_test.cpp loops over."""
    rows = [{"name": f.name, "model_type": f.config["model_type"], "stored": f.form,
             "checkpoint": f.name, "expected": f.name} for f in FIXTURES]
    by_name = {row["name"]: row for row in rows}
    rows += [by_name[f.of] | {"name": f"{f.name} (GGUF)", "expected": f.of,
                              "checkpoint": str(f.paths(Path("gguf"))[0])} for f in GGUF_FIXTURES]
    rows += [{"name": f.name, "model_type": CONFIGS[f.config]["model_type"], "stored": "blocks",
              "checkpoint": f"{f.name}/model.gguf", "expected": f.name} for f in BLOCK_FIXTURES]
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    (MODELS / "index.json").write_text(f"[\n{lines}\n]\n")


def make_random(fixture: Fixture) -> None:
    folder = MODELS / fixture.name
    shutil.rmtree(folder, ignore_errors=True)
    write(fixture, folder)
    reference = Reference(folder)
    prompt, tokens = decided_prompt(reference, fixture.seed)
    facts = save(folder, reference, prompt, tokens, PROMPT + GREEDY, ALLOWED)
    attention_example(reference, folder, fixture.seed)
    if fixture.form == "f32":
        layer_outputs(reference, folder, prompt)
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{fixture.name}: {size / 1000:.0f} kB, {len(set(tokens))} different tokens, {facts}")


def conversations(folder: Path) -> list[list[int]]:
    """Chats about held-out problems, of TINY_PROMPT tokens each, that end where a thought opens."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer.bos_token = "<｜begin▁of▁sentence｜>"
    problems = [json.loads(line) for line in (TINY_R1 / "heldout.jsonl").read_text().splitlines()]
    draw, found = random.Random(7), []
    while len(found) < 24:
        turns: list[dict] = []
        for problem in draw.sample(problems, 40):
            turns.append({"role": "user", "content": problem["prompt"]})
            text = tokenizer.apply_chat_template(turns, chat_template=settings["chat_template"],
                                                 tokenize=False, add_generation_prompt=True)
            ids = tokenizer.encode(text, add_special_tokens=False)
            if len(ids) >= TINY_PROMPT:
                break
            answer = f"The answer is \\boxed{{{problem['answer']}}}."
            turns.append({"role": "assistant", "content": answer})
        if len(ids) == TINY_PROMPT:
            found.append(ids)
    return found


def make_tiny_r1(model: Path, out: Path) -> None:
    reference = Reference(model)
    out.mkdir(parents=True, exist_ok=True)
    best, facts = TINY_LOGIT_MARGIN, None
    for prompt in conversations(model):  # of all of them the one with the clearest tokens
        if reference.logits(prompt)[1].min() < TINY_ROUTE_MARGIN:
            continue
        tokens = greedy(reference, prompt, TINY_GREEDY, TINY_ROUTE_MARGIN, best)
        if tokens is not None:
            facts = save(out, reference, prompt, tokens, TINY_PROMPT, TINY_ALLOWED)
            best = facts["smallest_greedy_gap"]
    if facts is None:
        raise RuntimeError("every conversation has a greedy token that hangs on rounding")
    print(f"tiny_r1: {facts}")


def settle() -> None:
    """The same numbers each time, and no noise."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["random", "tiny_r1"])
    parser.add_argument("names", nargs="*", help="random: only these")
    parser.add_argument("--model", type=Path, default=TINY_R1 / "model")
    parser.add_argument("--out", type=Path, default=MODELS / "tiny_r1")
    args = parser.parse_args()
    settle()
    if args.what == "random":
        for fixture in FIXTURES:
            if not args.names or fixture.name in args.names:
                make_random(fixture)
        make_index()
    else:
        make_tiny_r1(args.model, args.out)


if __name__ == "__main__":
    main()
