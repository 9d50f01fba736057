//! Whole data sets of the hub: configurations, splits, patterns, offline.

use std::collections::BTreeMap;

use super::server::{FakeHub, Served};
use super::{assert_fails, said, succeed};
use crate::command::Place;

const OFFLINE: [(&str, &str); 1] = [("HF_HUB_OFFLINE", "1")];

fn line(n: usize) -> Vec<u8> {
    format!(
        "{{\"prompt\": \"Question {n}?\", \"chosen\": \"yes {n}\", \"rejected\": \"no {n}\"}}\n"
    )
    .into_bytes()
}

/// A data set with a card that has two configurations, and one whose names tell its splits.
fn hub() -> FakeHub {
    let card = "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: data/train-*\n  - split: test\n    path: data/test-*\n\
                - config_name: extra\n  data_files: extra/*.jsonl\n---\n";
    let named = |files: &[(&str, Vec<u8>)]| -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect()
    };
    let carded = named(&[
        ("README.md", card.into()),
        ("data/train-00000-of-00002.jsonl", line(0)),
        ("data/train-00001-of-00002.jsonl", line(1)),
        ("data/test-00000-of-00001.jsonl", line(2)),
        ("extra/x.jsonl", line(3)),
    ]);
    let plain = named(&[
        ("README.md", "# Pairs\n".into()),
        ("train.jsonl", [line(0), line(1)].concat()),
        ("test.jsonl", line(2)),
        ("script.py", "x".into()),
    ]);
    FakeHub::serve(vec![
        Served { repository: "datasets/org/carded", files: carded },
        Served { repository: "datasets/org/plain", files: plain },
    ])
}

fn place() -> Place {
    Place::golden("tiny").set("train.max_steps", 1)
}

fn dry(place: &Place, hub: &FakeHub, train: &str, environment: &[(&str, &str)]) -> String {
    succeed(place, hub, &["--dry-run", "--set", &format!("data.train=[{train}]")], environment)
}

#[test]
fn a_whole_data_set_is_read_by_configuration_and_split() {
    let (hub, place) = (hub(), place());
    for (source, note, pairs) in [
        (
            "\"hf://datasets/org/plain\"",
            "split `train`, 1 file; it has `test` too",
            "2 pairs from 1 file",
        ),
        ("\"hf://datasets/org/plain:test\"", "split `test`, 1 file", "1 pair from 1 file"),
        (
            "{files = \"hf://datasets/org/plain@main\", split = \"test\"}",
            "split `test`",
            "1 pair from 1 file",
        ),
        (
            "\"hf://datasets/org/carded/main\"",
            "split `train`, 2 files; it has `test` too; configuration `main`",
            "2 pairs from 2 files",
        ),
        ("\"hf://datasets/org/carded/main:test\"", "split `test`", "1 pair from 1 file"),
        (
            "\"hf://datasets/org/carded/extra\"",
            "split `train`, 1 file; configuration `extra`",
            "1 pair from 1 file",
        ),
        (
            "\"hf://datasets/org/carded/data/train-*\"",
            "pattern `data/train-*`, 2 files",
            "2 pairs from 2 files",
        ),
        (
            "\"hf://datasets/org/carded/data:test\"",
            "folder `data`: split `test`",
            "1 pair from 1 file",
        ),
        (
            "\"hf://datasets/org/carded/extra/x.jsonl\"",
            "extra/x.jsonl: commit ",
            "1 pair from 1 file",
        ),
    ] {
        let said = dry(&place, &hub, source, &[]);
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(note) && flat.contains(pairs), "{source}: {said}");
    }
    // Every file is in the cache, and so is the list of them.
    for source in ["\"hf://datasets/org/plain\"", "\"hf://datasets/org/carded/main:test\""] {
        let flat = dry(&place, &hub, source, &OFFLINE);
        assert!(flat.contains("split `"), "{flat}");
    }
}

#[test]
fn what_a_data_set_does_not_have_is_refused_with_what_it_has() {
    let (hub, place) = (hub(), place());
    for (source, parts) in [
        (
            "hf://datasets/org/carded",
            &["hub dataset `org/carded` at `main` has several configurations", "`main`, `extra`"][..],
        ),
        (
            "hf://datasets/org/carded/none",
            &["has no file, folder or configuration `none`", "`README.md`"],
        ),
        ("hf://datasets/org/plain:dev", &["has no split `dev`", "it has `train`, `test`"]),
        (
            "hf://datasets/org/plain:train[:10%]",
            &["has no split `train[:10%]`", "a split is named alone"],
        ),
        ("hf://datasets/org/plain/*.csv", &["the pattern `*.csv` matches no data file"]),
        ("hf://datasets/org/plain/train.jsonl:test", &["is one file, which has no split `test`"]),
        ("hf://datasets/org", &["expected `hf://datasets/OWNER/NAME`", "hint: "]),
    ] {
        let set = format!("data.train=[\"{source}\"]");
        assert_fails(&place, &hub, &["--set", &set], &[], 2, parts);
    }
    let set = "data.train=[\"hf://datasets/org/plain\"]";
    assert_fails(
        &place,
        &hub,
        &["--set", set],
        &OFFLINE,
        2,
        &["org/plain", "not in the cache", "HF_HUB_OFFLINE is set"],
    );
}

#[test]
fn an_evaluation_names_a_split_of_the_hub_on_the_command_line() {
    let (hub, place) = (hub(), place());
    let model = crate::golden::path("models/tiny");
    let eval = |data: &str, output: &str| {
        let words = [
            "eval",
            "--model",
            model.to_str().unwrap(),
            "--data",
            data,
            "--output",
            output,
            "--device",
            "cpu",
        ];
        let mut command = place.mvpbench(&words);
        command.env("HF_HOME", place.path("hf")).env("HF_ENDPOINT", &hub.endpoint);
        command.env_remove("HF_HUB_OFFLINE").output().unwrap()
    };
    let done = eval("t=hf://datasets/org/plain:test", "one");
    assert!(done.status.success(), "{}", said(&done));
    let head = String::from_utf8(place.bytes("one/evaluation.toml")).unwrap();
    assert!(head.contains("# data: hf://datasets/org/plain/test.jsonl, sha256 "), "{head}");
    let report = String::from_utf8(place.bytes("one/report.md")).unwrap();
    assert!(report.contains("hf://datasets/org/plain/test.jsonl"), "{report}");
    let refused = eval("t=hf://datasets/org/plain", "two");
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("has 2 splits"), "{}", said(&refused));
}
