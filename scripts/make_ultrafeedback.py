#!/usr/bin/env python3
"""Write records in the layout of UltraFeedback, of the sample's own sentences: what `mvpbench data build-ufp4` reads, and nobody's words.

    python3 scripts/make_ultrafeedback.py target/ultrafeedback.jsonl --records 120

Four completions answer each instruction. Every aspect of an answer is good or bad, its rating follows with some noise, and about half of the
records are controversial: their aspects disagree. Ratings are strings, now and then `N/A`; a few answers are empty.
Standard library only; the same options give the same bytes.
"""
import argparse
import json
import os
import random
from pathlib import Path

from make_sample import FRAMES, TOPICS, UF_SHARED, slots

ASPECTS = ["instruction_following", "honesty", "truthfulness", "helpfulness"]
MODELS = ["model-a", "model-b", "model-c", "model-d", "model-e", "model-f"]
REASON = {"w": "It does what is asked in this respect.", "l": "It falls short in this respect."}
CLOSES = [line for line in FRAMES["answer"]["close"] if "{" not in line]  # so that answers of one quality differ
SEEMINGLY = {"w": ["4", "5"], "l": ["1", "2", "3"]}


def texts(rng, topic, aspect):
    """An instruction and a good and a bad answer to it."""
    frames, fields = FRAMES["uf"][aspect], slots(rng, topic)
    for slot, (name, side) in UF_SHARED.items():
        fields[slot] = rng.choice(FRAMES[name]["high"][side]).format(**fields)
    at = rng.randrange(len(frames["prompt"]))
    return frames["prompt"][at].format(**fields), {side: frames[key][at].format(**fields) for side, key in (("w", "chosen"), ("l", "rejected"))}


def annotation(rng, aspect, side):
    rating = "N/A" if rng.random() < 0.02 else rng.choice(SEEMINGLY[side])
    told = {"Rating": rating, "Rationale": REASON[side]}
    if aspect in ("truthfulness", "helpfulness"):
        told |= {"Type": ["None"] if side == "w" else ["1"], "Rationale For Rating": REASON[side]}
    return told


def completion(rng, model, aspect, pair, close):
    side = rng.choice("wl")
    # Another aspect mostly goes along; where it does not, the record is controversial.
    sides = {name: side if name == aspect or rng.random() < 0.8 else "lw"["wl".index(side)] for name in ASPECTS}
    empty = rng.random() < 0.01
    scores = {name: annotation(rng, name, sides[name]) for name in ASPECTS}
    rated = [int(told["Rating"]) for told in scores.values() if told["Rating"] != "N/A"]
    return {
        "model": model, "principle": aspect, "custom_system_prompt": "You are an assistant.", "response": "" if empty else f"{pair[side]} {close}",
        "annotations": scores, "fine-grained_score": sum(rated) / max(1, len(rated)), "overall_score": float(2 * max(rated, default=1)), "critique": REASON[side],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="JSONL file to write")
    parser.add_argument("--records", type=int, default=240, help="instructions (default 240)")
    parser.add_argument("--seed", type=int, default=13, help="of every draw (default 13)")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    lines, seen = [], set()
    while len(lines) < arguments.records:
        aspect = rng.choice(ASPECTS)
        instruction, pair = texts(rng, rng.choice(TOPICS), aspect)
        hint = rng.choice(["", " Please take your time.", " It is for a friend.", " I ask for a neighbour.", " Thank you in advance."])
        if instruction + hint in seen and len(seen) < 2000:
            continue
        seen.add(instruction + hint)
        completions = [completion(rng, model, aspect, pair, close) for model, close in zip(rng.sample(MODELS, 4), rng.sample(CLOSES, 4))]
        record = {
            "source": "sample", "instruction": instruction + hint, "models": [one["model"] for one in completions], "completions": completions,
            "correct_answers": ["None"], "incorrect_answers": ["None"],
        }
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    partial = arguments.file.with_name(f".{arguments.file.name}.partial")
    partial.write_text("".join(lines), encoding="utf-8")
    os.replace(partial, arguments.file)
    print(f"{len(lines)} records, {4 * len(lines)} completions")


if __name__ == "__main__":
    main()
