"""Reads a run's event file with TensorBoard itself and holds it against train.jsonl: python check_tensorboard.py RUN_FOLDER

Needs the tensorboard package; prints the number of tags and steps, or what differs, with exit status 1.
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
for line in (run / "train.jsonl").read_text().splitlines():
    record = json.loads(line)
    for name, value in record.items():
        if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool):
            want.setdefault(f"train/{name}", {})[record["step"]] = np.float32(value)
if got != want:
    sys.exit(f"{run}: tags or values differ: {sorted(got.keys() ^ want.keys()) or [t for t in want if got[t] != want[t]]}")
print(f"{run}: {len(got)} tags, {len(want['train/loss'])} steps, as in train.jsonl")
