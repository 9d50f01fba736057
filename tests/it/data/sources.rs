//! Sources as users of datasets name them: folders, patterns, packed files, CSV, Arrow, in every verb that reads data.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::verbs::{assert_refused, succeed};
use crate::command::{Place, records};
use crate::golden::{pairs, path};

/// A file that scripts/interop/make_sources.py wrote.
fn golden(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sources").join(name);
    file.to_str().unwrap().to_owned()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

fn line(n: usize) -> String {
    format!(
        "{{\"id\": \"r{n}\", \"prompt\": \"Question {n}?\", \"chosen\": \"yes {n}\", \"rejected\": \"no {n}\"}}\n"
    )
}

/// The records that `data split` read from `source`, sorted.
fn split(place: &Place, source: &str) -> Vec<Value> {
    let out = format!("split-{}", source.len());
    let _ = std::fs::remove_dir_all(place.path(&out));
    let words = [
        "data",
        "split",
        "--input",
        source,
        "--by",
        "record",
        "--test-share",
        "0.34",
        "--output",
        &out,
    ];
    succeed(place, &words);
    let read = |side: &str| -> Vec<Value> {
        serde_json::from_slice(&place.bytes(&format!("{out}/{side}.json"))).unwrap()
    };
    let mut all = [read("train"), read("test")].concat();
    all.sort_by_key(Value::to_string);
    all
}

#[test]
fn every_form_of_file_gives_the_records_of_the_same_lines() {
    let place = Place::new();
    let lines: String = (0..4).map(line).collect();
    place.write("a.jsonl", &lines);
    let want = split(&place, "a.jsonl");
    assert_eq!(want.len(), 4);
    place.write("b.jsonl.gz", gzip(&lines));
    place.write("c.json.zst", zstd::stream::encode_all(lines.as_bytes(), 3).unwrap());
    let cells = |n: usize| format!("r{n},\"Question {n}?\",yes {n},no {n}\r\n");
    let csv: String = (0..4).map(cells).collect();
    let csv = format!("\u{feff}id,prompt,chosen,rejected\r\n{csv}");
    place.write("d.csv", &csv);
    place.write("e.tsv.gz", gzip(&csv.replace(',', "\t")));
    for n in 0..4 {
        place.write(&format!("f/data/train-0000{n}-of-00004.jsonl"), line(n));
    }
    place.write("f/README.md", "# Data\n");
    for source in [
        "b.jsonl.gz",
        "c.json.zst",
        "d.csv",
        "e.tsv.gz",
        "f",
        "f:train",
        "f/data/train-*.jsonl",
        "f/**/*.jsonl",
    ] {
        assert_eq!(split(&place, source), want, "{source}");
    }
}

#[test]
fn a_saved_data_set_is_read_as_load_from_disk_reads_it() {
    let place = Place::new();
    let mut want: Vec<Value> = records(Path::new(&golden("selected.jsonl")));
    want.sort_by_key(Value::to_string);
    assert_eq!(split(&place, &golden("selected")), want);
    let dict = golden("dict");
    assert_refused(
        &place,
        &["data", "split", "--input", &dict, "--by", "record", "--output", "x"],
        &["has 2 splits", "hint: name one", "`train`, `test`"],
    );
    let train = split(&place, &format!("{dict}:train"));
    // Sorted, as they stand in the file.
    assert_eq!(train, records(Path::new(&golden("dict.train.jsonl"))));
    assert_eq!(
        train[1]["extra"]["arguments"]["y"][0], true,
        "`Json` of datasets is what its text says"
    );
}

#[test]
fn what_is_no_data_is_refused_by_name() {
    let place = Place::new();
    let lines: String = (0..100).map(line).collect();
    let whole = gzip(&lines);
    place.write("cut.jsonl.gz", &whole[..whole.len() / 2]);
    place.write("bomb.jsonl.gz", gzip(&" ".repeat(100 << 20)));
    place.write("ragged.csv", "prompt,chosen,rejected\np,a,b\n\np,a\n");
    place.write("open.csv", "prompt,chosen,rejected\np,a,\"b\n");
    let arrow = std::fs::read(golden("types.stream.arrow")).unwrap();
    place.write("cut.arrow", &arrow[..arrow.len() - 900]);
    std::fs::create_dir(place.path("empty")).unwrap();
    place.write("two/a.jsonl", line(1));
    place.write("two/a.csv", "prompt,chosen,rejected\np,a,b\n");
    let duration = golden("duration.arrow");
    for (source, parts) in [
        ("cut.jsonl.gz", &["cut.jsonl.gz: not whole gzip data: it ends too early", "hint: "][..]),
        ("bomb.jsonl.gz", &["bomb.jsonl.gz: unpacks to more than 8", "hint: "]),
        ("ragged.csv", &["ragged.csv:4: 2 cells, expected 3 as in the header"]),
        ("open.csv", &["open.csv:2: a quote is not closed"]),
        ("cut.arrow", &["cut.arrow: not a whole Arrow file"]),
        (&duration, &["the column `took` has the type `Duration", "hint: leave it out"]),
        ("empty", &["folder `empty` has no data file", "hint: it is empty"]),
        ("two", &["folder `two` has files of several formats: `a.csv` and `a.jsonl`"]),
        (
            "two/b*.jsonl",
            &[
                "`two/b*.jsonl`: the pattern matches no file",
                "the folder `two` has `a.csv`, `a.jsonl`",
            ],
        ),
        ("two:test", &["folder `two` has no split `test`", "it has `train`"]),
        ("two/a.jsonl:test", &["`two/a.jsonl:test`: no such file"]),
    ] {
        let words = ["data", "split", "--input", source, "--by", "record", "--output", "x"];
        assert_refused(&place, &words, parts);
    }
}

/// The length that a packed buffer claims stands before the mark of its LZ4 frame.
#[test]
fn a_packed_arrow_buffer_of_any_size_is_refused() {
    let place = Place::new();
    let mut bytes = std::fs::read(golden("types.lz4.arrow")).unwrap();
    let frame = bytes.windows(4).position(|four| four == b"\x04\x22\x4d\x18").unwrap();
    bytes[frame - 2] = 0x40;
    place.write("a.arrow", bytes);
    let words = ["data", "split", "--input", "a.arrow", "--by", "record", "--output", "x"];
    assert_refused(&place, &words, &["a.arrow: unpacks to more than 66 MiB", "hint: "]);
}

#[test]
fn no_damage_of_an_arrow_file_is_silent_or_a_panic() {
    let place = Place::new();
    for name in ["types.stream.arrow", "types.file.arrow", "types.lz4.arrow"] {
        let whole = std::fs::read(golden(name)).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 24) {
            let mut bytes = whole.clone();
            bytes[at] ^= [1, 0x80, 0xff, 0x10][at % 4];
            place.write("a.arrow", bytes);
            let out = format!("{name}-{at}");
            let words = [
                "data",
                "split",
                "--input",
                "a.arrow",
                "--by",
                "record",
                "--test-share",
                "0.5",
                "--output",
                &out,
            ];
            let done = place.mvpbench(&words).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            match done.status.code() {
                Some(0) => {}
                Some(2) => assert!(said.starts_with("error: a.arrow"), "{name} at {at}: {said}"),
                other => panic!("{name} at {at}: {other:?}: {said}"),
            }
        }
    }
}

#[test]
fn a_configuration_takes_folders_splits_and_weights_and_shows_the_visits() {
    let place = Place::golden("tiny").evaluate("held-out", pairs());
    for n in 0..6 {
        place.write(&format!("set/data/train-0000{n}-of-00006.jsonl"), line(n));
    }
    place.write("set/data/test-00000-of-00001.jsonl", line(9));
    place.write("more.csv", "prompt,chosen,rejected\np,a,b\nq,c,d\n");
    let train = r#"data.train=["set", {files = ["more.csv"], weight = 2.5}, {files = "set", split = "test", weight = 1.0}]"#;
    let inspect = ["data", "inspect", "--config", "config.toml", "--set", train, "--rows", "9"];
    let shown = succeed(&place, &inspect);
    assert!(shown.contains("pair 9 of 9"), "{shown}");
    let stats = succeed(&place, &["data", "stats", "--config", "config.toml", "--set", train]);
    let flat = stats.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "12 visits in an epoch",
        "set: 6 pairs, weight 1, 6 visits",
        "more.csv: 2 pairs, weight 2.5, 5 visits",
        "set: 1 pair, weight 1, 1 visit",
    ] {
        assert!(flat.contains(part), "{part} in {stats}");
    }
    // A set of the evaluation names its split, and has no weight.
    let set = |files: &str| format!("eval.sets=[{{name = \"t\", files = [{files}]}}]");
    let refused = |sets: &str, parts: &[&str]| {
        assert_refused(&place, &["data", "stats", "--config", "config.toml", "--set", sets], parts);
    };
    refused(&set("\"set\""), &["folder `set` has 2 splits", "`train`, `test`"]);
    refused(&set("{files = \"set\", weight = 2.0}"), &["weight"]);
    refused(&set("{files = \"set\", split = \"dev\"}"), &["folder `set` has no split `dev`"]);
    succeed(&place, &["data", "stats", "--config", "config.toml", "--set", &set("\"set:test\"")]);
    let tiny = r#"data.train=[{files = "more.csv", weight = 0.1}]"#;
    assert_refused(
        &place,
        &["data", "stats", "--config", "config.toml", "--set", tiny],
        &["`more.csv`: its weight `0.1` visits none of its 2 pairs"],
    );
}

#[test]
fn prompts_and_answers_are_read_from_folders_and_packed_files() {
    let place = Place::new();
    place.write("prompts/b.jsonl.gz", gzip("{\"prompt\": \"two\"}\n{\"prompt\": \"three\"}\n"));
    place.write("prompts/a.jsonl", "{\"prompt\": \"one\"}\n");
    let model = path("models/tiny");
    let model = model.to_str().unwrap();
    let words = [
        "generate",
        "--model",
        model,
        "--prompts",
        "prompts",
        "--max-new-tokens",
        "1",
        "--device",
        "cpu",
        "-q",
    ];
    let shown = succeed(&place, &words);
    let prompts: Vec<String> = shown
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["prompt"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(prompts, ["one", "two", "three"]);
}
