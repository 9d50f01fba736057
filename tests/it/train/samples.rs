//! Answers to fixed prompts during training, and the monitors of drift.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::command::{Place, install, lines, records, resealed};
use crate::golden::pairs;
use crate::report::axe::assert_accessible;
use crate::report::text_of;
use crate::require;

const COMMAND: [&str; 2] = ["--config", "config.toml"];
const SAMPLES: &str = "run/eval/samples.jsonl";

/// A run of 6 steps with an evaluation after every third, a checkpoint after every second and answers to four prompts.
fn place() -> Place {
    Place::golden("tiny")
        .set("lora.rank", 4)
        .set("lora.dropout", 0.1)
        .set("train.epochs", 3)
        .set("train.learning_rate", 1e-3)
        .set("train.checkpoint_every", 2)
        .set("train.scheduler", "constant")
        .set("eval.every", 3)
        .set("eval.samples.prompts", pairs())
        .set("eval.samples.max_prompts", 4)
        .set("eval.samples.max_new_tokens", 12)
}

fn evaluated() -> Place {
    place().evaluate("golden", pairs())
}

/// What a command tells, which must succeed.
#[track_caller]
fn heard(place: &Place, arguments: &[&str]) -> String {
    let output = place.run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// The states that a command generated answers of.
fn generated(said: &str) -> Vec<&str> {
    said.lines()
        .filter_map(|line| line.strip_prefix("samples ")?.split_once(": answers to"))
        .map(|(name, _)| name)
        .collect()
}

fn number(record: &Value, name: &str) -> f64 {
    record[name].as_f64().unwrap_or_else(|| panic!("no {name} in {record}"))
}

#[test]
fn a_killed_and_resumed_run_ends_with_the_same_samples_and_generates_nothing_twice() {
    let whole = evaluated();
    let all = ["base", "step-000003", "step-000006"];
    assert_eq!(generated(&heard(&whole, &COMMAND)), all);
    let states: Vec<_> = records(&whole.path(SAMPLES))
        .iter()
        .map(|record| (record["step"].as_u64().unwrap(), record["row"].as_u64().unwrap()))
        .collect();
    let wanted: Vec<_> =
        [0, 3, 6].into_iter().flat_map(|step| (0..4).map(move |row| (step, row))).collect();
    assert_eq!(states, wanted);
    for count in [4, 8] {
        let place = evaluated();
        let file = place.path(SAMPLES);
        place.start(&COMMAND).kill_at(&format!("{count} answers"), || lines(&file) >= count);
        let done = lines(&file) / 4;
        let said = heard(&place, &COMMAND);
        assert_eq!(generated(&said), all[done..], "killed after {count} answers: {said}");
        assert_eq!(place.bytes(SAMPLES), whole.bytes(SAMPLES), "killed after {count} answers");
        let eval = "run/eval.jsonl";
        assert_eq!(place.bytes(eval), whole.bytes(eval), "killed after {count} answers");
    }
    let page = whole.bytes("run/report.html");
    assert_eq!(generated(&heard(&whole, &COMMAND)), [""; 0], "a finished run");
    assert_eq!(whole.bytes("run/report.html"), page);
    let left = std::fs::read_dir(whole.path("run/eval")).unwrap();
    let hidden =
        left.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "a journal is left");
}

#[test]
fn answers_equal_those_of_generate_with_the_base_and_with_the_exported_adapter() {
    let place = evaluated();
    place.succeed(&COMMAND);
    let model = place.path("config.toml");
    let config: toml::Table = std::fs::read_to_string(model).unwrap().parse().unwrap();
    let model = config["model"]["path"].as_str().unwrap();
    let file = pairs();
    let all = ["generate", "--model", model, "--prompts", &file, "--max-new-tokens", "12", "-q"];
    let completions = |more: &[&str]| -> Vec<String> {
        let output = place.mvpbench(&[&all[..], more].concat()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let completion = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["completion"].as_str().unwrap().to_owned()
        };
        said.lines().map(completion).collect()
    };
    let samples = records(&place.path(SAMPLES));
    let of = |step: u64| -> Vec<&str> {
        let own = samples.iter().filter(|record| record["step"] == step);
        own.map(|record| record["answer"].as_str().unwrap()).collect()
    };
    for (step, generated) in
        [(0, completions(&[])), (6, completions(&["--adapter", "run/adapter"]))]
    {
        assert_eq!(generated.len(), 13, "{generated:?}");
        let chosen: Vec<&str> = [0, 3, 6, 9].map(|place| &*generated[place]).to_vec(); // i * 13 / 4
        assert_eq!(of(step), chosen, "after step {step}");
    }
    assert_ne!(of(0), of(6), "training changed no answer");
}

#[test]
fn the_divergence_is_exactly_0_before_training_and_above_it_afterwards() {
    let place = evaluated().set("eval.kl_pairs", 5);
    place.succeed(&COMMAND);
    let log = records(&place.path("run/eval.jsonl"));
    assert_eq!((number(&log[0], "kl").to_bits(), number(&log[0], "kl_stderr").to_bits()), (0, 0));
    let all: Vec<f64> = log[1..].iter().map(|record| number(record, "kl")).collect();
    assert!(all.len() == 2 && all[0] > 0.0 && all[1] > all[0], "{all:?}");
    let after: Value = serde_json::from_slice(&place.bytes("run/eval/after.json")).unwrap();
    let kl = &after["sets"][0]["kl"];
    assert!((number(kl, "value") - all[1]).abs() <= 0.0, "{kl} {all:?}");
    assert_eq!(kl["answers"], 5);
    let off =
        heard(&place, &[&COMMAND[..], &["--set", "eval.kl_pairs=0", "--output", "off"]].concat());
    assert!(!off.contains(" kl ") || off.contains("samples step"), "{off}");
    let log = records(&place.path("off/eval.jsonl"));
    assert!(log.iter().all(|record| record.get("kl").is_none()), "{log:?}");
    // Another number of pairs changes no other figure and no bit of the adapter.
    let adapter = "adapter/adapter_model.safetensors";
    assert_eq!(place.bytes(&format!("run/{adapter}")), place.bytes(&format!("off/{adapter}")));
}

#[test]
fn log_ratios_and_lengths_of_a_step_are_those_of_a_calculation_by_hand() {
    // All pairs in one step, so that its means are those of the set before training.
    let place = place()
        .evaluate("golden", pairs())
        .set("lora.dropout", 0.0)
        .set("train.per_device_batch_size", 13)
        .set("train.gradient_accumulation_steps", 1)
        .set("train.epochs", 3)
        .set("eval.samples.prompts", "")
        .set("eval.every", 1);
    place.succeed(&COMMAND);
    let log = records(&place.path("run/train.jsonl"));
    for (step, when) in [(0, "before"), (1, "step-000001"), (2, "step-000002")] {
        let scores = records(&place.path(&format!("run/eval/scores-golden-{when}.jsonl")));
        for side in ["chosen", "rejected"] {
            let mean = |of: &dyn Fn(&Value) -> f64| scores.iter().map(of).sum::<f64>() / 13.0;
            let ratio = mean(&|score| {
                number(score, &format!("policy_{side}_logps"))
                    - number(score, &format!("reference_{side}_logps"))
            });
            let got = number(&log[step], &format!("logratios/{side}"));
            assert!((got - ratio).abs() <= 1e-4, "{side} after {step}: {got} {ratio}");
            assert!((got * 0.1 - number(&log[step], &format!("rewards/{side}"))).abs() <= 1e-12);
            let length = mean(&|score| number(score, &format!("{side}_tokens")));
            let got = number(&log[step], &format!("lengths/{side}"));
            assert!((got - length).abs() <= 1e-9, "{side}: {got} {length}");
        }
    }
    assert!(
        number(&log[0], "logratios/chosen").abs() <= 0.0,
        "the first step starts at the reference"
    );
    place.succeed(&[&COMMAND[..], &["--set", "dpo.loss=simpo", "--output", "simpo"]].concat());
    let log = records(&place.path("simpo/train.jsonl"));
    assert!(log[0].get("logratios/chosen").is_none() && log[0].get("lengths/chosen").is_some());
}

#[test]
fn prompts_are_answered_without_a_set_and_a_second_command_changes_nothing() {
    let place = place();
    let said = heard(&place, &COMMAND);
    assert_eq!(generated(&said).len(), 3, "{said}");
    assert!(said.contains("samples step 3: ") && said.contains("(reference 0)"), "{said}");
    let first = (place.bytes(SAMPLES), place.bytes("run/report.html"));
    assert_eq!(generated(&heard(&place, &COMMAND)), [""; 0]);
    assert!(first == (place.bytes(SAMPLES), place.bytes("run/report.html")));
    let seldom = ["--set", "eval.every=0", "--output", "ends"];
    assert_eq!(
        generated(&heard(&place, &[&COMMAND[..], &seldom].concat())),
        ["base", "step-000006"]
    );
    let nothing = ["--set", "eval.samples.prompts=", "--output", "none"];
    place.refuse(
        &[&COMMAND[..], &nothing].concat(),
        &["`eval.every` needs a set", "`eval.samples.prompts`"],
    );
}

#[test]
fn a_broken_or_lost_answer_is_generated_again() {
    let place = evaluated();
    place.succeed(&COMMAND);
    let whole = place.bytes(SAMPLES);
    let text = String::from_utf8(whole.clone()).unwrap();
    // Of the last step, whose adapter is exported, and of the base model.
    for (line, states) in [(10, ["step-000006"]), (1, ["base"])] {
        let mut lines: Vec<&str> = text.lines().collect();
        let broken = lines[line].replace("\"answer\":\"", "\"answer\":\"x");
        lines[line] = &broken;
        place.write(SAMPLES, lines.join("\n") + "\n");
        let said = heard(&place, &COMMAND);
        let told = format!("line {} did not match the digest", line + 1);
        assert!(said.contains(&told), "{said}");
        assert_eq!(generated(&said), states, "{said}");
        assert_eq!(place.bytes(SAMPLES), whole, "line {line}");
    }
    std::fs::remove_file(place.path(SAMPLES)).unwrap();
    let said = heard(&place, &COMMAND);
    assert!(said.contains("has no answers after step 3, and no checkpoint is left"), "{said}");
    let report = String::from_utf8(place.bytes("run/report.md")).unwrap();
    assert!(report.contains("after step 6"), "{report}");
    // A record of other prompts is not of this run.
    let other = text.replace("\"settings\":\"", "\"settings\":\"0");
    place.write(SAMPLES, resealed(&other));
    assert!(generated(&heard(&place, &COMMAND)).contains(&"base"));
}

#[test]
fn the_start_of_training_answers_too_where_it_is_no_fresh_adapter() {
    let place = evaluated();
    place.succeed(&COMMAND);
    let more = ["--set", "lora.init_from=run/adapter", "--output", "more", "--set", "eval.every=0"];
    let said = heard(&place, &[&COMMAND[..], &more].concat());
    assert_eq!(generated(&said), ["base", "step-000000", "step-000006"], "{said}");
    let samples = records(&place.path("more/eval/samples.jsonl"));
    let answers = |from: usize| {
        samples[from..from + 4].iter().map(|r| r["answer"].clone()).collect::<Vec<_>>()
    };
    let exported = records(&place.path(SAMPLES));
    let last: Vec<_> = exported[8..].iter().map(|record| record["answer"].clone()).collect();
    assert_eq!(answers(4), last, "the start is what the first run exported");
    // Against the base, the reference, the start has drifted; under `init` it is the reference.
    let log = records(&place.path("more/eval.jsonl"));
    assert!(number(&log[0], "kl") > 0.0 && number(&samples[4], "kl") > 0.0);
    let init = ["--set", "dpo.reference=init", "--output", "init"];
    place.succeed(&[&COMMAND[..], &more[..2], &more[4..], &init].concat());
    assert_eq!(number(&records(&place.path("init/eval.jsonl"))[0], "kl").to_bits(), 0);
    assert_eq!(number(&records(&place.path("init/eval/samples.jsonl"))[4], "kl").to_bits(), 0);
}

#[test]
fn strong_drift_is_one_warning_each_and_stands_in_the_report() {
    let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let place = evaluated()
        .set("lora.target_modules", all.to_vec())
        .set("train.learning_rate", 0.03)
        .set("train.epochs", 6);
    let said = heard(&place, &COMMAND);
    let told: Vec<&str> = said.lines().filter(|line| line.contains("warning: drift: ")).collect();
    let of = |part: &str| told.iter().filter(|line| line.contains(part)).count();
    assert_eq!(of("the KL divergence from the reference on `golden` is"), 1, "{said}");
    assert!(told.len() <= 3, "{told:?}");
    let report = String::from_utf8(place.bytes("run/report.md")).unwrap();
    let sentence = "the KL divergence from the reference on `golden` is";
    assert_eq!(report.matches(sentence).count(), 1, "{report}");
    // A resumed run does not tell it again.
    std::fs::remove_dir_all(place.path("run/checkpoints/step-000012")).unwrap();
    std::fs::remove_dir_all(place.path("run/adapter")).unwrap();
    assert_eq!(heard(&place, &COMMAND).matches("drift: ").count(), 0);
}

#[test]
fn a_plan_counts_the_answers_and_a_cut_prompt_is_told() {
    let place = evaluated().set("data.max_prompt_tokens", 20);
    let plan = place.succeed(&[&COMMAND[..], &["--dry-run"]].concat());
    // The base and two evaluations, four prompts, 12 tokens.
    let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    let told =
        "generation: at most 144 tokens for `eval.samples`, 3 times: every answer of full length";
    assert!(plan.contains(told), "{plan}");
    assert!(plan.contains("generation at most") && plan.contains("peak while answering"), "{plan}");
    let said = heard(&place, &[&COMMAND[..], &["--dry-run"]].concat());
    assert!(
        said.contains("samples: 4 of 13 prompts of ") && said.contains(", 4 cut to 20 tokens"),
        "{said}"
    );
    place.write("empty.txt", "");
    let set = ["--set", "eval.samples.prompts=empty.txt"];
    place.refuse(&[&COMMAND[..], &set].concat(), &["empty.txt: the file is empty"]);
    let set = ["--set", "eval.samples.prompts=nowhere.jsonl"];
    place.refuse(&[&COMMAND[..], &set].concat(), &["nowhere.jsonl"]);
    assert!(!place.path("run").exists());
}

#[test]
fn the_report_shows_both_sections_well_formed_and_accessible() {
    let place = evaluated();
    place.succeed(&COMMAND);
    let html = String::from_utf8(place.bytes("run/report.html")).unwrap();
    let text = text_of(&html);
    for part in [
        "Drift from the reference",
        "KL per token, reference 0",
        "0: the reference",
        "Log-ratio of the answers to the reference",
        "Answers to fixed prompts",
        "after step 6, ",
        "base model, ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_accessible(&place, "run/report.html", &html, "");
}

#[test]
fn tensorboard_itself_reads_the_answers_as_texts() {
    if !require::registry() {
        return;
    }
    let place = evaluated();
    let packages = place.path("packages");
    install(&["tensorboard==2.20.0", "setuptools<81"], &packages);
    place.succeed(&COMMAND);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check_tensorboard.py");
    let check = || {
        let output = Command::new("python3")
            .arg(&script)
            .arg(place.path("run"))
            .env("PYTHONPATH", &packages)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("12 texts, as in samples.jsonl"), "{said}");
    };
    check();
    // A resumed run writes one new file.
    std::fs::remove_dir_all(place.path("run/checkpoints/step-000006")).unwrap();
    place.succeed(&COMMAND);
    check();
}
