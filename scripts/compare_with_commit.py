#!/usr/bin/env python3
"""Compare this tree's results with another commit's, byte for byte, on this machine.

Builds the other commit in a worktree beside the target folder, runs the same commands with both programs, and compares:
a run of `tiny.toml` (adapter, train.jsonl less its timings, eval.jsonl, figures, scores, generations), the same run killed and resumed,
`mvpbench eval` of its adapter, and `mvpbench merge`. Bits may differ between processors, so no digest is kept: both run here.

    python3 scripts/compare_with_commit.py --commit e737086 [--steps 40] [--train OTHER_TRAIN --mvpbench OTHER_MVPBENCH]

Exit status 1 names every file that differs. Standard library only; needs git and cargo.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Fields of train.jsonl that are measured, not computed.
TIMINGS = {"step_time_s", "since_last_s", "reserved_memory_gib", "tokens_per_second", "model_tflops", "mfu", "peak_memory_gib"}
# Digests of what stands beside them.
DIGESTS = {"sha256", "files"}


def build(folder, target):
    command = ["cargo", "build", "--release", "--locked", "--target-dir", str(target)]
    subprocess.run(command, cwd=folder, check=True)
    return target / "release"


def other_programs(commit):
    """Folder of the programs of `commit`, built in a worktree that is removed afterwards."""
    target = ROOT / "target" / f"compare-{commit}"
    if (target / "release" / "mvpbench").exists():
        return target / "release"
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", str(tree), commit], cwd=ROOT, check=True)
        try:
            return build(tree, target)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def run(command, folder, cache):
    environment = dict(os.environ, MVPBENCH_CACHE=str(cache))
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(command, folder, cache):
    status = run(command, folder, cache).wait()
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {status}")


def killed_at(step, command, folder, cache):
    """Starts the run and kills it once `train.jsonl` has `step` lines."""
    log = folder / "runs" / "resumed" / "train.jsonl"
    child = run(command, folder, cache)
    while child.poll() is None:
        if log.exists() and log.read_bytes().count(b"\n") >= step:
            child.send_signal(signal.SIGKILL)
            child.wait()
            return
        time.sleep(0.005)
    sys.exit("the run ended before it could be killed")


def results(train, mvpbench, folder, kept, steps):
    """Files of results by name: what the two programs write in `folder`, moved to `kept`."""
    cache = folder / "cache"
    settings = ["--set", f"train.max_steps={steps}", "--set", "train.checkpoint_every=10", "--set", "lora.dropout=0.05"]
    settings += ["--set", "eval.every=20", "--set", 'eval.best_metric="opa"']
    common = [train, "--config", "tiny.toml", "--device", "cpu", *settings]
    finish([*common, "--output", "runs/whole"], folder, cache)
    shutil.rmtree(cache)
    killed_at(steps // 2 + 3, [*common, "--output", "runs/resumed"], folder, cache)
    finish([*common, "--output", "runs/resumed"], folder, cache)
    model, adapter = "runs/whole/base_model", "runs/whole/adapter"
    evaluate = [mvpbench, "eval", "--model", model, "--adapter", adapter, "--data", "pairs=embedded:tiny/data/MVP_test.json"]
    finish([*evaluate, "--output", "runs/eval", "--device", "cpu"], folder, cache)
    finish([mvpbench, "merge", "--model", model, "--adapter", adapter, "--output", "runs/merged"], folder, cache)
    # The adapter names its base model by path, so both programs run in the folder of one name.
    shutil.move(folder / "runs", kept)
    shutil.rmtree(cache)
    return {str(path.relative_to(kept)): path for path in kept.rglob("*") if path.is_file() and is_result(path)}


def is_result(path):
    """Whether a file holds results alone: no wall times, no page made of other files."""
    return "tfevents" not in path.name and path.name not in ("run.lock", "report.html", "report.md", "summary.json", "merge.json")


def comparable(name, path):
    """The content of a file less what is measured and less the line that names the program."""
    content = path.read_bytes()
    if name.endswith(".jsonl"):
        records = [json.loads(line) for line in content.splitlines()]
        return [{key: value for key, value in record.items() if key not in (*TIMINGS, *DIGESTS)} for record in records]
    if "/eval/" in name:
        return {key: value for key, value in json.loads(content).items() if key not in DIGESTS}
    if name.endswith("results.json"):
        results = json.loads(content)
        return {key: value for key, value in results.items() if key in ("results", "groups", "n-samples", "higher_is_better")}
    if name.endswith(("config.toml", "evaluation.toml")):
        content = re.sub(rb"(?m)^# mvpbench .*$", b"# mvpbench", content)
        content = re.sub(rb"(?m)^# sha256 of the other lines: .*\n", b"", content)
    if name.endswith("adapter/README.md"):
        content = re.sub(rb"(?m)^.*(pairs per second|pairs/s|peak memory|wall time).*$", b"", content)
    return content


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", required=True, help="the commit to compare with")
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps of the run (default 40)")
    parser.add_argument("--train", type=Path, help="the other commit's `train`, if it is built already")
    parser.add_argument("--mvpbench", type=Path, help="the other commit's `mvpbench`, if it is built already")
    arguments = parser.parse_args()
    if arguments.train and arguments.mvpbench:
        other = (arguments.train, arguments.mvpbench)
    else:
        folder = other_programs(arguments.commit)
        other = (folder / "train", folder / "mvpbench")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    folder = build(ROOT, target)
    ours = (folder / "train", folder / "mvpbench")

    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) / "work"
        work.mkdir()
        theirs, mine = (
            results(*(program.resolve() for program in programs), work, Path(scratch) / name, arguments.steps)
            for name, programs in (("theirs", other), ("ours", ours))
        )
        both = sorted(set(theirs) & set(mine))
        wrong = sorted(set(theirs) ^ set(mine))
        wrong += [name for name in both if comparable(name, theirs[name]) != comparable(name, mine[name])]
        whole, resumed = (mine[f"{run}/adapter/adapter_model.safetensors"].read_bytes() for run in ("whole", "resumed"))
        if whole != resumed:
            wrong.append("the resumed run's adapter is not the whole run's")
    print(f"{len(both)} files compared with {arguments.commit}, {len(wrong)} differ")
    for name in wrong:
        print(f"  {name}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
