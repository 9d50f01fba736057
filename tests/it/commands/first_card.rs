//! `scripts/first_card.sh`, rehearsed on the CPU.

use std::path::Path;
use std::process::{Command, Output};

fn script(out: &Path, programs: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/first_card.sh");
    let words = ["--device", "cpu", "--shape", "tiny", "--python", "/no/python", "--bin"];
    Command::new("bash").arg(script).arg(out).args(words).arg(programs).output().unwrap()
}

fn rows(out: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(out.join("summary.md")).unwrap();
    let table = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = |line: &str| -> Option<(String, String)> {
        let mut cells = line.trim_matches('|').split(" | ");
        Some((cells.next()?.trim().to_owned(), cells.next()?.trim().to_owned()))
    };
    table.take_while(|line| line.matches('|').count() == 5).filter_map(cells).collect()
}

#[test]
fn every_part_is_rehearsed_and_one_that_fails_stops_no_other() {
    let place = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_mvpbench")).parent().unwrap();
    let (out, broken) = (place.path().join("out"), place.path().join("broken"));
    let output = script(&out, programs);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let found = rows(&out);
    let passed: Vec<&str> =
        found.iter().filter(|(_, how)| how == "passed").map(|(name, _)| &**name).collect();
    let parts = ["environment", "doctor", "first-steps"];
    let generation = ["generation-1", "generation-16", "generation-64"];
    assert_eq!(passed, [&parts[..], &generation].concat(), "{said}");
    let left_out: Vec<&str> = found
        .iter()
        .filter(|(_, how)| how.starts_with("left out: "))
        .map(|(name, _)| &**name)
        .collect();
    assert_eq!(left_out, ["golden", "steps", "sanitizer"]);
    let json = std::fs::read(out.join("doctor.json")).unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&json).unwrap()["examinations"].is_array());
    assert!(said.contains("- generation-64: generated: ") && said.contains("OK   adamw"), "{said}");

    // Without programs.
    let output = script(&broken, &std::fs::canonicalize(place.path()).unwrap());
    assert_eq!(output.status.code(), Some(1));
    let failed = rows(&broken).iter().filter(|(_, how)| how.starts_with("**failed")).count();
    assert_eq!(failed, parts.len() + generation.len());
}
