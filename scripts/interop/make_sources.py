#!/usr/bin/env python3
"""Makes tests/data/sources: small files of Arrow as datasets and pyarrow write them, with the records that those read back, and the steps
and learning rates of transformers' Trainer under fractions of epochs and warm-up ratios.

  pip install -r scripts/interop/requirements.txt
  python scripts/interop/make_sources.py

Everything is the same on each run but the fingerprints of datasets, which nothing reads.
"""

import datetime
import json
import shutil

import sides

FOLDER = sides.ROOT / "tests/data/sources"
WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, 600000)


def records(n, start=0):
    """Preference records with columns of many types."""
    texts = ["plain", "two\nlines, \"quoted\"", "é … 漢字 🦀", ""]
    for i in range(start, start + n):
        yield {
            "id": f"r{i}",
            "prompt": f"Question {i}? {texts[i % 4]}",
            "chosen": f"yes {i}",
            "rejected": f"no {i}",
            "score": i / 4,
            "count": i - 1,
            "flag": i % 2 == 0,
            "tags": [f"t{j}" for j in range(i % 3)],
            "nested": {"a": i, "b": [{"c": "x" * (i % 3)}]},
            "nothing": None,
        }


def types(pa):
    """One column of every type that is read."""
    rows = ["one", None, "three"]
    utc = pa.timestamp("us", tz="UTC")
    columns = {
        "prompt": pa.array(["p0", "p1", "p2"], pa.string_view()),
        "chosen": pa.array(["a", "b", "c"], pa.large_string()),
        "rejected": pa.array(["x", "y", "x"]).dictionary_encode(),
        "null": pa.nulls(3),
        "bool": pa.array([True, None, False]),
        "date": pa.array([datetime.date(2026, 1, 2), None, datetime.date(1969, 12, 31)]),
        "time_s": pa.array([WHEN.replace(microsecond=0), None, WHEN.replace(microsecond=0)], pa.timestamp("s")),
        "time_us": pa.array([WHEN, None, WHEN.replace(tzinfo=None)], utc),
        "binary": pa.array([b"text", None, b"x"], pa.binary()),
        "large_binary": pa.array([b"text", None, b"x"], pa.large_binary()),
        "list": pa.array([["a", None], None, []], pa.list_(pa.string())),
        "large_list": pa.array([[1], None, [2, 3]], pa.large_list(pa.int8())),
        "fixed_list": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2)),
        "struct": pa.array([{"k": "v", "n": 1}, None, {"k": None, "n": 2}]),
        "labels": pa.DictionaryArray.from_arrays(pa.array([0, None, 1], pa.int8()), pa.array(rows[::2])),
        "f16": pa.array([1.5, None, -0.25], pa.float16()),
        "f32": pa.array([0.1, None, float("nan")], pa.float32()),
        "f64": pa.array([0.1, None, float("inf")], pa.float64()),
    }
    for bits in (8, 16, 32, 64):
        columns[f"i{bits}"] = pa.array([-(2 ** (bits - 1)), None, 2 ** (bits - 1) - 1], getattr(pa, f"int{bits}")())
        columns[f"u{bits}"] = pa.array([0, None, 2**bits - 1], getattr(pa, f"uint{bits}")())
    return pa.table(columns)


def plain(value):
    """A value of Python as the records have it in JSON."""
    match value:
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case bytes():
            return value.decode()
        case float() if value != value or value in (float("inf"), -float("inf")):
            return None
        case datetime.datetime():
            text = value.replace(tzinfo=None).isoformat(timespec="milliseconds" if value.microsecond else "seconds")
            return text + ("Z" if value.tzinfo else "")
        case datetime.date():
            return value.isoformat()
        case _:
            return value


def write(name, rows):
    (FOLDER / name).write_text("".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows))


def arrow():
    import datasets
    import pyarrow as pa

    table = types(pa)
    for name, new, options in (
        ("types.stream.arrow", pa.ipc.new_stream, {}),
        ("types.file.arrow", pa.ipc.new_file, {"compression": "zstd"}),
        ("types.lz4.arrow", pa.ipc.new_stream, {"compression": "lz4"}),
    ):
        with new(FOLDER / name, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
            out.write_table(table, max_chunksize=2)
    write("types.jsonl", table.to_pylist())
    whole = datasets.Dataset.from_list(list(records(6)))
    whole.select([4, 1, 3]).save_to_disk(FOLDER / "selected", num_shards=2)
    write("selected.jsonl", datasets.load_from_disk(FOLDER / "selected"))
    tools = [{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {"y": [True, None]}}]
    mixed = [{"prompt": "p", "chosen": "a", "rejected": "b", "extra": tool} for tool in tools]
    both = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(mixed, on_mixed_types="use_json"), "test": datasets.Dataset.from_list(mixed[:1], on_mixed_types="use_json")}
    )
    both.save_to_disk(FOLDER / "dict")
    write("dict.train.jsonl", datasets.load_from_disk(FOLDER / "dict")["train"])
    duration = pa.table({"prompt": ["p"], "chosen": ["a"], "rejected": ["b"], "took": pa.array([datetime.timedelta(seconds=1)])})
    with pa.ipc.new_stream(FOLDER / "duration.arrow", duration.schema) as out:
        out.write_table(duration)


CASES = [
    # pairs, batch, accumulation, epochs, warm-up, scheduler
    (13, 2, 4, 3, 0.1, "linear"),
    (13, 2, 4, 0.5, 0.25, "linear"),
    (13, 2, 4, 1.5, 0.34, "cosine"),
    (13, 2, 4, 0.01, 0.5, "linear"),
    (13, 1, 1, 2.3, 0.03, "cosine"),
    (7, 2, 1, 1.25, 0.2, "constant_with_warmup"),
    (16, 2, 4, 2.5, 0.999, "linear"),
    (5, 4, 8, 2.75, 0.1, "linear"),
    (1, 2, 4, 0.3, 0.0, "linear"),
    (13, 1, 1, 1.1, 3, "linear"),
]


def schedules():
    """Runs the Trainer on a model of one weight and reads off the steps and the learning rate of each."""
    import tempfile

    import torch
    import transformers

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return {"loss": (self.weight * x).mean()}

    class Rates(transformers.TrainerCallback):
        def __init__(self):
            self.rates, self.epochs = [], []

        def on_pre_optimizer_step(self, args, state, control, optimizer=None, **_):
            self.rates.append(optimizer.param_groups[0]["lr"])

        def on_step_end(self, args, state, control, **_):
            self.epochs.append(state.epoch)

    found = []
    for pairs, batch, accumulation, epochs, warmup, scheduler in CASES:
        with tempfile.TemporaryDirectory() as place:
            arguments = transformers.TrainingArguments(
                output_dir=place, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation, num_train_epochs=epochs,
                warmup_steps=warmup, lr_scheduler_type=scheduler, learning_rate=0.002, use_cpu=True, report_to=[], save_strategy="no",
                logging_strategy="no", disable_tqdm=True, seed=12,
            )
            rates = Rates()
            trainer = transformers.Trainer(
                model=Model(), args=arguments, train_dataset=[{"x": torch.tensor(1.0)} for _ in range(pairs)], callbacks=[rates]
            )
            trainer.train()
            found.append({
                "pairs": pairs, "batch": batch, "accumulation": accumulation, "epochs": epochs, "warmup": warmup,
                "scheduler": {"constant_with_warmup": "constant"}.get(scheduler, scheduler),
                "steps": trainer.state.global_step, "rates": rates.rates, "epochs_done": rates.epochs,
            })
    (FOLDER / "schedules.json").write_text(json.dumps(found, indent=1) + "\n")


def main():
    sides.check_versions()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    arrow()
    schedules()


if __name__ == "__main__":
    main()
