"""Trains the tiny R1 from nothing on generated samples. Seeded; resumes from its checkpoint.

    python train.py                        the defaults end within two hours on two cores
    python train.py --minutes 10           a budget in time instead; the schedule follows it
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path
from typing import Iterator

import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from torch import Tensor

import data
from evaluate import run
from export import rounded
from model import Config, TinyR1

HERE = Path(__file__).parent


def batches(tokenizer: Tokenizer, tokens: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless (ids, learn, valid) batches of about `tokens` tokens, of samples of like length."""
    rng = random.Random(seed)
    while True:
        samples = [data.sample(rng) for _ in range(1024)]
        rows = []
        for s, e in zip(samples, tokenizer.encode_batch([s.text for s in samples])):
            learn = [any(a <= lo and hi <= b for a, b in s.spans) for lo, hi in e.offsets]
            rows.append((e.ids, learn))
        rows.sort(key=lambda row: len(row[0]))
        groups: list[list] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            width = max(len(ids) for ids, _ in group)
            ids = torch.tensor([r + [1] * (width - len(r)) for r, _ in group])
            learn = torch.tensor([m + [False] * (width - len(m)) for _, m in group])
            valid = torch.tensor([[True] * len(r) + [False] * (width - len(r)) for r, _ in group])
            yield ids, learn, valid


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz steps, scaled to AdamW's usual update size
    (arXiv:2502.16982). For matrices and stacks of matrices."""

    def __init__(self, params: list, lr: float, momentum: float = 0.95, decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:
        """Every process keeps every momentum, and makes the updates of its share of matrices."""
        for group in self.param_groups:
            updates, params = [], group["params"]
            for i, p in enumerate(params):
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                grad = torch.zeros_like(p) if p.grad is None else p.grad
                state["momentum"].lerp_(grad, 1 - group["momentum"])
                g = grad.lerp(state["momentum"], group["momentum"])
                mine = i % dist.get_world_size() == dist.get_rank()
                updates.append(orthogonal(g) * (0.2 * max(g.shape[-2:]) ** 0.5) if mine
                               else torch.zeros_like(p))
            sum_up(updates)
            for p, update in zip(params, updates):
                p.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-group["lr"])


def sum_up(tensors: list[Tensor]) -> None:
    """Replaces each tensor by its sum over the processes, in one exchange."""
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    for t, part in zip(tensors, flat.split([t.numel() for t in tensors])):
        t.copy_(part.view_as(t))


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    flip = g.shape[-2] > g.shape[-1]
    x = g.mT if flip else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.mT if flip else x


def make_optimizers(model: TinyR1, kind: str, lr: float) -> list[torch.optim.Optimizer]:
    matrices, rest, routers = [], [], []
    for name, p in model.named_parameters():
        if name.endswith("gate.weight"):
            routers.append(p)
        elif p.ndim < 2 or name.startswith(("embed_tokens", "lm_head")) or kind == "adamw":
            rest.append(p)
        else:
            matrices.append(p)
    # Routers learn slowly, so that the balancing bias can follow them: at the full rate whole
    # experts fell silent in a trial.
    groups = [{"params": rest, "share": 1.0}, {"params": routers, "share": 0.2}]
    out: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)]
    if matrices:
        out.append(Muon(matrices, lr=lr, decay=0.02))
    return out


def schedule(progress: float) -> float:
    """Warm-up over the first hundredth, then a cosine to two hundredths."""
    if progress < 0.01:
        return max(progress, 0.0005) / 0.01
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def quantised_copy(model: TinyR1) -> TinyR1:
    """A copy whose weights have the values that the exported file will have."""
    copy = TinyR1(model.c)
    copy.load_state_dict({k: v if k.endswith("correction_bias") else rounded(k, v)
                          for k, v in model.state_dict().items()})
    return copy.eval()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=5000, help="budget in steps (repeatable)")
    parser.add_argument("--minutes", type=float, help="budget in time instead, without evaluation")
    parser.add_argument("--out", type=Path, default=HERE / "runs", help="folder of checkpoints")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens a step and process")
    parser.add_argument("--processes", type=int, default=2, help="one thread each")
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    parser.add_argument("--mtp-weight", type=float, default=0.2)
    parser.add_argument("--mtp-every", type=int, default=2, help="steps between MTP losses")
    parser.add_argument("--bias-rate", type=float, default=4e-3, help="u of arXiv:2408.15664")
    parser.add_argument("--quantise-from", type=float, default=0.85,
                        help="share of the budget after which weights are rounded in the forward")
    parser.add_argument("--save-every", type=float, default=2, help="minutes between checkpoints")
    parser.add_argument("--eval-every", type=float, default=6, help="minutes between evaluations")
    parser.add_argument("--eval-size", type=int, default=100)
    parser.add_argument("--port", type=int, default=29517, help="local port between the processes")
    return parser.parse_args()


def train(rank: int, args: argparse.Namespace) -> None:
    """One process of the training. All hold the same weights and average their gradients; that
    way a busy machine delays whole steps, not each of a step's thousand small operations."""
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{args.port}", rank=rank,
                            world_size=args.processes)
    chief = rank == 0
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(HERE / "model" / "tokenizer.json"))
    problems = [json.loads(line) for line in open(HERE / "heldout.jsonl", encoding="utf-8")]
    problems = problems[:args.eval_size]
    model = TinyR1(Config())
    optimizers = make_optimizers(model, args.optimizer, args.lr)
    step, spent, seen = 0, 0.0, 0
    path = args.out / "last.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        for o, s in zip(optimizers, saved["optimizers"]):
            o.load_state_dict(s)
        step, spent, seen = saved["step"], saved["spent"], saved["seen"]

    def say(text: str) -> None:
        if chief:
            print(text, flush=True)

    def save(name: str) -> None:
        if chief:
            state = {"model": model.state_dict(), "config": model.c.to_dict(), "step": step,
                     "spent": spent, "seen": seen,
                     "optimizers": [o.state_dict() for o in optimizers]}
            torch.save(state, args.out / "part.tmp")
            (args.out / "part.tmp").rename(args.out / name)

    say(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, from step {step}")
    # A resumed run draws other samples than it has seen.
    stream = batches(tokenizer, args.tokens, (args.seed * 1_000_003 + step) * 97 + rank)
    next_eval, next_save = spent + 60 * args.eval_every, spent + 60 * args.save_every
    sums, log_from, log_seen = torch.zeros(3), spent, seen
    params = dict(model.named_parameters())
    while True:
        progress = spent / (60 * args.minutes) if args.minutes else step / args.steps
        if progress >= 1:
            break
        start = time.time()
        ids, learn, valid = next(stream)
        masters: list[Tensor] = []
        if progress >= args.quantise_from:
            # Straight-through: forward and backward at the rounded weights, the step on the exact.
            masters = [p.detach().clone() for p in params.values()]
            with torch.no_grad():
                for name, p in params.items():
                    p.copy_(rounded(name, p))
        mtp = step % args.mtp_every == 0
        loss, second = model.losses(ids, learn, valid, mtp)
        (loss + args.mtp_weight * second).backward()
        with torch.no_grad():
            for p, master in zip(params.values(), masters):
                p.copy_(master)
            moes = model.moe_layers() if mtp else model.moe_layers()[:-1]
            loads = [m.load.float() for m in moes]
            facts = torch.stack([loss, second, valid.sum().float()])
            grads = [p.grad for p in params.values() if p.grad is not None]
            sum_up(grads + loads + [facts])
            for g in grads:
                g /= args.processes
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for o in optimizers:
                for group in o.param_groups:
                    group["lr"] = args.lr * schedule(progress) * group.get("share", 1.0)
                o.step()
                o.zero_grad(set_to_none=True)
            rate = args.bias_rate * (0.1 + 0.9 * schedule(progress))
            for moe, load in zip(moes, loads):  # balancing without an auxiliary loss
                moe.gate.e_score_correction_bias += rate * (load.mean() - load).sign()
        step += 1
        seen += int(facts[2])
        sums += torch.tensor([facts[0], facts[1] if mtp else 0.0, mtp * args.processes])
        clock = torch.tensor([spent + time.time() - start], dtype=torch.float64)
        dist.broadcast(clock, 0)  # one clock, so that all processes follow one schedule
        spent = clock.item()
        if step % 50 == 0:
            ratios = [load / load.mean() for load in loads]
            say(f"step {step} progress {progress:.3f} loss {sums[0] / 50 / args.processes:.4f} mtp "
                f"{sums[1] / sums[2].clamp(min=1):.4f} tokens {seen / 1e6:.2f} M "
                f"{(seen - log_seen) / (spent - log_from):.0f}/s load "
                + " ".join(f"{r.min():.2f}-{r.max():.2f}" for r in ratios))
            sums, log_from, log_seen = torch.zeros(3), spent, seen
        if spent >= next_save:
            next_save = spent + 60 * args.save_every
            save("last.pt")
        if spent >= next_eval:
            next_eval = spent + 60 * args.eval_every
            if chief:
                began = time.time()
                result = run(quantised_copy(model), tokenizer, problems, most=320)
                say(f"step {step} right, quantised: {sum(result['right'])} of {len(problems)} "
                    f"({time.time() - began:.0f} s)")
            dist.barrier()
    save("final.pt")
    save("last.pt")
    say(f"ended after {step} steps, {spent / 60:.1f} minutes, {seen / 1e6:.1f} M tokens")
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    args = parse()
    torch.multiprocessing.spawn(train, args=(args,), nprocs=args.processes)


if __name__ == "__main__":
    main()
