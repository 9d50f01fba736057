#!/usr/bin/env python3
"""Training at the shape of a 7B or 13B on one GPU: ours against TRL and the leanest PyTorch loop, in one run.

  CUDA_COMPUTE_CAP=90 cargo build --release --features cuda        # the card's compute capability
  PYTHON scripts/bench_gpu.py [--mvpbench target/release/mvpbench] [--shape 7b] [--steps 12] [--rounds 2] [--work FOLDER]
  PYTHON scripts/bench_gpu.py --shape tiny --device cpu            # a rehearsal: everything but the figures

PYTHON is an interpreter with torch, transformers and peft; TRL's rows need trl and datasets too and are left out without them.
The model has random bf16 weights (7b: 13.5 GB on disk); pairs have the paper's lengths: a prompt of about 200 tokens, answers of about
120. Every program takes the same steps of 8 pairs, with an adapter of rank 16 on q and v; ours and the lean loop compute
the reference's log-probabilities beforehand. Each round runs every program once, one after another; the table has medians over steps
and rounds without the first two steps of a run. Memory is the peak of all tensors. Prints a Markdown table.
"""
import argparse
import datetime
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {  # hidden, intermediate, layers, heads, vocabulary
    "tiny": (128, 352, 2, 4, 1024),
    "7b": (4096, 11008, 32, 32, 32000),
    "13b": (5120, 13824, 40, 40, 32000),
}
BATCH, ACCUMULATION = 2, 4
PAIRS = BATCH * ACCUMULATION
OURS = {"ours": "keep", "ours, recompute": "recompute"}
PEERS = {
    "TRL's defaults": ["trl"],
    "TRL, bf16 weights, reference precomputed, no checkpointing": ["trl", "--tuned"],
    "lean PyTorch, 2 pairs at once": ["lean", "--at-once", "2"],
    "lean PyTorch, 8 pairs at once": ["lean", "--at-once", "8"],
    "lean PyTorch, 8 pairs at once, compiled": ["lean", "--at-once", "8", "--compile"],
}
CONFIG = """
[model]
path = "model"
[lora]
dropout = {dropout}
[data]
train = ["pairs.jsonl"]
max_prompt_tokens = 0
shuffle = false
[train]
epochs = 1
max_steps = {steps}
activations = "{activations}"
checkpoint_every = 1000000
[output]
dir = "run"
"""


# ---- What is trained ----

def write_model(folder, shape):
    """Writes a checkpoint of random bf16 weights, in as many files as on the hub, with the tokenizer of this project's sample."""
    import torch
    from safetensors.torch import save_file

    hidden, intermediate, layers, heads, vocab = SHAPES[shape]
    folder.mkdir(parents=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(0)

    def matrix(rows, columns):
        weight = torch.randn(rows, columns, generator=generator, device=device, dtype=torch.float32)
        return (weight * 0.02).to(torch.bfloat16).cpu()

    def layer(i):
        at = f"model.layers.{i}."
        ones = torch.ones(hidden, dtype=torch.bfloat16)
        return {
            **{f"{at}self_attn.{name}_proj.weight": matrix(hidden, hidden) for name in "qkvo"},
            f"{at}mlp.gate_proj.weight": matrix(intermediate, hidden),
            f"{at}mlp.up_proj.weight": matrix(intermediate, hidden),
            f"{at}mlp.down_proj.weight": matrix(hidden, intermediate),
            f"{at}input_layernorm.weight": ones.clone(),
            f"{at}post_attention_layernorm.weight": ones.clone(),
        }

    parts = [[i for i in range(layers) if i // 8 == part] for part in range((layers + 7) // 8)]
    weight_map, size = {}, 0
    for n, part in enumerate([None, *parts], 1):
        tensors = {}
        if part is None:
            tensors = {"model.embed_tokens.weight": matrix(vocab, hidden), "lm_head.weight": matrix(vocab, hidden),
                       "model.norm.weight": torch.ones(hidden, dtype=torch.bfloat16)}
        for i in part or []:
            tensors.update(layer(i))
        name = f"model-{n:05d}-of-{len(parts) + 1:05d}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, name))
        size += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", hidden_size=hidden, intermediate_size=intermediate,
                  num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads, vocab_size=vocab, max_position_embeddings=4096,
                  rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16")
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(ROOT / "configs/tiny/model" / name, folder / name)


def write_pairs(folder, count):
    """Writes pairs of the wanted lengths from words of this project's sample in any order."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "model/tokenizer.json"))
    sample = json.loads((ROOT / "configs/tiny/data/MVP_train.json").read_text())
    words = sorted({word for record in sample for word in record["answer_w"].split()})
    pick = random.Random(0)

    def text(mean, deviation):
        wanted = max(8, round(pick.gauss(mean, deviation)))
        some = [pick.choice(words) for _ in range(wanted)]
        while len(tokenizer.encode(" ".join(some), add_special_tokens=False).ids) > wanted:
            some.pop()
        return " ".join(some)

    with open(folder / "pairs.jsonl", "w") as out:
        for _ in range(count):
            record = {"prompt": text(200, 40) + "\n", "chosen": text(120, 35), "rejected": text(120, 35)}
            out.write(json.dumps(record) + "\n")


def read_pairs(folder, steps):
    return [json.loads(line) for line in open(folder / "pairs.jsonl")][: steps * PAIRS]


# ---- Ours ----

def run_ours(args, folder, activations):
    shutil.rmtree(folder / "run", ignore_errors=True)
    (folder / "ours.toml").write_text(CONFIG.format(steps=args.steps, activations=activations, dropout=args.dropout))
    # torch's wheels have the libraries of CUDA if the system has none.
    libraries = [str(path) for entry in sys.path for path in Path(entry).glob("nvidia/*/lib")]
    env = {**os.environ, "MVPBENCH_CACHE": str(folder / "cache")}
    env["LD_LIBRARY_PATH"] = ":".join([*filter(None, [env.get("LD_LIBRARY_PATH")]), *libraries])
    command = [args.mvpbench, "train", "--config", "ours.toml", "--device", args.device, "-q"]
    subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    records = [json.loads(line) for line in open(folder / "run/train.jsonl")]
    return {
        "seconds": [record["step_time_s"] for record in records],
        "memory_gib": max(record["peak_memory_gib"] for record in records),
        "losses": [record["loss"] for record in records],
        "tflops": statistics.median(record["model_tflops"] for record in records[2:]),
        "mfu": statistics.median(record["mfu"] for record in records[2:]),
    }


# ---- The peers, each in a process of its own ----

class Watch:
    """Measures the seconds of each step, the device's work included, and the peak memory."""

    def __init__(self, device):
        import torch

        self.seconds, self.begun = [], 0.0
        self.cuda = torch.cuda if device == "cuda" else None
        if self.cuda:
            self.cuda.reset_peak_memory_stats()

    def now(self):
        if self.cuda:
            self.cuda.synchronize()
        return time.perf_counter()

    def begin(self):
        self.begun = self.now()

    def end(self):
        self.seconds.append(self.now() - self.begun)

    def result(self, losses):
        import resource

        most = self.cuda.max_memory_allocated() if self.cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print("RESULT " + json.dumps({"seconds": self.seconds, "memory_gib": most / 2**30, "losses": losses}))


def lora(dropout):
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], lora_dropout=dropout, bias="none", task_type="CAUSAL_LM")


def peer_trl(args, folder):
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    watch = Watch(args.device)

    class Steps(TrainerCallback):
        def on_step_begin(self, *_, **__):
            watch.begin()

        def on_step_end(self, *_, **__):
            watch.end()

    tuned = dict(precompute_ref_log_probs=True, gradient_checkpointing=False, model_init_kwargs={"dtype": "bfloat16"}) if args.tuned else {}
    config = DPOConfig(output_dir=tempfile.mkdtemp(dir=folder), per_device_train_batch_size=BATCH, gradient_accumulation_steps=ACCUMULATION,
                       num_train_epochs=1, learning_rate=5e-5, max_length=1024, logging_steps=1, report_to="none", save_strategy="no",
                       disable_tqdm=True, seed=12, use_cpu=args.device == "cpu", disable_dropout=False, **tuned)
    trainer = DPOTrainer(model=str(folder / "model"), args=config, train_dataset=Dataset.from_list(read_pairs(folder, args.steps)),
                         processing_class=AutoTokenizer.from_pretrained(folder / "model"), peft_config=lora(args.dropout), callbacks=[Steps()])
    trainer.train()
    watch.result([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def peer_lean(args, folder):
    """transformers and PEFT without a trainer: padded batches, the output layer at answers only, fused AdamW."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(12)
    dtype = torch.bfloat16 if args.device == "cuda" else torch.float32
    base = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=dtype).to(args.device)
    model = get_peft_model(base, lora(args.dropout)).train()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    body, head = model.base_model.model.model, model.base_model.model.lm_head
    run = torch.compile(body, dynamic=True) if args.compile else body
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-5, weight_decay=0.0, fused=True)

    sequences = []
    for pair in read_pairs(folder, args.steps):
        prompt = tokenizer(pair["prompt"])["input_ids"]
        for side in ("chosen", "rejected"):
            whole = tokenizer(pair["prompt"] + pair[side])["input_ids"] + [tokenizer.eos_token_id]
            shared = next((i for i, (a, b) in enumerate(zip(prompt, whole)) if a != b), len(prompt))
            sequences.append((whole, shared))

    def batch(first, count):
        some = sequences[2 * first : 2 * (first + count)]
        longest = max(len(ids) for ids, _ in some)
        ids, mask, scored = (torch.zeros(len(some), longest, dtype=torch.long) for _ in range(3))
        for row, (sequence, prompt) in enumerate(some):
            ids[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
            scored[row, prompt : len(sequence)] = 1
        return ids.to(args.device), mask.to(args.device), scored.bool().to(args.device)

    def logps(body, ids, mask, scored):
        hidden = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]
        chosen = scored[:, 1:]
        each = -torch.nn.functional.cross_entropy(head(hidden[chosen]).float(), ids[:, 1:][chosen], reduction="none")
        return torch.zeros(len(ids), device=ids.device).index_add(0, chosen.nonzero()[:, 0], each)

    batches = [batch(first, args.at_once) for first in range(0, len(sequences) // 2, args.at_once)]
    with torch.no_grad(), model.disable_adapter():
        references = [logps(body, *each) for each in batches]
    watch, losses, each_step = Watch(args.device), [], PAIRS // args.at_once
    for step in range(args.steps):
        watch.begin()
        total = 0.0
        for i in range(step * each_step, (step + 1) * each_step):
            rewards = 0.1 * (logps(run, *batches[i]) - references[i])
            loss = -torch.nn.functional.logsigmoid(rewards[0::2] - rewards[1::2]).mean() / each_step
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 5e-5 * (1 - step / args.steps)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(total))
        watch.end()
    watch.result(losses)


def run_peer(args, folder, arguments):
    kind, *options = arguments
    command = [sys.executable, __file__, "--peer", kind, *options, "--work", str(folder), "--steps", str(args.steps), "--device", args.device,
               "--dropout", str(args.dropout)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line[7:])
    print(f"left out: {' '.join(arguments)}: {(done.stderr.strip().splitlines() or ['no result'])[-1]}", file=sys.stderr)
    return None


# ---- The table ----

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mvpbench", type=Path, default=ROOT / "target/release/mvpbench")
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--dropout", type=float, default=0.0, help="of the adapter, for every program; the recipe's is 0.05")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder that keeps model and runs; by default they are removed at the end")
    parser.add_argument("--only", nargs="*", default=[*OURS, *PEERS], help="programs to run, by name")
    for hidden, kind in (("--peer", str), ("--at-once", int)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    for hidden in ("--tuned", "--compile"):
        parser.add_argument(hidden, action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return {"trl": peer_trl, "lean": peer_lean}[args.peer](args, args.work)
    if args.steps < 3:
        parser.error("--steps: the first two are left out, so at least 3")
    args.mvpbench = args.mvpbench.resolve(strict=True)

    temporary = None if args.work else tempfile.TemporaryDirectory()
    folder = (args.work or Path(temporary.name)).resolve() / args.shape
    if not (folder / "model/config.json").exists():
        shutil.rmtree(folder / "model", ignore_errors=True)
        write_model(folder / "model", args.shape)
    write_pairs(folder, args.steps * PAIRS)
    runs = {name: [] for name in args.only}
    if mine := [OURS[name] for name in args.only if name in OURS]:
        run_ours(args, folder, mine[0])  # fills the reference cache
    for _ in range(args.rounds):
        for name in list(runs):
            result = run_ours(args, folder, OURS[name]) if name in OURS else run_peer(args, folder, PEERS[name])
            if result is None:
                del runs[name]
            else:
                if not all(math.isfinite(loss or math.nan) for loss in result["losses"]):
                    sys.exit(f"{name}: a loss is not finite: {result['losses']}")
                # B is zero before the first step, so that policy and reference agree.
                if abs(result["losses"][0] - math.log(2)) > 1e-3:
                    print(f"{name}: the first loss is {result['losses'][0]:.4f}, expected ln 2 = 0.6931", file=sys.stderr)
                runs[name].append(result)

    def median(name):
        return statistics.median(second for run in runs[name] for second in run["seconds"][2:])

    import torch

    where = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    print(f"{where}, {datetime.date.today()}, commit {commit or 'unknown'}, torch {torch.__version__}; {args.shape}, {args.rounds} rounds of "
          f"{args.steps} steps of {PAIRS} pairs, dropout {args.dropout:g}\n")
    print("| program | s per step | pairs/s | times ours | TFLOP/s | share of matmul | memory, GiB |\n|---|---|---|---|---|---|---|")
    ours = median("ours") if "ours" in runs else None
    for name, of in runs.items():
        seconds, rate = median(name), of[0].get("tflops")
        rates = f"{rate:.1f} | {of[0]['mfu']:.0%}" if rate else "– | –"
        times = f"{seconds / ours:.2f}" if ours else "–"
        print(f"| {name} | {seconds:.3f} | {PAIRS / seconds:.1f} | {times} | {rates} | {max(run['memory_gib'] for run in of):.1f} |")


if __name__ == "__main__":
    main()
