#!/usr/bin/env python3
"""Loads the adapter of a run with real PEFT and compares its log-probabilities with the run's own scores.

  train --config tiny.toml
  python scripts/check_peft.py runs/tiny [--set MVP_test] [--data configs/tiny/data/MVP_test.json] [--pairs 6]

The interpreter needs torch, transformers and peft. DATA are the MVPBench records that the set was scored on. Exits with 1 if a
summed log-probability is further off than 1e-3.
"""
import argparse
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"


def prompt(record):
    fields = [("Age", "age"), ("Gender", "gender"), ("Employment", "employment_status"), ("Education", "education"),
              ("Marital Status", "marital_status"), ("Birth Country/Region", "birth_country/region")]
    profile = ", ".join(f"{label}: {record[key]}" for label, key in fields)
    return f"User profile: {profile}.\nQuestion: {record['question']}"


def main():
    import peft
    import torch
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--set", default="MVP_test")
    parser.add_argument("--data", type=Path, default=Path("configs/tiny/data/MVP_test.json"))
    parser.add_argument("--pairs", type=int, default=6)
    args = parser.parse_args()
    model = peft.AutoPeftModelForCausalLM.from_pretrained(args.run / "adapter", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.run / "adapter")
    records = {record["id"]: record for record in json.loads(args.data.read_text())}
    scores = (args.run / f"eval/scores-{args.set}-after.jsonl").read_text().splitlines()[: args.pairs]
    worst = 0.0
    for score in map(json.loads, scores):
        record = records[score["id"]]
        for answer, key in (("answer_w", "policy_chosen_logps"), ("answer_l", "policy_rejected_logps")):
            alone = tokenizer(prompt(record))["input_ids"]
            whole = tokenizer(prompt(record) + record[answer] + tokenizer.eos_token)["input_ids"]
            begin = next((i for i, (a, b) in enumerate(zip(alone, whole)) if a != b), len(alone))
            with torch.no_grad():
                logps = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            worst = max(worst, abs(sum(logps[i - 1, whole[i]].item() for i in range(begin, len(whole))) - score[key]))
    print(f"PEFT {peft.__version__} loads the adapter; {2 * len(scores)} answers, largest distance of a summed log-probability {worst:.1e} nats")
    sys.exit(not worst <= 1e-3)


if __name__ == "__main__":
    main()
