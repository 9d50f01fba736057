//! `scripts/reproduce.sh tiny`: the whole paper, small, by the scripted server; and the scripts that it is made of.

use std::collections::BTreeMap;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use mvpbench::construct::prism::Prism;
use mvpbench::disk::digest;

use crate::command::Place;
use crate::require;

/// Longest that a run may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1200);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// `reproduce.sh tiny` into `out`, in a group of processes of its own.
fn reproduce(place: &Place, more: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.arg(script("reproduce.sh")).args(["tiny", "--server", "scripted", "--output", "out"]);
    command.args(more).current_dir(place.folder.path()).process_group(0);
    let programs = Path::new(env!("CARGO_BIN_EXE_mvpbench")).parent().unwrap();
    command.env("MVPBENCH_BIN", programs).env("MVPBENCH_CACHE", place.path("cache"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// A group of processes that ends with its test.
struct Group(Child);

impl Group {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Sends `signal`, as `kill` names it, to the first process or to all of them.
    fn signal(&self, signal: &str, to_all: bool) {
        let id = format!("{}{}", if to_all { "-" } else { "" }, self.0.id());
        let sent = Command::new("kill").args([signal, "--", &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until `path` is there.
    fn wait_for(&mut self, path: &Path) {
        let begun = Instant::now();
        while !path.exists() {
            assert!(self.0.try_wait().unwrap().is_none(), "it ended before {}", path.display());
            assert!(begun.elapsed() < PATIENCE, "no {}", path.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.0.wait().unwrap()
    }

    fn is_empty(&self) -> bool {
        let id = format!("-{}", self.0.id());
        let output = Command::new("kill").args(["-0", "--", &id]).output().unwrap();
        !output.status.success()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let id = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &id]).output();
        let _ = self.0.wait();
    }
}

/// SHA-256 of every file below `folder`.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path, digest::of_bytes(&bytes));
            }
        }
    }
    found
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn the_whole_paper_runs_resumes_after_kills_and_leaves_no_cell_empty() {
    if !require::python() {
        return;
    }
    let place = Place::new();
    let mut first = Group::start(reproduce(&place, &[]));
    first.wait_for(&place.path("out/runs/tiny/train.jsonl"));
    first.signal("-TERM", false);
    assert_eq!(first.end().code(), Some(143));
    let begun = Instant::now();
    while !first.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it leaves processes behind");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut second = Group::start(reproduce(&place, &[]));
    second.wait_for(&place.path("out/runs/tiny-chat/train.jsonl"));
    second.signal("-KILL", true);
    assert_eq!(second.end().signal(), Some(9));

    let said = succeeded(&reproduce(&place, &[]).output().unwrap());
    let cells = std::fs::read_to_string(place.path("out/report/cells.csv")).unwrap();
    let count = cells.lines().count() - 1;
    assert!(
        said.contains(&format!("{count} cells counted again"))
            && said.contains(", 0 of them wrong")
    );
    for part in ["Table 1,\"tiny, MVP_test SPMR before\",", "Figure 2,", "Figure 3,", "Figure 4,"] {
        assert!(cells.contains(part), "no {part} in\n{cells}");
    }
    let before = files(&place.path("out"));
    succeeded(&reproduce(&place, &[]).output().unwrap());
    let after = files(&place.path("out"));
    let changed: Vec<_> =
        after.iter().filter(|(path, sha)| before.get(*path) != Some(sha)).collect();
    assert!(changed.is_empty() && after.len() == before.len(), "{changed:?}");

    // A line that no longer says what it said is found.
    let scores = place.path("out/runs/tiny/eval/scores-MVP_test-after.jsonl");
    let text = std::fs::read_to_string(&scores).unwrap();
    std::fs::write(
        &scores,
        text.replacen("\"policy_chosen_logps\":-", "\"policy_chosen_logps\":-9", 1),
    )
    .unwrap();
    let mut check = Command::new("python3");
    check.arg(script("check_reproduction.py")).arg(place.path("out"));
    let output = check
        .args(["--runs", "tiny", "tiny-chat", "--judges", "scripted", "rule"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("scores-MVP_test-after.jsonl:1: the line does not match its digest"),
        "{said}"
    );
}

#[test]
fn files_in_prisms_layout_have_its_counts_and_each_broken_row_is_named() {
    if !require::python() {
        return;
    }
    let place = Place::new();
    let made = Command::new("python3")
        .arg(script("make_prism.py"))
        .arg(place.path("prism"))
        .args(["--words", "4", "--broken", "2"])
        .output()
        .unwrap();
    succeeded(&made);
    let [survey, conversations] = ["survey.jsonl", "conversations.jsonl"]
        .map(|name| (name, std::fs::read(place.path("prism").join(name)).unwrap()));
    let prism = Prism::read((survey.0, &survey.1), (conversations.0, &conversations.1)).unwrap();
    let counts = prism.counts;
    assert_eq!((counts.survey_users, counts.users, counts.conversations), (1500, 1396, 8011));
    assert_eq!((counts.users_without_conversations, counts.birth_countries), (104, 75));
    assert_eq!(counts.users_of_another_count, 0);
    assert!(prism.unknown_fields.is_empty(), "{:?}", prism.unknown_fields);

    let listed: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(place.path("prism/broken.json")).unwrap()).unwrap();
    let listed: Vec<(String, usize)> = listed
        .iter()
        .map(|row| (row["file"].as_str().unwrap().into(), row["line"].as_u64().unwrap() as usize))
        .collect();
    let found: Vec<_> = prism.broken.iter().map(|row| (row.file.clone(), row.line)).collect();
    assert_eq!(found, listed);
    assert_eq!(counts.broken_survey_rows + counts.broken_conversations, listed.len());
}

#[test]
fn an_unknown_option_and_another_server_are_refused_by_name() {
    if !require::python() {
        return;
    }
    let place = Place::new();
    let refused = |arguments: &[&str]| {
        let mut command = reproduce(&place, arguments);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--outptu", "x"]).contains("unknown argument `--outptu`"));
    assert!(refused(&["--server", "real"]).contains("must be auto, llama or scripted"));
    place.write("out/servers/kind", "llama\n");
    assert!(refused(&[]).contains("begun with the llama server, not with scripted"));
    assert!(!place.path("out/input").exists());
}
