#!/usr/bin/env python3
"""Change the program in many small ways, one at a time, and see whether its tests notice: a sample of mutants and its score.

  python3 scripts/mutants.py --target target/mutants                         # everything below, about 600 mutants
  python3 scripts/mutants.py --target target/mutants src/metrics src/dpo     # some folders or files
  python3 scripts/mutants.py --target target/mutants --it losses:: merge::   # survivors also meet integration tests
  python3 scripts/mutants.py --list src/train/best.rs                        # which changes would be drawn; builds nothing

Needs Python 3.11, cargo and Linux; one file, so that it runs by itself. Works in a copy of the tree (a temporary folder, or --work, which is kept); the checkout is never changed.

What is drawn: --each places a file, at most --most in all, by a hash of --seed, the function, the line and the change, so code that
stays the same keeps its mutants. Comments, strings, attributes, tests, `macro_rules!`, `unsafe` blocks, `const fn`, constants
outside of functions and whatever stands under `#[cfg(feature = "cuda")]` are left out.

Changes: `<` to `<=` or `>=` and the like, `==` to `!=`, `+` to `-`, `*` to `/`, shifts, `&&` to `||`, names such as `min` to `max`,
`first` to `last`, `any` to `all`, `is_some` to `is_none`; a number by one; a removed `!` or unary `-`; a condition of an `if` to true or
false; a removed statement or loop; a body that returns the default.

How: one build holds all of them. A function's body is repeated for each of its mutants behind `match crate::mutant()`, which reads the
variable MUTANT once; mutants that do not compile are found from rustc's errors and dropped. Each mutant then runs the unit tests of
its own module, then all unit tests, then those of `--test it` that --it names, until one fails. A mutant that runs five times longer
than the program itself, and 20 s, has failed too (an endless loop).

With --journal FILE what was found is saved, and a second run with it builds and tests only the survivors: for the time in which their
tests are written. A score that is published comes from a run without one.

A survivor that no test can kill, since the program does the same, is listed in --known with its reason and does not count. The score is
killed / (compiled - known). Exit status 1 if it is below --at-least.
"""
import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATHS = ["src/dpo", "src/metrics", "src/data", "src/model/adapter", "src/model/plan", "src/train", "src/ops"]
KNOWN = ROOT / "scripts" / "mutants_known.toml"
PACKAGE = "mvpbench"
# Address space of a test: a mutant that allocates for ever ends before the machine does.
MEMORY = 12 << 30
# Threads of a test's pool, the same on every machine, since some code divides its work by them.
THREADS = 4

SWAPS = {
    "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"], "==": ["!="], "!=": ["=="],
    "+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "%": ["*"], "<<": [">>"], ">>": ["<<"], "^": ["|"], "|": ["&"], "&": ["|"],
    "+=": ["-="], "-=": ["+="], "*=": ["/="], "/=": ["*="], "&&": ["||"], "||": ["&&"], "..": ["..="], "..=": [".."],
}
# These stand without spaces.
RANGES = ("..", "..=")
PAIRS = """min max, first last, any all, floor ceil, is_some is_none, is_ok is_err, is_some_and is_none_or, starts_with ends_with,
take_while skip_while, min_by max_by, min_by_key max_by_key, saturating_sub saturating_add, checked_sub checked_add, find rfind"""
NAMES = {a: b for pair in PAIRS.split(",") for a, b in (pair.split(), pair.split()[::-1])}

TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<comment>/\*)
    |(?P<raw>b?r(?P<hash>\#*)".*?"(?P=hash))
    |(?P<string>b?"(?:\\.|[^"\\])*")
    |(?P<char>b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\\x80-\xff]|[\xc0-\xff][\x80-\xbf]+)')
    |(?P<life>'\w+)
    |(?P<number>0[xob][\da-fA-F_]+(?:[iu]\w+)?|\d[\d_]*(?:\.(?:\d[\d_]*|(?![\w.])))?(?:[eE][+-]?\d+)?(?:_?[fiu]\d\w*|_?[iu]size)?)
    |(?P<name>(?:r\#)?[A-Za-z_]\w*)
    |(?P<punct><<=|>>=|\.\.\.|\.\.=|::|->|=>|==|!=|<=|>=|&&|\|\||[-+*/%^&|]=|<<|>>|\.\.|.)""",
    re.X | re.S,
)


@dataclass
class Token:
    kind: str
    text: str
    start: int
    end: int
    # Index of the other bracket.
    other: int = -1


def tokens_of(text):
    """The tokens of a file, without white space and comments."""
    tokens, at = [], 0
    while at < len(text):
        found = TOKEN.match(text, at)
        kind, end = found.lastgroup, found.end()
        if kind == "hash":
            kind = "raw"
        if kind == "comment":
            depth, end = 1, at + 2
            while depth:
                edge = re.compile(r"/\*|\*/").search(text, end)
                depth, end = depth + (1 if edge.group() == "/*" else -1), edge.end()
        elif kind != "space":
            tokens.append(Token(kind, text[at:end], at, end))
        at = end
    opened = []
    for index, token in enumerate(tokens):
        if token.kind == "punct" and token.text in "([{":
            opened.append(index)
        elif token.kind == "punct" and token.text in ")]}":
            token.other = opened.pop()
            tokens[token.other].other = index
    return tokens


def after_item(tokens, index):
    """The index after the item, statement, field or arm that begins at `index`."""
    to_semicolon = False
    while index < len(tokens):
        token = tokens[index]
        if token.kind == "name" and token.text in ("let", "use", "const", "static", "type"):
            to_semicolon = True
        if token.text in (";", ","):
            return index + 1
        if token.kind == "punct" and token.text in ")]}":
            return index
        if token.kind == "punct" and token.text in "([{":
            brace, index = token.text == "{", token.other
            ends = index + 1 >= len(tokens) or tokens[index + 1].text not in ("=>", "else", ".", "?")
            if brace and not to_semicolon and ends:
                return index + 1
        index += 1
    return index


def attribute(tokens, index):
    """Text without spaces of the attribute at `index`, and the index after it; none where there is none."""
    if tokens[index].text != "#":
        return None
    bracket = index + 1 + (index + 1 < len(tokens) and tokens[index + 1].text == "!")
    if bracket >= len(tokens) or tokens[bracket].text != "[":
        return None
    last = tokens[bracket].other
    return "".join(token.text for token in tokens[bracket + 1 : last]), last + 1


def left_out(tokens):
    """For each token whether it is never changed."""
    out = [False] * len(tokens)

    def leave(start, end):
        out[start:end] = [True] * (end - start)

    for index, token in enumerate(tokens):
        if found := attribute(tokens, index):
            text, after = found
            leave(index, after)
            if text in ("test", "cfg(test)") or text.startswith('cfg(feature="cuda"'):
                leave(index, after_item(tokens, after))
        elif token.text in ("macro_rules", "debug_assert", "debug_assert_eq", "debug_assert_ne") and tokens[index + 1].text == "!":
            opened = next(i for i in range(index, len(tokens)) if tokens[i].text in "([{")
            leave(index, tokens[opened].other + 1)
        elif token.text == "unsafe" and tokens[index + 1].text == "{":
            leave(index, tokens[index + 1].other + 1)
    return out


@dataclass
class Function:
    name: str
    # Token indices of the braces.
    opens: int
    closes: int
    returns: str


def functions_of(text, tokens, out):
    """The outermost functions with a body that may be changed."""
    functions, index = [], 0
    while index < len(tokens) - 1:
        token = tokens[index]
        if out[index] or token.kind != "name" or token.text != "fn" or tokens[index + 1].kind != "name":
            index += 1
            continue
        constant = any(before.text == "const" for before in tokens[max(0, index - 2) : index])
        at, arrow, where = index + 2, None, None
        while tokens[at].text not in ("{", ";"):
            arrow = at if tokens[at].text == "->" and arrow is None else arrow
            where = at if tokens[at].text == "where" else where
            # `Fn() -> T` in a bound of the generics or of an argument stands before the arguments end.
            if tokens[at].text == "(":
                arrow = None if where is None and arrow is None else arrow
                at = tokens[at].other
            elif tokens[at].text == "[":
                at = tokens[at].other
            elif tokens[at].text == "<" and at == index + 2:
                depth, at = 1, at + 1
                while depth:
                    depth += {"<": 1, ">": -1, ">>": -2, "<<": 2}.get(tokens[at].text, 0)
                    at += 1
                at -= 1
            at += 1
        if tokens[at].text == "{":
            returns = ""
            if arrow is not None and (where is None or arrow < where):
                returns = text[tokens[arrow].end : tokens[where if where else at].start].strip()
            if not constant:
                functions.append(Function(tokens[index + 1].text, at, tokens[at].other, returns))
            at = tokens[at].other
        index = at + 1
    return functions


@dataclass
class Mutant:
    file: str
    function: Function
    line: int
    source: str
    change: str
    start: int
    end: int
    text: str
    nth: int = 0
    number: int = 0
    fate: str = ""
    by: str = ""
    known: str = ""

    def key(self):
        return self.file, self.function.name, self.source, self.title()

    def title(self):
        return self.change if self.nth == 0 else f"{self.change} (#{self.nth + 1})"


def shown(text):
    text = " ".join(text.encode("latin-1").decode().split())
    return text if len(text) <= 70 else text[:67] + "..."


def number_by_one(text):
    """A number's neighbours."""
    digits, suffix = re.fullmatch(r"(0[xob][\da-fA-F_]+?|[\d_.]+(?:[eE][+-]?\d+)?)(_?(?:[iu](?:8|16|32|64|128|size)|f32|f64))?", text).groups()
    suffix = suffix or ""
    if suffix.strip("_").startswith("f") or re.search(r"[.eE]", digits) and not digits.startswith("0x"):
        value = float(digits.replace("_", ""))
        return [repr(value + 1.0) + suffix, "(" + repr(value - 1.0) + suffix + ")" if value < 1.0 else repr(value - 1.0) + suffix]
    value = int(digits.replace("_", ""), 0 if digits.startswith("0") and len(digits) > 1 and digits[1] in "xob" else 10)
    return [str(value + 1) + suffix] + ([str(value - 1) + suffix] if value else [])


def statements(tokens, opens):
    """First and last token of each statement directly in the block that begins at `opens`."""
    start, at, closes = opens + 1, opens + 1, tokens[opens].other
    while at < closes:
        token = tokens[at]
        if token.text == ";":
            yield start, at
            start = at + 1
        elif token.kind == "punct" and token.text in "([{":
            at = token.other
            block = token.text == "{" and tokens[start].text in ("if", "match", "for", "while", "loop", "unsafe", "{")
            if block and tokens[at + 1].text not in (".", "?", "else"):
                yield start, at
                start = at + 1
        at += 1


ITEMS = ("let", "use", "const", "static", "fn", "struct", "enum", "impl", "mod", "type", "pub", "#", "macro_rules")


def changes_of(text, tokens, out, function):
    """Every change of a function: (title, start, end, text in its place)."""
    inside = range(function.opens + 1, function.closes)
    for i in inside:
        token, before, after = tokens[i], tokens[i - 1], tokens[i + 1]
        if out[i]:
            continue
        spaced = text[token.start - 1].isspace() and text[token.end].isspace()
        if token.kind == "punct" and token.text in SWAPS and (spaced or token.text in RANGES):
            for other in SWAPS[token.text]:
                yield f"`{token.text}` -> `{other}`", token.start, token.end, other
        elif token.kind == "name" and token.text in NAMES and before.text in (".", "::"):
            yield f"`{token.text}` -> `{NAMES[token.text]}`", token.start, token.end, NAMES[token.text]
        elif token.text in ("!", "-") and before.kind != "name" and not text[token.end].isspace() and before.text not in (")", "]"):
            yield f"removed `{token.text}` of `{token.text}{after.text}`", token.start, token.end, ""
        elif token.text in ("!", "-") and before.text in ("return", "if", "in", "else", "match") and not text[token.end].isspace():
            yield f"removed `{token.text}` of `{token.text}{after.text}`", token.start, token.end, ""
        elif token.kind == "number" and before.text != ".":
            for other in number_by_one(token.text):
                yield f"`{token.text}` -> `{other}`", token.start, token.end, other
        elif token.text == "if" and after.text != "let":
            at = i + 1
            while tokens[at].text not in ("{", "=>"):
                at = tokens[at].other + 1 if tokens[at].kind == "punct" and tokens[at].text in "([" else at + 1
            condition = tokens[i + 1 : at]
            if condition and not any(part.text == "let" for part in condition) and not any(out[i + 1 : at]):
                start, end = condition[0].start, condition[-1].end
                for value in ("true", "false"):
                    yield f"`if {shown(text[start:end])}` -> `if {value}`", start, end, value
    for opens in [function.opens, *(i for i in inside if tokens[i].kind == "punct" and tokens[i].text == "{" and not out[i])]:
        for first, last in statements(tokens, opens):
            loop = tokens[first].text in ("for", "while", "loop")
            if tokens[first].text in ITEMS or any(out[first : last + 1]) or not (loop or tokens[last].text == ";"):
                continue
            start, end = tokens[first].start, tokens[last].end
            if end - start > 1:
                yield f"removed `{shown(text[start:end])}`", start, end, ""
    if not any(out[function.opens : function.closes]) and function.closes > function.opens + 1:
        returns = function.returns
        values = ["()"] if not returns else ["true", "false"] if returns == "bool" else ["Default::default()"]
        if returns.startswith(("Result<", "anyhow::Result<")):
            values = ["Ok(Default::default())"]
        for value in values:
            yield f"`{function.name}` returns `{value}`", tokens[function.opens].start, tokens[function.closes].end, "{ " + value + " }"


def without_tests_and_cuda(files):
    """`files` without those that are modules of tests or of the feature `cuda`, declared so in the file above them."""
    gone = set()
    for file in sorted((ROOT / "src").rglob("*.rs")):
        tokens = tokens_of(file.read_text("latin-1"))
        out = left_out(tokens)
        folder = file.parent if file.name in ("mod.rs", "lib.rs") else file.with_suffix("")
        for i, token in enumerate(tokens[:-2]):
            if token.text == "mod" and tokens[i + 2].text == ";" and out[i]:
                gone |= {folder / f"{tokens[i + 1].text}.rs", folder / tokens[i + 1].text}
    return [file for file in files if not any(file == g or g in file.parents for g in gone)]


def mutants_of(file):
    """Every mutant of a file."""
    text = file.read_text("latin-1")
    tokens = tokens_of(text)
    out = left_out(tokens)
    name, lines, found = str(file.relative_to(ROOT)), text.split("\n"), []
    seen = collections.Counter()
    for function in functions_of(text, tokens, out):
        for change, start, end, new in changes_of(text, tokens, out, function):
            line = text.count("\n", 0, start)
            source = lines[line].strip().encode("latin-1").decode()
            mutant = Mutant(name, function, line + 1, source, change, start, end, new)
            mutant.nth = seen[mutant.key()]
            seen[name, function.name, source, change] += 1
            found.append(mutant)
    return found


def draw(files, each, most, seed):
    """At most `each` mutants a file and `most` in all, fewer of every file where there are more."""
    def place(mutant):
        return hashlib.sha256("|".join([seed, *mutant.key()]).encode()).digest()

    all_of = {file: sorted(mutants_of(file), key=place) for file in files}
    while each > 1 and sum(min(each, len(found)) for found in all_of.values()) > most:
        each -= 1
    drawn = [mutant for found in all_of.values() for mutant in found[:each]]
    drawn.sort(key=lambda mutant: (mutant.file, mutant.start, mutant.change))
    for number, mutant in enumerate(drawn, 1):
        mutant.number = number
    return drawn, sum(map(len, all_of.values()))


SWITCH = """
/// The number of the change that is to run; 0 is none.
#[inline(always)]
pub fn mutant() -> u32 {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(u32::MAX);
    #[cold]
    fn read() -> u32 {
        let number = std::env::var("MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(0);
        NUMBER.store(number, std::sync::atomic::Ordering::Relaxed);
        number
    }
    match NUMBER.load(std::sync::atomic::Ordering::Relaxed) {
        u32::MAX => read(),
        number => number,
    }
}
"""
# Lints that are errors unasked and would drop mutants that run.
ALLOWED = "#![allow(warnings, arithmetic_overflow, unconditional_panic, overflowing_literals, unsafe_code)]\n"


def write_mutants(tree, mutants):
    """Writes the files with every mutant in them; for each file the ranges `(start, end, mutants that the text belongs to)`."""
    ranges = {}
    by_file = collections.defaultdict(list)
    for mutant in mutants:
        by_file[mutant.file].append(mutant)
    for file, of_file in by_file.items():
        text = (ROOT / file).read_text("latin-1")
        tokens = tokens_of(text)
        by_function = collections.defaultdict(list)
        for mutant in of_file:
            by_function[mutant.function.opens].append(mutant)
        pieces, length, at, ranges[file] = [], 0, 0, []

        def put(piece):
            nonlocal length
            pieces.append(piece)
            length += len(piece)

        for opens, of_function in sorted(by_function.items()):
            start, end = tokens[opens].start, tokens[tokens[opens].other].end
            put(text[at:start])
            # The arms of a function that returns `impl Trait` are of different types, and boxed.
            returns = of_function[0].function.returns
            boxed = returns.startswith("impl ")
            bound = returns[5:] + ("" if "'" in returns else " + '_")
            head, tail = (f"Box::new({{ ", f" }}) as Box<dyn {bound}>,\n") if boxed else ("", ",\n")
            put("{ match crate::mutant() {\n")
            for mutant in of_function:
                from_here = length
                put(f"{mutant.number}u32 => {head}{text[start:mutant.start]}{mutant.text}{text[mutant.end:end]}{tail}")
                ranges[file].append((from_here, length, [mutant]))
            from_here = length
            put(f"_ => {head}{text[start:end]}{tail}")
            ranges[file].append((from_here, length, of_function))
            put("} }")
            at = end
        put(text[at:])
        (tree / file).write_text("".join(pieces), "latin-1")
    return ranges


def copy_tree(tree):
    """A copy of the checkout, with the switch in `lib.rs` and no lints."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().split("\0"):
        source, target = ROOT / name, tree / name
        if name and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    library, manifest = tree / "src" / "lib.rs", tree / "Cargo.toml"
    text = library.read_text()
    documentation = re.match(r"(?:(?://!.*|#!\[.*)\n)*", text).group()
    library.write_text(documentation + ALLOWED + text[len(documentation) :] + SWITCH)
    manifest.write_text(re.sub(r"(?ms)^\[lints\.[^\n]*\n.*?(?=^\[(?!lints)|\Z)", "", manifest.read_text()))


def build(tree, target, integration):
    """(errors of the compiler, test programs by name)."""
    command = ["cargo", "test", "--release", "--no-run", "--message-format=json", "--lib", *(["--test", "it"] if integration else []),
               "--config", f"profile.release.package.{PACKAGE}.opt-level=1"]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    errors, programs = [], {}
    for line in done.stdout.splitlines():
        record = json.loads(line)
        if record["reason"] == "compiler-message" and record["message"]["level"] == "error":
            errors.append(record["message"])
        elif record["reason"] == "compiler-artifact" and record.get("executable") and record["profile"]["test"]:
            programs["it" if record["target"]["name"] == "it" else "unit"] = record["executable"]
    if done.returncode and not any(error["spans"] for error in errors):
        sys.exit(f"the tree does not build:\n{done.stderr}")
    return errors, programs


def places(span):
    while span:
        yield span["file_name"], span["byte_start"]
        span = (span.get("expansion") or {}).get("span")


def blamed(error, ranges):
    """The mutants that an error is about."""
    def owners(spans):
        for span in spans:
            for file, byte in places(span):
                yield from (of for start, end, of in ranges.get(file, []) if start <= byte < end)

    primary = list(owners([span for span in error["spans"] if span["is_primary"]]))
    secondary = list(owners(error["spans"]))
    one = [of for of in primary + secondary if len(of) == 1]
    return (one or primary or secondary or [[]])[0]


class Journal:
    """What earlier runs found of each mutant, but for the survivors."""

    def __init__(self, path):
        self.path, self.found, self.lock = path, {}, threading.Lock()
        if path and path.exists():
            for line in path.read_text().splitlines():
                record = json.loads(line)
                self.found[tuple(record["mutant"])] = record["fate"], record["by"]

    def save(self, mutant, fate, by=""):
        if self.path:
            with self.lock, self.path.open("a") as file:
                file.write(json.dumps({"mutant": mutant.key(), "fate": fate, "by": by}) + "\n")


UNCOMPILED = "does not compile"


def build_what_compiles(tree, target, mutants, integration, journal):
    """Drops the mutants that do not compile; the rest, and the test programs."""
    while True:
        ranges = write_mutants(tree, mutants)
        began = time.monotonic()
        errors, programs = build(tree, target, integration)
        spanned = [error for error in errors if error["spans"]]
        print(f"build of {len(mutants)} mutants: {len(spanned)} errors, {time.monotonic() - began:.0f} s", file=sys.stderr)
        if not spanned:
            return mutants, programs
        gone = {id(mutant) for error in spanned for mutant in blamed(error, ranges)}
        if not gone:
            sys.exit("errors outside of the mutants:\n" + "\n".join(error["rendered"] for error in spanned))
        for file in {mutant.file for mutant in mutants if id(mutant) in gone}:
            shutil.copy2(ROOT / file, tree / file)
        for mutant in mutants:
            if id(mutant) in gone:
                journal.save(mutant, UNCOMPILED)
        mutants = [mutant for mutant in mutants if id(mutant) not in gone]


def run_tests(program, arguments, number, timeout, tree, threads=None, variables={}):
    """(`passed`, `killed` or `timed out`; the test that failed) of a test program under a mutant."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "MUTANT": str(number), "TMPDIR": scratch, "RAYON_NUM_THREADS": str(THREADS), "CARGO_MANIFEST_DIR": str(tree), **variables}
        limited = ["sh", "-c", f'ulimit -c 0; ulimit -v {MEMORY >> 10}; exec "$@"', "sh", program, *arguments]
        if threads:
            limited += ["--test-threads", str(threads)]
        running = subprocess.Popen(limited, cwd=tree, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True, errors="replace", start_new_session=True)
        late = threading.Event()

        def end():
            try:
                os.killpg(running.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

        def expire():
            late.set()
            end()

        timer = threading.Timer(timeout, expire)
        timer.start()
        failed, ended = None, False
        try:
            for line in running.stdout:
                if found := re.match(r"test (\S+) .*?(?:\.\.\. )?FAILED$", line.rstrip()):
                    failed = found.group(1)
                    break
                ended |= line.startswith("test result: ok")
        finally:
            timer.cancel()
            end()
            running.wait()
        if failed:
            return "killed", failed
        if late.is_set():
            return "timed out", ""
        return ("passed", "") if ended else ("killed", "the program ended")


def module_of(file):
    """The filter of a file's own tests."""
    parts = list(Path(file).with_suffix("").parts[1:])
    if parts[-1] == "mod":
        parts.pop()
    return "::".join(parts) + "::"


def measure(mutants, programs, tree, jobs, integration, journal):
    """Fills in the fate of each mutant."""
    def base(program, arguments):
        """Seconds of the program itself, the slowest of as many at once as later run at once."""
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            began = time.monotonic()
            for state, by in pool.map(lambda _: run_tests(program, arguments, 0, 3600, tree, 2), range(jobs)):
                if state != "passed":
                    sys.exit(f"the tests fail without a mutant: {by or state}")
            return time.monotonic() - began

    seconds = base(programs["unit"], [])
    print(f"all unit tests: {seconds:.1f} s, {jobs} at once", file=sys.stderr)
    stages = [("own module", "unit", None, seconds), ("unit tests", "unit", [], seconds)]
    if integration:
        slow = base(programs["it"], integration)
        print(f"integration tests: {slow:.1f} s, {jobs} at once", file=sys.stderr)
        stages.append(("integration tests", "it", integration, slow))
    left, lock = len(mutants), threading.Lock()

    def run(mutant):
        nonlocal left
        mutant.fate = "survived"
        for stage, program, arguments, seconds in stages:
            arguments = [module_of(mutant.file)] if arguments is None else arguments
            state, mutant.by = run_tests(programs[program], arguments, mutant.number, 20 + 5 * seconds, tree, 2)
            if state != "passed":
                mutant.fate = stage if state == "killed" else "timed out"
                journal.save(mutant, mutant.fate, mutant.by)
                break
        with lock:
            left -= 1
            if mutant.fate == "survived" or left % 50 == 0:
                place = f"{mutant.file}:{mutant.line} {mutant.title()}" if mutant.fate == "survived" else ""
                print(f"{left} left {place}", file=sys.stderr, flush=True)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, mutants))


def score(mutants):
    """Share of the mutants killed of those not known to be equivalent; 1 of none."""
    counted = [mutant for mutant in mutants if not mutant.known]
    return sum(mutant.fate != "survived" for mutant in counted) / len(counted) if counted else 1.0


def table(mutants, integration):
    """A Markdown table, a line a file."""
    fates = ["own module", "unit tests", *(["integration tests"] if integration else []), "timed out"]
    print("| file | mutants | " + " | ".join(fates) + " | equivalent | survived | score |")
    print("|---|" + "---|" * (len(fates) + 4))
    rows = collections.defaultdict(list)
    for mutant in mutants:
        rows[mutant.file].append(mutant)
    for name, row in [*sorted(rows.items()), ("**all**", mutants)]:
        counts = [sum(mutant.fate == fate and not mutant.known for mutant in row) for fate in fates]
        survived = sum(mutant.fate == "survived" and not mutant.known for mutant in row)
        cells = [len(row), *counts, sum(bool(mutant.known) for mutant in row), survived, f"{100 * score(row):.1f} %"]
        print(f"| {name} | " + " | ".join(map(str, cells)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=PATHS, help=f"files or folders (default: {' '.join(PATHS)})")
    parser.add_argument("--each", type=int, default=25, help="mutants drawn a file (default 25)")
    parser.add_argument("--most", type=int, default=600, help="mutants drawn in all (default 600)")
    parser.add_argument("--seed", default="1", help="another one draws other places (default 1)")
    parser.add_argument("--work", type=Path, help="folder of the copy, kept (default: a temporary one)")
    parser.add_argument("--target", type=Path, help="cargo's target folder for the copy (default: in the folder of the copy)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants tested at once (default: the cores)")
    parser.add_argument("--it", nargs="+", default=[], metavar="FILTER", help="tests of `--test it` for those that survive the unit tests")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="skip what earlier runs found in FILE, and add to it")
    parser.add_argument("--known", type=Path, default=KNOWN, help="equivalent mutants (default scripts/mutants_known.toml)")
    parser.add_argument("--at-least", type=float, default=95.0, metavar="PERCENT", help="score below which the exit status is 1 (default 95)")
    parser.add_argument("--list", action="store_true", help="print what would be drawn and end")
    options = parser.parse_args()

    files = sorted({file for path in options.paths for file in ([ROOT / path] if path.endswith(".rs") else (ROOT / path).rglob("*.rs"))})
    mutants, possible = draw(without_tests_and_cuda(files), options.each, options.most, options.seed)
    if options.list:
        for mutant in mutants:
            print(f"{mutant.file}:{mutant.line} {mutant.title()}\n    {mutant.source}")
        print(f"{len(mutants)} of {possible}")
        return
    known = {}
    if options.known.exists():
        for entry in tomllib.loads(options.known.read_text()).get("known", []):
            known[entry["file"], entry["line"], entry["mutant"]] = entry["why"]

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        tree, target = work / "tree", (options.target or work / "target").resolve()
        shutil.rmtree(tree, ignore_errors=True)
        copy_tree(tree)
        drawn = len(mutants)
        journal = Journal(options.journal)
        mutants = [mutant for mutant in mutants if journal.found.get(mutant.key(), ("",))[0] != UNCOMPILED]
        for mutant in mutants:
            mutant.fate, mutant.by = journal.found.get(mutant.key(), ("", ""))
        fresh, programs = build_what_compiles(tree, target, [mutant for mutant in mutants if not mutant.fate], options.it, journal)
        measure(fresh, programs, tree, options.jobs, options.it, journal)
        mutants = [mutant for mutant in mutants if mutant.fate]

    for mutant in mutants:
        why = known.get((mutant.file, mutant.source, mutant.title()), "")
        if mutant.fate == "survived":
            mutant.known = why
        elif why:
            print(f"listed as equivalent, but killed by {mutant.by}: {mutant.file}:{mutant.line} {mutant.title()}", file=sys.stderr)
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    print(f"commit {commit}, seed {options.seed}: {drawn} drawn of {possible}, {len(mutants)} compile, {(time.monotonic() - began) / 60:.0f} min\n")
    table(mutants, options.it)
    for title, group in [("Survivors", [m for m in mutants if m.fate == "survived" and not m.known]), ("Equivalent", [m for m in mutants if m.known])]:
        if group:
            print(f"\n{title}\n")
        for mutant in group:
            print(f"- {mutant.file}:{mutant.line} {mutant.title()}: `{mutant.source}`" + (f" {mutant.known}" if mutant.known else ""))
    share = 100 * score(mutants)
    print(f"\nscore: {share:.1f} %")
    sys.exit(share < options.at_least)


if __name__ == "__main__":
    main()
