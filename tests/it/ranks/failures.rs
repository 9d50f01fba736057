//! What becomes of a job when one of its ranks fails, and how it ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{COMMAND, sharded};
use crate::command::Place;
use crate::train::kills::{self, phase};

/// The longest that the other ranks may live after one has failed.
pub(crate) const END: Duration = Duration::from_secs(30);

/// The processes of the ranks of the job in `place`, by rank.
pub(crate) fn ranks(place: &Place) -> Vec<(usize, PathBuf)> {
    let cache = format!("MVPBENCH_CACHE={}", place.path("cache").display());
    let rank = |process: &Path| -> Option<usize> {
        let variables = std::fs::read(process.join("environ")).ok()?;
        let variables: Vec<_> = variables.split(|byte| *byte == 0).collect();
        let is_here = variables.contains(&cache.as_bytes());
        let of = |variable: &&[u8]| {
            let text = std::str::from_utf8(variable).ok()?;
            let number = text
                .strip_prefix("OMPI_COMM_WORLD_RANK=")
                .or_else(|| text.strip_prefix("PMI_RANK="))?;
            number.parse().ok()
        };
        variables.iter().find_map(of).filter(|_| is_here)
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let mut found: Vec<_> =
        processes.filter_map(|process| Some((rank(&process)?, process))).collect();
    found.sort();
    found
}

pub(crate) fn kill(process: &Path) {
    let id = process.file_name().unwrap().to_str().unwrap();
    std::process::Command::new("kill").args(["-9", id]).output().unwrap();
}

#[test]
fn a_rank_that_is_killed_ends_the_job_and_any_number_of_ranks_resumes_it() {
    let whole = sharded();
    whole.succeed(&COMMAND);
    let whole = kills::outcome(&whole);
    for (i, wanted) in kills::LONG_PHASES.into_iter().enumerate() {
        let place = sharded();
        let mut job = place.start_heard(&[&COMMAND[..], &["--ranks", "2"]].concat());
        job.wait_for(wanted, || phase(&place.path("run")) == wanted);
        let victim = i % 2;
        let ranks = ranks(&place);
        let (_, process) = ranks.iter().find(|(rank, _)| *rank == victim).expect("a rank");
        kill(process);
        let begun = Instant::now();
        let (said, code) = job.end();
        assert!(begun.elapsed() < END, "{wanted}: {:?}", begun.elapsed());
        assert_eq!(code, Some(137), "{wanted}: {said}");
        assert!(said.contains("signal 9 ended a rank"), "{wanted}: {said}");
        assert!(said.contains("the same command resumes it"), "{wanted}: {said}");
        while !self::ranks(&place).is_empty() {
            assert!(begun.elapsed() < END, "{wanted}: a rank lives on");
            std::thread::sleep(Duration::from_millis(20));
        }
        let on = ["1", "4", "3"][i % 3];
        place.succeed(&[&COMMAND[..], &["-q", "--ranks", on]].concat());
        kills::assert_same(&place, &whole, &format!("{wanted}, rank {victim} killed, {on} ranks"));
    }
}

#[test]
fn a_launcher_that_is_killed_takes_its_ranks_with_it() {
    let place = sharded();
    let mut job = place.start_heard(&[&COMMAND[..], &["--ranks", "3"]].concat());
    job.wait_for("three ranks that train", || {
        phase(&place.path("run")) == "training" && ranks(&place).len() == 3
    });
    assert!(job.kill());
    let begun = Instant::now();
    while !ranks(&place).is_empty() {
        assert!(begun.elapsed() < END, "a rank lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_signal_saves_and_the_same_command_resumes_on_other_ranks() {
    let whole = sharded();
    whole.succeed(&COMMAND);
    let whole = kills::outcome(&whole);
    for (wanted, signal, status) in [
        ("training", "-TERM", 143),
        ("answers before", "-INT", 130),
        ("evaluation during", "-TERM", 143),
    ] {
        let place = sharded();
        let mut job = place.start_heard(&[&COMMAND[..], &["--ranks", "2"]].concat());
        job.wait_for(wanted, || phase(&place.path("run")) == wanted);
        job.send(signal);
        let (said, code) = job.end();
        assert_eq!(code, Some(status), "{wanted}: {said}");
        assert!(said.contains("the same command resumes"), "{wanted}: {said}");
        assert!(!said.contains("panicked"), "{wanted}: {said}");
        assert!(!said.contains("MPI_ABORT") && !said.contains("error: "), "{wanted}: {said}");
        if wanted == "training" {
            assert!(place.path("run/checkpoints").exists(), "nothing is saved");
        }
        place.succeed(&[&COMMAND[..], &["-q", "--ranks", "3"]].concat());
        kills::assert_same(&place, &whole, wanted);
    }
}

#[test]
fn what_is_wrong_is_said_once_and_ends_the_job() {
    let place = sharded();
    place.write("train.jsonl", "{\"prompt\": \"a\"}\n");
    let output = place.run(&[&COMMAND[..], &["--ranks", "2"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("train.jsonl:1"), "{said}");
    assert!(!said.contains("MPI_ABORT") && !said.contains("ended"), "{said}");

    // As a launcher of another MPI would start it.
    let output = place.command(&COMMAND).env("PMI_SIZE", "3").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the launcher has started 3 ranks, and MPI sees 1"), "{said}");

    let place = sharded();
    for (arguments, part) in [
        (
            &["--ranks", "2", "--device", "cuda:1"][..],
            "`--device cuda:1` is one device, and there are 2 ranks",
        ),
        (
            &["--ranks", "2", "--device", "nope"],
            "`--device` must be `auto`, `cpu`, `cuda` or `cuda:N`, got `nope`",
        ),
        (&["--ranks", "2", "--device", "cuda"], "`--device cuda:0`"),
        (&["--ranks", "0"], "expected `all` or a number in 1..=4096, got `0`"),
        (&["--ranks", "all"], "`--ranks all` is one rank for each GPU, and there is none"),
    ] {
        let output = place.run(&[&COMMAND[..], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{said}");
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert!(!said.contains("MPI_ABORT"), "{said}");
        assert!(!place.path("run").exists());
    }
}
