//! `scripts/reproduce.sh`: the whole paper, small, by the scripted server; the plan of the paper itself; and the scripts that they are made of.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use mvpbench::construct::prism::Prism;
use mvpbench::disk::{digest, seal};

use crate::command::Place;
use crate::require;

/// Longest that a run may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1200);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// `reproduce.sh tiny` into `out`, by the scripted server.
fn reproduce(place: &Place, more: &[&str]) -> Command {
    by_script(place, &[&["tiny", "--server", "scripted"], more].concat())
}

/// `reproduce.sh` into `out`, in a group of processes of its own.
fn by_script(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.arg(script("reproduce.sh")).args(["--output", "out"]);
    command.args(arguments).current_dir(place.folder.path()).process_group(0);
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

    for spoil in [a_group_without_verdicts, a_model_without_figures, a_line_that_says_another_thing]
    {
        let (file, text, error) = spoil(&place.path("out"));
        let kept = std::fs::read(&file).unwrap();
        std::fs::write(&file, text).unwrap();
        let (code, said) = check(&place.path("out"));
        assert_eq!(code, Some(1));
        assert!(said.contains(error), "expected `{error}` in\n{said}");
        std::fs::write(&file, kept).unwrap();
    }
    assert_eq!(check(&place.path("out")), (Some(0), String::new()));
}

/// Exit status and errors of the check of a finished `tiny`.
fn check(out: &Path) -> (Option<i32>, String) {
    let mut command = Command::new("python3");
    command.arg(script("check_reproduction.py")).arg(out).arg("--figures-only");
    command.args(["--runs", "tiny", "tiny-chat", "--judges", "scripted", "rule"]);
    command.args(["--models", "scripted-a", "scripted-b", "scripted-c"]);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A file of a finished `tiny`, what it is spoilt to, and the error that the check must give.
type Spoilt = (PathBuf, Vec<u8>, &'static str);

/// No verdict on users of one group could be read; each line matches its digest.
fn a_group_without_verdicts(out: &Path) -> Spoilt {
    let file = out.join("paa/MVPBench-by-scripted/verdicts-scripted-a.jsonl");
    let mut text = Vec::new();
    for line in std::fs::read_to_string(&file).unwrap().lines() {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("sha256");
        let western = ["Germany", "United Kingdom", "United States"].map(serde_json::Value::from);
        if western.contains(&line["country"]) && line["groups"]["age"] == "45-54 years old" {
            line["verdict"] = "unparsed".into();
        }
        text.extend(seal::on_a_line(&line).unwrap().trim_ascii_end());
        text.push(b'\n');
    }
    (
        file,
        text,
        "Figure 3, scripted-a by scripted, Western, age: 45-54 years old: the cell is empty (0 of 0 in",
    )
}

/// The judge's figures lack a model that answered.
fn a_model_without_figures(out: &Path) -> Spoilt {
    let file = out.join("paa/test-by-rule/paa.json");
    let mut figures: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    figures["models"].as_array_mut().unwrap().retain(|model| model["name"] != "tiny-chat-tuned");
    (
        file,
        serde_json::to_vec(&figures).unwrap(),
        "PAA on test, tiny-chat-tuned by rule: the cell is empty",
    )
}

/// A score is another number than was written.
fn a_line_that_says_another_thing(out: &Path) -> Spoilt {
    let file = out.join("runs/tiny/eval/scores-MVP_test-after.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replacen("\"policy_chosen_logps\":-", "\"policy_chosen_logps\":-9", 1);
    (file, text.into_bytes(), "scores-MVP_test-after.jsonl:1: the line does not match its digest")
}

/// `reproduce.sh paper` without keys, offline, with `home` for what belongs to the user. Paths are relative to the caller's folder.
fn paper(place: &Place, more: &[&str]) -> Command {
    let mut command = by_script(place, &[&["paper"], more].concat());
    for key in ["OPENAI_API_KEY", "ARK_API_KEY", "DEEPSEEK_API_KEY", "MVPBENCH_YES", "HF_ENDPOINT"]
    {
        command.env_remove(key);
    }
    for home in ["HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "TMPDIR", "MVPBENCH_CACHE"] {
        command.env(home, place.path("home"));
    }
    command.env("HF_HUB_OFFLINE", "1");
    command.env("MVPBENCH_STAND_IN", script("prism_facts_tiny.toml"));
    command.env("MVPBENCH_SURVEY", "prism/survey.jsonl");
    command.env("MVPBENCH_CONVERSATIONS", "prism/conversations.jsonl");
    command.env("MVPBENCH_ULTRAFEEDBACK", "uf");
    command.env("MVPBENCH_PROTOCOL", "mine/protocol.toml");
    command.env("MVPBENCH_MODELS", "own=mine/own.toml llama2-7b=paper-llama2-7b.toml");
    command.stderr(Stdio::piped());
    command
}

#[test]
fn the_plan_of_the_paper_names_what_is_missing_and_sends_and_writes_nothing_elsewhere() {
    if !require::python() {
        return;
    }
    let place = Place::new();
    let mut made = Command::new("python3");
    made.arg(script("make_prism.py")).arg(place.path("prism")).arg("--facts");
    succeeded(&made.arg(script("prism_facts_tiny.toml")).output().unwrap());
    for folder in ["home", "uf", "mine"] {
        std::fs::create_dir(place.path(folder)).unwrap();
    }
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    std::fs::copy(configs.join("paa-paper.toml"), place.path("mine/protocol.toml")).unwrap();
    std::fs::copy(configs.join("tiny.toml"), place.path("mine/own.toml")).unwrap();
    let before = files(place.folder.path());

    // Whatever is sent to another machine arrives here.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let proxy = format!("http://{}", elsewhere.local_addr().unwrap());
    let mut plan = paper(&place, &[]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        plan.env(name, &proxy).env(name.to_lowercase(), &proxy);
    }
    let output = plan.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    let [said, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(2), "{said}\n{errors}");
    let (missing, planned) = said.split_once("== plan:").unwrap();
    for what in
        ["set OPENAI_API_KEY", "set ARK_API_KEY", "set DEEPSEEK_API_KEY", "weights of llama2-7b: "]
    {
        assert_eq!(missing.matches(what).count(), 1, "{what} in\n{missing}");
    }
    assert!(
        errors.ends_with("4 missing\n\nhint: it is listed above, with how to get it\n"),
        "{errors}"
    );
    for part in [
        "build the benchmark by gpt-4o\n",
        "train and evaluate own\n",
        "verdicts of deepseek-v3 on 4 sets of answers to test\n",
        "parts above that have a price, without second tries; ",
        " free in ",
    ] {
        assert!(planned.contains(part), "no {part} in\n{planned}");
    }
    assert_eq!(planned.matches("not planned: ").count(), 1, "{planned}");
    assert!(elsewhere.accept().is_err(), "it sends something");
    let out = place.path("out");
    let mut after = files(place.folder.path());
    after.retain(|path, _| !path.starts_with(&out));
    assert_eq!(after, before);

    // What is missing is told before anything is built, and nothing is run without it.
    std::fs::remove_dir_all(&out).unwrap();
    let output = paper(&place, &["--yes"]).env("MVPBENCH_SURVEY", "no.jsonl").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stdout).unwrap();
    let survey = place.path("no.jsonl");
    assert!(said.contains(&format!("`{}`: no such file or folder", survey.display())), "{said}");
    assert!(files(&out).is_empty());
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
    assert_eq!(counts.users_without_conversations, 104);
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
