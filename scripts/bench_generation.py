#!/usr/bin/env python3
"""Seconds to answer the same prompts, ours against Hugging Face `generate`: one prompt at a time, and in padded batches.

  cargo build --release
  PYTHON scripts/bench_generation.py [--mvpbench target/release/mvpbench] [--model FOLDER] [--rounds 3] [--batch 16] [--new 64]
  PYTHON scripts/bench_generation.py --bandwidth      # one answer at a time, against the rate at which memory can be read

PYTHON is an interpreter with torch 2.15 and transformers 5.23. Without --model the script makes a random Llama (hidden 512, 8 layers;
with --bandwidth hidden 1024, 12 layers, larger than a cache). Everything is f32, greedy, on the same threads. Each round runs every
program once, one after another; the table has medians over the rounds, without loading. Compares the answers as text. Prints a
Markdown table.
"""
import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def random_model(folder, wide):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = dict(hidden_size=1024, intermediate_size=2816, num_hidden_layers=12) if wide else dict(
        hidden_size=512, intermediate_size=1408, num_hidden_layers=8)
    config = LlamaConfig(vocab_size=8192, num_attention_heads=8, max_position_embeddings=1024, bos_token_id=1, eos_token_id=2,
                         initializer_range=0.05, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(ROOT / "configs/tiny/model" / name, folder)


def prompts(path, n):
    """Prompts of 1 to about 60 tokens, not sorted by length."""
    words = "once upon a time there was a little girl who liked to play outside with her dog and a red ball".split()
    lines = [" ".join(words[i % 7: i % 7 + 1 + (5 * i) % len(words)]) for i in range(n)]
    path.write_text("".join(json.dumps({"prompt": line}) + "\n" for line in lines))
    return lines


def ours(args, model, folder, batch, new):
    command = [args.mvpbench, "generate", "--model", model, "--prompts", folder / "prompts.jsonl", "--max-new-tokens", str(new),
               "--batch", str(batch)]
    done = subprocess.run(command, env={**os.environ, "RAYON_NUM_THREADS": str(args.threads)}, capture_output=True, text=True, check=True)
    tokens, seconds = re.search(r"generated: (\d+) tokens in ([\d.]+) s", done.stderr).groups()
    return float(seconds), int(tokens), [json.loads(line)["completion"] for line in done.stdout.splitlines()]


def peer(model, tokenizer, texts, batch, new):
    import torch

    answers, begun = [], time.perf_counter()
    for at in range(0, len(texts), batch):
        inputs = tokenizer(texts[at:at + batch], return_tensors="pt", padding=True, return_token_type_ids=False)
        with torch.no_grad():
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=new, pad_token_id=tokenizer.pad_token_id)
        answers += tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
    return time.perf_counter() - begun, answers


def read_gb_per_s(threads):
    """The best rate of many sums over 1 GiB of f32, each thread over its own part."""
    import torch

    torch.set_num_threads(threads)
    block = torch.ones(1 << 28)
    best = 0.0
    for _ in range(8):
        begun = time.perf_counter()
        block.sum()
        best = max(best, block.numel() * 4 / (time.perf_counter() - begun) / 1e9)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mvpbench", type=lambda p: Path(p).resolve(), default=ROOT / "target/release/mvpbench")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--prompts", type=int, default=32, help="number of prompts")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--new", type=int, default=64, help="max_new_tokens")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--bandwidth", action="store_true")
    args = parser.parse_args()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model_folder = args.model or folder / "model"
        if not args.model:
            random_model(model_folder, args.bandwidth)
        model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
        weights = sum(p.numel() for name, p in model.named_parameters() if "embed_tokens" not in name)
        if model.config.tie_word_embeddings:
            weights += model.lm_head.weight.numel()
        machine = f"{platform.processor() or platform.machine()}, {args.threads} threads, {weights / 1e6:.1f} M weights a token"
        if args.bandwidth:
            del model
            prompts(folder / "prompts.jsonl", 1)
            rows = []
            for _ in range(args.rounds):
                read = read_gb_per_s(args.threads)
                seconds, tokens, _ = ours(args, model_folder, folder, 1, args.new)
                rows.append((weights * 4 * tokens / seconds / 1e9, read))
            rate, read = (statistics.median(row[i] for row in rows) for i in (0, 1))
            print(f"{machine}\n\n| weights read at batch 1 | memory can be read at | share |\n|---|---|---|")
            print(f"| {rate:.1f} GB/s | {read:.1f} GB/s | {100 * rate / read:.0f} % |")
            return
        texts = prompts(folder / "prompts.jsonl", args.prompts)
        tokenizer = AutoTokenizer.from_pretrained(model_folder, padding_side="left")
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        single, padded = "Hugging Face, one prompt at a time", f"Hugging Face, padded batches of {args.batch}"
        mine = f"ours, batch {args.batch}"
        times, answers = {mine: [], single: [], padded: []}, {}
        for _ in range(args.rounds):
            seconds, tokens, answers[mine] = ours(args, model_folder, folder, args.batch, args.new)
            times[mine].append(seconds)
            for name, batch in ((padded, args.batch), (single, 1)):
                seconds, answers[name] = peer(model, tokenizer, texts, batch, args.new)
                times[name].append(seconds)
    best = statistics.median(times[mine])
    print(f"{machine}, {args.prompts} prompts, {tokens} new tokens\n\n| program | s | times ours | same answers |\n|---|---|---|---|")
    for name, seconds in times.items():
        same = sum(a == b for a, b in zip(answers[name], answers[mine]))
        print(f"| {name} | {statistics.median(seconds):.3f} | {statistics.median(seconds) / best:.2f} | {same}/{args.prompts} |")


if __name__ == "__main__":
    main()
