#!/usr/bin/env python3
"""Reads a run's event file with TensorBoard and compares it with train.jsonl and eval.jsonl: check_tensorboard.py RUN_FOLDER

Needs the tensorboard package. Prints the number of tags and steps; prints what differs and exits with 1 if something does.
"""
import json
import sys
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

run = Path(sys.argv[1])
events = EventAccumulator(str(run / "tensorboard"), size_guidance={SCALARS: 0}).Reload()
got = {tag: {e.step: np.float32(e.value) for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
want = {}


def read(name):
    path = run / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def expect(record, prefix, beside):
    for name, value in record.items():
        if name not in beside and isinstance(value, (int, float)) and not isinstance(value, bool):
            want.setdefault(prefix + name, {})[record["step"]] = np.float32(value)


for record in read("train.jsonl"):
    expect(record, "train/", {"step"})
evaluations = read("eval.jsonl")
several = len({record["set"] for record in evaluations}) > 1
for record in evaluations:
    untuned = {"opa"} if record["step"] == 0 else set()  # an untuned model has no OPA
    expect(record, f"eval/{record['set']}_" if several else "eval/", {"step", "epoch", "pairs"} | untuned)
if got != want:
    sys.exit(f"{run}: tags or values differ: {sorted(got.keys() ^ want.keys()) or [t for t in want if got[t] != want[t]]}")
print(f"{run}: {len(got)} tags, {len(want['train/loss'])} steps, as in train.jsonl and eval.jsonl")
