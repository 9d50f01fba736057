"""The DPO configurations in the repositories of TRL, alignment-handbook, Axolotl and LLaMA-Factory, by `mvpbench import-config`.

    python scripts/interop/configs.py --sources SOURCES --bin BIN

SOURCES has checkouts of these, as `trl`, `alignment-handbook`, `axolotl` and `LLaMA-Factory`; their files are read and none is kept.
A case is a file, or a block of YAML in TRL's documents, with DPO or a method beside it. It passes if `import-config` translates it and
`train --dry-run` accepts the result, with a tiny model and a small file of pairs in place of the names on the hub; files of methods
that are not computed here pass if they are refused. A file that TRL itself reads is also parsed by TRL's own parser, and every setting
of the loop, the loss and the adapter is compared with what was written. `--golden` writes how PyYAML reads single values, for the suite.
"""

import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import sides

GOLDEN = sides.ROOT / "tests/data/yaml_scalars.json"
# Files of methods that are not computed here.
REFUSED = {
    "axolotl/examples/llama-3/qlora-1b-kto.yaml": "KTO",
    "axolotl/examples/mistral/orpo/mistral-qlora-orpo.yml": "ORPO",
    "axolotl/examples/llama-3/qlora-1b-gdpo.yaml": "GDPO",
    "LLaMA-Factory/examples/train_lora/qwen3_lora_kto.yaml": "KTO",
    "LLaMA-Factory/examples/v1/train_lora/train_lora_dpo.yaml": "the form of version 1",
}
SCALARS = [
    "5e-6", "5.0e-6", "5.0e6", "5.0e+6", "1e5", "no", "No", "NO", "nO", "on", "On", "off", "OFF", "yes", "y", "n", "true", "True", "TRUE", "tRUE",
    "~", "null", "Null", "nil", "", "010", "09", "0o10", "0x1F", "0b101", "1_000", "_1", "1:30", "-1:30", "1:60", ".5", "5.", "-.5", "+12", "-12", "1.5.2", ".inf",
    "-.inf", "+.INF", ".nan", "inf", "nan", "1_0.5", "'no'", '"5"', "0", "-0", "0.0", "00", "!!str 5", "!!float 5", "1.0.0", "meta-llama/Llama-2-7b-hf", "=x", "1e-5", "1.e-5", "1.0E-5",
    "0.1e-05", "5.0e-07", "12345678901234567890",
]


def template_model(folder):
    """The tiny golden model, with a chat template."""
    shutil.copytree(sides.GOLDEN / "models/tiny", folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["chat_template"] = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    path.write_text(json.dumps(config))
    return folder


def cases(sources, folder):
    """`(name, path)` of each configuration; blocks of documents are written to `folder`."""
    found = []
    for path in sorted((sources / "trl").rglob("*.md")):
        for i, block in enumerate(re.findall(r"```ya?ml\n(.*?)```", path.read_text(), re.DOTALL)):
            if "dpo" in block.split("\n")[0]:
                written = folder / f"{path.stem}-{i}.yaml"
                written.write_text(block)
                found.append((f"trl/{path.relative_to(sources / 'trl')} block {i + 1}", written))
    for path in sorted((sources / "alignment-handbook").rglob("*dpo*")):
        files = sorted(path.glob("*.yaml")) if path.is_dir() else [path] if path.suffix == ".yaml" else []
        found += [(str(file.relative_to(sources)), file) for file in files]
    for program, key in (("axolotl", r"^rl: "), ("LLaMA-Factory", r"^stage: (dpo|kto)")):
        for path in sorted((sources / program).rglob("*.y*ml")):
            text = path.read_text()
            if re.search(key, text, re.MULTILINE) and re.search("dpo|ipo|simpo|orpo|kto|pref_", text) or path.name == "train_lora_dpo.yaml":
                # A file of `${...}` is no configuration before somebody fills it in.
                if "grpo" not in text and "ebft" not in path.parts and "${" not in text:
                    found.append((str(path.relative_to(sources)), path))
    return found


def of_trl(path):
    """What TRL's own parser makes of a file: our key -> value."""
    from trl import DatasetMixtureConfig, DPOConfig, ModelConfig, ScriptArguments, TrlParser
    parser = TrlParser((ScriptArguments, DPOConfig, ModelConfig, DatasetMixtureConfig))
    processes = re.search(r"^num_processes: (\d+)", path.read_text(), re.MULTILINE)
    _, run, model, _ = parser.parse_args_and_config(["--config", str(path), "--use_cpu", "true"], fail_with_unknown_args=False)
    targets = model.lora_target_modules or ["q_proj", "v_proj"]
    return {
        "model.path": model.model_name_or_path,
        "model.revision": model.model_revision,
        "lora.rank": model.lora_r,
        "lora.alpha": model.lora_alpha,
        "lora.use_rslora": model.use_rslora,
        "lora.dropout": 0.0 if run.disable_dropout else model.lora_dropout,
        "lora.target_modules": sorted([targets] if isinstance(targets, str) else targets),
        "dpo.beta": run.beta,
        "dpo.loss": run.loss_type[0],
        "data.max_length": run.max_length or 0,
        "train.epochs": 1000000.0 if run.max_steps > 0 else run.num_train_epochs,
        "train.max_steps": max(run.max_steps, 0),
        "train.learning_rate": run.learning_rate,
        "train.weight_decay": run.weight_decay,
        "train.max_grad_norm": run.max_grad_norm,
        "train.per_device_batch_size": run.per_device_train_batch_size,
        "train.gradient_accumulation_steps": run.gradient_accumulation_steps * int(processes[1] if processes else 1),
        "train.seed": run.seed,
        "train.scheduler": {"cosine_with_min_lr": "cosine"}.get(run.lr_scheduler_type.value, run.lr_scheduler_type.value),
        "model.dtype": "bf16" if run.bf16 else "f32",
    }


def compared(path, config):
    """How many settings TRL reads as they were written, and those that it reads otherwise."""
    differing, theirs = [], of_trl(path)
    for key, value in theirs.items():
        section, name = key.split(".")
        ours = config.get(section, {}).get(name)
        # A default here is not written where it is the program's too.
        ours = {"model.revision": "main", "train.max_steps": 0}.get(key) if ours is None else ours
        ours = sorted(ours) if isinstance(ours, list) else ours
        if ours != value:
            differing.append(f"{key} {ours}, TRL {value}")
    return len(theirs), differing


def golden():
    import yaml
    import numbers
    rows = []
    for text in SCALARS:
        value = yaml.safe_load(f"a: {text}\n")["a"]
        kind = "null" if value is None else "bool" if isinstance(value, bool) else "integer" if isinstance(value, int) else "number" if isinstance(value, numbers.Real) else "text"
        if kind == "number" and not math.isfinite(value):
            value = str(value)
        rows.append([text, kind, str(value) if kind == "text" else value])
    rows = [row for row in rows if not (row[1] == "integer" and abs(row[2]) >= 2**63)]
    GOLDEN.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print(f"{GOLDEN}: {len(rows)} values of PyYAML {yaml.__version__}")


def main():
    parser = sides.arguments(__doc__)
    parser.add_argument("--sources", type=Path, help="folder of the checkouts")
    parser.add_argument("--golden", action="store_true", help="write the values of PyYAML for the suite, and end")
    args = parser.parse_args()
    versions = sides.check_versions()
    if args.golden:
        return golden()
    table = sides.Table("Configurations of other trainers", ["program", "translated / same / differs / to fill in", "`--dry-run`", "read by TRL's parser"], "configs.py")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder).resolve()
        ours = sides.Ours(args.bin, folder)
        commit = subprocess.run(["git", "-C", sides.ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        ours.commit = commit.stdout.strip() or ours.commit
        model = template_model(folder / "model")
        pairs = sides.write_pairs(folder / "pairs.jsonl", sides.texts())
        for name, path in cases(args.sources.resolve(), folder):
            if args.only in name:
                case(table, ours, name, path, model, pairs)
        notes = "A model of 2 layers and 6 pairs stand in the place of what the files name. Of the keys of a file: translated; without " \
                "counterpart, the result the same; without counterpart, the result another; naming what is not there."
        table.finish(args, ours, versions, notes)


def case(table, ours, name, path, model, pairs):
    output = ours.fresh("config").with_suffix(".toml")
    status, said = ours.run("mvpbench", "import-config", path, "--output", output)
    program = re.search(r": of (\S+), ", said)
    program = program[1] if program else ""
    is_refusal = name in REFUSED
    if status != 0:
        verdict = "refused" if status == 2 and "panicked" not in said else "broken"
        error = said[said.find("error: "):].strip().split("\n")[0].replace(str(path), path.name)
        return table.add(name, verdict, "refused" if is_refusal else "accepted", program, sides.shortened(error, ours.folder), "", "")
    counts = [re.search(rf"^{heading} \((\d+)\):", said, re.MULTILINE) for heading in
              ("translated", "no counterpart, the result is the same", "no counterpart, and the result differs", "to be filled in")]
    counts = " / ".join(count[1] if count else "0" for count in counts)
    settings = [f"model.path={model}", "model.revision=main", f'data.train=["{pairs}"]', "eval.sets=[]", "eval.every=0", "eval.best_metric=none", "eval.patience=0"]
    command = [word for setting in settings for word in ("--set", setting)]
    status, said = ours.run("train", "--config", output, *command, "--output", ours.fresh("run"), "--dry-run")
    dry = "accepted" if status == 0 else sides.shortened(said, ours.folder)
    read = ""
    if program == "TRL":
        count, differing = compared(path, tomllib.loads(output.read_text()))
        read = f"{count} settings the same" if not differing else "; ".join(differing)
        dry = dry if not differing else f"{dry}, and TRL reads it otherwise"
    table.add(name, "accepted" if dry == "accepted" else "broken", "refused" if is_refusal else "accepted", program, counts, dry, read)


if __name__ == "__main__":
    main()
