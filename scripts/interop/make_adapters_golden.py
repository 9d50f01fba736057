#!/usr/bin/env python3
"""Writes tests/data/peft_adapters: small adapters of PEFT whose modules, ranks or scales differ, and PEFT's sums of some pairs with each.

  pip install -r scripts/interop/requirements.txt
  python scripts/interop/make_adapters_golden.py

The base is tests/data/golden/models/tiny-gqa, the pairs are the first of tests/data/golden/pairs.jsonl. Each folder is as PEFT saves it, but for
`default-keys`, whose tensors have the adapter's name in theirs, as where the state of a wrapped model is saved as it stands.
"""

import json
import shutil

import peft
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import sides

BASE = sides.GOLDEN / "models/tiny-gqa"
OUTPUT = sides.ROOT / "tests/data/peft_adapters"
PAIRS = 4
CASES = {
    "regex": dict(target_modules=r"model\.layers\.\d+\.self_attn\.(q|v)_proj"),
    "whole-names": dict(target_modules=["model.layers.0.self_attn.o_proj", "1.mlp.gate_proj", "self_attn.k_proj"]),
    "patterns": dict(
        target_modules=["q_proj", "v_proj", "up_proj", "down_proj"],
        use_rslora=True,
        rank_pattern={"q_proj": 3, r"layers\.1\.mlp\.\w+": 1},
        alpha_pattern={"model.layers.0.self_attn.q_proj": 9, "down_proj": 0.5},
    ),
    "upper-layer": dict(target_modules=["q_proj", "gate_proj"], layers_to_transform=[1], layers_pattern="layers"),
    "excluded": dict(target_modules="all-linear", exclude_modules=r".*\.(0\.mlp|1\.self_attn)\..*"),
    "default-keys": dict(target_modules=["q_proj", "v_proj"]),
}


def main():
    sides.check_versions()
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    ids = [sides.token_ids(tokenizer, pair) for pair in sides.texts(PAIRS)]
    sums = {}
    shutil.rmtree(OUTPUT, ignore_errors=True)
    for name, fields in CASES.items():
        torch.manual_seed(9)
        base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
        model = peft.get_peft_model(base, peft.LoraConfig(**{**dict(r=2, lora_alpha=5, task_type="CAUSAL_LM"), **fields}))
        with torch.no_grad():
            for _, parameter in sorted(model.named_parameters()):
                if parameter.requires_grad:
                    # bf16 holds the numbers, so that the files are small.
                    parameter.copy_((torch.randn(parameter.shape) * 0.1).bfloat16().float())
        sums[name] = [score[:2] for score in sides.peer_scores(model, ids)]
        model.peft_config["default"].base_model_name_or_path = "tiny-gqa"
        model.save_pretrained(OUTPUT / name)
        (OUTPUT / name / "README.md").unlink()
        path = OUTPUT / name / "adapter_model.safetensors"
        end = ".default.weight" if name == "default-keys" else ".weight"
        tensors = {key.replace(".weight", end): tensor.bfloat16() for key, tensor in load_file(path).items()}
        save_file(tensors, path, {"format": "pt"})
    (OUTPUT / "sums.json").write_text(json.dumps({"pairs": PAIRS, "sums": sums}, indent=1) + "\n")


if __name__ == "__main__":
    main()
