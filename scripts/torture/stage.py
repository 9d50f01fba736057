"""Where attempts take place: fresh copies of a scene's folder, and what its command leaves when nothing disturbs it."""
import contextlib
import shutil
from pathlib import Path

from program import difference, results
from scenes import Maker


class Stage:
    def __init__(self, programs, work, seed):
        self.programs, self.work, self.seed = programs, Path(work), seed
        self.maker = Maker(programs.run, self.work / "scenes")
        self.undisturbed, self.logs, self.halves, self.wholes = {}, {}, {}, {}
        self.number = 0

    def new(self):
        """A name for a folder that no other attempt has. All are of one length, so that paths in files are too."""
        self.number += 1
        return self.work / f"place-{self.number:07d}"

    @contextlib.contextmanager
    def copy(self, source):
        place = self.new()
        shutil.copytree(source, place, symlinks=True)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def place(self, scene):
        """A fresh folder of the scene, for the time of a `with`."""
        return self.copy(self.maker.base(scene))

    def run(self, scene, place, variables=None, **more):
        return self.programs.run(scene.command, place, variables, **more)

    def whole(self, scene):
        """The results of the undisturbed command."""
        if scene.name not in self.undisturbed:
            self.undisturbed[scene.name] = results(self.finished(scene), scene.outputs)
        return self.undisturbed[scene.name]

    def differ(self, scene, place):
        return difference(self.whole(scene), results(place, scene.outputs))

    def finished(self, scene):
        """A folder in which the command has ended undisturbed; to be copied."""
        if scene.name not in self.wholes:
            place = self.new()
            shutil.copytree(self.maker.base(scene), place)
            ended = self.run(scene, place)
            if not scene.right(ended):
                raise SystemExit(f"torture: `{scene.name}` ends with {ended.code} undisturbed:\n{ended.stderr}")
            self.wholes[scene.name] = place
        return self.wholes[scene.name]

    def calls(self, scene, reads=False):
        """The counted calls of the undisturbed command: number, name, path."""
        key = (scene.name, reads)
        if key not in self.logs:
            with self.place(scene) as place:
                log = place.with_name("calls.log")
                self.run(scene, place, {"TORTURE_LOG": log} | ({"TORTURE_READS": 1} if reads else {}), shim=True)
                lines = log.read_text(errors="replace").splitlines()
                log.unlink()
            self.logs[key] = [(int(number), *rest) for number, *rest in map(self.parts, lines) if number.isdigit()]
        return self.logs[key]

    @staticmethod
    def parts(line):
        number, _, rest = line.partition(" ")
        call = "open to read" if rest.startswith("open to read ") else rest.split(" ", 1)[0]
        return number, call, rest[len(call) + 1:]

    def half(self, scene, share):
        """A folder in which the command was killed after this share of its calls; to be copied."""
        key = (scene.name, share)
        if key not in self.halves:
            place = self.new()
            shutil.copytree(self.maker.base(scene), place)
            number = max(1, int(len(self.calls(scene)) * share))
            self.run(scene, place, {"TORTURE_AT": number, "TORTURE_HOW": "kill"}, shim=True)
            self.halves[key] = place
        return self.halves[key]
