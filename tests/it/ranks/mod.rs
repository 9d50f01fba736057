//! Several ranks over MPI on the CPU: the trajectory of one process, the same bytes with `train.gradient_shards`, and what becomes of a job
//! when a rank fails.

pub(crate) mod failures;
mod hosts;

use serde_json::Value;

use crate::command::{Place, records};
use crate::eval::encoder::folder as encoder;
use crate::golden::pairs;
use crate::train::kills;

pub(crate) const COMMAND: [&str; 2] = ["--config", "config.toml"];
const ADAPTER: &str = "run/adapter/adapter_model.safetensors";

/// A run with dropout whose epochs end in a smaller step.
fn place() -> Place {
    Place::golden("tiny-gqa")
        .set("lora.rank", 4)
        .set("lora.dropout", 0.1)
        .set("train.epochs", 4)
        .set("train.learning_rate", 1e-3)
        .set("train.per_device_batch_size", 2)
        .set("train.total_batch_size", 8)
        .set("train.checkpoint_every", 2)
        .evaluate("golden", pairs())
}

/// A run with every phase whose bytes do not depend on the ranks.
pub(crate) fn sharded() -> Place {
    kills::place().set("train.gradient_shards", 4).set("train.total_batch_size", 8)
}

fn of(place: &Place, figure: &str) -> Vec<f64> {
    records(&place.path("run/train.jsonl")).iter().map(|r| r[figure].as_f64().unwrap()).collect()
}

#[test]
fn ranks_take_the_trajectory_of_one_process() {
    let one = place();
    one.succeed(&COMMAND);
    for ranks in ["2", "3", "4"] {
        let several = place();
        several.succeed(&[&COMMAND[..], &["--ranks", ranks]].concat());
        for (figure, bound) in
            [("loss", 1e-6), ("grad_norm", 1e-5), ("rewards/margins", 1e-6), ("logps/chosen", 1e-3)]
        {
            let (one, several) = (of(&one, figure), of(&several, figure));
            assert_eq!(one.len(), several.len());
            for (step, (one, several)) in one.iter().zip(&several).enumerate() {
                let distance = (one - several).abs();
                assert!(distance <= bound, "{ranks} ranks, {figure}, step {step}: {distance:e}");
            }
        }
        for figure in ["num_tokens", "tokens_computed", "epoch", "learning_rate"] {
            assert_eq!(of(&one, figure), of(&several, figure), "{ranks} ranks, {figure}");
        }
    }
}

#[test]
fn with_shards_any_number_of_ranks_gives_the_same_bytes() {
    let one = sharded();
    one.succeed(&COMMAND);
    let outcome = kills::outcome(&one);
    for ranks in ["2", "3", "4", "5"] {
        let several = sharded();
        several.succeed(&[&COMMAND[..], &["--ranks", ranks]].concat());
        kills::assert_same(&several, &outcome, &format!("{ranks} ranks"));
    }
    let whole = kills::place().set("train.total_batch_size", 8);
    whole.succeed(&COMMAND);
    assert_ne!(whole.bytes(ADAPTER), one.bytes(ADAPTER), "the shards are one pack");
}

#[test]
fn each_rank_has_a_batch_of_its_own_and_the_run_keeps_its_steps_on_other_ranks() {
    let place =
        place().set("train.total_batch_size", 0).set("train.gradient_accumulation_steps", 1);
    place.succeed(&[&COMMAND[..], &["--ranks", "3", "--set", "train.max_steps=2"]].concat());
    let config: toml::Table =
        std::fs::read_to_string(place.path("run/config.toml")).unwrap().parse().unwrap();
    assert_eq!(config["train"]["total_batch_size"].as_integer(), Some(6), "2 pairs, 3 ranks");
    let one = self::place().set("train.total_batch_size", 6);
    one.succeed(&[&COMMAND[..], &["--set", "train.max_steps=2"]].concat());
    assert_eq!(of(&place, "num_tokens"), of(&one, "num_tokens"));

    let resumed = place.run(&[&COMMAND[..], &["--set", "train.max_steps=2"]].concat());
    let said = String::from_utf8_lossy(&resumed.stderr);
    assert!(resumed.status.success(), "{said}");
    assert!(
        said.contains("a step has 6 pairs, as the run began; on 1 rank it would have 2"),
        "{said}"
    );
}

#[test]
fn an_evaluation_has_the_same_files_on_any_number_of_ranks() {
    let place = kills::place();
    place.succeed(
        &[&COMMAND[..], &["--set", "eval.every=0", "--set", "eval.best_metric=none"]].concat(),
    );
    let model = crate::golden::text("models/tiny-gqa");
    let evaluate = |ranks: &str, output: &str| {
        let embedder = encoder();
        let arguments = [
            "eval",
            "--model",
            &model,
            "--adapter",
            "run/adapter",
            "--data",
            "a=test.jsonl",
            "--metrics",
            "opa,spmr",
            "--embedder",
            embedder.to_str().unwrap(),
            "--set",
            "eval.spmr.max_new_tokens=24",
            "--output",
            output,
            "--ranks",
            ranks,
        ];
        let output = place.mvpbench(&arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    evaluate("1", "one");
    evaluate("3", "three");
    let files = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(place.path(folder).join("eval")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(files("one"), files("three"));
    assert!(files("one").iter().any(|name| name.starts_with("generations-a")));
    let same = |name: &str| {
        let of = |folder: &str| -> Value {
            let text = String::from_utf8(place.bytes(&format!("{folder}/eval/{name}"))).unwrap();
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        assert_eq!(of("one"), of("three"), "{name}");
    };
    files("one").iter().for_each(|name| same(name));
}

#[test]
fn answers_are_the_same_on_any_number_of_ranks() {
    let place = kills::place();
    place.succeed(
        &[&COMMAND[..], &["--set", "eval.every=0", "--set", "eval.best_metric=none"]].concat(),
    );
    let model = crate::golden::text("models/tiny-gqa");
    let generate = |more: &[&str]| {
        let words =
            ["generate", "--model", &model, "--adapter", "run/adapter", "--temperature", "1"];
        let words =
            [&words[..], &["--max-new-tokens", "12", "--prompts", "test.jsonl"], more].concat();
        place.mvpbench(&words).output().unwrap()
    };
    for (ranks, file) in [("1", "one.jsonl"), ("3", "three.jsonl")] {
        let output = generate(&["--ranks", ranks, "--output", file]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(place.bytes("one.jsonl").len() > 1000);
    assert_eq!(place.bytes("one.jsonl"), place.bytes("three.jsonl"));
    let merged = generate(&["--ranks", "2", "--merge"]);
    let said = String::from_utf8_lossy(&merged.stderr).into_owned();
    assert_eq!(merged.status.code(), Some(2), "{said}");
    assert!(said.contains("`--merge` is for one rank, and there are several"), "{said}");
}

/// The values of `kl` of every evaluation and of every sample of a run.
fn divergences(place: &Place) -> Vec<u64> {
    fn collect(value: &Value, found: &mut Vec<u64>) {
        let fields = value.as_object().into_iter().flatten();
        fields.for_each(|(name, value)| match value.as_f64() {
            Some(number) if name == "kl" => found.push(number.to_bits()),
            _ => collect(value, found),
        });
        value.as_array().into_iter().flatten().for_each(|value| collect(value, found));
    }
    let mut found = Vec::new();
    for file in ["run/eval.jsonl", "run/eval/samples.jsonl"] {
        records(&place.path(file)).iter().for_each(|record| collect(record, &mut found));
    }
    found
}

#[test]
fn divergences_are_the_same_on_any_number_of_ranks_and_each_rank_computes_some() {
    // With an adapter to start from as the reference, so that a pass has two adapters.
    let place = || {
        sharded()
            .set("dpo.reference", "init")
            .set("eval.kl_pairs", 12)
            .set("eval.samples.prompts", pairs())
            .set("eval.samples.max_prompts", 4)
            .set("eval.samples.max_new_tokens", 12)
            .set("train.micro_batch_tokens", 64)
    };
    let first = sharded();
    first.succeed(
        &[&COMMAND[..], &["--set", "eval.every=0", "--set", "eval.best_metric=none"]].concat(),
    );
    let start = first.path("run/adapter").to_str().unwrap().to_owned();
    let one = place().set("lora.init_from", start.clone());
    one.succeed(&COMMAND);
    let three = place().set("lora.init_from", start);
    three.succeed(&[&COMMAND[..], &["--ranks", "3"]].concat());
    let kl = divergences(&one);
    assert!(kl.len() >= 8 && kl.iter().any(|bits| f64::from_bits(*bits) > 1e-9), "{kl:?}");
    assert_eq!(divergences(&three), kl);
    assert_eq!(three.bytes("run/eval/samples.jsonl"), one.bytes("run/eval/samples.jsonl"));
    kills::assert_same(&three, &kills::outcome(&one), "3 ranks");
}

#[test]
fn a_local_judge_gives_the_same_files_on_any_number_of_ranks() {
    let place = crate::paa::judge::place();
    let paper = include_str!("../../../configs/paa-paper.toml");
    let few = paper.replace("calibrate = 200", "calibrate = 4");
    place.write("few.toml", few.replace("max_tokens = 16", "max_tokens = 2"));
    let judge = |output: &str, more: &[&str]| {
        let words = ["--output", output, "--config", "few.toml", "--model", "embedded:tiny/model"];
        let command = [&crate::paa::judge::ANSWERS[..], &words, more].concat();
        let output = place.mvpbench(&command).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (output, more) in [("one", &[][..]), ("three", &["--ranks", "3"])] {
        let said = judge(output, more);
        assert!(said.contains("no answer has a verdict"), "{said}");
    }
    let files = |folder: &str| -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(place.path(folder)).unwrap().map(Result::unwrap);
        let file = |entry: std::fs::DirEntry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kept = name.starts_with("verdicts-") || name.starts_with("journal-");
            kept.then(|| (name.clone(), place.bytes(&format!("{folder}/{name}"))))
        };
        let mut files: Vec<_> = entries.filter_map(file).collect();
        files.sort();
        files
    };
    assert!(files("one").len() >= 3, "{:?}", files("one"));
    assert_eq!(files("three"), files("one"));

    let wrong =
        [&crate::paa::judge::ANSWERS[..], &["--output", "o", "--judge", "rule", "--ranks", "2"]];
    let output = place.mvpbench(&wrong.concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--model"), "{said}");
}
