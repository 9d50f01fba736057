"""In: a file that the program reads. Out: what became of the command when one bit of that file was wrong.

Flips: the inputs of a command, wrong from the start. A letter of a text or a weight may be anything, so another result is no fault where nothing
could know better; a key that nobody has, or a file that is named neither in a refusal nor in a warning, is one.
Changed: the same inputs, wrong since the command was killed halfway. Own: what the program itself wrote, halfway and when it had ended.
"""
import contextlib
import json
import random
import re
from pathlib import Path

from program import difference, listing, results
from scenes import BY_NAME, SCENES
from verdicts import Missed, Verdict, kept, violated

# Share of the calls after which the half-done folders were killed.
HALFWAY = 0.6
# Files that are no result: replies that are kept for a command that asks for them again, and the lock.
APART = re.compile(r"/journal-[^/]*\.jsonl$|run\.lock$")
# Files that hold nothing.
EMPTY = ("run.lock",)


# Files that repeat an input or its digest.
SHOWING = re.compile(r"report\.(html|md)$|README\.md$|/adapter/(tokenizer|special)")


def flip(path, seed):
    """Changes one bit of a file, in half of the cases near the head of a large one; returns the place and both bytes."""
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    if not data:
        raise Missed("an empty file")
    end = min(len(data), 2048) if rng.random() < 0.5 else len(data)
    at, bit = rng.randrange(end), rng.randrange(8)
    before = data[at]
    data[at] ^= 1 << bit
    path.write_bytes(data)
    return f"byte {at}, {bytes([before])!r} -> {bytes([data[at]])!r}"


def keys(text):
    """Every key of a JSON document, at any depth; none if it is no JSON."""
    found = set()
    try:
        json.loads(text, object_pairs_hook=lambda pairs: found.update(key for key, _ in pairs))
    except ValueError:
        return None
    return found


def names(path, said):
    """Whether the message names the file, by its name or as it is typed, or speaks of the weights of its folder."""
    return path.name in said or path.stem in said or (path.suffix == ".safetensors" and f"`{path.parent.name}`" in said and "weights" in said)


class Bits:
    """What the three rows share."""
    shim = True

    def __init__(self, stage):
        self.stage = stage

    def inputs(self, scene):
        base = self.stage.maker.base(scene)
        found = sorted(path for pattern in scene.inputs for path in base.glob(pattern) if path.is_file())
        return [str(path.relative_to(base)) for path in found if path.name not in EMPTY]

    def cases(self, wanted):
        return [f"{scene.name}:{file}:{k}" for scene in SCENES for file in self.inputs(scene) for k in range(wanted)]

    def ended_badly(self, what, ended):
        if ended.code is None:
            return violated("hang", what)
        if ended.panicked or ended.code < 0:
            return violated("panic", f"{what}: status {ended.code}: {ended.first_error()}")
        return None

    def refused(self, what, ended, path):
        """A verdict on an exit status that is not the undisturbed one's."""
        said = f"{what}: status {ended.code}: {ended.first_error()}"
        if "error" not in ended.stderr:
            return violated("no message", said)
        if not names(path, ended.stderr):
            return violated("file not named", said)
        if ended.code != 2:
            return violated("status 1", said)
        return kept("refused by name")


class Flips(Bits):
    name = "wrong bits in inputs"
    promise = "refused by name, no effect, or the result of the other input that it is; no key is passed over; no panic or hang"

    def attempt(self, case):
        name, file, k = case.split(":")
        scene = BY_NAME[name]
        with self.stage.place(scene) as place:
            path = place / file
            before = path.read_bytes()
            what = f"`{file}` {flip(path, f'{self.stage.seed} {case}')}"
            after = path.read_bytes()
            ended = self.stage.run(scene, place)
            bad = self.ended_badly(what, ended)
            if bad:
                return bad
            if not scene.right(ended):
                return self.refused(what, ended, path)
            # The input itself may stand in the folder of the outputs.
            differ = [sign for sign in self.stage.differ(scene, place) if sign != "~" + file]
            if not differ:
                return kept("no effect")
            if path.suffix == ".json" and path.parent.name != "answers":
                new = (keys(after) or set()) - (keys(before) or set())
                if new and all(SHOWING.search(sign) for sign in differ):
                    return kept("an unknown key, shown as another digest")
                if new and not any(key in ended.stderr for key in new):
                    return violated("key passed over", f"{what}: status 0, `{' '.join(new)}` is not named, and {' '.join(differ[:3])}")
            return kept("another input, named" if names(path, ended.stderr) else "another input")


class Changed(Bits):
    name = "wrong bits in inputs, halfway"
    promise = "refused by name, no effect, or all of the result is the other input's; never a mixture"

    def attempt(self, case):
        name, file, k = case.split(":")
        scene = BY_NAME[name]
        with self.stage.copy(self.stage.half(scene, HALFWAY)) as place:
            path = place / file
            what = f"killed halfway, then `{file}` {flip(path, f'{self.stage.seed} {case}')}"
            ended = self.stage.run(scene, place)
            bad = self.ended_badly(what, ended)
            if bad:
                return bad
            if not scene.right(ended):
                return self.refused(what, ended, path)
            before, whole = results(self.stage.half(scene, HALFWAY), scene.outputs), self.stage.whole(scene)
            # What was there halfway and nobody made anew, such as a journal, is no part of the result; the next lines compare that alone.
            left = {name: one for name, one in results(place, scene.outputs).items() if before.get(name) != one or name in whole}
        if not difference(self.stage.whole(scene), left):
            return kept("no effect")
        with self.stage.place(scene) as fresh:
            flip(fresh / file, f"{self.stage.seed} {case}")
            anew = self.stage.run(scene, fresh)
            differ = [sign for sign in difference(results(fresh, scene.outputs), left) if not APART.search(sign)]
        if scene.right(anew) and not differ:
            return kept("the other input's result")
        return violated("mixture", f"{what}: status {ended.code}, and of a fresh run of that input differ {' '.join(differ[:4])}")


class Own(Bits):
    name = "wrong bits in files of its own"
    promise = "refused by name, mended, computed again, or named in a warning; a file that stays wrong changes nothing else, and no page"

    def states(self, scene):
        return {"halfway": lambda: self.stage.half(scene, HALFWAY), "ended": lambda: self.stage.finished(scene)}

    def files(self, scene, state):
        place = self.states(scene)[state]()
        found = listing(place, [*scene.outputs, ".cache"])
        return {name: path for name, path in found.items() if path is not None and path.name not in EMPTY and ".partial" not in name}

    def cases(self, wanted):
        return [f"{scene.name}:{state}:{file}:{k}" for scene in SCENES for state in ("halfway", "ended") for file in self.files(scene, state)
                for k in range(wanted)]

    def attempt(self, case):
        name, state, file, k = case.split(":")
        scene = BY_NAME[name]
        source = self.states(scene)[state]()
        if file not in self.files(scene, state):
            raise Missed("not there halfway this time")
        with self.stage.copy(source) as place:
            path = place / Path(self.files(scene, state)[file]).relative_to(source)
            what = f"{state}, `{file}` {flip(path, f'{self.stage.seed} {case}')}"
            wrong = path.read_bytes()
            told = self.page(scene, place, what, path) if state == "ended" and (place / "run").is_dir() else None
            if told is not None and not told.kept:
                return told
            ended = self.stage.run(scene, place)
            bad = self.ended_badly(what, ended)
            if bad:
                return bad
            if not scene.right(ended):
                return self.refused(what, ended, path)
            differ = self.stage.differ(scene, place)
            named = names(path, ended.stderr)
            if not differ:
                mended = path.exists() and path.read_bytes() != wrong
                return kept("mended, named" if named else "mended" if mended else "no effect")
            if named and "warning" in ended.stderr:
                return kept("named in a warning")
            if differ == ["~" + file] and path.exists() and path.read_bytes() == wrong:
                return Verdict(True, "left as it is", file=re.sub(r"\d+", "N", re.sub(r"[0-9a-f]{16,}|\d{6,}", "N", f"{name}: {file}")))
            return violated("another result", f"{what}: status {ended.code}, not named, and {' '.join(differ[:4])}")

    def page(self, scene, place, what, path):
        """`mvpbench report` of a run with that file: refused or warned by name, or the page of the whole run."""
        runs = sorted(str(run.relative_to(place)) for run in (place / "run").glob("seed-*")) or ["run"]
        command = ["mvpbench", "report", *runs, "--output", "pages"]
        if not hasattr(self, "pages"):
            self.pages = {}
        if scene.name not in self.pages:
            with contextlib.ExitStack() as stack:
                whole = stack.enter_context(self.stage.copy(self.stage.finished(scene)))
                self.stage.programs.run(command, whole)
                self.pages[scene.name] = results(whole, ["pages"])
        ended = self.stage.programs.run(command, place)
        bad = self.ended_badly(f"report, {what}", ended)
        if bad:
            return bad
        if ended.code not in (0, 2):
            return violated("status 1", f"report, {what}: {ended.first_error()}")
        if names(path, ended.stderr):
            return kept("named")
        if ended.code != 0:
            return violated("file not named", f"report, {what}: status {ended.code}: {ended.first_error()}")
        differ = difference(self.pages[scene.name], results(place, ["pages"]))
        return violated("page of a wrong file", f"report, {what}: status 0, not named, and {' '.join(differ[:4])}") if differ else kept("same page")
