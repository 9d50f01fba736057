//! Generation against transformers' greedy tokens, what must not change a row's tokens, and the `generate` verb. One file,
//! because both halves compare with the same answers.

use candle_core::DType;
use mvpbench::data::tokenizer::Tokenizer;
use mvpbench::model::decoder::Decoder;
use mvpbench::model::generation::{
    Event, Generation, GenerationSettings, Generator, Sampling, Stop, StopStrings,
};
use mvpbench::model::lora::Adapter;
use serde_json::Value;

use crate::command::{Place, lines, records};
use crate::engine::stories::Stories;
use crate::golden::{CASES, Case, ids, json, path};
use crate::running::Running;

fn generate(
    model: &Decoder,
    adapter: Option<&Adapter>,
    settings: &GenerationSettings,
    prompts: &[Vec<u32>],
) -> Vec<Generation> {
    let generator = Generator::new(model, adapter, settings.clone()).unwrap();
    generator.generate(prompts, |_| Ok(())).unwrap()
}

fn greedy(max_new_tokens: usize, batch: usize) -> GenerationSettings {
    GenerationSettings { max_new_tokens, eos: vec![2], batch, ..Default::default() }
}

#[test]
fn greedy_tokens_equal_transformers_alone_batched_and_merged() {
    for name in CASES {
        let case = Case::load(name, DType::F32);
        let golden = json(&format!("cases/{name}/generate.json"));
        let merged = case.model.merged(&case.adapter).unwrap();
        for (kind, model, adapter) in [
            ("base", &case.model, None),
            ("adapted", &case.model, Some(&case.adapter)),
            ("adapted", &merged, None),
        ] {
            let cases = golden[kind].as_array().unwrap();
            assert_eq!(cases.len(), 4);
            let prompts: Vec<_> = cases.iter().map(|c| ids(&c["single"]["prompt_ids"])).collect();
            for batch in [1, 2, 4] {
                let got = generate(model, adapter, &greedy(32, batch), &prompts);
                for (case, got) in cases.iter().zip(&got) {
                    let want = ids(&case["single"]["new_ids"]);
                    assert_eq!(got.ids, want, "{name}, {kind}, batch {batch}");
                    let eos = case["single"]["stopped_at_eos"].as_bool().unwrap();
                    assert_eq!(got.stop, if eos { Stop::Eos } else { Stop::Length });
                }
            }
        }
    }
}

#[test]
fn a_real_models_stories_equal_transformers() {
    let Some(Stories { model, tokenizer, reference }) = Stories::load() else { return };
    let cases = reference["greedy"].as_array().unwrap();
    let prompts: Vec<_> = cases.iter().map(|case| ids(&case["prompt_ids"])).collect();
    for batch in [1, 3] {
        let got = generate(&model, None, &greedy(256, batch), &prompts);
        for (case, mut got) in cases.iter().zip(got) {
            let want = ids(&case["greedy_ids"]);
            got.ids.truncate(want.len());
            assert_eq!(got.ids, want, "{}", case["prompt"]);
            let text = StopStrings::none(&tokenizer).text(&got).unwrap();
            let prompt = case["prompt"].as_str().unwrap();
            let whole = case["text"].as_str().unwrap();
            assert_eq!(text.trim_start(), whole.strip_prefix(prompt).unwrap().trim_start());
        }
    }
}

/// Prompts of many lengths, in no order.
fn many_prompts() -> Vec<Vec<u32>> {
    (0..30u32)
        .map(|row| {
            let length = 1 + (row * 37) % 83;
            std::iter::once(1)
                .chain((1..length).map(|i| 3 + (row * 131 + i * i * 7) % 500))
                .collect()
        })
        .collect()
}

#[test]
fn a_rows_tokens_do_not_depend_on_batch_order_or_neighbours() {
    let prompts = many_prompts();
    for name in ["tiny", "tiny-gqa"] {
        let case = Case::load(name, DType::F32);
        let sampling = Sampling { temperature: 1.3, top_p: 0.95, top_k: 200, seed: 11 };
        for (adapter, sampling) in
            [(None, None), (Some(&case.adapter), None), (Some(&case.adapter), Some(sampling))]
        {
            let settings = |batch| GenerationSettings { sampling, ..greedy(40, batch) };
            let whole = generate(&case.model, adapter, &settings(1), &prompts);
            let lengths: std::collections::BTreeSet<_> =
                whole.iter().map(|g| g.ids.len()).collect();
            assert!(lengths.len() > 3, "rows must end at different times: {lengths:?}");
            for batch in [2, 7, 64] {
                let got = generate(&case.model, adapter, &settings(batch), &prompts);
                assert_eq!(got, whole, "batch {batch}");
            }
            // Other neighbours at other times: some rows are done already.
            let done: Vec<_> =
                whole.iter().enumerate().map(|(i, g)| (i % 3 == 0).then(|| g.clone())).collect();
            let generator = Generator::new(&case.model, adapter, settings(5)).unwrap();
            let mut finished = Vec::new();
            let watch = |event: Event<'_>| {
                if let Event::Finished { row, .. } = event {
                    finished.push(row);
                }
                Ok(())
            };
            assert_eq!(generator.resume(&prompts, done, watch).unwrap(), whole);
            finished.sort_unstable();
            assert_eq!(finished, (0..30).filter(|i| i % 3 != 0).collect::<Vec<_>>());
            if let Some(sampling) = sampling {
                let sampling = Some(Sampling { seed: 12, ..sampling });
                let other = GenerationSettings { sampling, ..greedy(40, 7) };
                assert_ne!(generate(&case.model, adapter, &other, &prompts), whole);
            } else {
                let reversed: Vec<_> = prompts.iter().rev().cloned().collect();
                let mut got = generate(&case.model, adapter, &settings(4), &reversed);
                got.reverse();
                assert_eq!(got, whole);
            }
        }
    }
}

#[test]
fn drawing_from_one_candidate_is_greedy() {
    let case = Case::load("tiny", DType::F32);
    let prompts = many_prompts();
    let whole = generate(&case.model, None, &greedy(20, 8), &prompts);
    for (top_p, top_k) in [(1.0, 1), (1e-9, 0)] {
        let sampling = Some(Sampling { temperature: 1.0, top_p, top_k, seed: 0 });
        let settings = GenerationSettings { sampling, ..greedy(20, 8) };
        assert_eq!(generate(&case.model, None, &settings, &prompts), whole);
    }
}

#[test]
fn the_context_ends_a_sequence_and_a_prompt_that_fills_it_is_refused() {
    let case = Case::load("tiny", DType::F32);
    let most = case.model.shape.max_positions;
    let prompt = |length: usize| (0..length as u32).map(|i| 3 + i % 400).collect::<Vec<_>>();
    let settings = GenerationSettings { eos: vec![], ..greedy(64, 2) };
    let got =
        generate(&case.model, None, &settings, &[prompt(most - 10), prompt(5), prompt(most - 1)]);
    let ends: Vec<_> = got.iter().map(|g| (g.ids.len(), g.stop)).collect();
    assert_eq!(ends, [(10, Stop::Context), (64, Stop::Length), (1, Stop::Context)]);
    let generator = Generator::new(&case.model, None, settings).unwrap();
    for bad in [prompt(most), vec![], vec![512]] {
        let error = generator.generate(&[prompt(3), bad], |_| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with("prompt 2 has"), "{error}");
        assert!(mvpbench::error::InputError::of(&error).is_some());
    }
    assert_eq!(generator.generate(&[], |_| Ok(())).unwrap(), []);
    let stopped = generator.generate(&[prompt(3)], |_| anyhow::bail!("enough"));
    assert_eq!(stopped.unwrap_err().to_string(), "enough");
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let case = Case::load("tiny", DType::F32);
    let one = Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, seed: 0 };
    let drawn = |sampling| GenerationSettings { sampling: Some(sampling), ..greedy(1, 1) };
    for settings in [
        greedy(0, 1),
        greedy(1, 0),
        drawn(Sampling { temperature: 0.0, ..one }),
        drawn(Sampling { temperature: f64::NAN, ..one }),
        drawn(Sampling { top_p: 0.0, ..one }),
        drawn(Sampling { top_p: 1.5, ..one }),
        drawn(Sampling { top_p: f64::NAN, ..one }),
    ] {
        assert!(Generator::new(&case.model, None, settings.clone()).is_err(), "{settings:?}");
    }
    assert!(Generator::new(&case.model, None, drawn(one)).is_ok());
}

/// The verb on the golden model `tiny`.
fn verb(place: &Place, more: &[&str]) -> std::process::Output {
    let model = path("models/tiny");
    let arguments = ["generate", "--model", model.to_str().unwrap()];
    place.mvpbench(&[&arguments, more].concat()).output().unwrap()
}

#[track_caller]
fn answers(place: &Place, more: &[&str]) -> Vec<Value> {
    let output = verb(place, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(answers: &[Value]) -> Vec<&str> {
    answers.iter().map(|answer| answer["completion"].as_str().unwrap()).collect()
}

#[test]
fn the_verb_gives_the_golden_texts_from_every_kind_of_input() {
    let place = Place::new();
    let golden = json("cases/tiny/generate.json");
    let adapter = path("adapters/tiny-nonzero");
    let adapted = ["--adapter", adapter.to_str().unwrap()];
    for (kind, more) in [
        ("base", vec![]),
        ("adapted", adapted.to_vec()),
        ("adapted", [&adapted[..], &["--merge"]].concat()),
    ] {
        let cases = golden[kind].as_array().unwrap();
        let (mut typed, mut lines) = (vec!["--max-new-tokens", "32", "-q"], String::new());
        for case in cases {
            typed.extend(["--prompt", case["prompt"].as_str().unwrap()]);
            lines.push_str(&format!("{}\n", serde_json::json!({"prompt": case["prompt"]})));
        }
        place.write("p.jsonl", &lines);
        let want: Vec<_> = cases.iter().map(|c| c["single"]["text"].as_str().unwrap()).collect();
        let got = answers(&place, &[&more[..], &typed].concat());
        assert_eq!(texts(&got), want, "{kind}");
        assert_eq!(got[0]["stop"] == "eos", cases[0]["single"]["stopped_at_eos"] == true);
        let file = ["--prompts", "p.jsonl", "--max-new-tokens", "32", "--batch", "3"];
        let got = answers(&place, &[&more[..], &file].concat());
        assert_eq!(texts(&got), want, "{kind}");
        assert_eq!(got[1]["id"], "p:2");
    }
    place.write("p.txt", "Hello\n\nHello\n");
    let got = answers(&place, &["--prompts", "p.txt", "--max-new-tokens", "32"]);
    let hello = golden["base"][0]["single"]["text"].as_str().unwrap();
    assert_eq!(texts(&got), [hello, hello]);
    let pairs = path("pairs.jsonl");
    let got = answers(&place, &["--prompts", pairs.to_str().unwrap(), "--max-new-tokens", "1"]);
    assert_eq!(got.len(), 13);
    assert!(got.iter().zip(records(&pairs)).all(|(got, pair)| got["prompt"] == pair["prompt"]));
}

#[test]
fn a_stop_string_ends_an_answer_before_it() {
    let place = Place::new();
    let whole = answers(&place, &["--prompt", "Hi", "--max-new-tokens", "40"]).remove(0);
    let text = whole["completion"].as_str().unwrap();
    let middle = text.char_indices().nth(text.chars().count() / 2).unwrap().0;
    let stop: String = text[middle..].chars().take(2).collect();
    let cut = answers(
        &place,
        &["--prompt", "Hi", "--max-new-tokens", "40", "--stop", &stop, "--stop", "@@@"],
    )
    .remove(0);
    assert_eq!(cut["stop"], "string");
    assert_eq!(cut["completion"], text[..text.find(&stop).unwrap()]);
    assert!(cut["completion_tokens"].as_u64() < whole["completion_tokens"].as_u64());
}

#[test]
fn the_embedded_model_generates_and_a_chat_model_takes_its_template() {
    let place = Place::new();
    let prompts = "embedded:tiny/data/MVP_test.json";
    let arguments = [
        "generate",
        "--model",
        "embedded:tiny/model",
        "--prompts",
        prompts,
        "--max-new-tokens",
        "8",
        "-q",
    ];
    let done = place.mvpbench(&arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8(done.stdout).unwrap().lines().count(), 89);

    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        place
            .write(&format!("chat/{file}"), std::fs::read(path("models/tiny").join(file)).unwrap());
    }
    let template = r#"{"bos_token": "<s>", "eos_token": "</s>",
        "chat_template": "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}>{% endif %}"}"#;
    place.write("chat/tokenizer_config.json", template);
    place.write("talk.jsonl", r#"{"prompt": [{"role": "user", "content": "Why?"}]}"#);
    for more in [["--prompt", "Why?", "--chat"].as_slice(), &["--prompts", "talk.jsonl"]] {
        let arguments = [&["generate", "--model", "chat", "--max-new-tokens", "2"], more].concat();
        let done = place.mvpbench(&arguments).output().unwrap();
        let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(answer["prompt"], "<s>[Why?]>");
        let tokenizer = Tokenizer::load(&place.path("chat")).unwrap();
        let one_bos = tokenizer.encode("[Why?]>", true).unwrap().len();
        // "<s>" written out and "[" after it are the same two tokens or one more, but never a second BOS.
        let tokens = tokenizer.encode("<s>[Why?]>", false).unwrap();
        assert_eq!(tokens.iter().filter(|id| **id == 1).count(), 1);
        assert_eq!(answer["prompt_tokens"], tokens.len());
        assert!(tokens.len().abs_diff(one_bos) <= 1);
    }
}

const RESUMED: [&str; 11] = [
    "--prompts",
    "p.jsonl",
    "--max-new-tokens",
    "200",
    "--temperature",
    "1",
    "--seed",
    "5",
    "--batch",
    "3",
    "--output",
];

fn resumed_place() -> Place {
    let place = Place::new();
    let line = |i: usize| format!("{{\"prompt\": \"{}\"}}\n", "words and ".repeat(i % 9));
    place.write("p.jsonl", (0..120).map(line).collect::<String>());
    place
}

#[test]
fn a_killed_run_goes_on_from_its_journal_and_gives_the_same_bytes() {
    let place = resumed_place();
    answers(&place, &[&RESUMED[..], &["whole.jsonl"]].concat());
    let whole = place.bytes("whole.jsonl");
    assert!(
        lines(&place.path("whole.jsonl")) == 120 && !place.path("whole.jsonl.journal").exists()
    );
    let journal = place.path("out.jsonl.journal");
    let arguments = [&RESUMED[..], &["out.jsonl"]].concat();
    let model = path("models/tiny");
    let command = [&["generate", "--model", model.to_str().unwrap()], &arguments[..]].concat();
    for wanted in [1, 20, 60] {
        let run = Running::start(place.mvpbench(&command).arg("-q"));
        run.kill_at("answers", || lines(&journal) >= wanted);
    }
    assert!(journal.exists() && !place.path("out.jsonl").exists());
    let done = lines(&journal) - 1;
    let mut torn = std::fs::read(&journal).unwrap();
    torn.extend(b"{\"row\": 7, \"ids\": [1, 2");
    std::fs::write(&journal, torn).unwrap();
    let output = verb(&place, &arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("journal: {done} of 120 prompts are done")), "{said}");
    assert_eq!(place.bytes("out.jsonl"), whole);
    assert!(!journal.exists());
}

#[test]
fn a_wrong_token_in_a_journal_changes_no_answer_and_a_kill_after_the_last_one_is_recognised() {
    let place = resumed_place();
    let (journal, output) = (place.path("out.jsonl.journal"), place.path("out.jsonl"));
    let arguments = [&RESUMED[..], &["out.jsonl"]].concat();
    let model = path("models/tiny");
    let command = [&["generate", "--model", model.to_str().unwrap()], &arguments[..]].concat();
    let run = Running::start(place.mvpbench(&command).arg("-q"));
    run.kill_at("answers", || lines(&journal) >= 40);
    let half = std::fs::read_to_string(&journal).unwrap();
    let half = &half[..half.rfind('\n').unwrap() + 1];
    let (head, rest) = half.split_at(half.find("\"ids\":[").unwrap() + 7);
    let digit = if rest.starts_with('1') { "2" } else { "1" };
    std::fs::write(&journal, format!("{head}{digit}{}", &rest[1..])).unwrap();
    let refused = verb(&place, &arguments);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("line 2 does not match its digest") && said.contains("hint: "), "{said}");
    assert!(!output.exists());

    // Killed after the answers were renamed into place and before the journal was removed.
    std::fs::write(&journal, half).unwrap();
    answers(&place, &arguments);
    let whole = place.bytes("out.jsonl");
    std::fs::write(&journal, half).unwrap();
    answers(&place, &arguments);
    assert!(place.bytes("out.jsonl") == whole && !journal.exists());
    std::fs::write(&journal, half).unwrap();
    place.write("out.jsonl", "mine");
    let refused = verb(&place, &arguments);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(place.bytes("out.jsonl"), b"mine");
}

#[test]
fn a_journal_of_other_inputs_is_refused_by_those_that_have_changed() {
    let place = resumed_place();
    let (journal, model) = (place.path("out.jsonl.journal"), path("models/tiny"));
    let arguments = [&RESUMED[..], &["out.jsonl"]].concat();
    let command = [&["generate", "--model", model.to_str().unwrap()], &arguments[..]].concat();
    let run = Running::start(place.mvpbench(&command).arg("-q"));
    run.kill_at("answers", || lines(&journal) >= 2);
    let begun = place.bytes("out.jsonl.journal");
    let refused = |arguments: &[&str], what: &str| {
        let before = place.bytes("out.jsonl.journal");
        let output = verb(&place, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(what) && said.contains("hint: "), "`{what}` is not in: {said}");
        assert_eq!(place.bytes("out.jsonl.journal"), before);
    };
    let other = arguments.iter().map(|part| if *part == "5" { "6" } else { *part });
    let settings = "the choice of length, sampling, stop strings, dtype or device";
    refused(
        &other.collect::<Vec<_>>(),
        &format!("out.jsonl.journal`: {settings} has changed since it began"),
    );
    let adapter = path("adapters/tiny-nonzero");
    let adapted = [&arguments[..], &["--adapter", adapter.to_str().unwrap()]].concat();
    refused(&adapted, "`adapter_model.safetensors`) has changed since it began");
    let prompts = String::from_utf8(place.bytes("p.jsonl")).unwrap();
    place.write("p.jsonl", prompts.replacen("words", "wards", 1));
    refused(&arguments, "journal`: the set of prompts has changed since it began");
    place.write("p.jsonl", &prompts);

    place.write("out.jsonl.journal", "{\"key\":\"abc\",\"prompts\":120}\n");
    refused(&arguments, "its first line is broken, or it is no journal");
    place.write("out.jsonl.journal", begun);
    answers(&place, &arguments);
}

#[test]
fn input_that_cannot_be_gone_on_from_is_refused() {
    let place = Place::new();
    place.write("there.jsonl", "x");
    place.write("empty.txt", "\n \n");
    place.write("bytes.txt", b"fine\n\xff\n");
    place.write(
        "long.jsonl",
        format!("{{\"prompt\": \"a\"}}\n{{\"prompt\": \"{}\"}}\n", "word ".repeat(600)),
    );
    place.write("talk.jsonl", r#"{"prompt": [{"role": "user", "content": "Why?"}]}"#);
    let other = path("adapters/tiny-gqa-nonzero");
    let other = other.to_str().unwrap();
    for (arguments, parts) in [
        (&["--prompts", "nowhere.jsonl"][..], &["`nowhere.jsonl`: no such file"][..]),
        (&["--prompts", "empty.txt"], &["empty.txt: the file is empty"]),
        (&["--prompts", "bytes.txt"], &["bytes.txt:2: expected UTF-8 text", "0xFF"]),
        (
            &["--prompts", "long.jsonl"],
            &["long.jsonl:2: expected a prompt", "context of 512 tokens", "hint: "],
        ),
        (&["--prompts", "talk.jsonl"], &["talk.jsonl:1", "chat template", "hint: "]),
        (&["--prompt", "a", "--chat"], &["prompt 1", "chat template"]),
        (&["--prompt", "a", "--adapter", "nowhere"], &["adapter_config.json", "hint: "]),
        (&["--prompt", "a", "--adapter", other], &["another shape"]),
        (
            &["--prompt", "a", "--output", "there.jsonl"],
            &["`there.jsonl` already exists", "hint: "],
        ),
        (
            &["--prompt", "a", "--max-new-tokens", "0"],
            &["--max-new-tokens", "a whole number from 1 to"],
        ),
        (&["--prompt", "a", "--batch", "0"], &["--batch", "a whole number from 1 to"]),
        (&["--prompt", "a", "--temperature=-1"], &["must be at least 0"]),
        (&["--prompt", "a", "--temperature", "1", "--top-p", "0"], &["must be above 0"]),
        (&["--prompt", "a", "--top-k", "3"], &["`--temperature`", "hint: "]),
        (&["--prompt", "a", "--device", "tpu"], &["`--device`"]),
        (&["--prompt", "a", "--merge"], &["--adapter"]),
        (&[], &["--prompts"]),
    ] {
        let output = verb(&place, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        parts.iter().for_each(|part| {
            assert!(said.contains(part), "{arguments:?}: `{part}` is not in {said}")
        });
        assert!(output.stdout.is_empty());
    }
    assert_eq!(place.bytes("there.jsonl"), b"x");
    let output =
        place.mvpbench(&["generate", "--model", "nowhere", "--prompt", "a"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
