"""In: a command and a folder. Out: how the program ended, and what the folder holds then, without what differs between any two runs."""
import hashlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

# Fields of records that hold times, or rest on them.
TIMED = {"step_time_s", "since_last_s", "tokens_per_second", "model_tflops", "mfu", "peak_memory_gib", "reserved_memory_gib", "wall_time_s",
         "pairs_per_second", "date", "seconds", "start_time", "end_time", "total_evaluation_time_seconds", "created", "moment"}
# Digests of files that hold times.
RESTING = {"sha256"}
# Pages and cards that show times among the figures: their numbers with a unit of time or rate are left out. A page holds its tables again as
# links to encoded text.
SHOWN = {".html", ".md", ".csv"}
A_RATE = re.compile(r"^.*(?:per second|matmul rate).*$", re.MULTILINE)
A_TIME = re.compile(r"\d[\d,.]*(?:e-?\d+)?\s*(?:ms|s|min|h|pairs/s|tokens/s|GiB|TFLOP/s)\b|\d{4,6}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?(?: UTC|Z)?)?")


@dataclass
class Ended:
    """How a program ended."""
    code: int | None        # exit status, minus the signal; none: it did not end in time
    stdout: str
    stderr: str
    seconds: float

    @property
    def panicked(self):
        return "panicked at" in self.stderr or self.code in (101, -6, -11, -4, -7)

    def first_error(self):
        lines = [line for line in self.stderr.splitlines() if line.startswith("error")]
        return (lines or self.stderr.strip().splitlines()[-1:] or [""])[0][:230]


class Programs:
    """Runs the programs of one build, each command in a folder of its own."""

    def __init__(self, bin_folder, shim, temporary, url=None):
        self.bin, self.shim, self.url = Path(bin_folder).resolve(), shim, url
        self.temporary = Path(temporary)
        self.temporary.mkdir(exist_ok=True)

    def line(self, command):
        """The command as it is started."""
        return [str(self.bin / command[0])] + [part.replace("{url}", self.url or "") for part in command[1:]]

    def start(self, command, place, variables=None, wrap=(), shim=False, **more):
        environment = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        environment |= {"HOME": str(place), "MVPBENCH_CACHE": str(Path(place) / ".cache"), "TMPDIR": str(self.temporary)}
        environment |= {"HF_HUB_OFFLINE": "1", "RUST_BACKTRACE": "0"}
        environment |= {name: str(value) for name, value in (variables or {}).items()}
        if shim:
            environment["LD_PRELOAD"] = str(self.shim)
        return subprocess.Popen([*wrap, *self.line(command)], cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, start_new_session=True, **more)

    def wait(self, child, limit_s=120.0, begun=None):
        begun = begun or time.monotonic()
        try:
            out, said = child.communicate(timeout=limit_s)
            code = child.returncode
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, said = child.communicate()
            code = None
        return Ended(code, out.decode(errors="replace"), said.decode(errors="replace"), time.monotonic() - begun)

    def run(self, command, place, variables=None, wrap=(), shim=False, limit_s=120.0, **more):
        begun = time.monotonic()
        return self.wait(self.start(command, place, variables, wrap, shim, **more), limit_s, begun)


def timeless(value):
    """A value of JSON without times."""
    if isinstance(value, dict):
        return {key: timeless(part) for key, part in value.items() if key not in TIMED and key not in RESTING}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def content(path):
    """What a file holds, without times: equal for equal results."""
    data = path.read_bytes()
    try:
        if path.suffix == ".jsonl":
            lines = [json.dumps(timeless(json.loads(line))) for line in data.decode().split("\n") if line]
            # Replies stand in the order in which they came.
            return "\n".join(sorted(lines) if path.name.startswith("journal") else lines)
        if path.suffix == ".json":
            return json.dumps(timeless(json.loads(data)))
        if path.suffix == ".toml":
            return "\n".join(line for line in data.decode().splitlines() if not re.match(r"#.*|(date|sha256) = ", line))
        if path.suffix in SHOWN:
            return A_TIME.sub("#", A_RATE.sub("#", urllib.parse.unquote(data.decode())))
    except ValueError:
        pass
    return hashlib.sha256(data).hexdigest()


def listing(place, names):
    """Every file under `names` of a folder by its relative name, and empty folders with a slash at the end."""
    files = {}
    for name in names:
        root = Path(place) / name
        paths = sorted(root.rglob("*")) if root.is_dir() else [root] * root.exists()
        for path in paths:
            relative = str(path.relative_to(place))
            if path.is_dir():
                if not any(path.iterdir()):
                    files[relative + "/"] = None
            elif "events.out.tfevents" in path.name:
                files[str(path.parent.relative_to(place)) + "/EVENTS"] = path
            else:
                files[relative] = path
    return files


def results(place, names):
    """What the commands made: name -> content without times; event files, locks and the run's wall time count by being there."""
    found = {}
    for name, path in listing(place, names).items():
        alone = path is None or name.endswith(("EVENTS", "run.lock", "wall_time.json"))
        found[name] = "" if alone else content(path)
    return found


def difference(whole, other):
    """Names that differ, + what is too much, - what is missing, ~ what is another."""
    signs = []
    for name in sorted(whole.keys() | other.keys()):
        if name not in whole:
            signs.append("+" + name)
        elif name not in other:
            signs.append("-" + name)
        elif whole[name] != other[name]:
            signs.append("~" + name)
    return signs
