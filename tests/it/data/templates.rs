//! The chat template of a run as a user sees it: one of `data.chat_template`, its date, and prompts that lose their end.

use std::fs;

use mvpbench::disk::seal;
use serde_json::{Value, json};

use super::verbs::{assert_refused, succeed};
use crate::command::Place;
use crate::golden::path;

/// A template that marks its text with `name`.
fn template(name: &str) -> String {
    format!(
        "{{{{ bos_token }}}}{{% for m in messages %}}<{name} {{{{ m.role }}}}>{{{{ m.content }}}}{{{{ eos_token }}}}{{% endfor %}}\
         {{% if add_generation_prompt %}}<{name} assistant>{{% endif %}}"
    )
}

fn message(role: &str, text: &str) -> Value {
    json!([{"role": role, "content": text}])
}

/// The tiny model in a folder `chat` with a template of its own, and a configuration that trains a step on two conversations.
fn place() -> Place {
    let place = Place::golden("tiny")
        .set("model.path", "chat")
        .set("data.train", vec!["talk.jsonl"])
        .set("train.max_steps", 1);
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        let bytes = fs::read(path("models/tiny").join(name)).unwrap();
        place.write(&format!("chat/{name}"), bytes);
    }
    place.write("chat/chat_template.jinja", template("own"));
    let pair = |question: &str| {
        let prompt = message("user", question);
        json!({"prompt": prompt, "chosen": message("assistant", "So."), "rejected": message("assistant", "No.")})
    };
    place.write("talk.jsonl", format!("{}\n{}\n", pair("Why?"), pair("How?")));
    place
}

fn inspected(place: &Place, more: &[&str]) -> String {
    let arguments = [&["data", "inspect", "--config", "config.toml", "--rows", "1"], more].concat();
    succeed(place, &arguments).replace("][", "").replace('|', "")
}

#[test]
fn a_template_that_is_given_renders_and_goes_with_the_adapter_and_the_merged_model() {
    let place = place();
    place.write("given/mine.jinja", template("mine"));
    place.write("given/tokenizer_config.json", r#"{"chat_template": "{{ bos_token }}listed{% for m in messages %}{{ m.content }}{% endfor %}", "eos_token": "</s>"}"#);
    let file = ["--set", "data.chat_template=given/mine.jinja"];
    assert!(inspected(&place, &[]).contains("<own user>Why?"));
    assert!(inspected(&place, &file).contains("<mine user>Why?"));
    assert!(inspected(&place, &["--set", "data.chat_template=given"]).contains("listedWhy?"));

    let config = r#"{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": "old"}"#;
    place.write("chat/tokenizer_config.json", config);
    place.configure("data.chat_template", "given/mine.jinja");
    let output = place.run(&["--config", "config.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("chat template: given/mine.jinja, in place of the model's own"),
        "{said}"
    );
    let of = |folder: &str| {
        let config: Value =
            serde_json::from_slice(&place.bytes(&format!("{folder}/tokenizer_config.json")))
                .unwrap();
        assert_eq!(config["eos_token"], "</s>", "{folder}");
        assert!(config.get("chat_template").is_none(), "{folder}: {config}");
        String::from_utf8(place.bytes(&format!("{folder}/chat_template.jinja"))).unwrap()
    };
    assert_eq!(of("run/adapter"), template("mine"));
    let merge = ["merge", "--model", "chat", "--adapter", "run/adapter", "--output", "merged"];
    succeed(&place, &merge);
    assert_eq!(of("merged"), template("mine"));

    // The model alone still has its own; the adapter's is named, and taken where it is asked for.
    let generate = |more: &[&str]| {
        let begin = [
            "generate",
            "--model",
            "chat",
            "--adapter",
            "run/adapter",
            "--prompt",
            "Why?",
            "--chat",
        ];
        let output = place
            .mvpbench(&[&begin[..], &["--max-new-tokens", "1"], more].concat())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        (answer["prompt"].as_str().unwrap().to_owned(), said)
    };
    let (prompt, said) = generate(&[]);
    assert!(
        prompt.contains("<own user>") && said.contains("`--chat-template run/adapter` takes it"),
        "{said}"
    );
    let (prompt, _) = generate(&["--chat-template", "run/adapter"]);
    assert!(prompt.contains("<mine user>"), "{prompt}");
}

#[test]
fn a_run_whose_template_has_changed_is_not_resumed() {
    let place = place();
    place.write("mine.jinja", template("mine"));
    place.configure("data.chat_template", "mine.jinja");
    place.succeed(&["--config", "config.toml"]);
    place.succeed(&["--config", "config.toml"]);
    place.write("mine.jinja", template("other"));
    place.refuse(
        &["--config", "config.toml"],
        &["`mine.jinja` (chat template) is not what the run in `run` began with"],
    );
    place.configure("data.chat_template", "");
    place.refuse(
        &["--config", "config.toml"],
        &["`data.chat_template` is `\"\"`, was `\"mine.jinja\"`"],
    );
}

#[test]
fn a_template_that_cannot_be_taken_is_refused_by_name() {
    let place = place();
    place.write("empty/a.txt", "");
    place.write("t.txt", "x");
    place.write("broken.jinja", "{% if");
    let added =
        r#"{"chat_template": "x", "added_tokens_decoder": {"600": {"content": "<|im_end|>"}}}"#;
    place.write("tokens/tokenizer_config.json", added);
    place.write(
        "eos/tokenizer_config.json",
        r#"{"chat_template": "x", "eos_token": {"content": "<unk>"}}"#,
    );
    for (given, part) in [
        ("nowhere", "chat template `nowhere`: expected a `.jinja` file, or a folder"),
        ("t.txt", "chat template `t.txt`: expected a `.jinja` file, or a folder"),
        ("empty", "chat template `empty`: the folder has no `chat_template.jinja`"),
        ("broken.jinja", "broken.jinja: not a template"),
        ("tokens", "its tokenizer has the token `<|im_end|>`, which the model's tokenizer has not"),
        ("eos", "its tokenizer has the EOS `<unk>`, the model's has `</s>`"),
    ] {
        let set = format!("data.chat_template={given}");
        assert_refused(
            &place,
            &["data", "inspect", "--config", "config.toml", "--set", &set],
            &[part],
        );
    }
    for wrong in ["today", "2026-13-01", "2026-1-1", "27.11.2026"] {
        let set = format!("data.template_date={wrong}");
        let part = "`data.template_date` must be a day as `YYYY-MM-DD`, or empty";
        assert_refused(
            &place,
            &["data", "inspect", "--config", "config.toml", "--set", &set],
            &[part],
        );
    }
}

#[test]
fn a_dated_prompt_has_the_day_that_is_set_or_the_day_on_which_the_run_began() {
    let place = place();
    let text = "{{ bos_token }}{{ strftime_now('%d %B %Y') }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    place.write("chat/chat_template.jinja", text);
    let set = ["--set", "data.template_date=2031-02-03"];
    assert!(inspected(&place, &set).contains("03 February 2031<user>Why?"));

    let output = place.run(&["--config", "config.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let config = String::from_utf8(place.bytes("run/config.toml")).unwrap();
    let begun = config.lines().find_map(|line| line.strip_prefix("# begun: ")).unwrap().to_owned();
    let day = &begun[..10];
    assert!(said.contains(&format!("asks for the date, and is given {day}")), "{said}");
    place.succeed(&["--config", "config.toml"]);

    // As if it had begun on another day: its prompts then had that day, and this run's data are no longer what it began with.
    let earlier = config.replace(&begun, "2020-05-06 07:08 UTC");
    let is_seal = |line: &&str| line.starts_with("# sha256 of the other lines: ");
    let rest: String = earlier.split_inclusive('\n').filter(|line| !is_seal(line)).collect();
    let was = earlier.lines().find(|line| is_seal(line)).unwrap();
    let seal = format!("# sha256 of the other lines: {}", seal::digits(rest.as_bytes()));
    place.write("run/config.toml", earlier.replace(was, &seal));
    assert!(inspected(&place, &[]).contains("06 May 2020<user>Why?"));
    place.refuse(
        &["--config", "config.toml"],
        &["what is read from the same files is not what the run in `run` began with"],
    );
    place.write("run/config.toml", config);
    place.succeed(&["--config", "config.toml"]);
}

#[test]
fn a_prompt_that_loses_its_end_is_counted_shown_and_asked_whole() {
    let place = place();
    let text = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant><think>\n{% endif %}";
    place.write("chat/chat_template.jinja", text);
    let line = "lose their last tokens, first `<think>\\n`, since the text with an answer has others there";
    let output = place.run(&["--config", "config.toml", "--dry-run"]);
    let said = String::from_utf8_lossy(&output.stderr).replace("\n", " ").replace("  ", " ");
    assert!(said.contains("2 prompts lose their last"), "{said}");
    let shown = inspected(&place, &[]);
    assert!(
        shown.contains("prompt end: 1 prompt loses its last tokens, first `<think>\\n`"),
        "{shown}"
    );
    assert!(shown.contains("<assistant>\nchosen:\n[So.</s>]"), "{shown}");
    let stats = succeed(&place, &["data", "stats", "--config", "config.toml"]).replace('\n', " ");
    let stats = stats.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(stats.contains(&format!("prompt end 2 prompts {line}")), "{stats}");
    let prompt = r#"{"prompt": [{"role": "user", "content": "Why?"}]}"#;
    place.write("ask.jsonl", prompt);
    let arguments =
        ["generate", "--model", "chat", "--prompts", "ask.jsonl", "--max-new-tokens", "1"];
    let answer: Value = serde_json::from_str(&succeed(&place, &arguments)).unwrap();
    assert!(answer["prompt"].as_str().unwrap().ends_with("<assistant><think>\n"), "{answer}");
    place.succeed(&["--config", "config.toml"]);
}
