//! `mvpbench judge` against an endpoint on loopback, and with the rule.

use std::path::Path;

use mvpbench::metrics::paa::evaluation::AnsweredBy;
use mvpbench::metrics::paa::evaluation::DataFile;
use mvpbench::run_folder::answers::{AnswerLine, AnswersAbout, AnswersFolder};
use serde_json::{Value, json};

use crate::chat::server::{Act, FakeChat};
use crate::command::{Place, records};

/// `count` records of ten users in two countries; the preferred answers say `good`, the rejected ones `bad`. `more`: text of every field.
fn benchmark(place: &Place, count: usize, more: &str) {
    let record = |n: usize| {
        json!({"id": n, "question": format!("Question {n}?{more}"), "answer_w": format!("good {n}{more}"),
            "answer_l": format!("bad {n}{more}"), "user_id": format!("u{}", n % 10), "preference": "High safety",
            "age": "25-34 years old", "birth_country": if n % 10 < 5 { "Chile" } else { "Kenya" }})
    };
    let text: String = (0..count).map(|n| format!("{}\n", record(n))).collect();
    place.write("test.jsonl", text);
}

/// Answers to `count` of them: `say` of the record's number; none where the request failed.
fn answers(
    place: &Place,
    name: &str,
    count: usize,
    more: &str,
    say: impl Fn(usize) -> Option<String>,
) {
    let data = place.path("test.jsonl");
    let lines: Vec<_> = (0..count)
        .map(|n| AnswerLine {
            id: n.to_string(),
            source: "test".into(),
            question: format!("Question {n}?{more}"),
            answer: say(n),
            finish: if say(n).is_some() { "stop" } else { "HTTP 400" }.into(),
        })
        .collect();
    let about = AnswersAbout {
        name: name.into(),
        version: "test".into(),
        command: "test".into(),
        date: "2026-11-26 12:00 UTC".into(),
        answered_by: AnsweredBy {
            model: name.into(),
            endpoint: "local".into(),
            served: Vec::new(),
            adapter: String::new(),
            sha256: String::new(),
        },
        protocol: "paa-paper.toml".into(),
        protocol_sha256: "0".into(),
        data: vec![DataFile {
            name: "test.jsonl".into(),
            sha256: mvpbench::disk::digest::of_file(&data).unwrap(),
            n: count,
        }],
        n: count,
        failed: lines.iter().filter(|line| line.answer.is_none()).count(),
        cut: 0,
        cost_usd: None,
        answers_sha256: String::new(),
    };
    let folder = place.path(&format!("answers/{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    AnswersFolder::of(&folder).write(about, &lines).unwrap();
}

/// Two models: `fair` answers well three times in four and once not at all, `poor` once in four.
pub(crate) fn place() -> Place {
    let place = Place::new();
    benchmark(&place, 40, "");
    answers(&place, "fair", 40, "", |n| match n {
        7 => None,
        n if n % 4 == 0 => Some(format!("bad answer {n}")),
        n => Some(format!("good answer {n}")),
    });
    answers(&place, "poor", 40, "", |n| {
        Some(if n % 4 == 0 { format!("good answer {n}") } else { format!("bad answer {n}") })
    });
    place
}

pub(crate) const ANSWERS: [&str; 4] = ["judge", "--answers", "answers/fair", "answers/poor"];

pub(super) fn judge(place: &Place, options: &[&str]) -> Value {
    let mut command = place.mvpbench(&[&ANSWERS[..], &["--output", "paa"], options].concat());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    figures(place)
}

pub(super) fn figures(place: &Place) -> Value {
    serde_json::from_slice(&place.bytes("paa/paa.json")).unwrap()
}

#[track_caller]
pub(super) fn refuse(place: &Place, options: &[&str], parts: &[&str]) {
    let output = place.mvpbench(&[&ANSWERS[..], options].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in\n{said}");
    }
}

/// The answer that a judge is asked about, in the paper's prompt.
fn judged(text: &str) -> &str {
    let answer = text.split_once("\nModel Answer: ").map_or(text, |(_, rest)| rest);
    answer.split_once("\nDoes the model's answer").map_or(answer, |(answer, _)| answer)
}

/// Says Yes of every answer that says `good`.
pub(super) fn fair(text: &str, _: usize) -> Act {
    Act::Say(if judged(text).contains("good") { "**Yes**, it fits." } else { "No." })
}

fn snapshot(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_rule_judges_without_a_network_and_its_figures_are_counts_of_what_is_there() {
    let place = place();
    let paa = judge(&place, &["--judge", "rule"]);
    let [fair, poor] = &paa["models"].as_array().unwrap()[..] else { panic!("{paa}") };
    assert_eq!((fair["n"].as_u64(), fair["failed"].as_u64()), (Some(40), Some(1)));
    // 39 answers, of which numbers 0, 4 to 36 are bad.
    assert_eq!(
        (fair["paa"]["value"].as_f64(), fair["paa"]["n"].as_u64()),
        (Some(29.0 / 39.0), Some(39))
    );
    assert_eq!(poor["paa"]["value"].as_f64(), Some(0.25));
    assert!(fair["paa"]["low"].as_f64().unwrap() < 29.0 / 39.0);
    for country in ["Chile", "Kenya"] {
        assert!(fair["groups"]["country"][country]["paa"]["value"].is_number(), "{paa}");
    }
    assert_eq!(paa["judges"][0]["name"], "rule");
    assert_eq!(
        paa["calibration"],
        json!({"accepted": 40, "preferred": 40, "refused": 40, "rejected": 40})
    );
    assert!(fair["corrected"]["value"].is_number());
    let difference = &paa["differences"][0];
    assert_eq!(
        (difference["model"].as_str(), difference["other"].as_str()),
        (Some("fair"), Some("poor"))
    );
    assert_eq!((difference["wins"].as_u64(), difference["losses"].as_u64()), (Some(29), Some(10)));

    let verdicts = records(&place.path("paa/verdicts-fair.jsonl"));
    assert_eq!(verdicts.len(), 40);
    assert_eq!(
        (&verdicts[7]["verdict"], &verdicts[7]["judge"]),
        (&json!("failed"), &json!("rule"))
    );
    assert_eq!(
        (&verdicts[5]["verdict"], &verdicts[5]["country"]),
        (&json!("Yes"), &json!("Kenya"))
    );

    let before = snapshot(&place.path("paa"));
    judge(&place, &["--judge", "rule"]);
    assert!(before == snapshot(&place.path("paa")), "a rerun changed a byte");
}

#[test]
fn a_judge_behind_an_endpoint_is_measured_reminded_and_asked_once() {
    let chat = FakeChat::serve(|text, attempt| {
        if text == "Answer with one word, Yes or No." {
            return Act::Say("Perhaps.");
        }
        match judged(text) {
            // A judge that takes two bad reference answers in forty for good ones, and misses one good one.
            "bad 3" | "bad 9" => Act::Say("Yes"),
            "good 5" => Act::Say("No"),
            "bad answer 8" => Act::Say("It depends."),
            "good answer 1" if attempt == 0 => {
                Act::Status("429 Too Many Requests", "Retry-After: 1\r\n", "{}".into())
            }
            "good answer 2" if attempt == 0 => Act::Drop,
            "good answer 3" => Act::Status("400 Bad Request", "", "{}".into()),
            _ => fair(text, attempt),
        }
    });
    let place = place();
    let options = ["--endpoint", &*chat.base, "--chat-model", "m"];
    let paa = judge(&place, &options);
    assert_eq!(
        paa["calibration"],
        json!({"accepted": 39, "preferred": 40, "refused": 38, "rejected": 40})
    );
    let model = &paa["models"][0];
    assert_eq!((model["unparsed"].as_u64(), model["failed"].as_u64()), (Some(1), Some(2)));
    assert_eq!(
        model["paa"],
        json!({"value": 28.0 / 37.0, "low": model["paa"]["low"], "high": model["paa"]["high"], "n": 37})
    );
    let verdicts = records(&place.path("paa/verdicts-fair.jsonl"));
    assert_eq!(
        (&verdicts[8]["verdict"], &verdicts[8]["reason"]),
        (&json!("unparsed"), &json!("Perhaps."))
    );
    assert_eq!(verdicts[1]["reason"], "**Yes**, it fits.");

    let asked = chat.tries();
    judge(&place, &options);
    assert_eq!(asked, chat.tries(), "a rerun asked again");
    let retried = judge(&place, &[&options[..], &["--retry-failed"]].concat());
    let tries = chat.tries();
    let more: Vec<_> = tries.iter().filter(|(text, count)| asked[*text] != **count).collect();
    assert_eq!(more.len(), 1, "{more:?}");
    assert_eq!(retried["models"][0]["failed"].as_u64(), Some(2));
}

#[test]
fn a_killed_command_resumes_and_pays_for_nothing_twice() {
    let chat = FakeChat::serve(|text, attempt| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        fair(text, attempt)
    });
    let place = place();
    let options = ["--output", "paa", "--endpoint", &*chat.base, "--chat-model", "m"];
    let journal = || {
        std::fs::read_dir(place.path("paa")).is_ok_and(|mut folder| {
            folder.any(|entry| {
                let entry = entry.unwrap();
                entry.file_name().to_string_lossy().starts_with("journal-")
                    && entry.metadata().unwrap().len() > 2_000
            })
        })
    };
    let mut command = place.mvpbench(&[&ANSWERS[..], &options].concat());
    crate::running::Running::start(&mut command).kill_at("some replies", journal);
    assert!(!place.path("paa/paa.json").exists());
    let paa = judge(&place, &options[2..]);
    let whole = {
        let other = self::place();
        judge(&other, &options[2..])
    };
    for key in ["models", "calibration", "differences", "countries", "files"] {
        assert_eq!(paa[key], whole[key], "{key}");
    }
    // 79 answers and 80 reference answers twice, and at most the requests in flight when it was killed.
    let asked: usize = chat.tries().values().sum();
    assert!((2 * 159..=2 * 159 + 20).contains(&asked), "{asked}");
}

/// As many items as the paper has, as long as they are there, in the memory that the client alone may take.
#[test]
#[cfg(target_os = "linux")]
fn as_many_answers_as_the_paper_has_are_judged_in_little_memory() {
    const ITEMS: usize = 24_020;
    let more = " what a question or an answer says".repeat(15);
    let place = Place::new();
    benchmark(&place, ITEMS, &more);
    answers(&place, "one", ITEMS, &more, |n| Some(format!("good {n}{more}")));
    let chat = FakeChat::serve(fair);
    let arguments =
        ["judge", "--answers", "answers/one", "--output", "paa", "--endpoint", &*chat.base];
    let begun = std::time::Instant::now();
    let mut child = place
        .mvpbench(&[&arguments[..], &["--chat-model", "m", "--quiet"]].concat())
        .spawn()
        .unwrap();
    // While it asks, and to its end: the page holds every answer.
    let (mut asking_kb, mut peak_kb) = (0, 0);
    while child.try_wait().unwrap().is_none() {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok());
        peak_kb = peak_kb.max(peak.unwrap_or(0));
        if !place.path("paa/verdicts-one.jsonl").exists() {
            asking_kb = peak_kb;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    #[expect(clippy::print_stdout, reason = "memory and time of the load, under `--nocapture`")]
    {
        println!(
            "{ITEMS} answers judged: {:.1?}, {asking_kb} kB, with the page {peak_kb} kB",
            begun.elapsed()
        );
    }
    assert_eq!(figures(&place)["models"][0]["paa"]["n"].as_u64(), Some(ITEMS as u64));
    assert!((1..200_000).contains(&asking_kb), "{asking_kb} kB");
}

#[test]
fn a_local_model_judges_as_an_endpoint_does_and_generates_nothing_twice() {
    let place = place();
    let (few, all) = (["--config", "few.toml"], ["--model", "embedded:tiny/model"]);
    let paper = include_str!("../../../configs/paa-paper.toml");
    place.write("few.toml", paper.replace("calibrate = 200", "calibrate = 4"));
    // A model of 0.9 M parameters says neither Yes nor No: the figures are written, and the command says that there are none.
    let judge = |more: &[&str]| {
        let command = [&ANSWERS[..], &["--output", "paa"], &few, &all, more].concat();
        let said = super::run(&place, &command, 1);
        assert!(said.contains("no answer has a verdict"), "{said}");
        figures(&place)
    };
    let paa = judge(&[]);
    let [judge_used] = &paa["judges"].as_array().unwrap()[..] else { panic!("{paa}") };
    assert_eq!(
        (&judge_used["name"], &judge_used["place"]),
        (&json!("embedded:tiny/model"), &json!("local"))
    );
    let model = &paa["models"][0];
    let of = |key: &str| model[key].as_u64().unwrap();
    let judged = model["paa"]["n"].as_u64().unwrap_or(0);
    assert_eq!(judged + of("unparsed") + of("failed"), 40, "{model}");
    let before = snapshot(&place.path("paa"));
    assert!(!before.iter().any(|(name, _)| name == "generations.jsonl"));
    let again = judge(&["--recompute"]);
    assert_eq!(again["models"], paa["models"]);
    refuse(
        &place,
        &[&["--output", "other"], &few[..], &all, &["--recompute"]].concat(),
        &["nothing was judged in `other`", "without `--recompute`"],
    );
    let prompt =
        paper.replace("calibrate = 200", "calibrate = 4").replace("Question: {q", "Asked: {q");
    place.write("other.toml", prompt);
    refuse(
        &place,
        &[&["--output", "paa", "--config", "other.toml"][..], &all, &["--recompute"]].concat(),
        &["8 of 8 replies are not in the journal", "without `--recompute`"],
    );
}
