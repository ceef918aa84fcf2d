#!/usr/bin/env python3
"""Compares `pensee bench` with a llama-bench on the same file, and prints ratios.

    python compare.py MODEL.gguf --pensee build/bin/pensee --llama-bench PATH [--threads 2]
        [--cpus 0-1] [--prefill 32,512] [--depth 0,8192] [--decode 32] [--rounds 5]
        [--pensee-args "--cache-type q8"] [--llama-args "-rtr 1 -fa 1"] [--json OUT.json]

The two run in turn, so that both meet the same moods of the machine; medians over the rounds, and
for each round its own ratio. The machine's limits, and the parts of them that pensee reaches, are
those of its own runs. Each round's ratios go to standard error, the medians to standard output.
llama-bench may be llama.cpp's (decoding at a depth is -d) or ik_llama.cpp's
(-gp); which of the two is seen in its help.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys


def run_json(command, cpus):
    allowed = os.sched_getaffinity(0)
    # The peer's threads stay on the same CPUs; pensee ties its own to them one by one.
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, cpus or allowed))
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def parse_cpus(text):
    cpus = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cpus |= set(range(int(first), int(last or first) + 1))
    return cpus


def run_pensee(a):
    command = [a.pensee, "bench", a.model, "--json", "--threads", str(a.threads), "--repeats", "1",
               "--decode", str(a.decode)]
    for option, values in (("--prefill", a.prefill), ("--depth", a.depth)):
        if values:
            command += [option, ",".join(map(str, values))]
    if a.cpus:
        command += ["--cpus", a.cpus]
    report = run_json(command + shlex.split(a.pensee_args), parse_cpus(a.cpus))
    passes = {("prefill", p["tokens"]): p for p in report["prefill"]}
    passes |= {("decode at", p["depth"]): p for p in report["decode"]}
    return passes, report


def run_llama(a, says_depth):
    """Tokens a second by kind and number."""
    command = [a.llama_bench, "-m", a.model, "-t", str(a.threads), "-r", "1", "-o", "json",
               *shlex.split(a.llama_args)]
    rates = {}

    def run(*arguments):
        return run_json([*command, *map(str, arguments)], parse_cpus(a.cpus))

    for n in a.prefill:
        rates["prefill", n] = run("-p", n, "-n", 0)[0]["avg_ts"]
    for depth in a.depth:
        if depth == 0:
            rows = run("-p", 0, "-n", a.decode)
        elif says_depth:
            rows = run("-p", 0, "-n", a.decode, "-d", depth)
        else:
            rows = run("-p", 0, "-n", 0, "-gp", f"{depth},{a.decode}")
        rates["decode at", depth] = rows[0]["avg_ts"]
    return rates


def show(key, ours, theirs):
    kind, number = key
    mine = [passes[key]["tokens_per_second"] for passes in ours]
    other = [rates[key] for rates in theirs]
    ratios = [m / o for m, o in zip(mine, other)]
    fraction = "fraction_of_read" if kind == "decode at" else "fraction_of_peak"
    limit = fraction.removeprefix("fraction_of_")
    parts = [passes[key][fraction] for passes in ours if passes[key][fraction] is not None]
    reached = f", {statistics.median(parts):.0%} of {limit}" if parts else ""
    print(f"{kind} {number}: pensee {statistics.median(mine):.1f}{reached}, llama-bench "
          f"{statistics.median(other):.1f} tokens/s, ratio {statistics.median(ratios):.2f} "
          f"({min(ratios):.2f} to {max(ratios):.2f})")
    return {"kind": kind, "number": number, "pensee": mine, "llama_bench": other,
            "ratio": statistics.median(ratios), "fraction_of_" + limit: parts}


def numbers(text):
    return [int(part) for part in text.split(",") if part]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("--pensee", required=True)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--pensee-args", default="", help="further arguments of pensee bench")
    parser.add_argument("--llama-args", default="", help="further arguments of llama-bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpus", default="", help="such as 0-1")
    parser.add_argument("--prefill", type=numbers, default=[512], help="may be empty")
    parser.add_argument("--depth", type=numbers, default=[0], help="may be empty")
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for all numbers")
    a = parser.parse_args()
    if not a.prefill and not a.depth:
        parser.error("expected lengths of prompts or depths")
    says_depth = "--n-depth" in subprocess.run([a.llama_bench, "--help"], capture_output=True,
                                               text=True, check=False).stdout
    ours, theirs, reports = [], [], []
    for _ in range(a.rounds):
        passes, report = run_pensee(a)
        ours.append(passes)
        reports.append(report)
        rates = run_llama(a, says_depth)
        theirs.append(rates)
        print(f"round {len(theirs)} of {a.rounds}:",
              *(f"{kind} {number} {passes[kind, number]['tokens_per_second'] / rate:.2f}"
                for (kind, number), rate in rates.items()), file=sys.stderr, flush=True)
    limits = [r["machine"] for r in reports]
    read = statistics.median(m["read_bytes_per_second"] for m in limits) / 1e9
    peaks = [f"{name} {statistics.median(known) / 1e9:.0f} GOP/s" for name in ("int8", "bf16", "f32")
             if (known := [m[name]["operations_per_second"] for m in limits if m[name]])]
    print(", ".join([f"machine: {a.threads} threads, read {read:.1f} GB/s", *peaks]))
    rows = [show(key, ours, theirs) for key in ours[0]]
    if a.json:
        with open(a.json, "w", encoding="utf-8") as out:
            json.dump({"machine": limits, "rows": rows}, out, indent=2)


main()
