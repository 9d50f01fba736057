#!/usr/bin/env python3
"""Reads a run's event file with TensorBoard and compares it with train.jsonl, eval.jsonl and eval/samples.jsonl: check_tensorboard.py RUN_FOLDER

Needs the tensorboard package. Prints the number of tags and steps; prints what differs and exits with 1 if something does.
"""
import json
import sys
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS, EventAccumulator
from tensorboard.util import tensor_util

run = Path(sys.argv[1])
events = EventAccumulator(str(run / "tensorboard"), size_guidance={SCALARS: 0, TENSORS: 0}).Reload()
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

# The texts of TensorBoard's plugin `text`: Markdown, each line of an answer indented.
samples = read("eval/samples.jsonl")
base = {sample["row"]: sample for sample in samples if "adapter_sha256" not in sample}
states = {}
for sample in samples:
    states.setdefault(sample["step"], {}).setdefault("adapter_sha256" in sample, []).append(sample)
texts = 0
for step, kinds in states.items():
    state = kinds.get(True) or kinds[False]  # the base model's are those of step 0, unless training starts from an adapter
    mean = lambda values: np.float32(sum(values) / len(values))
    want.setdefault("samples/mean_length", {})[step] = mean([sample["generated_tokens"] for sample in state])
    want.setdefault("samples/clipped_ratio", {})[step] = mean([not sample["ended"] for sample in state])
    divergences = [sample["kl"] for sample in state if "kl" in sample]
    if divergences:
        want.setdefault("samples/kl", {})[step] = mean(divergences)
    for sample in state:
        tag = f"samples/{sample['row'] + 1} {sample['id']}"
        plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
        found = {e.step: tensor_util.make_ndarray(e.tensor_proto) for e in events.Tensors(tag)}[step]
        if plugin != "text" or found.shape != (1,):
            sys.exit(f"{run}: `{tag}` is a tensor of {found.shape} for the plugin `{plugin}`")
        text = found[0].decode()
        for part in [sample["prompt"], sample["answer"], base[sample["row"]]["answer"]]:
            missing = [line for line in part.split("\n") if line and f"    {line.removesuffix(chr(13))}\n" not in text]
            if missing:
                sys.exit(f"{run}: `{tag}` at step {step} lacks {missing}: {text}")
        texts += 1
if got != want:
    sys.exit(f"{run}: tags or values differ: {sorted(got.keys() ^ want.keys()) or [t for t in want if got[t] != want[t]]}")
print(f"{run}: {len(got)} tags, {len(want['train/loss'])} steps, as in train.jsonl and eval.jsonl")
if texts:
    print(f"{run}: {texts} texts, as in samples.jsonl")
