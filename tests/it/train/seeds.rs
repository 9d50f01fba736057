//! Several seeds: one run for each, and figures as mean and standard deviation.

use mvpbench::metrics::Evaluation;

use crate::command::Place;
use crate::golden::pairs;

fn place() -> Place {
    Place::golden("tiny")
        .set("train.epochs", 2)
        .set("train.learning_rate", 1e-3)
        .set("output.dir", "runs")
        .evaluate("golden", pairs())
}

const COMMAND: [&str; 4] = ["--config", "config.toml", "--seeds", "1,2,3"];

#[test]
fn every_seed_has_a_run_and_the_figures_have_mean_and_deviation() {
    let place = place();
    let printed = place.succeed(&COMMAND);
    let values: Vec<f64> = [1, 2, 3]
        .map(|seed| {
            let file = place.path(&format!("runs/seed-{seed}/eval/after.json"));
            Evaluation::read(&file).unwrap().sets[0].overall.preference_accuracy.value
        })
        .into();
    let mean = values.iter().sum::<f64>() / 3.0;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let figure = format!("{:.2} ± {:.2}", 100.0 * mean, 100.0 * (squares / 2.0).sqrt());
    let markdown = String::from_utf8(place.bytes("runs/report.md")).unwrap();
    for page in [&printed, &markdown] {
        assert!(page.contains(&figure), "expected {figure} in\n{page}");
        assert!(page.contains("mean ± sd of 3 seeds"), "{page}");
    }
    assert!(place.path("runs/report.html").exists());
    let adapter =
        |seed: u64| place.bytes(&format!("runs/seed-{seed}/adapter/adapter_model.safetensors"));
    assert!(adapter(1) != adapter(2) && adapter(2) != adapter(3));

    // The same command repeats nothing; one more seed adds one run.
    let log = |seed: u64| place.bytes(&format!("runs/seed-{seed}/train.jsonl"));
    let first = log(1);
    place.succeed(&COMMAND);
    assert_eq!(log(1), first);
    place.succeed(&["--config", "config.toml", "--seeds", "1,2,3,4"]);
    assert!(log(1) == first && log(4) != first);

    // A single run with the same seed gives the same adapter.
    let set = ["--set", "train.seed=2", "--output", "alone"];
    place.succeed(&[&["--config", "config.toml"], &set[..]].concat());
    assert_eq!(place.bytes("alone/adapter/adapter_model.safetensors"), adapter(2));
}

#[test]
fn seeds_killed_at_their_report_resume() {
    let place = place();
    place.succeed(&COMMAND);
    std::fs::remove_file(place.path("runs/report.md")).unwrap();
    place.write("runs/.report.html.12-34.partial", "half");
    place.write("runs/.report.md.partial", "half");
    place.succeed(&COMMAND);
    let entries = std::fs::read_dir(place.path("runs")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["report.html", "report.md", "seed-1", "seed-2", "seed-3"]);
}

#[test]
fn what_cannot_be_several_runs_is_refused_before_anything_is_written() {
    let place = place();
    let refused = |arguments: &[&str], part: &str| {
        place.refuse(&[&["--config", "config.toml"], arguments].concat(), &[part]);
    };
    refused(&["--seeds", "1,2,1"], "1 is given twice");
    refused(&["--seeds", "1,x"], "expected a whole number from 0");
    refused(
        &["--seeds", "1,2", "--resume", "there"],
        "resumes one run, but `--seeds` names several",
    );
    assert!(!place.path("runs").exists());
    place.write("runs/notes.txt", "mine");
    refused(&["--seeds", "1,2"], "holds `notes.txt`");
    assert!(!place.path("runs/seed-1").exists());
}

#[test]
fn each_run_is_announced_by_its_number_and_seed() {
    let place = place().set("train.max_steps", 1);
    let output = place.run(&["--config", "config.toml", "--seeds", "7,5"]);
    let heard = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = heard.lines().filter(|line| line.contains(": seed ")).collect();
    assert_eq!(lines, ["run 1 of 2: seed 7", "run 2 of 2: seed 5"], "{heard}");
}
