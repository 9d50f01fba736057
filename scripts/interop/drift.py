#!/usr/bin/env python3
"""Compares what a run measures of its drift with PyTorch: the KL divergence from the reference on held-out answers and along the sampled
answers, and the greedy answers themselves with transformers.

  pip install -r scripts/interop/requirements.txt
  cargo build --release
  python scripts/interop/drift.py [--bin target/release] [--output FILE.md] [--only NAME]

The interpreter needs the versions of requirements.txt, and the script stops on others. `train` trains the golden tiny model and keeps the
checkpoint of every evaluation. PEFT loads each of them, PyTorch computes the divergence with `torch.nn.functional.kl_div` in f64 over the
whole vocabulary at each scored token, and transformers answers the prompts greedily. `same`: a divergence is within 2e-7 nats or 1e-4 of
itself, its standard error within 1e-3 of itself, and every answer has the same characters. The script exits with 1 on anything else.
"""

import json
import shutil
import statistics
import tempfile
from pathlib import Path

import sides

CONFIG = """
[model]
path = "{model}"
[lora]
rank = 4
target_modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
[dpo]
reference = "base"
[data]
train = ["{pairs}"]
max_prompt_tokens = 0
max_length = 0
[train]
epochs = 6
learning_rate = {rate}
scheduler = "constant"
checkpoint_every = 3
keep_checkpoints = 8
[eval]
every = 3
kl_pairs = {kl_pairs}
[[eval.sets]]
name = "t"
files = ["{pairs}"]
[eval.samples]
prompts = "{pairs}"
max_prompts = 5
max_new_tokens = 24
[output]
dir = "{output}"
"""
STEPS = (3, 6, 9, 12)
RUNS = {"learning rate 1e-4": (1e-4, 64), "learning rate 1e-3": (1e-3, 64), "learning rate 1e-2, 5 pairs": (1e-2, 5)}
MODELS = ("tiny", "tiny-gqa")


def divergence(policy, prompt, answer):
    """Mean over the tokens of `answer`, in nats."""
    import torch

    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        own = policy(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
        with policy.disable_adapter():
            base = policy(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
    each = torch.nn.functional.kl_div(base, own, log_target=True, reduction="none").sum(-1)
    return each[len(prompt) - 1 : -1].mean().item()


def load(model, adapter, checkpoint, folder):
    """The policy of a checkpoint, by PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    place = folder / "peft"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    shutil.copyfile(adapter / "adapter_config.json", place / "adapter_config.json")
    shutil.copyfile(checkpoint / "adapter_model.safetensors", place / "adapter_model.safetensors")
    base = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    return PeftModel.from_pretrained(base, place).eval()


def answers(policy, tokenizer, prompts):
    """Greedy answers, token ids."""
    import torch

    found = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            whole = policy.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        found.append((ids[0].tolist(), whole[0, ids.shape[1] :].tolist()))
    return found


def compare(case, model, settings, ours, folder, table):
    from transformers import AutoTokenizer

    rate, kl_pairs = settings
    output = ours.fresh("run")
    pairs = sides.write_pairs(folder / "pairs.jsonl", sides.texts(13))
    config = folder / "config.toml"
    config.write_text(CONFIG.format(model=model, pairs=pairs, rate=rate, kl_pairs=kl_pairs, output=output))
    ours.must("train", "--config", config, "--device", "cpu", "-q")
    head = (output / "config.toml").read_text()
    ours.commit = next((line.split()[-1] for line in head.splitlines() if "commit" in line), ours.commit)
    tokenizer = AutoTokenizer.from_pretrained(model)
    texts = sides.texts(13)
    count = min(kl_pairs, len(texts))
    held_out = [sides.token_ids(tokenizer, texts[i * len(texts) // count]) for i in range(count)]
    records = {record["step"]: record for record in map(json.loads, (output / "eval.jsonl").read_text().splitlines())}
    samples = [json.loads(line) for line in (output / "eval/samples.jsonl").read_text().splitlines()]
    base = [sample for sample in samples if sample["step"] == 0]
    start = records[0]["kl"] == 0 and records[0]["kl_stderr"] == 0
    table.add(f"{case}, before training", "same" if start else "WRONG", "same", repr(records[0]["kl"]), "0, by definition", "", "", "")
    for step in STEPS:
        policy = load(model, output / "adapter", output / f"checkpoints/step-{step:06}", folder)
        each = [divergence(policy, prompt, chosen) for prompt, chosen, _ in held_out]
        kl, error = statistics.mean(each), statistics.stdev(each) / len(each) ** 0.5
        mine = records[step]
        same = abs(mine["kl"] - kl) <= max(2e-7, 1e-4 * kl) and abs(mine["kl_stderr"] - error) <= max(2e-7, 1e-3 * error)
        sampled = [sample for sample in samples if sample["step"] == step]
        own, equal, moved = 0.0, 0, 0
        with_adapter = answers(policy, tokenizer, [sample["prompt"] for sample in sampled])
        with policy.disable_adapter():
            without = answers(policy, tokenizer, [sample["prompt"] for sample in sampled])
        for sample, untuned, (ids, answer), (_, other) in zip(sampled, base, with_adapter, without):
            text = [tokenizer.decode(found, skip_special_tokens=True) for found in (answer, other)]
            equal += text == [sample["answer"], untuned["answer"]] and len(answer) == sample["generated_tokens"]
            moved += text[0] != text[1]
            along = divergence(policy, ids, answer)
            own = max(own, abs(along - sample["kl"]) / max(along, 2e-3))
        same &= equal == len(sampled) and own <= 1e-4
        cells = (f"{mine['kl']:.6e}", f"{kl:.6e}", f"{abs(mine['kl'] - kl):.1e}", f"{equal} of {len(sampled)}, {moved} moved", f"{own:.1e}")
        table.add(f"{case}, step {step}", "same" if same else "WRONG", "same", *cells)


def main():
    args = sides.arguments(__doc__).parse_args()
    versions = sides.check_versions()
    columns = ["KL of ours, nats per token", "KL of PyTorch", "distance", "answers equal to transformers', with both states", "KL along them, largest relative distance"]
    table = sides.Table("Drift beside PyTorch", columns, "drift.py")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours = sides.Ours(args.bin, folder)
        for name in MODELS:
            for run, settings in RUNS.items():
                if args.only in f"{name}, {run}":
                    compare(f"{name}, {run}", sides.GOLDEN / "models" / name, settings, ours, folder, table)
    table.finish(args, ours, versions, NOTES)


NOTES = (
    "`train` trains a golden model with LoRA on all seven projections and evaluates after every third step; PEFT loads the checkpoint of that step. The "
    "divergence is exact over the vocabulary at each token of the held-out chosen answers, the mean per token and then over answers; its standard error "
    "is compared too. The sampled answers are greedy, of the base model and of the policy."
)

if __name__ == "__main__":
    main()
