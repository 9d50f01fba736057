#!/usr/bin/env python3
"""Seconds per optimizer step and peak memory, ours against TRL and a lean PyTorch loop: same model, same pairs, interleaved.

  cargo build --release
  python scripts/bench_against_trl.py --peer BENCH --python PYTHON [--train target/release/train] [--rounds 3] [--steps 6]

BENCH is the peer's benchmark folder (bench_trl.py, make_small.py, bench_pairs.jsonl, small/); it is copied, not written to.
PYTHON is an interpreter with torch 2.15, transformers 5.23, peft 0.21, trl 1.16, datasets 5.2, accelerate 1.15.
Every program gets two threads. Each round runs every program once, one after another; the table has medians over the rounds.
Ours runs with a warm reference cache, as the lean loop does with its reference precomputed, in f32 and in bf16. Prints a Markdown table;
`times` are against ours in f32. Which instructions multiply bf16 depends on the processor, whose name and bf16 units stand above the table.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

PEERS = {
    "TRL, f32": ["--mode", "trl"],
    "TRL, f32, reference precomputed": ["--mode", "trl", "--precompute"],
    "lean PyTorch, f32, reference precomputed": ["--mode", "lean", "--precompute"],
    "lean PyTorch, bf16 weights, reference precomputed": ["--mode", "lean", "--dtype", "bf16", "--weights", "bfloat16", "--precompute"],
}
OURS = {"ours, f32, reference cached": "f32", "ours, bf16, reference cached": "bf16"}
BF16_UNITS = ["avx512_bf16", "amx_bf16"]
CONFIG = """
[model]
path = "small"
dtype = "{dtype}"
[lora]
dropout = 0.0
[data]
train = ["bench_pairs.jsonl"]
max_prompt_tokens = 0
shuffle = false
[train]
epochs = 1
max_steps = {steps}
[output]
dir = "run"
"""


def run_ours(train, folder, dtype, steps, threads):
    shutil.rmtree(folder / "run", ignore_errors=True)
    (folder / "ours.toml").write_text(CONFIG.format(dtype=dtype, steps=steps))
    env = {**os.environ, "RAYON_NUM_THREADS": str(threads), "MVPBENCH_CACHE": str(folder / "cache")}
    subprocess.run([train, "--config", "ours.toml", "-q"], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    records = [json.loads(line) for line in (folder / "run/train.jsonl").read_text().splitlines()]
    return {
        "s": statistics.median(r["step_time_s"] for r in records[1:]),
        "mib": max(r["peak_memory_gib"] for r in records) * 1024,
        "mfu": statistics.median(r["mfu"] for r in records[1:]),
        "losses": [r["loss"] for r in records],
    }


def run_peer(python, folder, arguments, steps, threads):
    env = {**os.environ, "BENCH_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    command = [python, "bench_trl.py", "run", "--steps", str(steps), *arguments]
    output = subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout
    result = next(json.loads(line[7:]) for line in output.splitlines() if line.startswith("RESULT "))
    return {"s": result["sec_per_step"], "mib": result["peak_rss_mb"], "losses": result["losses"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--train", type=Path, default=Path("target/release/train"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(PEERS), help="peers to run, by name")
    args = parser.parse_args()
    train = args.train.resolve(strict=True)

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        shutil.copytree(args.peer, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
        (folder / "work").mkdir(exist_ok=True)
        subprocess.run([args.python, "make_small.py"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        runs = {name: [] for name in [*OURS, *args.only]}
        for dtype in OURS.values():
            run_ours(train, folder, dtype, args.steps, args.threads)  # fills the reference cache
        for _ in range(args.rounds):
            for name, dtype in OURS.items():
                runs[name].append(run_ours(train, folder, dtype, args.steps, args.threads))
            for name in args.only:
                runs[name].append(run_peer(args.python, folder, PEERS[name], args.steps, args.threads))

    median = {name: {key: statistics.median(run[key] for run in all_runs) for key in ("s", "mib")} for name, all_runs in runs.items()}
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    flags = next((line.split() for line in open("/proc/cpuinfo") if line.startswith("flags")), [])
    units = ", ".join(unit for unit in BF16_UNITS if unit in flags) or "none"
    print(f"{cpu}, bf16 units: {units}, {args.threads} threads, {args.rounds} interleaved rounds of {args.steps} steps of 8 pairs\n")
    print("| program | s per step | times ours | peak memory, MiB | times ours | loss of the last step |\n|---|---|---|---|---|---|")
    for name, m in median.items():
        ours = median[next(iter(OURS))]
        print(f"| {name} | {m['s']:.2f} | {m['s'] / ours['s']:.2f} | {m['mib']:.0f} | {m['mib'] / ours['mib']:.2f} | {runs[name][0]['losses'][-1]:.4f} |")
    for name in OURS:
        print(f"\n{name}: share of this machine's matmul rate (mfu) {statistics.median(run['mfu'] for run in runs[name]):.2f}")


if __name__ == "__main__":
    main()
