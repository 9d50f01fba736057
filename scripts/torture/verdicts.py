"""What an attempt came to, the count of a row, and the table of all rows."""
from dataclasses import dataclass, field


class Missed(Exception):
    """The attempt did not come about, such as a call that this time did not happen."""


class Skipped(Exception):
    """The row cannot be tried on this machine; the text says why."""


@dataclass
class Verdict:
    kept: bool
    kind: str               # in a word or two: how the promise was kept or broken
    detail: str = ""
    file: str = ""          # a file that stayed wrong, its digits as N


def kept(kind, detail=""):
    return Verdict(True, kind, detail)


def violated(kind, detail):
    return Verdict(False, kind, detail)


@dataclass
class Count:
    """The outcomes of a row's cases."""
    name: str
    promise: str
    planned: int = 0
    missed: int = 0
    outcomes: dict = field(default_factory=dict)     # kind of a kept promise -> how often
    violations: list = field(default_factory=list)   # (case, verdict)
    numbers: list = field(default_factory=list)      # what was measured, in words
    files: dict = field(default_factory=dict)        # files that stayed wrong -> how often
    skipped: str = ""
    seconds: float = 0.0

    def add(self, case, verdict):
        if verdict.kept:
            self.outcomes[verdict.kind] = self.outcomes.get(verdict.kind, 0) + 1
            if verdict.file:
                self.files[verdict.file] = self.files.get(verdict.file, 0) + 1
            if verdict.detail:
                self.numbers.append(f"{case}: {verdict.detail}")
        else:
            self.violations.append((case, verdict))

    @property
    def kept(self):
        return sum(self.outcomes.values())

    @property
    def tried(self):
        return self.kept + len(self.violations)


def table(counts):
    lines = ["| row | promised | tried | kept | how | violations |", "| --- | --- | --- | --- | --- | --- |"]
    for count in counts:
        how = ", ".join(f"{kind} {n}" for kind, n in sorted(count.outcomes.items(), key=lambda it: -it[1]))
        if count.skipped:
            how = f"skipped: {count.skipped}"
        tried = f"{count.tried} of {count.planned}" if count.tried + count.missed < count.planned else str(count.tried)
        lines.append(f"| {count.name} | {count.promise} | {tried} | {count.kept} | {how} | {len(count.violations)} |")
    return "\n".join(lines)


def violations(counts, command, most):
    """Every violation by name with the command that repeats it; of one kind and scene the first `most`."""
    lines = []
    for count in counts:
        groups = {}
        for case, verdict in count.violations:
            groups.setdefault((case.split(":")[0], verdict.kind), []).append((case, verdict))
        for (scene, kind), found in groups.items():
            lines.append(f"- **{count.name}, {scene}: {kind}** ({len(found)})")
            for case, verdict in found[:most]:
                lines += [f"  - {verdict.detail}", f"    `{command} --only '{count.name}' --case '{case}'`"]
            if len(found) > most:
                lines.append(f"  - and {len(found) - most} more: {', '.join(case for case, _ in found[most:most + 40])}")
    return "\n".join(lines)
