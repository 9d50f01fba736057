//! Kills at instants spread over a whole run: the same command resumes after each, and the run ends with the same
//! bytes.
//!
//! `MVPBENCH_KILLS` is the number of kills; 30 by default.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use mvpbench::ops::philox::Philox;
use serde_json::Value;

use crate::command::{Place, records};
use crate::eval::encoder::folder as encoder;
use crate::golden::path;

/// Phases of a run, in order. [`phase`] recognises them by the files that exist.
const PHASES: [&str; 8] = [
    "tokens",
    "evaluation before",
    "answers before",
    "reference",
    "training",
    "evaluation during",
    "saving",
    "after",
];

/// Those that last long enough for a test to stop a program within them.
pub(crate) const LONG_PHASES: [&str; 6] =
    ["evaluation before", "answers before", "reference", "training", "evaluation during", "after"];

/// A run of 8 steps with evaluations, answers and a checkpoint after every step. It has enough pairs for a kill to hit
/// every phase.
pub(crate) fn place() -> Place {
    let place = Place::golden("tiny-gqa")
        .set("lora.rank", 4)
        .set("lora.dropout", 0.1)
        .set("data.train", vec!["train.jsonl"])
        .set("train.epochs", 1)
        .set("train.max_steps", 8)
        .set("train.learning_rate", 1e-3)
        .set("train.checkpoint_every", 1)
        .set("eval.every", 3)
        .set("eval.best_metric", "dpo_loss")
        .evaluate_by("a", "test.jsonl", &["opa", "spmr"])
        .evaluate("b", "train.jsonl")
        .set("eval.spmr.embedder", encoder().to_str().unwrap())
        .set("eval.spmr.max_new_tokens", 24);
    let golden = std::fs::read_to_string(path("pairs.jsonl")).unwrap();
    let pairs = golden.lines().cycle().take(104).enumerate().map(|(i, line)| {
        let mut pair: Value = serde_json::from_str(line).unwrap();
        pair["id"] = i.into();
        pair.to_string() + "\n"
    });
    place.write("train.jsonl", pairs.collect::<String>());
    place.write("test.jsonl", golden);
    place
}

/// The phase that the files of a run's folder show.
pub(crate) fn phase(run: &Path) -> &'static str {
    let there = |name: &str| run.join(name).exists();
    let starts = |folder: &str, start: &str| {
        let entries = std::fs::read_dir(run.join(folder)).into_iter().flatten().flatten();
        let name = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        entries.filter(|entry| name(entry).starts_with(start)).count()
    };
    let log = std::fs::metadata(run.join("train.jsonl")).map_or(0, |file| file.len());
    PHASES[if !there("config.toml") {
        0
    } else if starts("eval", ".generations-a-before") > 0 {
        2
    } else if !there("eval/before.json") {
        1
    } else if starts("checkpoints", ".") > 0 {
        6
    } else if there("adapter") {
        7
    } else if log == 0 {
        3
    } else if starts("eval", "scores-a-step") > starts("eval", "step-") {
        5
    } else {
        4
    }]
}

/// Files that must not depend on kills: the exported files, the evaluations, and the log without its timings.
pub(crate) fn outcome(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["run/adapter", "run/eval"] {
        for entry in std::fs::read_dir(place.path(folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy());
            files.insert(name.clone(), place.bytes(&name));
        }
    }
    // The model card states how long the run took.
    files.remove("run/adapter/README.md");
    files.insert("run/eval.jsonl".into(), place.bytes("run/eval.jsonl"));
    let timeless = records(&place.path("run/train.jsonl")).into_iter().map(|mut record| {
        let fields = record.as_object_mut().unwrap();
        let timed = ["step_time_s", "since_last_s", "tokens_per_second", "model_tflops", "mfu"];
        for name in timed.into_iter().chain(["peak_memory_gib", "sha256"]) {
            fields.remove(name).unwrap();
        }
        record.to_string() + "\n"
    });
    files.insert("run/train.jsonl".into(), timeless.collect::<String>().into_bytes());
    files
}

/// Fails with the names of the files that differ.
#[track_caller]
pub(crate) fn assert_same(place: &Place, whole: &BTreeMap<String, Vec<u8>>, after: &str) {
    let got = outcome(place);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&got), names(whole), "{after}");
    let differ: Vec<_> = got.iter().filter(|(name, bytes)| whole[*name] != **bytes).collect();
    assert!(differ.is_empty(), "{after}: {:?} differ", differ.iter().map(|(name, _)| name));
}

#[test]
#[expect(clippy::print_stdout, reason = "where the kills fell depends on the machine")]
fn a_run_killed_at_instants_all_over_it_ends_with_the_same_bytes() {
    let kills: usize = std::env::var("MVPBENCH_KILLS").map_or(30, |kills| kills.parse().unwrap());
    let whole = place();
    let begun = Instant::now();
    whole.succeed(&["--config", "config.toml"]);
    let all_s = begun.elapsed().as_secs_f64();
    let whole = outcome(&whole);

    let random = Philox::new(20, 0);
    let (mut place, mut chain, mut next) = (self::place(), Vec::new(), 0);
    let mut hit: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut killed, mut started) = (0, 0);
    while killed < kills {
        // Alternate: kill at a random time, or soon after the next phase begins.
        let (run, jitter) = (place.path("run"), random.uniform(started));
        let timed = started % 2 == 1;
        started += 1;
        let begun = Instant::now();
        let mut child = place.start(&["--config", "config.toml"]);
        let mut at_s = if timed { jitter * all_s / 6.0 } else { f64::INFINITY };
        let ended = loop {
            if let Some(success) = child.success() {
                assert!(success, "after kills at {chain:?}");
                break true;
            }
            let now_s = begun.elapsed().as_secs_f64();
            if at_s.is_infinite() && (next == PHASES.len() || PHASES[next] == phase(&run)) {
                at_s = now_s + jitter * 0.02;
            }
            if now_s >= at_s {
                break false;
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        let hit_it = !ended && child.kill();
        if hit_it {
            let at = phase(&run);
            killed += 1;
            *hit.entry(at).or_default() += 1;
            chain.push(at);
            let now = PHASES.iter().position(|phase| *phase == at).unwrap_or_default();
            next = next.max(now) + usize::from(!timed || now > next);
            next = next.min(PHASES.len());
        }
        if !hit_it || killed == kills {
            place.succeed(&["--config", "config.toml", "-q"]);
            assert_same(&place, &whole, &format!("after kills at {chain:?}"));
            (place, chain, next) = (self::place(), Vec::new(), 0);
        }
    }
    println!("{killed} kills: {hit:?}; the whole run takes {all_s:.2} s");
    assert!(hit.len() >= 5, "the kills are not spread over the run: {hit:?}");
}
