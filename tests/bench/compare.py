#!/usr/bin/env python3
"""Compares `pensee bench` with a llama-bench on the same file, and prints ratios.

    python compare.py MODEL.gguf --pensee build/bin/pensee --llama-bench PATH [--threads N]
        [--prefill 512] [--decode 64] [--rounds 5] [--llama-args "-fa 1 -rtr 1"]

The two run in turn, so that both meet the same moods of the machine; medians over the rounds, and
for each round its own ratio. The machine's limits are those that pensee measured in its runs.
"""
import argparse
import json
import shlex
import statistics
import subprocess


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def run_pensee(a):
    report = run_json([a.pensee, "bench", a.model, "--json", "--threads", str(a.threads), "--repeats",
                       "1", "--prefill", str(a.prefill), "--decode", str(a.decode)])
    rates = {"prefill": report["prefill"][0]["tokens_per_second"],
             "decode": report["decode"]["tokens_per_second"]}
    return rates, report["machine"]


def run_llama(a):
    rows = run_json([a.llama_bench, "-m", a.model, "-t", str(a.threads), "-p", str(a.prefill), "-n",
                     str(a.decode), "-r", "1", "-o", "json", *shlex.split(a.llama_args)])
    rates = {}
    for row in rows:
        if row["n_prompt"] and not row["n_gen"]:
            rates["prefill"] = row["avg_ts"]
        if row["n_gen"] and not row["n_prompt"]:
            rates["decode"] = row["avg_ts"]
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("--pensee", required=True)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--llama-args", default="", help="further arguments of llama-bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    ours, theirs, machines = [], [], []
    for _ in range(a.rounds):
        rates, machine = run_pensee(a)
        ours.append(rates)
        machines.append(machine)
        theirs.append(run_llama(a))
    read = statistics.median(m["read_bytes_per_second"] for m in machines) / 1e9
    peaks = [m["int8"]["operations_per_second"] for m in machines if m["int8"]]
    print(f"machine: read {read:.1f} GB/s" +
          (f", int8 {statistics.median(peaks) / 1e9:.0f} GOP/s" if peaks else ""))
    for name in ("prefill", "decode"):
        mine = [r[name] for r in ours]
        other = [r[name] for r in theirs]
        ratios = [m / o for m, o in zip(mine, other)]
        print(f"{name}: pensee {statistics.median(mine):.1f}, llama-bench "
              f"{statistics.median(other):.1f} tokens/s, ratio {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f})")


main()
