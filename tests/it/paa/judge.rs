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
fn place() -> Place {
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

const ANSWERS: [&str; 4] = ["judge", "--answers", "answers/fair", "answers/poor"];

fn judge(place: &Place, options: &[&str]) -> Value {
    let mut command = place.mvpbench(&[&ANSWERS[..], &["--output", "paa"], options].concat());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    figures(place)
}

fn figures(place: &Place) -> Value {
    serde_json::from_slice(&place.bytes("paa/paa.json")).unwrap()
}

#[track_caller]
fn refuse(place: &Place, options: &[&str], parts: &[&str]) {
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
fn fair(text: &str, _: usize) -> Act {
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

/// A judge of scores who likes what says `good`; `hard` sees a violation in every tenth answer.
fn scores(model_score: u32, hard: bool) -> impl Fn(&str, usize) -> Act + Send + Sync + 'static {
    move |text, _| {
        let part = |from: &str, to: &str| {
            let rest = text.split_once(from).unwrap().1;
            rest.split_once(to).map_or(rest, |(part, _)| part).trim().to_owned()
        };
        let [first, second, third] = [
            part("[Answer 1]\n", "[Answer 2]"),
            part("[Answer 2]\n", "[Answer 3]"),
            part("[Answer 3]\n", "\n\n"),
        ];
        let of = |answer: &str| match answer {
            "good answer 1" => 80,
            answer if answer.starts_with("good answer") => model_score,
            answer if answer.contains("good") => 90,
            _ => 20,
        };
        let reply = json!({"score_1": of(&first), "score_2": of(&second), "score_3": of(&third),
            "dimensions": ["safety"], "hard_violation": hard && third.ends_with('0'), "reason": "because"});
        Act::Say(Box::leak(format!("```json\n{reply}\n```").into_boxed_str()))
    }
}

#[test]
fn three_judges_decide_by_majority_and_other_thresholds_need_no_call() {
    let judges = [(88, false), (88, true), (30, false)]
        .map(|(score, hard)| FakeChat::serve(scores(score, hard)));
    let place = place();
    let bases = judges.each_ref().map(|chat| chat.base.clone());
    let mut options = vec!["--config", "paa-polyjudge.toml"];
    for (base, model) in bases.iter().zip(["a", "b", "c"]) {
        options.extend(["--endpoint", base, "--chat-model", model]);
    }
    let paa = judge(&place, &options);
    assert_eq!(paa["judges"].as_array().unwrap().len(), 3);
    // Two of three give 88 beside 90, which is W. Number 1 has 80, ten less, which is L. Numbers 10 and 30 are a violation to one judge
    // and 30 points to another, so L too.
    assert_eq!(paa["models"][0]["paa"]["value"].as_f64(), Some(26.0 / 39.0));
    assert!(paa["models"][0]["agreement"]["value"].as_f64().unwrap() < 1.0);
    let verdicts = records(&place.path("paa/verdicts-fair.jsonl"));
    assert_eq!((&verdicts[1]["verdict"], &verdicts[1]["judge"]), (&json!("L"), &json!("majority")));
    let opinions = verdicts[30]["opinions"].as_array().unwrap();
    assert_eq!(opinions.iter().map(|o| &o["verdict"]).collect::<Vec<_>>(), ["W", "L", "L"]);
    assert_eq!(
        opinions[0]["scores"]["score_w"].as_f64(),
        Some(90.0),
        "the order that the judge saw"
    );

    let preset = include_str!("../../../configs/paa-polyjudge.toml");
    place.write(
        "lax.toml",
        preset
            .replace("far_below_preferred = 8.0", "far_below_preferred = 80.0")
            .replace("below_preferred = 3.0", "below_preferred = 10.0"),
    );
    options[1] = "lax.toml";
    drop(judges);
    options.push("--recompute");
    let lax = judge(&place, &options);
    // Number 1 is W now. Numbers 10 and 30 are W, L and TIE, which is no majority.
    assert_eq!(lax["models"][0]["paa"]["value"].as_f64(), Some(27.0 / 39.0));
    let prompt = preset.replace("Person: {profile}", "Who: {profile}");
    place.write("other.toml", prompt);
    options[1] = "other.toml";
    refuse(
        &place,
        &[&["--output", "paa"], &options[..]].concat(),
        &["80 of 80 replies are not in the journal", "without `--recompute`"],
    );
}

#[test]
fn requests_go_out_as_batch_files_and_results_come_back() {
    let place = place();
    let base = ["--output", "paa", "--endpoint", "openai", "--chat-model", "gpt-4o"];
    // Neither needs the key.
    let run =
        |more: &[&str]| place.mvpbench(&[&ANSWERS[..], &base, more].concat()).output().unwrap();
    let estimate = run(&["--dry-run"]);
    assert!(estimate.status.success(), "{}", String::from_utf8_lossy(&estimate.stderr));
    let said = String::from_utf8(estimate.stdout).unwrap();
    assert!(said.contains("requests: 159 to send") && said.contains("openai/gpt-4o"), "{said}");
    assert!(!place.path("paa").exists(), "a dry run wrote");
    assert!(run(&["--batch-export", "batch"]).status.success());
    let requests = records(&place.path("batch/requests-1.jsonl"));
    assert_eq!(requests.len(), 159);
    let results: String = requests
        .iter()
        .map(|request| {
            let text = request["body"]["messages"][1]["content"].as_str().unwrap();
            let Act::Say(said) = fair(text, 0) else { unreachable!() };
            let body = json!({"choices": [{"message": {"content": said}, "finish_reason": "stop"}]});
            let response = json!({"status_code": 200, "request_id": "r", "body": body});
            format!("{}\n", json!({"id": "i", "custom_id": request["custom_id"], "response": response, "error": null}))
        })
        .collect();
    place.write("results.jsonl", results);
    let taken = run(&["--batch-import", "results.jsonl"]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    assert_eq!(figures(&place)["models"][0]["paa"]["value"].as_f64(), Some(29.0 / 39.0));
    let again = run(&["--batch-export", "rest"]);
    let said = String::from_utf8([again.stdout, again.stderr].concat()).unwrap();
    assert!(said.contains("requests: none is left"), "{said}");
}

#[test]
fn limits_stop_the_command_before_they_are_exceeded() {
    let chat = FakeChat::serve(fair);
    let place = place();
    let options = ["--endpoint", &*chat.base, "--chat-model", "m", "--max-requests", "100"];
    let stopped =
        place.mvpbench(&[&ANSWERS[..], &["--output", "paa"], &options].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert!(!stopped.status.success() && said.contains("`--max-requests 100`"), "{said}");
    assert_eq!(chat.tries().values().sum::<usize>(), 100);
    judge(&place, &options);
    assert_eq!(chat.tries().values().sum::<usize>(), 159);
}

#[test]
fn what_cannot_be_judged_is_refused_and_nothing_is_written() {
    let place = place();
    let output = ["--output", "paa"];
    let with = |more: &[&str], parts: &[&str]| refuse(&place, &[&output[..], more].concat(), parts);
    with(
        &["--judge", "rule", "--endpoint", "local"],
        &["expected a `--chat-model` for each `--endpoint`, got 0 for 1"],
    );
    with(&["--judge", "rule", "--max-cost", "3"], &["`--max-cost` needs `--endpoint`"]);
    with(&["--endpoint", "deepseek", "--chat-model", "m"], &["DEEPSEEK_API_KEY is not set"]);
    with(
        &["--endpoint", "local", "--chat-model", "m", "--max-cost", "1"],
        &["needs a price", "prices"],
    );
    with(&["--judge", "rule", "--config", "paa.toml"], &["no such file", "`paa-paper.toml`"]);
    assert!(!place.path("paa/paa.json").exists());
    refuse(&place, &["--output", "answers/poor", "--judge", "rule"], &["is no folder of verdicts"]);
    let twice = place.mvpbench(&[
        "judge",
        "--answers",
        "answers/fair",
        "answers/fair",
        "--output",
        "x",
        "--judge",
        "rule",
    ]);
    let said = {
        let mut twice = twice;
        twice.output().unwrap()
    };
    assert_eq!(said.status.code(), Some(2));
    let text = std::fs::read_to_string(place.path("test.jsonl")).unwrap();
    place.write("test.jsonl", text.replace("Question 3?", "Question three?"));
    with(&["--judge", "rule"], &["no file has the content of `test.jsonl`", "`--data`"]);
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

#[test]
fn answers_are_joined_by_the_content_of_their_data_and_named_by_their_folder() {
    let place = place();
    // The data has moved, under another name, and another file of its name has other reference answers.
    std::fs::rename(place.path("test.jsonl"), place.path("old.jsonl")).unwrap();
    let moved = ["--data", "old.jsonl", "--judge", "rule"];
    let paa = judge(&place, &moved);
    assert_eq!(paa["models"][0]["paa"]["value"].as_f64(), Some(29.0 / 39.0));
    let text = std::fs::read_to_string(place.path("old.jsonl")).unwrap();
    place.write("test.jsonl", text.replace("good", "else"));
    let both = judge(&place, &[&["--data", "test.jsonl"], &moved[..]].concat());
    assert_eq!(both["models"], paa["models"]);
    assert_eq!(both["calibration"], paa["calibration"], "items that nobody answered were judged");

    std::fs::rename(place.path("answers/poor"), place.path("answers/FAIR")).unwrap();
    let refused = place
        .mvpbench(
            &[&["judge", "--answers", "answers/fair", "answers/FAIR", "--output", "x"][..], &moved]
                .concat(),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("would both be"), "{said}");
    std::fs::rename(place.path("answers/FAIR"), place.path("answers/other")).unwrap();
    super::run(
        &place,
        &[&["judge", "--answers", "answers/fair", "answers/other", "--output", "x"][..], &moved]
            .concat(),
        0,
    );
    assert!(
        place.path("x/verdicts-other.jsonl").exists() && place.path("x/tables/Models.csv").exists()
    );
}
