"""In: a scene in a place that is full, read-only, short of memory or threads, or whose clock jumps. Out: how the command ended there."""
import re
import shutil
import subprocess
from pathlib import Path

from program import difference, results
from scenes import BY_NAME, SCENES
from verdicts import Skipped, kept, violated

SAID_OF_THREADS = re.compile(r"report\.(html|md)$|README\.md$|(summary|results)\.json$")
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def mounts(work):
    """Whether this machine lets us mount; the row is skipped otherwise."""
    probe = Path(work) / "mount"
    probe.mkdir(exist_ok=True)
    if shutil.which("unshare") is None:
        raise Skipped("no `unshare`")
    done = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(probe)], capture_output=True, text=True)
    if done.returncode:
        raise Skipped(f"no mounts: {done.stderr.strip()}")


class Surrounding:
    shim = False

    def __init__(self, stage):
        self.stage = stage

    def tame(self, what, ended, codes):
        """A violation, if it ended as no program should; none otherwise."""
        said = f"{what}: status {ended.code}: {ended.first_error()}"
        if ended.code is None:
            return violated("hang", what)
        if ended.panicked or ended.code < 0 or ended.code > 128:
            return violated("panic", said)
        if ended.code not in codes:
            return violated(f"status {ended.code}", said)
        if ended.code and "error" not in ended.stderr:
            return violated("no message", said)
        return None


class Full(Surrounding):
    name = "full disk"
    promise = "status 1 and a message that there is no room, or the right result; with room again the same command ends as undisturbed"
    rooms = [0, 8, 32, 128, 512, 2048]      # KiB
    script = """m=$1 left=$2 out=$3; shift 3
mount -t tmpfs -o size=64m tmpfs "$m" || exit 77
cp -r . "$m/place" && cd "$m/place" || exit 77
export MVPBENCH_CACHE="$PWD/.cache" HOME="$PWD"
head -c 100m /dev/zero > ../fill 2>/dev/null
truncate -s "-${left}K" ../fill
"$@"; code=$?
rm ../fill
echo "AGAIN" >&2
"$@" >/dev/null; echo "STATUS $?" >&2
cp -r . "$out"
exit $code"""

    def cases(self, _):
        mounts(self.stage.work)
        return [f"{scene.name}:{room}" for scene in SCENES for room in self.rooms]

    def attempt(self, case):
        name, room = case.split(":")
        scene, mount = BY_NAME[name], self.stage.work / "mount"
        mount.mkdir(exist_ok=True)
        left = self.stage.new()
        with self.stage.place(scene) as place:
            ended = self.stage.run(scene, place, wrap=[*NAMESPACE, "sh", "-c", self.script, "sh", str(mount), room, str(left)])
        first, _, again = ended.stderr.partition("AGAIN\n")
        ended.stderr = first
        what = f"{room} KiB left"
        bad = self.tame(what, ended, {scene.code, 1})
        if bad:
            return bad
        if not scene.right(ended) and "No space left" not in first:
            return violated("no message", f"{what}: status {ended.code}: {ended.first_error()}")
        whole, found = self.stage.whole(scene), results(left, scene.outputs)
        shutil.rmtree(left, ignore_errors=True)
        if scene.once and scene.right(ended) and "already exists" in again and not difference(whole, found):
            return kept("right at once")
        if f"STATUS {scene.code}" not in again:
            return violated("does not resume", f"{what} ({ended.first_error()}); then with room: {again.strip()[-300:]}")
        differ = difference(whole, found)
        if differ:
            return violated("another result", f"{what}: with room again {' '.join(differ[:4])}")
        return kept("right at once" if scene.right(ended) else "refused, then resumed")


class ReadOnly(Surrounding):
    name = "read-only"
    promise = "an output that cannot be written: status 2 and a message; a cache that cannot be written: the right result"
    script = """mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77
shift; cd . && exec "$@" """

    def cases(self, _):
        mounts(self.stage.work)
        return [f"{scene.name}:{what}" for scene in SCENES for what in ("output", "cache")]

    def attempt(self, case):
        name, part = case.split(":")
        scene = BY_NAME[name]
        with self.stage.place(scene) as place:
            cache = self.stage.new()
            cache.mkdir()
            locked = place if part == "output" else cache
            ended = self.stage.run(scene, place, {"MVPBENCH_CACHE": cache, "HOME": cache},
                                   wrap=[*NAMESPACE, "sh", "-c", self.script, "sh", str(locked)])
            shutil.rmtree(cache, ignore_errors=True)
            what = f"read-only {part}"
            bad = self.tame(what, ended, {2} if part == "output" else {scene.code})
            if bad:
                return bad
            if part == "output":
                if not any(output.split(".")[0] in ended.stderr or f"`{Path(output).parent}`" in ended.stderr for output in scene.outputs):
                    return violated("file not named", f"{what}: {ended.first_error()}")
                return kept("refused by name")
            differ = self.stage.differ(scene, place)
            return violated("another result", f"{what}: {' '.join(differ[:4])}") if differ else kept("the right result")


class Memory(Surrounding):
    name = "memory limits"
    promise = "refused with the numbers, status 2, or an error, status 1, or the right result; no abort, no kill"
    limits = [64, 96, 128, 160, 192, 256, 384, 512, 1024]       # MiB of address space

    def cases(self, _):
        if shutil.which("prlimit") is None:
            raise Skipped("no `prlimit`")
        return [f"{scene.name}:{limit}" for scene in SCENES for limit in self.limits]

    def attempt(self, case):
        name, limit = case.split(":")
        scene = BY_NAME[name]
        with self.stage.place(scene) as place:
            ended = self.stage.run(scene, place, wrap=["prlimit", f"--as={int(limit) << 20}"])
            what = f"{limit} MiB of address space"
            bad = self.tame(what, ended, {scene.code, 1, 2})
            if bad:
                return bad
            if scene.right(ended):
                differ = self.stage.differ(scene, place)
                if differ and ended.code == 0:
                    return violated("another result", f"{what}: {' '.join(differ[:4])}")
                if not differ:
                    return kept("the right result")
            again = self.stage.run(scene, place)
            differ = self.stage.differ(scene, place)
            if not scene.right(again) or differ:
                said = f"status {again.code} {again.first_error()} {' '.join(differ[:4])}"
                return violated("does not resume", f"{what}, then without the limit: {said}")
            return kept(f"status {ended.code}")


class Threads(Surrounding):
    name = "no threads"
    promise = "an error, status 1, or the right result; no panic"
    shim = True
    started = [0, 1, 2, 3, 4, 6]

    def cases(self, _):
        return [f"{scene.name}:{started}" for scene in SCENES for started in self.started]

    def attempt(self, case):
        name, started = case.split(":")
        scene = BY_NAME[name]
        with self.stage.place(scene) as place:
            ended = self.stage.run(scene, place, {"TORTURE_THREADS": started}, shim=True)
            what = f"no more than {started} threads"
            bad = self.tame(what, ended, {scene.code, 1})
            if bad:
                return bad
            # Pages and cards say on how many threads the numbers were computed.
            differ = [sign for sign in self.stage.differ(scene, place) if not SAID_OF_THREADS.search(sign)]
            if ended.code == 0 and differ:
                return violated("another result", f"{what}: {' '.join(differ[:4])}")
            return kept("the right result" if scene.right(ended) else "status 1")


class Clock(Surrounding):
    name = "clock jumps"
    promise = "the results of an undisturbed run; times may be wrong"
    shim = True
    # Seconds that the day is off, and after how many calls by turns (0: always).
    jumps = [(-86400 * 366, 0), (86400 * 366 * 5, 0), (-1795000000 - 86400 * 400, 0), (8_000_000_000, 0), (200_000_000_000, 0), (3600, 3), (-3600, 1),
             (-86400 * 365 * 30, 2)]

    def cases(self, _):
        return [f"{scene.name}:{shift}:{every}" for scene in SCENES for shift, every in self.jumps]

    def attempt(self, case):
        name, shift, every = case.split(":")
        scene = BY_NAME[name]
        with self.stage.place(scene) as place:
            ended = self.stage.run(scene, place, {"TORTURE_SHIFT": shift, "TORTURE_EVERY": every}, shim=True)
            what = f"the day {shift} s off, by turns of {every} calls"
            bad = self.tame(what, ended, {scene.code})
            if bad:
                return bad
            differ = self.stage.differ(scene, place)
            if differ:
                return violated("another result", f"{what}: {' '.join(differ[:4])}")
            if scene.once:
                return kept("the right result")
            # A folder that is of tomorrow is resumed today.
            again = self.stage.run(scene, place)
            differ = self.stage.differ(scene, place)
            if not scene.right(again) or differ:
                return violated("not resumed later", f"{what}, then today: status {again.code} {again.first_error()} {' '.join(differ[:4])}")
            return kept("the right result")
