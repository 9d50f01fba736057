//! Logs, scores, answers and journals of a run. The first byte is which; the rest are the lines, each of which is given its digest where it
//! is an object, so that what is behind the digest is reached.
#![no_main]

use std::fs;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use mvpbench::disk::journal::Journal;
use mvpbench::disk::{json_lines, seal};
use mvpbench::metrics::Evaluation;
use mvpbench::metrics::score::{read_scores, write_scores};
use mvpbench::metrics::spmr::{read_answers, write_answers};
use mvpbench::model::generation::Generation;
use mvpbench::run_folder::eval_log::EvalLog;
use mvpbench::run_folder::samples::SampleLog;
use mvpbench::run_folder::train_log::Log;
use mvpbench::run_folder::wall_time::WallTime;
use mvpbench_fuzz::{place, tame};
use serde_json::Value;

/// `text` with a digest in every line that is an object.
fn sealed(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    let line = |line: &[u8]| {
        let value: Option<Value> = serde_json::from_slice(line).ok();
        value.and_then(|value| json_lines::line(&value).ok()).unwrap_or_else(|| line.to_vec())
    };
    lines.flat_map(line).collect()
}

fuzz_target!(|data: &[u8]| {
    let [which, text @ ..] = data else { return };
    let (file, other) = (place("fuzz.jsonl"), place("other.jsonl"));
    let write = |bytes: &[u8]| fs::write(&file, bytes).expect("a file");
    write(&sealed(text));
    match which % 8 {
        0 => {
            // Broken lines of a log are left out, and it is never refused.
            let records = Log::open(&file, 8).expect("a log is never refused").records().to_vec();
            let again = Log::open(&file, 8).expect("a log is never refused");
            assert_eq!(again.records(), records);
        }
        1 => drop(EvalLog::open(&file, 8).expect("a log is never refused")),
        2 => {
            let value: Result<Value, _> = serde_json::from_slice(text);
            if let Some(bytes) = value.ok().and_then(|value| seal::indented(&value).ok()) {
                write(&bytes);
            }
            if let Some(evaluation) = tame("fuzz.jsonl", Evaluation::read(&file)) {
                evaluation.write(&other).expect("what was read is written");
                assert_eq!(Evaluation::read(&other).expect("what was written is read"), evaluation);
            }
        }
        3 => {
            if let Some(scores) = tame("fuzz.jsonl", read_scores(&file)) {
                write_scores(&other, &scores).expect("what was read is written");
                assert_eq!(read_scores(&other).expect("what was written is read"), scores);
            }
        }
        4 => {
            if let Some(answers) = tame("fuzz.jsonl", read_answers(&file)) {
                write_answers(&other, &answers).expect("what was read is written");
                assert_eq!(read_answers(&other).expect("what was written is read"), answers);
            }
        }
        5 => {
            let open = || Journal::<Generation>::open(&file, "k", 3).map(|(_, results)| results);
            if let Some(results) = tame("fuzz.jsonl", open()) {
                assert_eq!(open().expect("what was read is read again"), results);
            }
        }
        6 => drop(SampleLog::open(&file, "s".to_owned(), 2).expect("a log is never refused")),
        _ => {
            let _ = fs::remove_file(&other);
            drop(WallTime::open(&file, &other, Instant::now()).expect("a clock is never refused"));
        }
    }
});
