"""In: a scene. Out: what became of it when the program died at one of its calls that change a file, or when that call failed.

A case is named SCENE:NUMBER:WHAT, as `train:137:half` or `merge:12:ENOSPC`. NUMBER counts the calls of shim.c, WHAT is one of its ways to die
or an error. `train:137:half,40:kill` dies a second time, at call 40 of the command that resumes.
"""
import errno
import os
import random
import re

from scenes import BY_NAME, SCENES
from verdicts import Missed, Verdict, kept, violated

WAYS = ["kill", "half", "after"]
ERRORS = ["ENOSPC", "EIO", "EACCES", "EMFILE"]
# What a user can mend by another command; the others are the machine's, and end with 1.
THE_USERS = {"EACCES"}


def drawn(rng, wanted, of_scene):
    """`wanted` of all cases: as many of each scene as of any other, as far as it has them, and all the rest of the larger ones."""
    left = {name: rng.sample(cases, len(cases)) for name, cases in of_scene.items()}
    chosen = []
    while len(chosen) < wanted and any(left.values()):
        for cases in left.values():
            if cases and len(chosen) < wanted:
                chosen.append(cases.pop())
    return chosen


class Calls:
    """A row whose cases are calls of the scenes."""
    reads = False

    def __init__(self, stage):
        self.stage = stage

    def ways(self):
        raise NotImplementedError

    def cases(self, wanted):
        rng = random.Random(f"{self.stage.seed} {self.name}")
        of_scene = {}
        for scene in SCENES:
            calls = len(self.stage.calls(scene, self.reads))
            of_scene[scene.name] = [f"{scene.name}:{at}:{way}" for at in range(1, calls + 1) for way in self.ways()]
        return self.more(rng, drawn(rng, wanted, of_scene))

    def more(self, _rng, cases):
        return cases

    def variables(self, number, way):
        variables = {"TORTURE_AT": number}
        if way in WAYS:
            return variables | {"TORTURE_HOW": way}
        variables |= {"TORTURE_HOW": "fail", "TORTURE_ERRNO": getattr(errno, way)}
        return variables | ({"TORTURE_READS": 1} if self.reads else {})

    def struck(self, scene, place, number, way):
        """Runs the scene's command with a fault at a call; what the call was, and how the program ended."""
        log = place.with_name(place.name + ".log")
        log.unlink(missing_ok=True)
        ended = self.stage.run(scene, place, self.variables(number, way) | {"TORTURE_LOG": log}, shim=True)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        here = [self.stage.parts(line) for line in lines if line.startswith(f"{number} ")]
        if not here:
            raise Missed(f"no call {number} this time")
        _, call, path = here[0]
        return call, os.path.relpath(path, place) if path.startswith("/") else path, ended

    def resumed(self, scene, place, what, variables=None):
        """The same command again, undisturbed, as a verdict; `what` says what happened before."""
        ended = self.stage.run(scene, place)
        if ended.panicked:
            return violated("panic afterwards", f"{what}; the same command again: {ended.first_error()}")
        if scene.once and ended.code == 2 and "already exists" in ended.stderr and not self.stage.differ(scene, place):
            return kept("had ended")
        if not scene.right(ended):
            return violated("does not resume", f"{what}; the same command again ends with {ended.code}: {ended.first_error()}")
        differ = self.stage.differ(scene, place)
        if differ:
            kind = "leftover" if all(sign.startswith("+") for sign in differ) else "another result"
            return violated(kind, f"{what}; the same command again leaves {' '.join(differ[:4])}")
        return kept("resumed")


class Kills(Calls):
    name = "kills"
    promise = "the same command again ends with the bytes of an undisturbed run, and nothing else is left"

    def ways(self):
        return WAYS

    def more(self, rng, cases):
        # Every tenth run is killed again while it resumes.
        return [f"{case},{rng.randint(1, 60)}:{rng.choice(WAYS)}" if at % 10 == 9 else case for at, case in enumerate(cases)]

    def attempt(self, case):
        name, rest = case.split(":", 1)
        scene, strikes = BY_NAME[name], [strike.split(":") for strike in rest.split(",")]
        with self.stage.place(scene) as place:
            what = []
            for again, (number, way) in enumerate(strikes):
                try:
                    call, path, ended = self.struck(scene, place, int(number), way)
                except Missed:
                    if not again:
                        raise
                    continue        # it resumed with fewer calls
                if ended.code != -9:
                    return violated("not killed", f"{way} at {call} {path}: it ended with {ended.code}")
                what.append(f"{way} at {call} {path}")
            return self.resumed(scene, place, ", ".join(what))


class Errors(Calls):
    name = "errors"
    promise = "a message and status 1 (2 where permission is missing), or the right result; no panic; the same command again then ends as undisturbed"

    def ways(self):
        return ERRORS

    def attempt(self, case) -> Verdict:
        name, number, way = case.split(":")
        scene = BY_NAME[name]
        with self.stage.place(scene) as place:
            call, path, ended = self.struck(scene, place, int(number), way)
            what, said = f"{way} at {call} {path}", f"status {ended.code}: {ended.first_error()}"
            if ended.code is None:
                return violated("hang", what)
            if ended.panicked:
                return violated("panic", f"{what}: {said}")
            # A scene that ends with 1 undisturbed has ended as it should where its results are right.
            differ = self.stage.differ(scene, place)
            leftovers = all(sign.startswith("+") and ".partial" in sign for sign in differ)
            if scene.right(ended) and leftovers:
                verdict = self.resumed(scene, place, what)
                if not verdict.kept:
                    return verdict
                return kept("a leftover until the next command" if differ else "with a warning" if "warning" in ended.stderr else "no effect")
            if ended.code == 0 and "warning" in ended.stderr and self.names(path, ended.stderr):
                return kept("without it, with a warning")
            if ended.code == 0:
                return violated("success with wrong output", f"{what}: status 0, and {' '.join(differ[:4])}")
            if ended.code not in (1, 2) or "error" not in ended.stderr:
                return violated("no message", f"{what}: {said}")
            if ended.code == 2 and way not in THE_USERS:
                return violated("status 2", f"{what}: {said}")
            if not self.names(path, ended.stderr) and not (path == "." and f"`{scene.outputs[0]}`" in ended.stderr):
                return violated("file not named", f"{what}: {said}")
            verdict = self.resumed(scene, place, f"{what} ({said})")
            return verdict if not verdict.kept else kept("refused, then resumed")

    @staticmethod
    def names(path, said):
        """Whether the message names the file of the call, the one that it becomes, or the last folder but the place itself."""
        parts = [re.sub(r"^\.(.+?)\.[\w-]+\.partial$", r"\1", part) for part in path.rstrip("/").split("/")]
        return any(part in said for part in parts[-2:] if part)


class Reads(Errors):
    name = "read errors"
    promise = Errors.promise
    reads = True

    def ways(self):
        return ["EIO", "EACCES", "EMFILE"]

    def cases(self, wanted):
        rng = random.Random(f"{self.stage.seed} {self.name}")
        of_scene = {}
        for scene in SCENES:
            calls = self.stage.calls(scene, True)
            numbers = [number for number, call, _ in calls if call in ("read", "pread", "open to read")]
            of_scene[scene.name] = [f"{scene.name}:{at}:{way}" for at in numbers for way in self.ways()]
        return drawn(rng, wanted, of_scene)
