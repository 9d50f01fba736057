#!/usr/bin/env python3
"""Trains an unusual random Llama with real TRL + PEFT and with ours, and compares every logged number of every step.

  cargo build --release
  python scripts/compare_with_trl.py [--train target/release/train] [--seed 3]

The interpreter needs torch 2.15, transformers 5.23, peft 0.21, trl 1.16, datasets 5.2, accelerate 1.15. The model has one key/value
head, a head width of its own, llama3 RoPE, tied embeddings and several shards; the run has warm-up, weight decay, clipping,
truncation and adapters on k, o, up and down. Exits with 1 if a number is further off than the golden tolerances.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")
GOLDEN = Path(__file__).resolve().parent.parent / "tests/data/golden"
TOLERANCE = {"loss": 1e-4, "grad_norm": 1e-4, "learning_rate": 1e-12, "rewards/margins": 1e-4, "rewards/accuracies": 1e-6,
             "logps/chosen": 1e-3, "logps/rejected": 1e-3, "num_tokens": 0, "epoch": 1e-9}
CONFIG = """
[model]
path = "model"
[lora]
rank = 5
alpha = 7.0
dropout = 0.0
target_modules = ["k_proj", "o_proj", "up_proj", "down_proj"]
init_from = "init"
[dpo]
beta = 0.3
[data]
train = ["pairs.jsonl"]
shuffle = false
max_prompt_tokens = 0
max_length = 120
[train]
epochs = 4
learning_rate = 3e-3
scheduler = "constant"
warmup_steps = 3
weight_decay = 0.02
max_grad_norm = 0.5
per_device_batch_size = 3
gradient_accumulation_steps = 2
[output]
dir = "run"
"""


def peer(folder, seed):
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import DPOConfig, DPOTrainer

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rope = {"rope_type": "llama3", "rope_theta": 50000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=512, hidden_size=60, intermediate_size=100, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=1, head_dim=16,
        max_position_embeddings=2048, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=rope, bos_token_id=1, eos_token_id=2))
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(noise * 0.12 if parameter.dim() > 1 else 1 + 0.1 * noise)
    model.save_pretrained(folder / "model", max_shard_size="100KB")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(GOLDEN / "models/tiny" / name, folder / "model" / name)
    pairs = [json.loads(line) for line in (GOLDEN / "pairs.jsonl").read_text().splitlines()]
    data = Dataset.from_list([{key: pair[key] for key in ("prompt", "chosen", "rejected")} for pair in pairs])
    lora = LoraConfig(r=5, lora_alpha=7, target_modules=["k_proj", "o_proj", "up_proj", "down_proj"], lora_dropout=0.0, task_type="CAUSAL_LM")
    args = DPOConfig(
        output_dir=str(folder / "out"), per_device_train_batch_size=3, gradient_accumulation_steps=2, num_train_epochs=4, learning_rate=3e-3,
        lr_scheduler_type="constant_with_warmup", warmup_steps=3, max_grad_norm=0.5, weight_decay=0.02, beta=0.3, max_length=120, logging_steps=1,
        report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, train_sampling_strategy="sequential", save_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False)
    trainer = DPOTrainer(model=str(folder / "model"), args=args, train_dataset=data, peft_config=lora,
                         processing_class=AutoTokenizer.from_pretrained(folder / "model"))
    trainer.model.save_pretrained(folder / "init")
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, default=Path("target/release/train"))
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    train = args.train.resolve(strict=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        want = peer(folder, args.seed)
        shutil.copyfile(GOLDEN / "pairs.jsonl", folder / "pairs.jsonl")
        (folder / "config.toml").write_text(CONFIG)
        subprocess.run([train, "--config", "config.toml", "-q"], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "MVPBENCH_CACHE": str(folder / "cache")})
        got = [json.loads(line) for line in (folder / "run/train.jsonl").read_text().splitlines()]
    if len(got) != len(want):
        sys.exit(f"{len(got)} steps, expected {len(want)}")
    failed = False
    for key, tolerance in TOLERANCE.items():
        worst = max(abs(ours[key] - theirs[key]) for ours, theirs in zip(got, want))
        ok = worst <= tolerance
        failed |= not ok
        print(f"{'OK  ' if ok else 'FAIL'} {key:20s} largest distance {worst:.1e}, tolerance {tolerance:.0e}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
