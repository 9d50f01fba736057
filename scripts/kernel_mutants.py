#!/usr/bin/env python3
"""Change the GPU kernels in small ways, one at a time, and see whether their tests on the CPU notice.

  cargo test --release --no-run --test it                                    # prints the path of the test program
  python3 scripts/kernel_mutants.py target/release/deps/it-0123456789abcdef  # everything below
  python3 scripts/kernel_mutants.py IT --files rope.cu --only barrier        # one file, one kind
  python3 scripts/kernel_mutants.py --list                                   # the changes; runs nothing

Needs Python 3.11, a C++ compiler and Linux. A mutant is a folder with a copy of the kernels and of what compiles them for the CPU; the
test program, built once, takes its kernels from there (MVPBENCH_KERNELS) and runs the tests of the changed file, or of all files that
include a changed header: first those of values, which notice most, then all. The checkout is never changed.

Kinds:
  barrier     a __syncthreads, __syncwarp, copy_wait or copy_commit removed
  comparison  `<` to `<=` or back, `>` to `>=` or back
  fragment    two registers of a tensor core's operand swapped, or two numbers of a pair
  transpose   load_matrices_transposed to load_matrices or back
  swizzle     the place of 16 bytes within a row of a tile
  stride      a constant that a lane, a warp, a row or a column is multiplied with, divided by or reduced by; one stride for another

All of the first, third, fourth and fifth kind are run; of comparisons and of strides --each a file, drawn by a hash of --seed and the change.

A mutant that does not compile is left out. One that runs four times longer than the kernels themselves, and 30 s, has failed too. A
survivor that no test can kill, since the kernel does the same, is listed in --known with its reason. Exit status 1 with any other
survivor.
"""
import argparse
import collections
import concurrent.futures
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from mutants import run_tests  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "src" / "ops"
EMULATION = ["cuda_on_cpu.h", "order.h", "order.cpp", "harness.cu"]
KNOWN = ROOT / "scripts" / "kernel_mutants_known.toml"
# The CPU has other text in place of its instructions.
LEFT_OUT = ["tensor_core.cuh"]
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"", re.S)
COUNTER = r"\b(?:lane|warp|row|mine|n|c|half|i|head|buffer|threadIdx\.x)"


@dataclass
class Mutant:
    file: str
    kind: str
    line: int
    source: str
    change: str
    start: int
    end: int
    text: str
    fate: str = ""
    by: str = ""
    known: str = ""

    def key(self):
        return self.file, self.source, self.change


def changes_of(text):
    """Every change of a file: (kind, start, end, text in its place)."""
    for found in re.finditer(r"__sync(?:threads|warp)\(\);|\bcopy_wait<\d>\(\);|\bcopy_commit\(\);", text):
        yield "barrier", found.start(), found.end(), ";"
    for found in re.finditer(r" (<|<=|>|>=) ", text):
        sign = found.group(1)
        yield "comparison", found.start(1), found.end(1), sign[:-1] if sign.endswith("=") else sign + "="
    for found in re.finditer(r"\{(right\[\d\]), (right\[\d\])\}", text):
        yield "fragment", found.start(), found.end(), f"{{{found.group(2)}, {found.group(1)}}}"
    for found in re.finditer(r"bf16_pair\(([^(),]+), ([^(),]+)\)", text):
        if "float" not in found.group(1):
            yield "fragment", found.start(), found.end(), f"bf16_pair({found.group(2)}, {found.group(1)})"
    for found in re.finditer(r"(bf16_pair\([^()]*\)), (bf16_pair\([^()]*\)), (?=bf16_pair)", text):
        yield "fragment", found.start(), found.end(), f"{found.group(2)}, {found.group(1)}, "
    for found in re.finditer(r"\bload_matrices(_transposed)?\((?=left|right)", text):
        yield "transpose", found.start(), found.end(), "load_matrices(" if found.group(1) else "load_matrices_transposed("
    for found in re.finditer(r"\(c \^ row % 8\) \* 8", text):
        for other in ("c * 8", "(c ^ row % 4) * 8", "(c ^ row % 8) * 4", "(c ^ row % 16) * 8"):
            yield "swizzle", found.start(), found.end(), other
    for found in re.finditer(COUNTER + r" ([*/%]) (\d+)\b(?!u?\.)", text):
        number = int(found.group(2))
        yield "stride", found.start(2), found.end(2), str(number // 2 if found.group(1) == "%" else number * 2)
    for found in re.finditer(r", (kv_stride|stride)(?=, (?:next|row|first|\(?row|tokens))", text):
        yield "stride", found.start(1), found.end(1), "stride" if found.group(1) == "kv_stride" else "kv_stride"


def mutants_of(file):
    text = file.read_text()
    code = COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)
    # What only nvcc sees, and types of templates, stay as they are.
    code = re.sub(r"#ifdef __CUDA_ARCH__.*?#(?:else|endif)", lambda found: re.sub(r"[^\n]", " ", found.group()), code, flags=re.S)
    code = re.sub(r"(?m)^template.*$", lambda found: " " * len(found.group()) if found.group().endswith(">") else found.group(), code)
    lines, found, seen = text.split("\n"), [], collections.Counter()
    for kind, start, end, new in sorted(changes_of(code), key=lambda change: change[1:]):
        line = text.count("\n", 0, start)
        source = lines[line].strip().removesuffix("\\").strip()
        change = f"`{text[start:end]}` -> `{new}`"
        seen[source, change] += 1
        nth = seen[source, change]
        found.append(Mutant(file.name, kind, line + 1, source, change + (f" (#{nth})" if nth > 1 else ""), start, end, new))
    return found


def draw(mutants, each, seed):
    """At most `each` comparisons and `each` strides of a file, and all others."""
    def place(mutant):
        return hashlib.sha256("|".join([seed, *mutant.key()]).encode()).digest()

    drawn = []
    for kind in ("comparison", "stride"):
        drawn += sorted((mutant for mutant in mutants if mutant.kind == kind), key=place)[:each]
    return [mutant for mutant in mutants if mutant.kind not in ("comparison", "stride") or mutant in drawn]


def includers(name):
    """The kernels' files that a change of `name` reaches."""
    files = sorted(KERNELS.glob("*.cu"))
    return [file.stem for file in files if file.name == name or f'#include "{name}"' in file.read_text()]


def lay_out(folder, mutant):
    """`folder` as the test program wants it, with the mutant's file changed."""
    kernels, emulation = folder / "src" / "ops", folder / "tests" / "it" / "kernels"
    kernels.mkdir(parents=True)
    emulation.mkdir(parents=True)
    for file in [*KERNELS.glob("*.cu"), *KERNELS.glob("*.cuh")]:
        shutil.copy(file, kernels)
    for name in EMULATION:
        shutil.copy(ROOT / "tests" / "it" / "kernels" / name, emulation)
    if mutant:
        text = (KERNELS / mutant.file).read_text()
        (kernels / mutant.file).write_text(text[: mutant.start] + mutant.text + text[mutant.end :])


def compiles(folder, stem):
    command = [os.environ.get("CXX") or "c++", "-std=c++17", "-fsyntax-only", "-w", "-x", "c++", "-include",
               str(folder / "tests/it/kernels/cuda_on_cpu.h"), str(folder / "src/ops" / f"{stem}.cu")]
    return subprocess.run(command, capture_output=True).returncode == 0


def stages(stems, tests):
    """Filters of tests, the quickest to notice something first."""
    return [tests] if tests else [[f"kernels::{stem}::values" for stem in stems], [f"kernels::{stem}::" for stem in stems]]


def test(program, folder, filters, timeout):
    return run_tests(program, filters, 0, timeout, ROOT, 2, {"MVPBENCH_KERNELS": str(folder)})


def measure(program, mutant, tests, seconds, scratch):
    """Fills in the fate of a mutant; `seconds` has each stage's time of the kernels themselves, by stem."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        folder = Path(folder)
        lay_out(folder, mutant)
        stems = includers(mutant.file)
        if not compiles(folder, stems[0]):
            mutant.fate = "does not compile"
            return
        for stage, filters in enumerate(stages(stems, tests)):
            state, mutant.by = test(program, folder, filters, 30 + 4 * sum(seconds[stem][stage] for stem in stems))
            if state != "passed":
                break
        mutant.fate = "survived" if state == "passed" else state


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", type=Path, help="the test program `it`")
    parser.add_argument("--files", nargs="+", default=[], help="names in src/ops (default: all)")
    parser.add_argument("--only", default="", metavar="REGEX", help="changes whose kind, line's text or change this finds")
    parser.add_argument("--tests", nargs="+", default=[], metavar="FILTER", help="tests in place of those of the changed file")
    parser.add_argument("--each", type=int, default=20, help="comparisons, and strides, drawn a file (default 20)")
    parser.add_argument("--seed", default="1", help="another one draws others (default 1)")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="mutants at once (default: half the cores)")
    parser.add_argument("--known", type=Path, default=KNOWN, help="equivalent mutants (default scripts/kernel_mutants_known.toml)")
    parser.add_argument("--list", action="store_true", help="print the changes and end")
    options = parser.parse_args()
    if not options.list and not options.program:
        parser.error("the test program is missing")

    files = sorted(file for file in [*KERNELS.glob("*.cu"), *KERNELS.glob("*.cuh")] if file.name not in LEFT_OUT)
    files = [file for file in files if not options.files or file.name in options.files]
    if missing := set(options.files) - {file.name for file in files}:
        parser.error(f"not in src/ops: {', '.join(sorted(missing))}")
    possible = [mutants_of(file) for file in files]
    mutants = [mutant for of_file in possible for mutant in draw(of_file, options.each, options.seed)]
    mutants = [m for m in mutants if re.search(options.only, f"{m.kind} {m.source} {m.change}")]
    if options.list:
        for mutant in mutants:
            print(f"{mutant.file}:{mutant.line} {mutant.kind} {mutant.change}\n    {mutant.source}")
        print(f"{len(mutants)} of {sum(map(len, possible))}")
        return
    if not mutants:
        parser.error("nothing to change")
    entries = tomllib.loads(options.known.read_text()).get("known", []) if options.known.exists() else []
    known = {(entry["file"], entry["line"], entry["mutant"]): entry["why"] for entry in entries}

    began, lock, left = time.monotonic(), threading.Lock(), len(mutants)
    with tempfile.TemporaryDirectory() as scratch:
        program, seconds = options.program.resolve(), {}

        def unchanged(stem):
            """The seconds of each stage, as many stems at once as later mutants."""
            folder = Path(scratch) / stem
            lay_out(folder, None)
            times = []
            for filters in stages([stem], options.tests):
                start = time.monotonic()
                state, by = test(program, folder, filters, 3600)
                if state != "passed":
                    sys.exit(f"the tests of {stem} fail without a mutant: {by or state}")
                times.append(time.monotonic() - start)
            print(f"{stem} unchanged: {sum(times):.0f} s", file=sys.stderr, flush=True)
            return stem, times

        stems = sorted({stem for file in {mutant.file for mutant in mutants} for stem in includers(file)})
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            seconds.update(pool.map(unchanged, stems[:1] if options.tests else stems))
        seconds = {stem: seconds.get(stem, seconds[stems[0]]) for stem in stems}

        def one(mutant):
            nonlocal left
            measure(program, mutant, options.tests, seconds, scratch)
            with lock:
                left -= 1
                print(f"{left} left {mutant.fate} {mutant.file}:{mutant.line} {mutant.change} {mutant.by}", file=sys.stderr, flush=True)

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(one, mutants))

    mutants = [mutant for mutant in mutants if mutant.fate != "does not compile"]
    for mutant in mutants:
        why = known.get(mutant.key(), "")
        if mutant.fate == "survived":
            mutant.known = why
        elif why:
            print(f"listed as equivalent, but killed by {mutant.by}: {mutant.file}:{mutant.line} {mutant.change}", file=sys.stderr)
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    print(f"commit {commit}, seed {options.seed}: {len(mutants)} of {sum(map(len, possible))} mutants, {(time.monotonic() - began) / 60:.0f} min\n")
    kinds = [kind for kind in ["barrier", "comparison", "fragment", "transpose", "swizzle", "stride"] if any(m.kind == kind for m in mutants)]
    print("| file | mutants | killed | timed out | equivalent | survived |\n|---|---|---|---|---|---|")
    rows = [(file, [m for m in mutants if m.file == file]) for file in sorted({m.file for m in mutants})]
    rows += [(f"*{kind}*", [m for m in mutants if m.kind == kind]) for kind in kinds] + [("**all**", mutants)]
    for name, row in rows:
        cells = [len(row), *(sum(m.fate == fate for m in row) for fate in ("killed", "timed out")), sum(bool(m.known) for m in row),
                 sum(m.fate == "survived" and not m.known for m in row)]
        print(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    survivors = [m for m in mutants if m.fate == "survived" and not m.known]
    for title, group in [("Survivors", survivors), ("Equivalent", [m for m in mutants if m.known])]:
        if group:
            print(f"\n{title}\n")
        for mutant in group:
            print(f"- {mutant.file}:{mutant.line} {mutant.change}: `{mutant.source}`" + (f" {mutant.known}" if mutant.known else ""))
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
