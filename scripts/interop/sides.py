"""The two sides of an interop comparison: ours by its programs, the peer's by transformers and PEFT, and the table of both.

Imported by models.py, adapters.py and templates.py beside it. Everything is made from seeds: the models are random and tiny, their
tokenizer is that of tests/data/golden/models/tiny, and the texts are the pairs of tests/data/golden/pairs.jsonl.
"""

import argparse
import collections
import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error", OMP_NUM_THREADS="1")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GOLDEN = ROOT / "tests/data/golden"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
PAIRS = 6
# A summed log-probability is the same within this, in nats or as a share of the sum, whichever is larger.
TOLERANCE = 3e-5
LONGEST_MESSAGE = 220


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=Path("target/release"), help="folder of `train` and `mvpbench`")
    parser.add_argument("--output", type=Path, help="Markdown file to write the table to, instead of stdout")
    parser.add_argument("--only", default="", help="run only the cases whose name has this in it")
    return parser


def check_versions():
    """Versions of the peer's packages. Exits on another than requirements.txt pins."""
    pins = [line.split("==") for line in (HERE / "requirements.txt").read_text().split() if "==" in line]
    installed = {package.name.lower(): package.version for package in importlib.metadata.distributions()}
    found = {name: installed.get(name, "none") for name, _ in pins}
    other = [f"{name} {found[name]}, expected {pin}" for name, pin in pins if found[name] != pin]
    if other:
        sys.exit(f"{'; '.join(other)}\n\nhint: pip install -r {HERE / 'requirements.txt'}")
    return found


class Ours:
    """Runs our programs in a folder, with a cache of their own."""

    def __init__(self, programs, folder):
        self.programs, self.folder = programs.resolve(strict=True), folder
        self.runs = 0
        self.commit = "unknown"

    def run(self, program, *command):
        """Exit status, and what was written to stderr."""
        cache = self.folder / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        environment = {**os.environ, "MVPBENCH_CACHE": str(cache), "RAYON_NUM_THREADS": "2", "NO_COLOR": "1"}
        done = subprocess.run([self.programs / program, *map(str, command)], cwd=self.folder, env=environment, capture_output=True, text=True)
        return done.returncode, done.stderr

    def fresh(self, stem):
        """A name that nothing has yet."""
        self.runs += 1
        return self.folder / f"{stem}-{self.runs}"

    def scores(self, model, pairs, adapter=None, settings=()):
        """Sums of each answer in nats, `[(chosen, rejected, chosen tokens, rejected tokens)]`; raises `Refused`."""
        output = self.fresh("eval")
        command = ["eval", "--model", model, "--data", f"t={pairs}", "--output", output, "--device", "cpu", "-q"]
        command += ["--adapter", adapter] if adapter else []
        for setting in ("data.max_length=0", "data.max_prompt_tokens=0", *settings):
            command += ["--set", setting]
        self.must("mvpbench", *command)
        self.commit = json.loads((output / "results.json").read_text())["git_hash"]
        lines = (output / f"eval/scores-t-{'after' if adapter else 'before'}.jsonl").read_text().splitlines()
        return [scored(json.loads(line)) for line in lines]

    def must(self, program, *command):
        status, error = self.run(program, *command)
        if status != 0:
            raise Refused(status, error)

    def token_ids(self):
        """The ids that the last command left in its cache: `[(prompt, chosen, rejected)]`."""
        files = list((self.folder / "cache/tokens").glob("*.tokens"))
        if len(files) != 1:
            raise RuntimeError(f"expected one token cache, got {len(files)}")
        data = files[0].read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + length])

        def numbers(name):
            begin, end = header[name]["data_offsets"]
            return list(struct.unpack(f"<{(end - begin) // 4}I", data[8 + length + begin : 8 + length + end]))

        rows, ids, at, pairs = numbers("pairs"), numbers("ids"), 0, []
        for row in range(0, len(rows), 4):
            parts = []
            for size in rows[row + 1 : row + 4]:
                parts.append(ids[at : at + size])
                at += size
            pairs.append(tuple(parts))
        return pairs


class Refused(Exception):
    """Our program ended with a message and wrote nothing."""

    def __init__(self, status, error):
        message = re.sub(r"^error: ", "", error[error.find("error: ") :].strip().split("\n")[0]) if "error: " in error else error.strip()[-300:]
        super().__init__(message)
        self.status, self.is_clear = status, status == 2 and error.count("panicked") == 0


def scored(line):
    return line["policy_chosen_logps"], line["policy_rejected_logps"], line["chosen_tokens"], line["rejected_tokens"]


def texts(count=PAIRS):
    lines = (GOLDEN / "pairs.jsonl").read_text().splitlines()[:count]
    return [{key: pair[key] for key in ("id", "prompt", "chosen", "rejected")} for pair in map(json.loads, lines)]


def write_pairs(path, pairs):
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def add_tokenizer(folder):
    for name in TOKENIZER_FILES:
        shutil.copyfile(GOLDEN / "models/tiny" / name, folder / name)


def token_ids(tokenizer, pair):
    """Prompt, chosen and rejected ids by TRL's rules for plain texts."""

    def ids(text):
        return tokenizer(text)["input_ids"]

    def whole(answer):
        return ids(pair["prompt"] + answer + ("" if answer.endswith(tokenizer.eos_token) else tokenizer.eos_token))

    return split(ids(pair["prompt"]), whole(pair["chosen"]), whole(pair["rejected"]))


def split(prompt, chosen, rejected):
    """TRL's split: the prompt ends where it and one of the whole texts differ."""

    def shared(whole):
        return next((i for i, (a, b) in enumerate(zip(prompt, whole)) if a != b), min(len(prompt), len(whole)))

    end = min(shared(chosen), shared(rejected))
    return prompt[:end], chosen[end:], rejected[end:]


def peer_scores(model, ids, before=lambda model: None, exact=False):
    """Sums of each answer in nats under a model of transformers or PEFT, as `Ours.scores` has them. `before`: called with the model before
    each sequence. `exact`: of its logits in f64, else in f32."""
    import torch

    def total(prompt, answer):
        before(model)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + answer]), use_cache=False).logits[0]
        logps = (logits.double() if exact else logits.float()).log_softmax(-1).double()
        # An adapter may put tokens of its own before the text.
        offset = len(logps) - len(prompt) - len(answer)
        return sum(logps[offset + len(prompt) + i - 1, token].item() for i, token in enumerate(answer))

    model.eval()
    return [(total(prompt, chosen), total(prompt, rejected), len(chosen), len(rejected)) for prompt, chosen, rejected in ids]


def distance(ours, theirs):
    """The largest distance of two sums in nats, and whether all are within the tolerance and have as many tokens."""
    worst, same = 0.0, len(ours) == len(theirs)
    for mine, other in zip(ours, theirs):
        same &= mine[2:] == other[2:]
        for a, b in zip(mine[:2], other[:2]):
            worst = max(worst, abs(a - b))
            same &= abs(a - b) <= TOLERANCE * max(1.0, abs(b))
    return worst, same


def randomise(model, seed, scale=0.12):
    """Random weights of a size at which each part of the model moves the result; norms around one."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, dtype=torch.float32)
            parameter.copy_(noise * scale if parameter.dim() > 1 else 1 + 0.1 * noise)


class Table:
    """Rows with a verdict, and the file of them."""

    def __init__(self, title, columns, script):
        self.title, self.columns, self.script = title, columns, script
        self.rows, self.verdicts, self.failed = [], collections.Counter(), []

    def add(self, name, verdict, expected, *cells):
        """`expected`: the verdict that the script states for this case; another one fails the script."""
        self.verdicts[verdict] += 1
        if verdict != expected:
            self.failed.append(f"{name}: {verdict}, expected {expected}")
        self.rows.append([name, *cells, verdict])
        print(f"{verdict:8s} {name}: {' | '.join(str(cell) for cell in cells)}"[:300], file=sys.stderr)

    def markdown(self, commit, versions, notes):
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.verdicts.items()))
        peer = ", ".join(f"{name} {version}" for name, version in versions.items())
        lines = [f"# {self.title}, {datetime.date.today()}", "", wrapped(f"{len(self.rows)} cases: {counts}. {notes}"), ""]
        lines += [wrapped(f"Commit {commit}, {machine()}. Python {platform.python_version()}, {peer}. Command:"), ""]
        lines += ["```", "pip install -r scripts/interop/requirements.txt", f"python {command_line(self.script)}", "```", ""]
        heads = ["case", *self.columns, "verdict"]
        lines += [row(heads), row(["---"] * len(heads)), *map(row, self.rows), ""]
        return "\n".join(lines)

    def finish(self, args, ours, versions, notes):
        """Writes the table; exits with 1 if a verdict is another than its case expects."""
        text = self.markdown(ours.commit, versions, notes)
        if args.output:
            args.output.write_text(text)
        else:
            print(text)
        for failed in self.failed:
            print(f"unexpected: {failed}", file=sys.stderr)
        sys.exit(bool(self.failed))


def wrapped(text):
    return textwrap.fill(text, 150, break_long_words=False, break_on_hyphens=False)


def row(cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", "⏎") for cell in cells) + " |"


def shortened(message, folder):
    """A message on one line, without the folder that the script made."""
    message = " ".join(str(message).replace(f"{folder}/", "").replace(str(folder), ".").split())
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"


def nats(distance):
    return f"{distance:.1e}"


def command_line(script):
    """The command as given, without the folders of this machine."""
    given, kept = sys.argv[1:], []
    while given:
        word = given.pop(0)
        if word == "--bin":
            kept, given = [*kept, "--bin", "target/release"], given[1:]
        elif word == "--sources":
            kept, given = [*kept, "--sources", "SOURCES"], given[1:]
        elif word == "--output":
            kept, given = [*kept, "--output", f"benches/results/{Path(given[0]).name}"], given[1:]
        else:
            kept.append(word)
    return shlex.join([f"scripts/interop/{script}", *kept])


def machine():
    name = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return f"{name}, {os.cpu_count()} cores, no GPU"
