//! The `mvpbench data` verbs as a user runs them.

use std::process::Output;

use crate::command::Place;
use crate::golden::{pairs, path};

/// A place with a configuration over the golden pairs, to be changed by `--set`.
fn place() -> Place {
    Place::golden("tiny").evaluate("held-out", pairs())
}

fn run(place: &Place, arguments: &[&str]) -> Output {
    place.mvpbench(arguments).output().unwrap()
}

#[track_caller]
pub(super) fn succeed(place: &Place, arguments: &[&str]) -> String {
    let output = run(place, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub(super) fn assert_refused(place: &Place, arguments: &[&str], parts: &[&str]) {
    let output = run(place, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?}: expected `{part}` in: {said}");
    }
}

#[test]
fn every_verb_is_in_the_help() {
    let place = Place::new();
    let help = succeed(&place, &["data", "--help"]);
    for verb in
        ["inspect", "stats", "split", "build-ufp4", "build-prism-pairs", "build-mvpbench", "review"]
    {
        assert!(help.contains(&format!("  {verb} ")), "{help}");
        assert!(succeed(&place, &["data", verb, "--help"]).contains("--"));
    }
    let help = succeed(&place, &["data", "review", "--help"]);
    for verb in ["sample", "import", "judge", "exclude"] {
        assert!(help.contains(&format!("  {verb} ")), "{help}");
    }
}

#[test]
fn inspect_marks_the_answers_and_nothing_of_the_prompt() {
    let shown = succeed(&place(), &["data", "inspect", "--config", "config.toml", "--id", "s01"]);
    let part = |from: &str, to: &str| {
        let (_, rest) = shown.split_once(from).unwrap();
        rest.split_once(to).map_or(rest, |(part, _)| part).to_owned()
    };
    let (prompt, chosen) = (part("\nprompt:\n", "\nchosen:\n"), part("\nchosen:\n", "\nrejected:"));
    assert!(prompt.starts_with("<s>|") && !prompt.contains('['), "{prompt}");
    assert!(chosen.starts_with('[') && chosen.ends_with("[</s>]"), "{chosen}");
    let text: String = chosen.split("][").collect();
    assert_eq!(text, "[Rain writes the street in small round letters.</s>]");
    // Counts are those of the golden tokens.
    let golden = crate::golden::json("cases/tiny/tokens.json");
    let counts = ["prompt_ids", "chosen_ids", "rejected_ids"]
        .map(|key| golden["pairs"][1][key].as_array().unwrap().len());
    let [prompt, chosen, rejected] = counts;
    let computed = prompt + chosen + rejected;
    let line = format!(
        "{prompt} prompt tokens, {chosen} chosen and {rejected} rejected scored, {computed} computed"
    );
    assert!(shown.contains(&line), "{shown}");
}

#[test]
fn inspect_says_what_was_cut_or_dropped() {
    let place = place();
    let inspect = |set: &str| {
        succeed(
            &place,
            &["data", "inspect", "--config", "config.toml", "--rows", "1", "--set", set],
        )
    };
    assert!(!inspect("data.max_length=0").contains("cut:"));
    let cut = inspect("data.max_prompt_tokens=9");
    assert!(cut.contains("\n9 prompt tokens") && cut.contains("at the beginning of the prompt"));
    assert!(inspect("data.max_length=2").contains("\ndropped: its prompt leaves no room"));
    place.configure("data.truncation", "trl-0.6").configure("data.max_prompt_tokens", 9);
    assert!(!inspect("data.max_length=1024").contains("cut:"), "all of it fits");
    let cut = inspect("data.max_length=12");
    assert!(cut.contains("at the beginning of the prompt (`data.max_prompt_tokens = 9`)"), "{cut}");
    let limit = "at the end of chosen (`data.max_length - data.max_prompt_tokens = 3`)";
    assert!(cut.contains(limit) && cut.contains(", 3 chosen and 3 rejected scored"), "{cut}");
}

#[test]
fn inspect_shows_a_set_as_it_is_scored() {
    let place = place();
    place.configure("eval.score_eos", false).configure("eval.tokenization", "prefix");
    let pairs = r#"{"prompt": "A mid-wo", "chosen": "rd.", "rejected": "nt."}"#;
    place.write("pairs.jsonl", pairs);
    place.configure("data.train", vec!["pairs.jsonl"]);
    let sets = r#"eval.sets=[{name="own",files=["pairs.jsonl"]}]"#;
    let inspect = |more: &[&str]| {
        let arguments = ["data", "inspect", "--config", "config.toml", "--set", sets];
        succeed(&place, &[&arguments[..], more].concat())
    };
    let (training, scored) = (inspect(&[]), inspect(&["--set-name", "own"]));
    assert_eq!(training.matches("[</s>]").count(), 2, "{training}");
    assert!(!scored.contains("</s>"), "{scored}");
}

#[test]
fn inspect_reads_no_weights_and_names_what_is_not_there() {
    let place = place();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        place.write(
            &format!("light/{name}"),
            std::fs::read(path("models/tiny").join(name)).unwrap(),
        );
    }
    let arguments = ["data", "inspect", "--config", "config.toml", "--set", "model.path=light"];
    let with = |more: &[&'static str]| [arguments.as_slice(), more].concat();
    let three = succeed(&place, &arguments);
    assert_eq!(three.matches("\nprompt:\n").count(), 3);
    assert_eq!(succeed(&place, &with(&["--set-name", "held-out"])), three);
    assert_refused(&place, &with(&["--set-name", "x"]), &["evaluation set `x`", "`held-out`"]);
    assert_refused(&place, &with(&["--id", "nobody"]), &["no pair has the id `nobody`", "`s00`"]);
    assert_refused(&place, &with(&["--rows", "1", "--id", "s00"]), &["--rows"]);
    assert!(!place.path("run").exists());
}

#[test]
fn stats_count_what_is_odd_in_every_set() {
    let place = place();
    let pair = |prompt: &str, chosen: &str, rejected: &str| {
        serde_json::json!({"prompt": prompt, "chosen": chosen, "rejected": rejected}).to_string()
    };
    let lines = [
        pair("p", "a", "b"),
        pair("p", "a", "b"),
        pair("p", "b", "a"),
        pair("q", "c", "c"),
        pair("r", "", "d"),
    ];
    place.write("odd.jsonl", lines.join("\n"));
    let shown = succeed(
        &place,
        &["data", "stats", "--config", "config.toml", "--set", "data.train=[odd.jsonl]"],
    );
    let (training, held_out) = shown.split_once("\n\n").unwrap();
    for part in [
        "training pairs: 5 pairs from 1 file\n",
        "duplicates  1 pair again, 1 the other way round, 0 ids again",
        "answers     1 pair with equal answers, 1 empty answer",
        "missing     none",
        "█",
    ] {
        assert!(training.contains(part), "expected `{part}` in: {training}");
    }
    assert!(held_out.contains("eval set `held-out`: 13 pairs"), "{held_out}");
    assert!(held_out.contains("training    has 0 of these pairs"), "{held_out}");
}

#[test]
fn stats_see_training_pairs_in_an_evaluation_set_and_what_the_limits_do() {
    let shown = succeed(
        &place(),
        &["data", "stats", "--config", "config.toml", "--set", "data.max_length=64"],
    );
    assert!(shown.contains("training    has 13 of these pairs, 13 of their prompts"), "{shown}");
    let golden = crate::golden::json("cases/tiny/tokens.json");
    let total = |key: &str| -> usize {
        let pairs = golden["pairs"].as_array().unwrap();
        pairs.iter().map(|pair| pair[key].as_array().unwrap().len()).sum()
    };
    let row = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().last().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(row("prompt "), total("prompt_ids"));
    assert_eq!(row("chosen "), total("chosen_ids"));
    let dropped = golden["pairs"].as_array().unwrap();
    let dropped =
        dropped.iter().filter(|pair| pair["prompt_ids"].as_array().unwrap().len() >= 64).count();
    assert!(shown.contains(&format!("{dropped} dropped; cut:")), "{shown}");
}

/// The tiny model with Llama-2-chat's template.
fn chat_place() -> Place {
    let place = place();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        place
            .write(&format!("chat/{name}"), std::fs::read(path("models/tiny").join(name)).unwrap());
    }
    place.write(
        "chat/chat_template.jinja",
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n\
         {{- bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' -}}\n{% else %}\n\
         {{- ' ' + message['content'].strip() + ' ' + eos_token -}}\n{% endif %}\n{% endfor %}\n",
    );
    place
}

/// What `inspect` shows with the marks taken out.
fn plain(shown: &str) -> String {
    shown.replace("][", "").replace('|', "")
}

#[test]
fn the_chat_format_goes_through_the_models_own_template() {
    let place = chat_place();
    let record =
        r#"{"id": "m", "question": " Why? ", "answer_w": "So.", "answer_l": "No.", "age": 34}"#;
    let (user, so, no) = (
        r#"{"role": "user", "content": "Why?"}"#,
        r#"{"role": "assistant", "content": "So."}"#,
        r#"{"role": "assistant", "content": "No."}"#,
    );
    place.write("mvp.jsonl", record);
    place.write(
        "messages.jsonl",
        format!(
            "{{\"id\": \"x\", \"prompt\": [{user}], \"chosen\": [{so}], \"rejected\": [{no}]}}\n\
             {{\"id\": \"x\", \"chosen\": [{user}, {so}], \"rejected\": [{user}, {no}]}}\n"
        ),
    );
    let with = |model: &str, file: &str, more: &[&str]| {
        let (model, file) = (format!("model.path={model}"), format!("data.train=[{file}]"));
        let arguments =
            ["data", "inspect", "--config", "config.toml", "--set", &model, "--set", &file];
        run(&place, &[arguments.as_slice(), more].concat())
    };
    let shown = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        plain(&String::from_utf8(output.stdout).unwrap())
    };
    let chat = ["--set", "data.prompt_format=chat"];
    let mvpbench = shown(with("chat", "mvp.jsonl", &chat));
    assert!(mvpbench.contains("\n<s> [INST] User profile: Age: 34, Gender: "), "{mvpbench}");
    assert!(mvpbench.contains("Question:  Why? [/INST]\nchosen:\n[ So. </s>]\n"), "{mvpbench}");
    // A conversation needs no format to be one, and its prompt may be implied.
    let messages = shown(with("chat", "messages.jsonl", &[]));
    let pair = "\nprompt:\n<s> [INST] Why? [/INST]\nchosen:\n[ So. </s>]\nrejected:\n[ No. </s>]\n";
    assert_eq!(messages.matches(pair).count(), 2, "{messages}");

    let tiny = path("models/tiny");
    let tiny = tiny.to_str().unwrap();
    for (file, more, part) in [
        ("messages.jsonl", &[][..], "messages.jsonl:1: the record is a conversation"),
        (
            "mvp.jsonl",
            &chat[..],
            "`data.prompt_format` is `chat`, but the model has no chat template",
        ),
    ] {
        let output = with(tiny, file, more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part) && said.contains("hint: "), "{said}");
    }
}

#[test]
fn training_on_conversations_counts_them_and_copies_the_template() {
    let place = chat_place();
    let arguments = ["train", "--config", "config.toml", "--set", "model.path=chat"];
    let more = ["--set", "data.prompt_format=chat", "--set", "train.max_steps=1"];
    let output = run(&place, &[arguments.as_slice(), &more].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("13 through the chat template"), "{said}");
    assert!(place.path("run/adapter/chat_template.jinja").exists());
}

/// TRL tokenizes a rendered conversation without adding a BOS.
#[test]
fn a_conversation_has_the_bos_of_its_template_unless_one_is_asked_for() {
    let place = chat_place();
    place.write(
        "chat/chat_template.jinja",
        "{% for m in messages %}{{ '[' + m.role + '] ' + m.content + eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
    );
    let message = |role: &str, text: &str| serde_json::json!([{"role": role, "content": text}]);
    let pair = serde_json::json!({
        "prompt": message("user", "Why?"),
        "chosen": message("assistant", "So."),
        "rejected": message("assistant", "No."),
    });
    place.write("messages.jsonl", pair.to_string());
    place.write("mvp.jsonl", r#"{"question": "Why?", "answer_w": "So.", "answer_l": "No."}"#);
    let with = |verb: &[&str], more: &[&str]| {
        let common = ["--config", "config.toml", "--set", "model.path=chat"];
        let output = run(&place, &[verb, &common, more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        (String::from_utf8(output.stdout).unwrap(), said)
    };
    let messages = ["--set", "data.train=[messages.jsonl]"];
    let always = [&messages[..], &["--set", "data.add_bos=always"]].concat();
    let (shown, _) = with(&["data", "inspect"], &messages);
    assert!(!shown.contains("<s>"), "{shown}");
    let (shown, _) = with(&["data", "inspect"], &always);
    assert_eq!(
        shown.matches("prompt:\n<s>").count(),
        shown.matches("prompt:\n").count(),
        "{shown}"
    );
    let (_, said) = with(&["train", "--dry-run"], &messages);
    assert!(
        said.contains("conversations without BOS, since the chat template writes none"),
        "{said}"
    );
    let (_, said) = with(&["train", "--dry-run"], &always);
    assert!(said.contains("prompts with a BOS that the chat template does not write"), "{said}");
    // A plain record has exactly one, as DESIGN says.
    let chat = ["--set", "data.train=[mvp.jsonl]", "--set", "data.prompt_format=chat"];
    let (shown, _) = with(&["data", "inspect"], &chat);
    assert_eq!(shown.matches("<s>").count(), 1, "{shown}");
}

#[test]
fn a_column_that_nothing_reads_and_a_pair_beyond_the_context_are_said() {
    let place = place();
    let long = "word ".repeat(600);
    let pair = serde_json::json!({"prompt": "p", "chosen": long, "rejected": "r", "system": "s", "score": 1});
    place.write("pairs.jsonl", format!("{pair}\n{pair}\n"));
    let arguments = ["--config", "config.toml", "--set", "data.train=[pairs.jsonl]"];
    let more = ["--set", "data.max_length=0"];
    let said = |verb: &[&str]| {
        let output = run(&place, &[verb, &arguments[..], &more[..]].concat());
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    };
    let unread = "columns that are not read: `score`\n";
    for verb in [&["train", "--dry-run"][..], &["data", "inspect"]] {
        let said = said(verb);
        assert!(said.contains("2 with the column `system` before the prompt"), "{said}");
        assert_eq!(said.matches(unread).count(), 1, "{said}");
    }
    let stats = said(&["data", "stats"]);
    assert!(stats.contains("not read    `score`\n"), "{stats}");
    for (verb, pairs) in
        [(&["train", "--dry-run"][..], 2), (&["data", "stats"], 2), (&["data", "inspect"], 1)]
    {
        let line = format!(
            "context: {pairs} pairs are longer than the 512 tokens that the model was made for"
        );
        assert!(said(verb).contains(&line), "{verb:?}: {}", said(verb));
    }
}

/// Under the class of Llama-2's own files.
#[test]
fn a_text_that_transformers_5_reads_otherwise_is_said_once() {
    let place = chat_place();
    let config = r#"{"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "LlamaTokenizer", "legacy": false}"#;
    place.write("chat/tokenizer_config.json", config);
    let said = |more: &[&str]| {
        let arguments =
            ["train", "--config", "config.toml", "--set", "model.path=chat", "--dry-run"];
        let output = run(&place, &[arguments.as_slice(), more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said.matches("transformers 5 rebuilds this class of tokenizer").count()
    };
    assert_eq!(said(&[]), 1);
    assert_eq!(said(&["--set", "model.tokenizer=transformers5"]), 0);
}
