#!/usr/bin/env python3
"""Fault and load sheet: tries what the program promises under kills, failing calls, wrong bits, full disks, company and long runs.

  scripts/torture.sh                                       # everything, about an hour
  scripts/torture.sh --kills 60 --errors 60 --flips 1 --only kills --only errors
  scripts/torture.sh --only kills --case 'train:137:half'  # one case again, with what it printed

Out: a table with a line for each row, and every violation with the command that repeats it. What is tried depends on --seed alone. Exit status: 0
every promise was kept, 1 one was not, 2 an argument is wrong or nothing could be tried. A row that this machine cannot try says why; with
--must-try that is status 1 too.
"""
import argparse
import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from calls import Errors, Kills, Reads
from flips import Changed, Flips, Own
from load import FirstUsers, Steps, Two
from program import Programs
from scenes import ROOT
from stage import Stage
from surroundings import Clock, Full, Memory, ReadOnly, Threads
from verdicts import Count, Missed, Skipped, table, violations

ROWS = [Kills, Errors, Reads, Flips, Changed, Own, Full, ReadOnly, Two, FirstUsers, Memory, Threads, Clock, Steps]


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/torture.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "target" / "release", help="folder of `train` and `mvpbench` (default target/release)")
    parser.add_argument("--kills", type=int, default=1000, help="kills, over all verbs (default 1000)")
    parser.add_argument("--errors", type=int, default=2000, help="failing calls, half as many of those that read (default 2000)")
    parser.add_argument("--flips", type=int, default=4, help="wrong bits in each file (default 4)")
    parser.add_argument("--steps", type=int, default=100_000, help="steps of the long run (default 100000)")
    parser.add_argument("--only", action="append", metavar="ROW", choices=[row.name for row in ROWS], help="row to try; may be repeated")
    parser.add_argument("--case", action="append", help="case of the row that --only names; may be repeated")
    parser.add_argument("--minutes", type=float, help="stop trying after so many minutes; the table says what was left")
    parser.add_argument("--seed", type=int, default=1, help="of every draw (default 1)")
    parser.add_argument("--output", type=Path, help="Markdown file for the table")
    parser.add_argument("--most", type=int, default=3, help="violations of one kind that are written out (default 3)")
    parser.add_argument("--work", type=Path, help="folder for the attempts (default: one in /dev/shm, or a temporary one)")
    parser.add_argument("--commit", help="commit that the programs were built from, for the page (default: the checkout's)")
    parser.add_argument("--must-try", action="store_true", help="a row that is skipped is a failure")
    options = parser.parse_args()
    if options.case and len(options.only or []) != 1:
        parser.error("--case needs one --only")
    for name in ("train", "mvpbench"):
        if not os.access(options.bin / name, os.X_OK):
            parser.error(f"`{options.bin}` has no `{name}`: cargo build --release, or --bin")
    return options


def shim(work):
    """Compiles shim.c; none if there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = work / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def wanted(options, row):
    return {"kills": options.kills, "errors": options.errors, "read errors": options.errors // 2, "steps": options.steps}.get(row.name, options.flips)


def tried(row, options, deadline, count):
    """Runs the cases of a row into its count."""
    for case in options.case or row.cases(wanted(options, row)):
        count.planned += 1
        if deadline is not None and time.monotonic() > deadline:
            continue
        try:
            verdict = row.attempt(case)
        except Missed:
            count.missed += 1
            continue
        count.add(case, verdict)
        if not verdict.kept or options.case:
            print(f"{'kept' if verdict.kept else 'VIOLATED'} {count.name} {case}: {verdict.kind}. {verdict.detail}", file=sys.stderr, flush=True)


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def page(counts, options, minutes):
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    commit = options.commit or head.stdout.strip() or "unknown"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    given = f"--kills {options.kills} --errors {options.errors} --flips {options.flips} --steps {options.steps} --seed {options.seed}"
    given += "".join(f" --only '{name}'" for name in options.only or [])
    parts = [
        f"# Faults and load, {datetime.date.today()}",
        textwrap.fill(f"{sum(count.tried for count in counts)} attempts, {sum(len(count.violations) for count in counts)} violations. What is "
                      "promised, how often it was tried, how often it was kept. A flip or a failing call is one attempt; a kill is one too, "
                      "with the command that resumes.", 148),
        textwrap.fill(f"Commit {commit}, {platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, no GPU. "
                      f"Python {platform.python_version()}. {minutes:.0f} minutes. Command:", 148),
        f"```\nscripts/torture.sh --bin target/release {given} --output FILE.md\n```",
        table(counts),
    ]
    said = [f"- {count.name}, {text}" for count in counts for text in count.numbers[:30]]
    if said:
        parts += ["## Measured", "\n".join(said)]
    wrong = [f"- {count.name}, {name} ({n})" for count in counts for name, n in sorted(count.files.items())]
    if wrong:
        parts += ["## Files that stayed wrong, with every other file of the result right", "\n".join(wrong)]
    parts += ["## Violations", violations(counts, "scripts/torture.sh", options.most) or "None."]
    missed = [f"{count.name} {count.missed}" for count in counts if count.missed]
    if missed:
        parts.append("Drawn and not come about, since the number of calls differs between runs by a few: " + ", ".join(missed) + ".")
    # Without the folder of the attempts.
    return wrapped(re.sub(r"/[^\s`']*/(place-\d+|tmp/)", r"\1", "\n\n".join(parts)) + "\n")


def wrapped(text):
    """Long lines of lists in several, indented alike; tables and commands as they are."""
    def lines(line):
        if len(line) <= 150 or line.startswith(("|", "scripts/")):
            return [line]
        indent = " " * (len(line) - len(line.lstrip(" -")))
        return textwrap.wrap(line, 150, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

    return "\n".join(part for line in text.split("\n") for part in lines(line))


def main():
    options = arguments()
    begun = time.monotonic()
    deadline = begun + options.minutes * 60 if options.minutes else None
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    work = options.work or Path(tempfile.mkdtemp(prefix="torture-", dir=shared))
    work.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen([sys.executable, "-B", str(ROOT / "scripts" / "serve_scripted.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True)
    counts = []
    try:
        library = shim(work)
        stage = Stage(Programs(options.bin, library, work / "tmp", server.stdout.readline().strip()), work, options.seed)
        for kind in ROWS:
            if options.only and kind.name not in options.only:
                continue
            row, count, since = kind(stage), Count(kind.name, kind.promise), time.monotonic()
            counts.append(count)
            try:
                if library is None and getattr(kind, "shim", True):
                    raise Skipped("no C compiler `cc` for shim.c")
                tried(row, options, deadline, count)
            except Skipped as why:
                count.skipped = str(why)
            count.seconds = time.monotonic() - since
            print(f"{kind.name}: {count.kept} of {count.tried} kept, {count.seconds:.0f} s {count.skipped}", file=sys.stderr, flush=True)
            if options.output:
                options.output.write_text(page(counts, options, (time.monotonic() - begun) / 60))
    finally:
        server.stdin.close()
        server.wait()
        if not options.work:
            shutil.rmtree(work, ignore_errors=True)
    print(table(counts))
    print(violations(counts, "scripts/torture.sh", options.most))
    if not any(count.tried for count in counts):
        return 2
    broken = any(count.violations for count in counts) or (options.must_try and any(count.skipped for count in counts))
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
