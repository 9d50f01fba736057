#!/usr/bin/env python3
"""Counts every cell of a reproduction again, from the lines behind it, and compares it with what the program says.

    python3 scripts/check_reproduction.py runs/reproduce-tiny --runs tiny tiny-chat --models scripted-a scripted-b --judges scripted rule

`scripts/reproduce.sh` runs it at its end. Table 1: accuracy, OPA and SPMR from the scores and the generated answers; Figures 2 to 4: PAA by
country, and by age, gender, education and marital status in Western and East Asian countries, from the verdicts. Which cells there must
be follows from the names of runs, models and judges and from the records of the benchmark, so a cell that nothing was read for is
missed too. The arithmetic is this script's own. An empty cell, a cell that differs by more than 1e-9, a line that its digest does not match, or a verdict without its
answer and its record is an error: exit status 1. `report/cells.csv` lists every cell with the file behind it. Standard library only.
"""
import argparse
import csv
import hashlib
import io
import json
import os
import re
import sys
from collections import defaultdict
from pathlib import Path

TOLERANCE = 1e-9
HERE = Path(__file__).resolve().parent
WITHIN = ["age", "gender", "education", "marital_status"]
REGIONS = {"Western": "Figure 3", "East Asia": "Figure 4"}
COUNTRY = "birth_country/region"
NO_COUNTRY = "Prefer not to say"
SEAL = re.compile(rb',\s*"sha256":\s*"([0-9a-f]{16})"\s*}\s*$')


class Reproduction:
    def __init__(self, folder, figures_only):
        self.folder, self.figures_only, self.cells, self.wrong, self.lines_read = folder, figures_only, [], [], 0

    def fault(self, what):
        self.wrong.append(what)

    def lines(self, name):
        """Records of a file of lines, each held to the digest at its end."""
        records = []
        for number, line in enumerate((self.folder / name).read_bytes().splitlines(), 1):
            seal = SEAL.search(line)
            if not seal or hashlib.sha256(line[: seal.start()]).hexdigest()[:16] != seal[1].decode():
                self.fault(f"{name}:{number}: the line does not match its digest")
            records.append(json.loads(line))
        self.lines_read += len(records)
        return records

    def digest(self, name):
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()

    def cell(self, where, what, said, won, of, source):
        """A cell: what the program says, and what the lines of `source` give."""
        counted = won / of if of else None
        if said is None or counted is None:
            self.fault(f"{where}, {what}: the cell is empty ({won} of {of} in {source})")
        elif not abs(said - counted) <= TOLERANCE:
            self.fault(f"{where}, {what}: {said} in the report, {counted} counted in {source}")
        self.cells.append([where, what, "" if counted is None else repr(100 * counted), won, of, source, self.digest(source)])

    def share_of(self, group):
        """The share of a group: its figure, or where it is too small for one, the count that stands in its place."""
        if not group or not group["n"]:
            return None
        if group["paa"]:
            return group["paa"]["value"]
        return None if self.figures_only else group["aligned"] / group["n"]

    def held_by(self, evaluation, folder, name):
        if evaluation["files"].get(name) != self.digest(f"{folder}/{name}"):
            self.fault(f"{folder}/{name} is not the file that the figures are computed from")


# ---------------------------------------------------------------- Table 1
def check_run(made, run, printed):
    """Accuracy before and after, OPA after, SPMR before and after, on both sets; each as in eval/*.json and as printed."""
    for state in ("before", "after"):
        evaluation = json.loads((made.folder / f"runs/{run}/eval/{state}.json").read_text(encoding="utf-8"))
        sets = {one["name"]: one for one in evaluation["sets"]}
        for name in ("MVP_test", "UF-P-4"):
            if name not in sets:
                made.fault(f"runs/{run}: no set {name} {state}")
                continue
            file = f"scores-{name}-{state}.jsonl"
            made.held_by(evaluation, f"runs/{run}/eval", file)
            scores, source = made.lines(f"runs/{run}/eval/{file}"), f"runs/{run}/eval/{file}"
            overall = sets[name]["overall"]
            wins = [row["policy_chosen_logps"] > row["policy_rejected_logps"] for row in scores]
            label = "accuracy before" if state == "before" else "accuracy"
            made.cell("Table 1", f"{run}, {name} {label}", overall["preference_accuracy"]["value"], sum(wins), len(wins), source)
            printed.hold(made, run, f"{name} {label}", sum(wins) / len(wins))
            if state == "after":
                moved = [
                    row["policy_chosen_logps"] - row["policy_rejected_logps"] > row["reference_chosen_logps"] - row["reference_rejected_logps"] for row in scores
                ]
                made.cell("Table 1", f"{run}, {name} OPA", overall["opa"]["value"], sum(moved), len(moved), source)
                printed.hold(made, run, f"{name} OPA, chance 50 %", sum(moved) / len(moved))
            by_file = defaultdict(list)
            for row, won in zip(scores, wins):
                by_file[row["source"]].append(won)
            for part, won in sorted(by_file.items()) if name == "UF-P-4" else []:
                made.cell("Table 1", f"{run}, {name} {part} {label}", sets[name]["sources"][part]["preference_accuracy"]["value"], sum(won), len(won), source)
        if "MVP_test" in sets:
            check_spmr(made, run, state, evaluation, sets["MVP_test"].get("spmr"), printed)


def check_spmr(made, run, state, evaluation, spmr, printed):
    file = f"generations-MVP_test-{state}.jsonl"
    if not spmr or file not in evaluation["files"]:
        return made.fault(f"runs/{run}: no SPMR {state}")
    made.held_by(evaluation, f"runs/{run}/eval", file)
    cosine = "cosine_with_prompt" if spmr["embed_prompt"] else "cosine"
    matched = [row[cosine] > spmr["threshold"] for row in made.lines(f"runs/{run}/eval/{file}")]
    said = spmr["with_prompt" if spmr["embed_prompt"] else "answer_alone"]["spmr"]["value"]
    label = "MVP_test SPMR before" if state == "before" else "MVP_test SPMR"
    made.cell("Table 1", f"{run}, {label}", said, sum(matched), len(matched), f"runs/{run}/eval/{file}")
    return printed.hold(made, run, label, sum(matched) / len(matched))


class Printed:
    """The comparison of the runs as report.md prints it."""

    def __init__(self, made, runs):
        text = (made.folder / "report/report.md").read_text(encoding="utf-8")
        self.header, self.rows = [], {}
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            table = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines()]
            if table[0][0] == "run" and any("MVP_test accuracy" in cell for cell in table[0]):
                self.header, self.rows = table[0], {row[0]: row for row in table[2:] if row[0] in runs}
                break
        if not self.header:
            made.fault("report/report.md: no table of the runs")

    def hold(self, made, run, column, counted):
        where = f"report/report.md, {run}, {column}"
        cell = dict(zip(self.header, self.rows.get(run, []))).get(column, "")
        number = re.match(r"-?\d+\.\d+", cell)
        if not number:
            made.fault(f"{where}: expected a number, found `{cell}`")
        elif not abs(float(number[0]) - 100 * counted) <= 0.005 + TOLERANCE:
            made.fault(f"{where}: {number[0]}, counted {100 * counted}")


# ---------------------------------------------------------------- Figures 2 to 4
def regions():
    """PRISM's countries by the region of the paper's Figures 3 and 4."""
    table = HERE.parent / "src" / "metrics" / "regions.csv"
    lines = [line.strip() for line in table.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    return {country: region for region, _, country in (line.split(",", 2) for line in lines)}


def label(record, field):
    """What a record says of its user, or none where it says nothing."""
    return str(record.get(field) or "").strip() or None


def traced(made, set_name, model, verdicts, records):
    """Every verdict has its answer, every answer its record, and what a verdict says of the user is the record's; `records`: by id."""
    folder = f"answers/{set_name}/{model}"
    answers = {line["id"]: line for line in made.lines(f"{folder}/answers.jsonl")}
    for verdict in verdicts:
        answer, record = answers.get(verdict["id"]), records.get(verdict["id"])
        if answer is None or record is None:
            made.fault(f"{folder}: the verdict of {verdict['id']} has no answer or no record")
        elif record["question"] != answer["question"] or label(record, COUNTRY) != verdict["country"]:
            made.fault(f"{folder}: {verdict['id']} is of another record")
        elif any(label(record, attribute) != verdict["groups"].get(attribute) for attribute in WITHIN):
            made.fault(f"{folder}: the groups of {verdict['id']} are not those of its record")
    if len(answers) != len(records) or len(verdicts) != len(records):
        made.fault(f"{folder}: {len(records)} records, {len(answers)} answers, {len(verdicts)} verdicts")


def groups_of(records, region_of):
    """The cells of Figure 2 and of Figures 3 and 4 that these records call for, each with the ids of its records."""
    countries, inside = defaultdict(set), defaultdict(set)
    for record in records.values():
        country = label(record, COUNTRY)
        if country is not None:
            countries[country].add(record["id"])
        for attribute in WITHIN if region_of.get(country) in REGIONS else []:
            if label(record, attribute) is not None:
                inside[region_of[country], attribute, label(record, attribute)].add(record["id"])
    return countries, inside


def check_verdicts(made, set_name, judge, models, region_of, figures):
    folder = f"paa/{set_name}-by-{judge}"
    evaluation = json.loads((made.folder / folder / "paa.json").read_text(encoding="utf-8"))
    data = made.folder / f"data/mvpbench/{set_name}.json"
    if evaluation["data"][0]["sha256"] != hashlib.sha256(data.read_bytes()).hexdigest():
        made.fault(f"{folder}: the data is not {data}")
    records = {record["id"]: record for record in json.loads(data.read_text(encoding="utf-8"))}
    countries, inside = groups_of(records, region_of)
    for region in REGIONS:
        if figures and not any(key[0] == region for key in inside):
            made.fault(f"{data}: no records of {region}")
    by_name = {model["name"]: model for model in evaluation["models"]}
    for name in models:
        if name not in by_name:
            made.fault(f"PAA on {set_name}, {name} by {judge}: the cell is empty ({folder}/paa.json has no figures of {name})")
    for model in by_name.values():
        source = f"{folder}/{model['verdicts']}"
        made.held_by(evaluation, folder, model["verdicts"])
        verdicts = made.lines(source)
        traced(made, set_name, model["name"], verdicts, records)
        yes = {line["id"]: line["verdict"] == "Yes" for line in verdicts if line["verdict"] in ("Yes", "No")}
        count = lambda ids: (sum(yes[one] for one in ids if one in yes), sum(one in yes for one in ids))
        cell = f"{model['name']} by {judge}"
        made.cell(f"PAA on {set_name}", cell, model["paa"]["value"] if model["paa"] else None, *count(records), source)
        if not figures:
            continue
        for country, ids in sorted(countries.items()):
            group = model["groups"]["country"].get(country)
            if group or country != NO_COUNTRY:
                made.cell("Figure 2", f"{cell}, {country}", made.share_of(group), *count(ids), source)
        for (region, attribute, name), ids in sorted(inside.items()):
            group = model["groups_by_region"].get(attribute, {}).get(region, {}).get(name)
            made.cell(REGIONS[region], f"{cell}, {region}, {attribute}: {name}", made.share_of(group), *count(ids), source)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what reproduce.sh wrote")
    parser.add_argument("--runs", nargs="+", required=True, help="names of the runs")
    parser.add_argument("--models", nargs="+", required=True, help="names of the models that answered the whole benchmark; the test side has RUN and RUN-tuned")
    parser.add_argument("--judges", nargs="+", required=True, help="names of the judges")
    parser.add_argument("--figures-only", action="store_true", help="a group with a count in place of a figure is an empty cell too")
    arguments = parser.parse_args()
    made = Reproduction(arguments.folder, arguments.figures_only)
    printed, region_of = Printed(made, arguments.runs), regions()
    for run in arguments.runs:
        check_run(made, run, printed)
    for judge in arguments.judges:
        check_verdicts(made, "MVPBench", judge, arguments.models, region_of, figures=True)
        check_verdicts(made, "test", judge, [f"{run}{state}" for run in arguments.runs for state in ("", "-tuned")], region_of, figures=False)

    path, text = made.folder / "report" / "cells.csv", io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([["place", "cell", "percent", "won", "of", "lines", "sha256"], *made.cells])
    if not path.exists() or path.read_text(encoding="utf-8") != text.getvalue():
        partial = path.with_name(".cells.csv")
        partial.write_text(text.getvalue(), encoding="utf-8")
        os.replace(partial, path)
    for what in made.wrong:
        print(f"error: {what}", file=sys.stderr)
    print(f"{len(made.cells)} cells counted again from {made.lines_read} lines, {len(made.wrong)} of them wrong")
    return 1 if made.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
