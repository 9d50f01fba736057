//! `mvpbench generate --data` with a local model.

use mvpbench::judge::protocol::PRESETS;
use serde_json::Value;

use super::{benchmark, files, run};
use crate::command::{Place, lines, records};
use crate::running::Running;

/// A place with eight records and the paper's protocol, its answers cut after 12 tokens.
fn place(count: usize) -> Place {
    let place = Place::new();
    place.write("test.jsonl", benchmark(count));
    let short = PRESETS[0].1.replacen("max_tokens = 512", "max_tokens = 12", 1);
    place.write("short.toml", short);
    place
}

fn arguments<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let all = ["generate", "--model", "embedded:tiny/model", "--config", "short.toml", "-q"];
    [&all[..], &["--data", "test.jsonl", "--output", output], more].concat()
}

fn object(place: &Place, name: &str) -> Value {
    serde_json::from_slice(&place.bytes(name)).unwrap()
}

#[test]
fn a_local_model_answers_a_benchmark_and_the_same_command_changes_nothing() {
    let place = place(8);
    let said = run(&place, &arguments("answers/tiny", &[]), 0);
    assert!(said.contains("8 items, 0 without an answer"), "{said}");
    let about = object(&place, "answers/tiny/answers.json");
    assert_eq!((&about["name"], &about["n"]), (&"tiny".into(), &8.into()));
    assert_eq!(about["answered_by"]["model"], "embedded:tiny/model");
    assert_eq!(about["answered_by"]["sha256"].as_str().unwrap().len(), 64);
    assert!(about["command"].as_str().unwrap().starts_with("mvpbench generate --model"));
    let answers = records(&place.path("answers/tiny/answers.jsonl"));
    assert_eq!(answers[3]["id"], "r3");
    assert_eq!(
        (&answers[3]["source"], &answers[3]["question"]),
        (&"test".into(), &"question 3?".into())
    );
    let cut = answers.iter().filter(|answer| answer["finish"] == "length").count();
    assert_eq!(about["cut"], cut);
    assert!(cut > 0 && !place.path("answers/tiny/generations.jsonl").exists());
    let before = files(&place.path("answers"));
    assert_eq!(run(&place, &arguments("answers/tiny", &[]), 0), said);
    assert_eq!(files(&place.path("answers")), before);
    let other = run(&place, &arguments("answers/tiny", &["--seed", "1"]), 2);
    assert!(other.contains("`seed` was `0`, is `1`"), "{other}");
    assert_eq!(files(&place.path("answers")), before);
    // The seed decides the answers, which are drawn at the protocol's temperature.
    run(&place, &arguments("again", &[]), 0);
    run(&place, &arguments("other", &["--seed", "1"]), 0);
    assert_eq!(place.bytes("again/answers.jsonl"), place.bytes("answers/tiny/answers.jsonl"));
    assert_ne!(place.bytes("other/answers.jsonl"), place.bytes("again/answers.jsonl"));
}

#[test]
fn a_question_longer_than_the_context_has_no_answer_and_the_others_have_theirs() {
    let place = place(3);
    let long = benchmark(3).replacen("question 1?", &"a question that never ends ".repeat(200), 1);
    place.write("test.jsonl", long);
    let said = run(&place, &arguments("a", &[]), 0);
    assert!(said.contains("3 items, 1 without an answer"), "{said}");
    assert!(said.contains("warning: 1 items have no answer") && !said.contains("retry"), "{said}");
    let answers = records(&place.path("a/answers.jsonl"));
    let why = answers[1]["finish"].as_str().unwrap();
    assert!(why.contains("conversation 2: expected") && why.contains("1024 tokens"), "{why}");
    assert!(answers[1]["answer"].is_null() && answers[2]["answer"].is_string());
}

#[test]
fn a_changed_benchmark_protocol_or_folder_is_refused_by_name() {
    let place = place(2);
    run(&place, &arguments("a", &[]), 0);
    place.write("test.jsonl", benchmark(3));
    assert!(run(&place, &arguments("a", &[]), 2).contains("`data test` was `"));
    place.write("test.jsonl", benchmark(2));
    let more = String::from_utf8(place.bytes("short.toml")).unwrap().replace("= 12", "= 13");
    place.write("longer.toml", more);
    let mut longer = arguments("a", &[]);
    longer[4] = "longer.toml";
    assert!(run(&place, &longer, 2).contains("`stage 1 of the protocol` was `"));
    place.write("thesis/thesis.tex", "x");
    assert!(run(&place, &arguments("thesis", &[]), 2).contains("holds `thesis.tex`"));
    assert_eq!(files(&place.path("thesis")).len(), 1);
    // Answers that were changed by hand are generated again.
    let whole = place.bytes("a/answers.jsonl");
    place.write("a/answers.jsonl", "{}\n");
    assert!(run(&place, &arguments("a", &[]), 0).contains("warning: "));
    assert_eq!(place.bytes("a/answers.jsonl"), whole);
}

#[test]
fn a_killed_local_model_resumes_and_gives_the_same_answers() {
    let place = place(300);
    run(&place, &arguments("whole", &[]), 0);
    let command = arguments("killed", &["--batch", "2"]);
    let journal = place.path("killed/generations.jsonl");
    let kept = |place: &Place| lines(&place.path("killed/generations.jsonl"));
    Running::start(&mut place.mvpbench(&command)).kill_at("20 answers", || lines(&journal) > 20);
    let before = kept(&place);
    assert!(before < 301 && !place.path("killed/answers.json").exists());
    let mut running = Running::start(&mut place.mvpbench(&command));
    running.wait_for("the lock", || lines(&journal) > before + 2);
    let busy = run(&place, &command, 2);
    assert!(busy.contains("another program is writing in `killed`"), "{busy}");
    running.send("-TERM");
    assert_eq!(running.end().1, Some(143));
    run(&place, &arguments("killed", &[]), 0);
    assert_eq!(place.bytes("killed/answers.jsonl"), place.bytes("whole/answers.jsonl"));
}

#[test]
fn options_of_the_other_mode_are_refused_by_name() {
    let place = place(2);
    let local = |more: &[&'static str]| arguments("a", more);
    for (more, part) in [
        (&["--temperature", "1"][..], "--temperature"),
        (&["--max-new-tokens", "9"], "--max-new-tokens"),
        (&["--stop", "x"], "--stop"),
        (&["--chat"], "--chat"),
        (&["--prompt", "x"], "--prompt"),
        (&["--max-requests", "9"], "`--max-requests` needs `--endpoint`"),
        (&["--dry-run"], "`--dry-run` needs `--endpoint`"),
        (&["--key-env", "KEY"], "--endpoint"),
        (&["--endpoint", "local", "--chat-model", "m"], "--endpoint"),
    ] {
        let said = run(&place, &local(more), 2);
        assert!(said.contains(part), "{more:?}: {said}");
    }
    for (arguments, part) in [
        (&["--model", "embedded:tiny/model", "--data", "test.jsonl"][..], "--output"),
        (&["--model", "embedded:tiny/model", "--prompt", "x", "--config", "short.toml"], "--data"),
        (&["--endpoint", "local", "--prompt", "x"], "--chat-model"),
        (
            &["--endpoint", "local", "--chat-model", "m", "--prompt", "x", "--adapter", "y"],
            "--adapter",
        ),
        (&["--endpoint", "local", "--chat-model", "m", "--prompt", "x", "--batch", "2"], "--batch"),
        (&["--endpoint", "local", "--chat-model", "m", "--prompt", "x", "--force"], "--force"),
        (
            &["--endpoint", "local", "--chat-model", "m", "--prompt", "x", "--max-requests", "1"],
            "--output",
        ),
        (&["--prompt", "x"], "--model"),
    ] {
        let said = run(&place, &[&["generate"], arguments].concat(), 2);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    place.write("b/test.jsonl", benchmark(2));
    run(&place, &arguments("two", &["--data", "b/test.jsonl"]), 0);
    let sources: Vec<_> = records(&place.path("two/answers.jsonl"))
        .iter()
        .map(|answer| answer["source"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sources, ["test.jsonl", "test.jsonl", "b/test", "b/test"]);
    assert!(!place.path("a").exists());
}

#[test]
fn what_of_the_data_is_not_read_and_which_fields_no_record_has_is_said() {
    let place = place(2);
    place.write("test.jsonl", benchmark(2).replace("\"age\"", "\"maritial_status\":\"x\",\"age\""));
    let loud: Vec<_> =
        arguments("a", &[]).into_iter().filter(|argument| *argument != "-q").collect();
    let said = run(&place, &loud, 0);
    assert!(said.contains("test.jsonl: columns that are not read: `maritial_status`\n"), "{said}");
    let absent = "no record has `gender`, `education`, `marital_status` of `answer.profile`";
    assert!(said.contains(absent), "{said}");
}

#[test]
fn a_model_whose_template_was_edited_does_not_show_its_old_answers() {
    let place = place(2);
    let given = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny/model");
    for entry in std::fs::read_dir(given).unwrap().map(Result::unwrap) {
        let name = format!("model/{}", entry.file_name().to_str().unwrap());
        place.write(&name, std::fs::read(entry.path()).unwrap());
    }
    let mut command = arguments("a", &[]);
    command[2] = "model";
    run(&place, &command, 0);
    place.write("model/chat_template.jinja", "{{ messages[0].content }}");
    let said = run(&place, &command, 2);
    assert!(said.contains("`files of the model` was `"), "{said}");
}

#[test]
fn a_field_of_an_endpoint_is_refused_by_a_local_model() {
    let place = place(2);
    let extra = "[answer.extra]\nstore = true\n\n[judge]";
    let text = String::from_utf8(place.bytes("short.toml")).unwrap().replacen("[judge]", extra, 1);
    place.write("short.toml", text);
    let said = run(&place, &arguments("a", &[]), 2);
    assert!(said.contains("`answer.extra.store` is an endpoint's"), "{said}");
    assert!(!place.path("a").exists());
}
