"""In: scenes with company, and a run of many steps. Out: whether each ended as if it had been alone, and what the long run took."""
import os
import random
import re
import shutil
import signal
import statistics
import time
from pathlib import Path

from program import results
from scenes import BY_NAME, SCENES, model_and_pairs
from verdicts import kept, violated


class Two:
    name = "two in one folder"
    promise = "one ends as undisturbed, the other is refused by name with status 2 or comes after it; the folder is an undisturbed run's"
    shim = False

    def __init__(self, stage):
        self.stage = stage

    def cases(self, wanted):
        return [f"{scene.name}:{k}" for scene in SCENES for k in range(3 * wanted)]

    def attempt(self, case):
        name, k = case.split(":")
        scene, rng = BY_NAME[name], random.Random(f"{self.stage.seed} {case}")
        with self.stage.place(scene) as place:
            # The first one often ends early, so most of the delays are short.
            delay = 0.0 if k == "0" else rng.random() ** 3 * 0.3
            first = self.stage.programs.start(scene.command, place)
            time.sleep(delay)
            second = self.stage.programs.start(scene.command, place)
            both = [self.stage.programs.wait(first), self.stage.programs.wait(second)]
            what = f"{delay * 1000:.0f} ms apart"
            for ended in both:
                said = f"{what}: {[one.code for one in both]}: {ended.first_error()}"
                if ended.code is None:
                    return violated("hang", said)
                if ended.panicked or ended.code < 0:
                    return violated("panic", said)
                if scene.right(ended):
                    continue
                if ended.code != 2:
                    return violated("status 1", said)
                if "another program" not in ended.stderr and "already" not in ended.stderr:
                    return violated("not said why", said)
            if all(not scene.right(ended) for ended in both):
                return violated("neither ended", f"{what}: {both[0].first_error()} / {both[1].first_error()}")
            differ = self.stage.differ(scene, place)
            if differ:
                return violated("another result", f"{what}, {[one.code for one in both]}: {' '.join(differ[:4])}")
            return kept("one refused" if any(not scene.right(ended) for ended in both) else "both")


class FirstUsers:
    name = "four first users of a cache"
    promise = "four at once, one of them killed in every second case and started again: each ends as undisturbed"
    shim = False

    def __init__(self, stage):
        self.stage = stage

    def cases(self, wanted):
        return [f"{name}:{k}" for name in ("train", "eval") for k in range(2 * wanted)]

    def attempt(self, case):
        name, k = case.split(":")
        scene, rng = BY_NAME[name], random.Random(f"{self.stage.seed} {case}")
        cache = self.stage.new()
        places = [self.stage.new() for _ in range(4)]
        try:
            for place in places:
                shutil.copytree(self.stage.maker.base(scene), place)
            running = [self.stage.programs.start(scene.command, place, {"MVPBENCH_CACHE": cache}) for place in places]
            killed = int(k) % 2 == 1
            if killed:
                time.sleep(rng.random() * 0.4)
                os.kill(running[0].pid, signal.SIGKILL)
            all_ended = [self.stage.programs.wait(one) for one in running]
            if killed:
                all_ended[0] = self.stage.run(scene, places[0], {"MVPBENCH_CACHE": cache})
            for place, ended in zip(places, all_ended):
                if ended.panicked or not scene.right(ended):
                    return violated("did not end", f"status {ended.code}: {ended.first_error()}")
                if differ := self.stage.differ(scene, place):
                    return violated("another result", " ".join(differ[:4]))
            left = [path.name for path in cache.rglob("*") if ".partial" in path.name]
            if left:
                return violated("leftover", f"in the cache: {' '.join(left[:3])}")
            return kept("one killed" if killed else "all four")
        finally:
            for folder in [cache, *places]:
                shutil.rmtree(folder, ignore_errors=True)


LONG = """[model]
path = "model"
[lora]
rank = 2
[data]
train = ["train.jsonl"]
[train]
epochs = 1000000
max_steps = {steps}
scheduler = "constant"
learning_rate = 1e-6
checkpoint_every = {every}
per_device_batch_size = 1
gradient_accumulation_steps = 1
[eval]
every = {every}
[[eval.sets]]
name = "a"
files = ["test.jsonl"]
[output]
dir = "run"
"""


class Steps:
    name = "steps"
    promise = ("tiny steps to the end: memory grows by less than 64 MiB from a tenth of the way on, descriptors by none, and the last tenth "
               "takes at most 1.3 times the second")
    shim = False

    def __init__(self, stage):
        self.stage = stage

    def cases(self, wanted):
        return [f"train:{wanted}"]

    def attempt(self, case):
        steps = int(case.split(":")[1])
        place = self.stage.new()
        place.mkdir()
        model_and_pairs(place, 12)
        texts = (place / "train.jsonl").read_text().splitlines()
        (place / "train.jsonl").write_text("".join(line + "\n" for line in texts if len(line) < 800))
        (place / "config.toml").write_text(LONG.format(steps=steps, every=max(1, steps // 20)))
        samples, begun = [], time.monotonic()
        child = self.stage.programs.start(["train", "--config", "config.toml", "-q"], place)
        while child.poll() is None:
            samples.append((self.done(place), *self.held(child.pid)))
            time.sleep(0.05 if len(samples) < 100 else 1.0)
        ended = self.stage.programs.wait(child)
        seconds = time.monotonic() - begun
        if ended.code != 0:
            return violated("did not end", f"status {ended.code} after {seconds:.0f} s: {ended.first_error()}")
        return self.verdict(steps, place, seconds, [sample for sample in samples if sample[1]])

    @staticmethod
    def done(place):
        """Steps done, by the last line of the log."""
        log = place / "run" / "train.jsonl"
        if not log.exists():
            return 0
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4000))
            found = re.findall(rb'"step":(\d+),', file.read())
        return int(found[-1]) if found else 0

    @staticmethod
    def held(process):
        """KiB of memory and open descriptors; zeros if it has ended."""
        try:
            status = Path(f"/proc/{process}/status").read_text()
            memory = re.search(r"VmRSS:\s+(\d+)", status)
            return (int(memory[1]) if memory else 0), len(os.listdir(f"/proc/{process}/fd"))
        except OSError:
            return 0, 0

    def verdict(self, steps, place, seconds, samples):
        log = (place / "run" / "train.jsonl").read_text().splitlines()
        times = [float(found[1]) for line in log if (found := re.search(r'"step_time_s":([\d.e-]+)', line))]
        tenth = max(1, len(times) // 10)
        early, late = statistics.median(times[tenth:2 * tenth] or times), statistics.median(times[-tenth:])
        settled = [sample for sample in samples if sample[0] >= steps // 10 and sample[0] < steps] or samples
        growth = (settled[-1][1] - settled[0][1]) / 1024
        per_thousand = growth * 1024 / max(1, (settled[-1][0] - settled[0][0]) / 1000)
        descriptors = max(sample[2] for sample in settled) - min(sample[2] for sample in settled)
        ended = results(place, ["run/adapter"])
        shutil.rmtree(place, ignore_errors=True)
        most = max(sample[1] for sample in samples) / 1024
        detail = (
            f"{len(times)} records of {steps} steps in {seconds:.0f} s; median step {early * 1000:.2f} ms in the second tenth, "
            f"{late * 1000:.2f} ms in the last; memory {settled[0][1] / 1024:.0f} to {settled[-1][1] / 1024:.0f} MiB, "
            f"{per_thousand:.0f} KiB per 1,000 steps, at most {most:.0f} MiB with the report; descriptors {settled[0][2]} to {settled[-1][2]}, "
            f"spread {descriptors}")
        if len(times) != steps or not ended:
            return violated("records are missing", detail)
        if growth > 64 or descriptors > 4 or late > 1.3 * early:
            return violated("slope", detail)
        return kept("ended", detail)
