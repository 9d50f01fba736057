#!/usr/bin/env python3
"""Writes data as users of datasets and pandas write it, and compares the records that we read with those that datasets loads.

  pip install -r scripts/interop/requirements.txt
  cargo build --release
  python scripts/interop/sources.py [--bin target/release] [--output FILE.md] [--only NAME]

The interpreter needs the versions of requirements.txt, and the script stops on others. Ours are the records that `mvpbench data split` writes.
`same`: every record is equal, all columns, in the same order. `refused`: ours ends with exit status 2 and a message. `otherwise`: ours
reads other records than datasets, as docs/sources.md says. Anything else is `WRONG`. The script exits with 1 where a case has another verdict than
is stated for it.
"""

import datetime
import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path

import make_sources
import sides

TEXTS = ["plain", "two\nlines, \"quoted\"", "é … 漢字 🦀", "[{\"role\": \"user\"}]", "trailing space ", "a,b\tc", "C:\\path", "it's"]


def records(n=12):
    """Records with columns of many types."""
    return list(make_sources.records(n))


def texts(n=8):
    """Records of texts alone, as CSV holds them."""
    return [{"id": f"r{i}", "prompt": TEXTS[i % 8], "chosen": f"yes {TEXTS[-i % 8]}", "rejected": f"no {i}"} for i in range(n)]


def json_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def dataset(rows):
    import datasets

    return datasets.Dataset.from_list(rows)


def load(*args, **settings):
    import datasets

    return datasets.load_dataset(*args, **settings)


def as_text(columns):
    """Settings under which datasets reads every cell of these columns as text, and an empty one as null."""
    import datasets

    features = datasets.Features({name: datasets.Value("string") for name in columns})
    return {"features": features, "keep_default_na": False, "na_values": [""]}


class Case:
    """`make`: writes into a folder and returns what ours is given and what datasets loads of it: rows, or splits of rows."""

    def __init__(self, name, expected, make):
        self.name, self.expected, self.make = name, expected, make


def packed(ending, pack):
    def make(folder):
        file = folder / f"a.{ending}"
        file.write_bytes(pack(json_lines(records()).encode()))
        return file, load("json", data_files=str(file), split="train")

    return make


def zstd(data):
    import zstandard

    return zstandard.compress(data)


def csv(name, rows=None, peer=None, **settings):
    def make(folder):
        import pandas

        file = folder / name
        pandas.DataFrame(rows or texts()).to_csv(file, **{"index": False, **settings})
        separator = {"sep": "\t"} if ".tsv" in name else {}
        columns = [*(["Unnamed: 0"] if settings.get("index") else []), *(rows or texts())[0]]
        return file, load("csv", data_files=str(file), split="train", **separator, **(as_text(columns) if peer is None else peer))

    return make


def parquet(compression=None):
    def make(folder):
        import pyarrow.parquet

        if compression:
            pyarrow.parquet.write_table(dataset(records()).data.table, folder / "a.parquet", compression=compression)
        else:
            dataset(records()).to_parquet(folder / "a.parquet")
        return folder / "a.parquet", load("parquet", data_files=str(folder / "a.parquet"), split="train")

    return make


def saved(change=lambda ds: ds, **settings):
    def make(folder):
        import datasets

        change(dataset(records())).save_to_disk(folder / "saved", **settings)
        return folder / "saved", datasets.load_from_disk(folder / "saved")

    return make


def saved_dict(folder):
    import datasets

    both = datasets.DatasetDict({"train": dataset(records()), "test_prefs": dataset(records(3))})
    both.save_to_disk(folder / "saved", num_shards={"train": 2, "test_prefs": 1})
    return folder / "saved", datasets.load_from_disk(folder / "saved")


def mixed_json(folder):
    import datasets

    rows = [{"id": f"r{i}", "prompt": "p", "chosen": "a", "rejected": "b", "extra": extra} for i, extra in enumerate([{"x": 1}, {"y": [True, None]}, None])]
    datasets.Dataset.from_list(rows, on_mixed_types="use_json").save_to_disk(folder / "saved")
    return folder / "saved", datasets.load_from_disk(folder / "saved")


def features(folder):
    import datasets

    rows = [{"id": f"r{i}", "prompt": "p", "chosen": "a", "rejected": "b", "label": i % 2, "when": make_sources.WHEN, "more": "x" * i} for i in range(4)]
    columns = {name: datasets.Value("string") for name in ("id", "prompt", "chosen", "rejected")}
    columns |= {"label": datasets.ClassLabel(names=["no", "yes"]), "when": datasets.Value("timestamp[us]"), "more": datasets.Value("large_string")}
    datasets.Dataset.from_list(rows, features=datasets.Features(columns)).save_to_disk(folder / "saved")
    return folder / "saved", datasets.load_from_disk(folder / "saved")


def cache(folder):
    """The Arrow file that datasets itself keeps."""
    rows = dataset(records()).map(lambda row: {"more": row["count"] * 2}, cache_file_name=str(folder / "cache-x.arrow"))
    return folder / "cache-x.arrow", rows


def tree(files, card=None, name=None):
    """A folder of these files of JSON lines or CSV, two records each."""

    def make(folder):
        place = folder / "set"
        for i, file in enumerate(files):
            path = place / file
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [{"id": f"{file}:{n}", "prompt": f"p{i}", "chosen": f"a{n}", "rejected": "b"} for n in "xy"]
            cells = "".join(",".join(row.values()) + "\n" for row in rows)
            path.write_text(json_lines(rows) if path.suffix != ".csv" else "id,prompt,chosen,rejected\n" + cells)
        if card:
            (place / "README.md").write_text(card)
        theirs = load(str(place), name) if name else load(str(place))
        return (place / name if name else place), theirs

    return make


CARD = """---
configs:
- config_name: big
  data_files:
  - split: train
    path: parts/*.jsonl
  - split: test
    path:
    - x.jsonl
    - y.jsonl
- config_name: small
  data_files: "x.jsonl"
- config_name: within
  data_dir: parts
---
"""

SHARDS = ["data/train-00001-of-00002.jsonl", "data/train-00000-of-00002.jsonl", "data/test_prefs-00000-of-00001-0123456789abcdef.jsonl"]


def refused(write):
    """A source that ours refuses; nothing is loaded."""

    def make(folder):
        return write(folder), None

    return make


def broken(name, data):
    def write(folder):
        (folder / name).write_bytes(data)
        return folder / name

    return refused(write)


def cut(name, pack):
    def write(folder):
        data = pack(json_lines(records(200)).encode())
        (folder / name).write_bytes(data[: len(data) * 2 // 3])
        return folder / name

    return refused(write)


def cut_arrow(folder):
    dataset(records(300)).save_to_disk(folder / "saved")
    file = next((folder / "saved").glob("*.arrow"))
    file.write_bytes(file.read_bytes()[:-200])
    return folder / "saved"


def lost_shard(folder):
    dataset(records()).save_to_disk(folder / "saved", num_shards=3)
    (folder / "saved/data-00001-of-00003.arrow").unlink()
    return folder / "saved"


def some_columns(folder):
    dataset(records()).with_format(columns=["prompt"]).save_to_disk(folder / "saved")
    return folder / "saved"


def duration(folder):
    import datasets

    rows = [{"prompt": "p", "chosen": "a", "rejected": "b", "took": datetime.timedelta(seconds=1)}]
    datasets.Dataset.from_list(rows).save_to_disk(folder / "saved")
    return folder / "saved"


def two_formats(folder):
    tree(["a.jsonl"])(folder)
    (folder / "set/a.csv").write_text("prompt,chosen,rejected\np,a,b\n")
    return folder / "set"


def cases():
    yield Case("JSONL, gzip", "same", packed("jsonl.gz", gzip.compress))
    yield Case("JSONL, gzip in two members", "same", packed("jsonl.gz", lambda data: gzip.compress(data[:500]) + gzip.compress(data[500:])))
    yield Case("JSON, zstd", "same", packed("jsonl.zst", zstd))
    yield Case("CSV of pandas", "same", csv("a.csv"))
    yield Case("CSV, every cell in quotes", "same", csv("a.csv", quoting=1))
    yield Case("CSV with a mark of UTF-8", "same", csv("a.csv", encoding="utf-8-sig"))
    yield Case("CSV with CRLF", "same", csv("a.csv", lineterminator="\r\n"))
    yield Case("CSV with the index of pandas", "same", csv("a.csv", index=True))
    yield Case("CSV, gzip", "same", csv("a.csv.gz"))
    yield Case("TSV", "same", csv("a.tsv", sep="\t"))
    numbers = [{"id": f"r{i}", "prompt": "p", "chosen": str(i), "rejected": ["None", "x"][i % 2]} for i in range(4)]
    yield Case("CSV with answers `4` and `None`, defaults of pandas", "otherwise", csv("a.csv", numbers, peer={}))
    yield Case("Parquet of datasets", "same", parquet())
    for compression in ("none", "snappy", "gzip", "zstd", "lz4"):
        yield Case(f"Parquet of pyarrow, {compression}", "same", parquet(compression))
    yield Case("save_to_disk", "same", saved())
    yield Case("save_to_disk in three shards", "same", saved(num_shards=3))
    yield Case("save_to_disk of a selection", "same", saved(lambda ds: ds.select([7, 2, 5])))
    yield Case("save_to_disk of a shuffled set", "same", saved(lambda ds: ds.shuffle(seed=1)))
    yield Case("save_to_disk of a filtered set", "same", saved(lambda ds: ds.filter(lambda row: row["flag"])))
    yield Case("save_to_disk of a set with a format", "same", saved(lambda ds: ds.with_format("numpy")))
    yield Case("save_to_disk of a DatasetDict", "same", saved_dict)
    yield Case("save_to_disk with `Json`", "same", mixed_json)
    yield Case("save_to_disk with labels, times, large strings", "same", features)
    yield Case("Arrow file of the cache of datasets", "same", cache)
    yield Case("folder of one file", "same", tree(["a.jsonl"]))
    yield Case("folder of shards, all one split", "same", tree(["b/2.jsonl", "b/1.jsonl", "a.jsonl"]))
    yield Case("folder with data/SPLIT-0000N-of-0000M", "same", tree(SHARDS))
    yield Case("folder, splits by names of files", "same", tree(["my-train_0.jsonl", "x.dev.jsonl", "testing.jsonl", "evaluation-2.jsonl"]))
    yield Case("folder, splits by names of folders", "same", tree(["train/a.jsonl", "valid/b.jsonl", "eval-1/c/d.jsonl", "other/train.jsonl"]))
    yield Case("folder, words that are no splits", "same", tree(["trained.jsonl", "latest.jsonl", "contest/x.jsonl"]))
    yield Case("folder, hidden files and __folders", "same", tree(["a.jsonl", ".b.jsonl", "__c__/d.jsonl", ".e/f.jsonl"]))
    yield Case("folder of CSV", "same", tree(["train.csv", "test.csv"]))
    for name in ("big", "small", "within"):
        yield Case(f"folder with a card, configuration {name}", "same", tree(["parts/1.jsonl", "parts/2.jsonl", "x.jsonl", "y.jsonl"], CARD, name))
    yield Case("folder with a card, default configuration", "same", tree(["parts/1.jsonl", "x.jsonl", "y.jsonl"], CARD.replace("config_name: big", "config_name: default")))
    yield Case("several configurations, none named", "refused", refused(lambda folder: (tree(["parts/1.jsonl", "x.jsonl", "y.jsonl"], CARD, "big")(folder), folder / "set")[1]))
    yield Case("gzip, cut", "refused", cut("a.jsonl.gz", gzip.compress))
    yield Case("zstd, cut", "refused", cut("a.jsonl.zst", zstd))
    yield Case("gzip of 200 MB of blanks", "refused", broken("a.jsonl.gz", gzip.compress(b" " * 200_000_000)))
    yield Case("CSV, a cell too many", "refused", broken("a.csv", b"prompt,chosen,rejected\np,a,b\np,a,b,c\n"))
    yield Case("CSV, a cell missing", "refused", broken("a.csv", b"prompt,chosen,rejected\np,a\n"))
    yield Case("CSV, an open quote", "refused", broken("a.csv", b"prompt,chosen,rejected\np,a,\"b\n"))
    yield Case("CSV, a column twice", "refused", broken("a.csv", b"prompt,chosen,rejected,chosen\np,a,b,c\n"))
    yield Case("Arrow, cut", "refused", refused(cut_arrow))
    yield Case("save_to_disk without a shard", "refused", refused(lost_shard))
    yield Case("save_to_disk that shows some columns", "refused", refused(some_columns))
    yield Case("save_to_disk with a duration", "refused", refused(duration))
    yield Case("folder with CSV and JSONL", "refused", refused(two_formats))


def theirs_of(loaded):
    """`[(split or none, records)]`."""
    import datasets

    if not isinstance(loaded, dict):
        return [(None, [make_sources.plain(row) for row in loaded.with_format(None)])]
    return [(split, [make_sources.plain(row) for row in rows]) for split, rows in loaded.items()]


def ours_of(ours, source, split):
    """The records that ours reads, in order; raises `Refused`."""
    output = ours.fresh("split")
    named = f"{source}:{split}" if split else source
    ours.must("mvpbench", "data", "split", "--input", named, "--by", "record", "--test-share", "0.5", "--output", output)
    sides_of = [json.loads((output / name).read_text()) for name in ("train.json", "test.json")]
    return sides_of


def in_order(sides_of, theirs):
    """Whether both sides of a split are parts of `theirs` in their order, and together all of it."""
    train, test = sides_of
    if len(train) + len(test) != len(theirs):
        return False
    for row in theirs:
        side = next((side for side in (train, test) if side and side[0] == row), None)
        if side is None:
            return False
        side.pop(0)
    return True


def compare(case, ours, folder):
    source, loaded = case.make(folder)
    if loaded is None:
        try:
            ours_of(ours, source, None)
        except sides.Refused as refused:
            return ("-", sides.shortened(refused, folder)), "refused" if refused.is_clear else "WRONG"
        return ("-", "read"), "WRONG"
    splits, verdict = [], "same"
    for split, theirs in theirs_of(loaded):
        try:
            mine = ours_of(ours, source, split)
        except sides.Refused as refused:
            return (f"{len(theirs)} records", sides.shortened(refused, folder)), "WRONG"
        if not in_order(mine, theirs):
            verdict = "otherwise"
        splits.append(f"{split + ': ' if split else ''}{len(theirs)}")
    return (", ".join(splits), ""), verdict


def main():
    args = sides.arguments(__doc__).parse_args()
    versions = sides.check_versions()
    table = sides.Table("Sources beside datasets", ["records by split", "message of ours"], "sources.py")
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        os.environ["HF_HOME"] = str(place / "hf")
        ours = sides.Ours(args.bin, place)
        # An evaluation notes the commit of our programs.
        ours.scores("embedded:tiny/model", sides.write_pairs(place / "pairs.jsonl", sides.texts()))
        for number, case in enumerate(cases()):
            if args.only not in case.name:
                continue
            folder = place / f"case-{number}"
            folder.mkdir()
            cells, verdict = compare(case, ours, folder)
            table.add(case.name, verdict, case.expected, *cells)
            shutil.rmtree(folder)
    table.finish(args, ours, versions, NOTES)


NOTES = (
    "datasets or pandas writes each source, and datasets loads it, for every split; ours are the records that `mvpbench data split` writes, every "
    "column of them. `same`: all are equal, in the same order. `otherwise`: docs/sources.md says how."
)

if __name__ == "__main__":
    main()
