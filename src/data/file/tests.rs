use super::*;
use crate::data::unpacked::tests::gzip;

const RECORD: &str = r#"{"prompt": "p", "chosen": "a", "rejected": "b"}"#;

fn error(bytes: impl AsRef<[u8]>) -> String {
    let error = parse(bytes.as_ref(), "d/a.json").unwrap_err();
    assert!(InputError::of(&error).is_some(), "{error}");
    error.to_string()
}

#[test]
fn an_array_and_lines_give_the_same_pairs() {
    let array = parse(format!("[\n{RECORD},\n{RECORD}]").as_bytes(), "d/a.json").unwrap();
    let lines =
        parse(format!("\u{feff}{RECORD}\r\n\r\n  \n{RECORD}\r\n").as_bytes(), "a.jsonl").unwrap();
    assert_eq!(array, lines);
    assert_eq!(array.iter().map(|pair| pair.id.as_str()).collect::<Vec<_>>(), ["a:1", "a:2"]);
}

#[test]
fn an_error_in_an_array_names_the_line_of_the_record() {
    let text =
        format!("[\n{RECORD},\n\n{{\n \"prompt\": 3, \"chosen\": \"a\", \"rejected\": \"b\"}}]");
    assert_eq!(
        error(text),
        "d/a.json:4: `prompt` must be a string or a list of messages, got the number `3`"
    );
    assert_eq!(
        error(format!("[{RECORD},\n5]")),
        "d/a.json:2: expected a record, an object, got the number `5`"
    );
    let surrogate = format!("[{RECORD},\n{{\"prompt\": \"\",\n\"chosen\": \"\\ud800\"}}]");
    assert!(error(surrogate).starts_with("d/a.json:3: half of a UTF-16 surrogate pair"));
}

#[test]
fn a_broken_line_is_named() {
    assert!(
        error(format!("{RECORD}\n{{\"prompt\": \"p\""))
            .starts_with("d/a.json:2: not valid JSON at column 14: EOF")
    );
    assert!(
        error(format!("{RECORD}\n\n{RECORD} {RECORD}")).starts_with("d/a.json:3: not valid JSON")
    );
    assert!(
        error(format!("{RECORD}\r\n{{\"age\": NaN}}"))
            .starts_with("d/a.json:2: not valid JSON at column 9: expected value")
    );
    assert!(error(format!("[{RECORD},\n{RECORD}")).starts_with("d/a.json:2: not valid JSON"));
}

#[test]
fn a_key_twice_is_refused_with_its_line_and_name() {
    let twice = r#"{"prompt": "p", "chosen": "a", "rejected": "b", "chosen": "c"}"#;
    let message = "d/a.json:2: the key `chosen` stands twice in one object";
    assert_eq!(error(format!("{RECORD}\n{twice}")), message);
    assert_eq!(error(format!("[{RECORD},\n{twice}]")), message);
}

#[test]
fn a_file_without_records_is_an_error() {
    assert_eq!(error(""), "d/a.json: the file is empty");
    assert_eq!(error("\u{feff} \r\n"), "d/a.json: the file is empty");
    assert_eq!(error(" [ ]\n"), "d/a.json: the array is empty, expected at least one record");
}

#[test]
fn another_format_is_named() {
    assert!(error("<!DOCTYPE html>").contains("HTML"));
    assert!(error(b"PARE\x15\x04").contains("an encrypted Parquet file"));
    assert!(error(b"PAR1\x15\x04").contains("not a whole Parquet file"));
    assert!(error(b"\x1f\x8b\x08\x00").contains("not whole gzip data"));
    assert!(error(b"ARROW1\0\0\xff\xff").contains("not a whole Arrow file"));
    assert!(error(b"\xff\xff\xff\xff\x10\0").contains("not a whole Arrow file"));
    assert!(error(gzip(&gzip(b"{}"))).contains("found gzip data in packed data"));
    assert!(error(b"BZh91AY&SY").contains("found a bzip2 file"));
    assert!(error(b"\xfd7zXZ\0\0").contains("found an xz file"));
    assert!(error(b"\x80\x04\x95\0").contains("found a Python pickle"));
    let mut archive = vec![b'a'; 512];
    archive[257..262].copy_from_slice(b"ustar");
    assert!(error(gzip(&archive)).contains("found a tar archive"));
    for escape in ["\\ud83d", "\\ud83d x", "\\ud83d\\u0041", "\\ude00"] {
        let text = format!("{{\"prompt\": \"{escape}\"}}");
        assert!(
            error(&text).starts_with("d/a.json:1: half of a UTF-16 surrogate pair"),
            "{escape}"
        );
    }
    assert_eq!(
        error("prompt,chosen\n1,2"),
        "d/a.json: expected a JSON array or JSONL, found `prompt,chosen`"
    );
    assert_eq!(
        error(b"{\"a\": 1}\n\n{\"caf\xe9\": 1}"),
        "d/a.json:3: expected UTF-8 text, found the byte `0xE9`"
    );
}

#[test]
fn hostile_input_is_an_error_and_not_a_panic() {
    for deep in [
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        format!("{{\"a\": {}", "[".repeat(200_000)),
    ] {
        assert!(error(&deep).contains("not valid JSON"));
    }
    assert!(error(format!("{{\"{}\": 1}}", "k".repeat(1 << 20))).len() < 300);
    assert!(error(format!("{{\"prompt\": \"{}", "x".repeat(1 << 20))).contains("EOF"));
    let nested = format!("[{{\"a\": {}{}}}]", "[".repeat(200_000), "]".repeat(200_000));
    assert!(error(nested).contains("recursion limit exceeded"));
    assert!(error("{\"prompt\": 1e999}").contains("number out of range"));
    assert!(error("{}\n").contains("no fields"));
    assert!(error("[null]").contains("got null"));
    assert!(error("\0").contains("expected a JSON array"));
}

#[test]
fn a_record_that_no_model_reads_is_refused() {
    let text = "x".repeat(LONGEST_RECORD);
    let json = format!("{RECORD}\n{{\"prompt\": \"{text}\"}}");
    assert_eq!(error(json), "d/a.json:2: a record of 67108878 bytes, expected at most 64 MiB");
}

#[test]
fn files_of_the_same_name_are_different_sources() {
    for (files, expected) in [
        (["a/test.jsonl", "b/test.jsonl", "b/dev.jsonl"], ["a/test", "b/test", "dev"]),
        (["r/a/t.json", "s/a/t.json", "s/b/t.json"], ["r/a/t", "s/a/t", "b/t"]),
        (["a/t.json", "a/t.jsonl", "t.json"], ["a/t.json", "a/t.jsonl", "t.json"]),
    ] {
        assert_eq!(sources(&files), expected);
    }
    let files = ["a/test.jsonl", "b/test.jsonl"].map(|name| (name.to_owned(), RECORD).into());
    let pairs = load(&files, &[], &Prompts::default()).unwrap().pairs;
    assert_eq!([&*pairs[0].source, &*pairs[1].source], ["a/test", "b/test"]);
}

#[test]
fn twenty_thousand_files_are_told_apart_at_once() {
    let names: Vec<String> = (0..20_000).map(|n| format!("{}/{}.json", n % 2, n / 2)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let begun = std::time::Instant::now();
    let sources = sources(&names);
    assert_eq!((&*sources[0], &*sources[19_999]), ("0/0", "1/9999"));
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn a_packed_file_and_a_csv_file_give_the_pairs_of_the_same_lines() {
    let lines = format!("{RECORD}\n{RECORD}\n");
    let want = parse(lines.as_bytes(), "d/a.jsonl").unwrap();
    assert_eq!(parse(&gzip(lines.as_bytes()), "d/a.jsonl.gz").unwrap(), want);
    let zstd = zstd::stream::encode_all(lines.as_bytes(), 3).unwrap();
    assert_eq!(parse(&zstd, "d/a.json.zst").unwrap(), want);
    let csv = "prompt,chosen,rejected\np,a,b\np,a,b\n";
    assert_eq!(parse(csv.as_bytes(), "d/a.csv").unwrap(), want);
    assert_eq!(parse(&gzip(csv.replace(',', "\t").as_bytes()), "d/a.tsv.gz").unwrap(), want);
    let error = parse(b"prompt,chosen,rejected\n\np,,b\n", "d/a.csv").unwrap_err().to_string();
    assert!(error.starts_with("d/a.csv:3: "), "{error}");
}

#[test]
fn a_column_of_ones_own_is_a_group_and_a_missing_one_is_refused() {
    let record = |subset: &str| {
        format!(
            "{{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"subset\": {subset}}}"
        )
    };
    let lines = [record("\" hard \""), record("3"), record("null")].join("\n");
    let read = |columns: &[&str]| {
        let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        load(&[("a.jsonl".to_owned(), lines.as_bytes()).into()], &columns, &Prompts::default())
    };
    let pairs = read(&["subset"]).unwrap().pairs;
    let labels: Vec<_> = pairs.iter().map(|pair| pair.groups.get("subset").cloned()).collect();
    assert_eq!(labels, [Some("hard".to_owned()), Some("3".to_owned()), None]);
    assert!(read(&[]).unwrap().pairs[0].groups.is_empty());
    let error = read(&["subset", "subsat"]).unwrap_err().to_string();
    assert_eq!(error, "a.jsonl: no record has the field `subsat` of `group_by`");
}

#[test]
fn files_are_counted_together() {
    let loaded = load(
        &[("x/a.jsonl".to_owned(), RECORD).into(), ("y/b.jsonl".to_owned(), RECORD).into()],
        &[],
        &Prompts::default(),
    )
    .unwrap();
    assert_eq!(
        loaded.pairs.iter().map(|pair| pair.source.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!((loaded.counts.files, loaded.counts.pairs, loaded.counts.duplicate_ids), (2, 2, 0));
}
