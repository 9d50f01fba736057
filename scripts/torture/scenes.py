"""In: the repository's own tiny models, pairs and makers of stand-ins. Out: scenes, each a folder of inputs and the command that reads them.

A scene's folder is made once and copied for each attempt, so that an attempt may do with it as it likes. A command is written for the folder
it runs in: no path in it is absolute, but the URL of the scripted server.
"""
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden"
ENCODER = ROOT / "tests" / "data" / "encoder"

CONFIG = """[model]
path = "model"
[lora]
rank = 4
dropout = 0.1
[data]
train = ["train.jsonl"]
[train]
epochs = 1
max_steps = {steps}
learning_rate = 1e-3
checkpoint_every = {every}
per_device_batch_size = 1
gradient_accumulation_steps = 2
[eval]
every = {every}
best_metric = "dpo_loss"
[[eval.sets]]
name = "a"
files = ["test.jsonl"]
metrics = ["opa", "spmr"]
[[eval.sets]]
name = "b"
files = ["test.jsonl"]
[eval.spmr]
embedder = "encoder"
max_new_tokens = 8
max_prompts = 3
[eval.samples]
prompts = "prompts.txt"
max_new_tokens = 6
[output]
dir = "run"
"""
# A run of one step, whose adapter other scenes read.
SHORT = CONFIG.format(steps=2, every=2).split("[[eval.sets]]")[0] + '[[eval.sets]]\nname = "a"\nfiles = ["test.jsonl"]\n[output]\ndir = "run"\n'
TRL = "model_name_or_path: model\nuse_peft: true\ndataset_name: owner/pairs\nlearning_rate: 5e-6\nload_in_4bit: true\nnum_train_epochs: 1\n"


@dataclass
class Scene:
    """A folder of inputs, and a command that is to end there as if nothing had happened."""
    name: str
    make: object                    # makes the folder's content
    command: list                   # program and arguments; {url} stands for the scripted server
    outputs: list                   # what the command makes, in the folder
    server: bool = False
    code: int = 0                   # exit status of an undisturbed run
    says: str = ""                  # what it says then, where that is not 0
    once: bool = False              # whether the finished output is refused, since it may be of something else
    inputs: list = field(default_factory=list)   # files whose bits are flipped, as patterns

    def right(self, ended):
        """Whether a run ended as an undisturbed one does."""
        return ended.code == self.code and self.says in ended.stderr


class Maker:
    """Makes the folders of the scenes, each once."""

    def __init__(self, run, folder):
        self.run, self.folder = run, folder

    def base(self, scene):
        """The folder of a scene's inputs."""
        place = self.folder / scene.name.replace(" ", "-")
        if not place.exists():
            place.mkdir(parents=True)
            scene.make(self, place)
        return place

    def finished_run(self):
        """A folder with a short run that has ended."""
        place = self.folder / ".short"
        if not place.exists():
            place.mkdir(parents=True)
            model_and_pairs(place, 4)
            (place / "config.toml").write_text(SHORT)
            self.must(place, ["train", "--config", "config.toml", "-q"])
            shutil.rmtree(place / ".cache")
        return place

    def must(self, place, command):
        done = self.run(command, place)
        if done.code != 0:
            raise SystemExit(f"torture: cannot prepare: {' '.join(command)}: status {done.code}\n{done.stderr}")


def copy(source, place):
    """Copies a file or a folder, and makes it writable."""
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, place)


def model_and_pairs(place, pairs):
    copy(GOLDEN / "models" / "tiny-gqa", place / "model")
    copy(ENCODER, place / "encoder")
    lines = (GOLDEN / "pairs.jsonl").read_text().splitlines()
    records = [json.loads(lines[at % len(lines)]) | {"id": str(at)} for at in range(pairs)]
    (place / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (place / "test.jsonl").write_text("".join(line + "\n" for line in lines[:6]))
    (place / "prompts.txt").write_text("Why does it rain?\nName a river.\nIs tea better than coffee?\n")


def training(steps, every, pairs):
    def make(_, place):
        model_and_pairs(place, pairs)
        (place / "config.toml").write_text(CONFIG.format(steps=steps, every=every))
    return make


def with_adapter(maker, place):
    model_and_pairs(place, 4)
    copy(maker.finished_run() / "run" / "adapter", place / "adapter")


def with_run(maker, place):
    copy(maker.finished_run() / "run", place / "run")


def some_records(place, name, count):
    records = json.loads((ROOT / "configs" / "tiny" / "data" / "MVP_test.json").read_text())
    (place / name).write_text("".join(json.dumps(record) + "\n" for record in records[:count]))


def benchmark(_, place):
    copy(GOLDEN / "models" / "tiny", place / "model")
    some_records(place, "records.jsonl", 12)


def answered(maker, place):
    benchmark(maker, place)
    maker.must(place, ["mvpbench", "generate", "--model", "model", "--data", "records.jsonl", "--output", "answers/base", "-q"])
    shutil.rmtree(place / ".cache", ignore_errors=True)


def answered_for_a_model(maker, place):
    answered(maker, place)
    paper = (ROOT / "configs" / "paa-paper.toml").read_text()
    (place / "few.toml").write_text(paper.replace("calibrate = 200", "calibrate = 4"))


def records(_, place):
    some_records(place, "records.jsonl", 80)


def split_records(maker, place):
    records(maker, place)
    maker.must(place, ["mvpbench", "data", "split", "--input", "records.jsonl", "--output", "bench"])


def marked(maker, place):
    split_records(maker, place)
    maker.must(place, ["mvpbench", "data", "review", "sample", "bench", "--n", "6", "--reviewers", "1"])
    rows = (place / "bench" / "review" / "sample.csv").read_text().splitlines()
    (place / "rows").write_text("\n".join(rows))


def script(name, *arguments):
    subprocess.run([sys.executable, "-B", str(ROOT / "scripts" / name), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def prism(_, place):
    script("make_prism.py", place, "--users", "12", "--conversations", "18", "--facts", ROOT / "scripts" / "prism_facts_tiny.toml")


def ultrafeedback(_, place):
    script("make_ultrafeedback.py", place / "uf.jsonl", "--records", "30")


def of_trl(_, place):
    (place / "trl.yaml").write_text(TRL)


PRISM = ["--survey", "survey.jsonl", "--conversations", "conversations.jsonl", "--output", "bench"]
SCRIPTED = ["--endpoint", "{url}", "--chat-model", "m"]
SPMR = ["--metrics", "opa", "--metrics", "spmr", "--embedder", "encoder", "--set", "eval.spmr.max_new_tokens=8", "--set", "eval.spmr.max_prompts=3"]
MODEL = ["model/config.json", "model/generation_config.json", "model/model.safetensors", "model/tokenizer.json", "model/tokenizer_config.json"]
ADAPTER = ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"]

SCENES = [
    Scene("train", training(4, 2, 10), ["train", "--config", "config.toml"], ["run"],
          inputs=["config.toml", "train.jsonl", "test.jsonl", "prompts.txt", *MODEL, "encoder/*.json", "encoder/*.safetensors", "encoder/*/*.json"]),
    Scene("train --seeds", training(2, 1, 6), ["train", "--config", "config.toml", "--seeds", "1,2"], ["run"]),
    Scene("eval", with_adapter,
          ["mvpbench", "eval", "--model", "model", "--adapter", "adapter", "--data", "a=test.jsonl", "--data", "b=test.jsonl", *SPMR,
           "--output", "ev"],
          ["ev"], inputs=["test.jsonl", *MODEL, *ADAPTER, "encoder/model.safetensors"]),
    Scene("generate", with_adapter,
          ["mvpbench", "generate", "--model", "model", "--adapter", "adapter", "--prompts", "prompts.txt", "--max-new-tokens", "12", "--batch", "2",
           "--output", "out/answers.jsonl"], ["out"], once=True, inputs=["prompts.txt", *ADAPTER]),
    Scene("generate --data", benchmark, ["mvpbench", "generate", "--model", "model", "--data", "records.jsonl", "--output", "answers"], ["answers"],
          inputs=["records.jsonl"]),
    Scene("judge rule", answered, ["mvpbench", "judge", "--answers", "answers/base", "--judge", "rule", "--output", "paa"], ["paa"],
          inputs=["answers/base/*", "records.jsonl"]),
    # The tiny model says neither Yes nor No, so the command ends with 1, and says why, with every file written.
    Scene("judge model", answered_for_a_model,
          ["mvpbench", "judge", "--answers", "answers/base", "--model", "embedded:tiny/model", "--config", "few.toml", "--output", "paa"], ["paa"],
          code=1, says="no answer has a verdict", inputs=["answers/base/*", "few.toml"]),
    Scene("judge endpoint", answered, ["mvpbench", "judge", "--answers", "answers/base", *SCRIPTED, "--output", "paa"], ["paa"], server=True),
    Scene("merge", with_adapter, ["mvpbench", "merge", "--model", "model", "--adapter", "adapter", "--output", "merged"], ["merged"],
          inputs=[*MODEL, *ADAPTER]),
    Scene("report", with_run, ["mvpbench", "report", "run", "--output", "pages"], ["pages"]),
    Scene("data split", records, ["mvpbench", "data", "split", "--input", "records.jsonl", "--output", "sides"], ["sides"], inputs=["records.jsonl"]),
    Scene("data stats", split_records, ["mvpbench", "data", "stats", "bench", "--output", "pages"], ["pages"], inputs=["bench/*"]),
    Scene("data review", split_records, ["mvpbench", "data", "review", "sample", "bench", "--n", "6"], ["bench"], inputs=["bench/*"]),
    Scene("data build-mvpbench", prism, ["mvpbench", "data", "build-mvpbench", *PRISM, *SCRIPTED], ["bench"], server=True,
          inputs=["survey.jsonl", "conversations.jsonl"]),
    Scene("data build-prism-pairs", prism, ["mvpbench", "data", "build-prism-pairs", *PRISM], ["bench"],
          inputs=["survey.jsonl", "conversations.jsonl"]),
    Scene("data build-ufp4", ultrafeedback, ["mvpbench", "data", "build-ufp4", "--ultrafeedback", "uf.jsonl", "--output", "uf"], ["uf"],
          inputs=["uf.jsonl"]),
    Scene("import-config", of_trl, ["mvpbench", "import-config", "trl.yaml", "--output", "run.toml"], ["run.toml"], inputs=["trl.yaml"]),
]
BY_NAME = {scene.name: scene for scene in SCENES}
