//! The losses against TRL's values, and whole runs with each loss, each reference and each LoRA scaling.

use mvpbench::config::DpoSection;
use mvpbench::config::LossType;
use mvpbench::dpo::pair_loss;
use serde_json::Value;

use crate::command::{Place, records};
use crate::golden::{CASES, json, numbers, pairs, path};

/// Sums `[chosen, rejected]` under policy and reference, and the tokens of both answers.
fn scored(pair: &Value) -> ([f64; 2], [f64; 2], [usize; 2]) {
    let of = |key: &str| ["chosen", "rejected"].map(|side| pair[side][key].as_f64().unwrap());
    let tokens =
        ["chosen", "rejected"].map(|side| numbers(&pair[side]["policy_token_logps"]).len());
    (of("policy_logps"), of("ref_logps"), tokens)
}

#[track_caller]
fn assert_equals(what: &str, got: f64, want: &Value) {
    let want = want.as_f64().unwrap();
    assert!((got - want).abs() <= 1e-4 * want.abs(), "{what}: got {got}, expected {want}");
}

#[test]
fn every_loss_equals_trls_of_the_same_name() {
    for case in CASES {
        let logps = json(&format!("cases/{case}/logps.json"));
        let beta = logps["beta"].as_f64().unwrap();
        let pairs: Vec<_> = logps["pairs"].as_array().unwrap().iter().map(scored).collect();
        let golden =
            logps["summary"]["other_loss_types_microbatches_0_1_2_3_and_4_5"].as_object().unwrap();
        let mut compared = 0;
        for (name, want) in golden {
            let (word, label_smoothing) = name
                .split_once("@label_smoothing=")
                .map_or((name.as_str(), 0.0), |(word, e)| (word, e.parse().unwrap()));
            let Some(loss) = LossType::ALL.into_iter().find(|loss| loss.name() == word) else {
                assert!(["aot", "aot_unpaired", "sft"].contains(&word), "{word} is not here");
                continue;
            };
            let dpo = DpoSection { loss, beta, label_smoothing, ..DpoSection::default() };
            for (batch, want) in pairs.chunks(2).zip(want.as_array().unwrap()) {
                let sum: f64 = batch.iter().map(|&(p, r, n)| pair_loss(&dpo, p, r, n).loss).sum();
                assert_equals(&format!("{case} {name}"), sum / 2.0, want);
            }
            compared += 1;
        }
        assert_eq!(compared, LossType::ALL.len() - 1, "{case}: every loss but simpo is TRL's");
    }
}

/// TRL's term is a mean over the tokens of a micro-batch; ours is a mean over the tokens of each pair, as in the RPO
/// paper.
#[test]
fn the_sft_term_weighted_by_tokens_equals_trls() {
    for case in CASES {
        let logps = json(&format!("cases/{case}/logps.json"));
        let pairs: Vec<_> = logps["pairs"].as_array().unwrap().iter().map(scored).collect();
        let golden = &logps["summary"]["other_loss_types_microbatches_0_1_2_3_and_4_5"]["sft"];
        let (plain, with_term) =
            (DpoSection::default(), DpoSection { sft_weight: 1.0, ..DpoSection::default() });
        for (batch, want) in pairs.chunks(2).zip(golden.as_array().unwrap()) {
            let (mut sum, mut tokens) = (0.0, 0.0);
            for &(policy, reference, n) in batch {
                let term = pair_loss(&with_term, policy, reference, n).loss
                    - pair_loss(&plain, policy, reference, n).loss;
                sum += term * n[0] as f64;
                tokens += n[0] as f64;
            }
            assert_equals(&format!("{case} sft"), sum / tokens, want);
        }
    }
}

/// A run of three steps, each on all 13 golden pairs, evaluated on the same pairs.
fn place() -> Place {
    Place::golden("tiny")
        .set("lora.dropout", 0.0)
        .set("data.shuffle", false)
        .set("train.learning_rate", 1e-3)
        .set("train.scheduler", "constant")
        .set("train.per_device_batch_size", 13)
        .set("train.gradient_accumulation_steps", 1)
        .evaluate("golden", pairs())
}

/// Trains in `place` with each of `set` as a `--set`. Returns the records of the steps.
#[track_caller]
fn train(place: &Place, set: &[&str]) -> Vec<Value> {
    let set: Vec<_> = set.iter().flat_map(|set| ["--set", set]).collect();
    place.succeed(&[&["--config", "config.toml"], &set[..]].concat());
    records(&place.path("run/train.jsonl"))
}

fn number(record: &Value, key: &str) -> f64 {
    record[key].as_f64().unwrap()
}

#[test]
fn two_steps_under_every_loss_lower_it() {
    for loss in LossType::ALL {
        let set = format!("dpo.loss={loss}");
        let smoothing = if loss == LossType::ExoPair { "0.001" } else { "0" };
        let smoothing = format!("dpo.label_smoothing={smoothing}");
        let place = place();
        let steps = train(&place, &[&set, &smoothing, "eval.sets=[]"]);
        let losses: Vec<_> = steps.iter().map(|step| number(step, "loss")).collect();
        assert_eq!(losses.len(), 3, "{loss}");
        assert!(losses[2] < losses[0], "{loss}: {losses:?}");
        assert_eq!(
            place.path("cache/reference").exists(),
            loss.needs_reference(),
            "{loss}: reference pass"
        );
    }
}

#[test]
fn the_sft_term_raises_the_chosen_answers_log_probability() {
    let chosen = |set: &[&str]| number(&train(&place(), set)[2], "logps/chosen");
    let plain = chosen(&["eval.sets=[]"]);
    let with_term = chosen(&["eval.sets=[]", "dpo.sft_weight=1.0"]);
    assert!(with_term > plain + 0.1, "{with_term} {plain}");
}

fn before(place: &Place) -> Value {
    let evaluation: Value = serde_json::from_slice(&place.bytes("run/eval/before.json")).unwrap();
    evaluation["sets"][0]["overall"].clone()
}

#[test]
fn before_training_every_pair_ties_with_the_policy_as_it_starts() {
    let place = place();
    let from = format!("lora.init_from={}", path("adapters/tiny-nonzero").display());
    let base = train(&place, &[&from]);
    let from_base = before(&place);
    std::fs::remove_dir_all(place.path("run")).unwrap();
    let init = train(&place, &[&from, "dpo.reference=init"]);
    let from_init = before(&place);

    // `summary` of `cases/tiny/logps.json` has TRL's figures of that adapter against the base model.
    let golden = json("cases/tiny/logps.json");
    let opa = golden["summary"]["opa"].as_f64().unwrap();
    assert!((number(&from_base["opa"], "value") - opa).abs() <= 1e-12);
    assert!((number(&base[0], "loss") - number(&golden["summary"], "mean_loss")).abs() <= 1e-4);
    assert_eq!(from_base["opa"]["ties"], 1);

    assert!(number(&from_init["opa"], "value").abs() <= 0.0 && from_init["opa"]["ties"] == 13);
    assert!((number(&init[0], "loss") - std::f64::consts::LN_2).abs() <= 1e-6, "{}", init[0]);
    assert_eq!(
        std::fs::read_dir(place.path("cache/reference")).unwrap().count(),
        2,
        "one for each reference"
    );
    let scores = records(&place.path("run/eval/scores-golden-after.jsonl"));
    let margin = |score: &Value, of: &str| {
        number(score, &format!("{of}_chosen_logps"))
            - number(score, &format!("{of}_rejected_logps"))
    };
    let won = scores.iter().filter(|s| margin(s, "policy") > margin(s, "reference")).count();
    assert!(won > 6, "{won} of 13 above the policy as it started");
}

#[test]
fn without_a_start_adapter_init_is_the_base_model() {
    let adapters = ["base", "init"].map(|reference| {
        let place = place();
        train(&place, &[&format!("dpo.reference={reference}")]);
        place.bytes("run/adapter/adapter_model.safetensors")
    });
    assert!(adapters[0] == adapters[1]);
}

#[test]
fn rslora_scales_by_the_root_of_the_rank_and_comes_back_as_it_went() {
    const ADAPTER: &str = "run/adapter/adapter_model.safetensors";
    // Rank 16: 8 / sqrt(16) = 32 / 16.
    let [classic, same, other] = [
        &["lora.alpha=32"][..],
        &["lora.alpha=8", "lora.use_rslora=true"],
        &["lora.alpha=32", "lora.use_rslora=true"],
    ]
    .map(|set| {
        let place = place();
        train(&place, set);
        place
    });
    assert!(classic.bytes(ADAPTER) == same.bytes(ADAPTER));
    assert!(classic.bytes(ADAPTER) != other.bytes(ADAPTER));
    let fields: Value =
        serde_json::from_slice(&other.bytes("run/adapter/adapter_config.json")).unwrap();
    assert_eq!((&fields["use_rslora"], &fields["r"]), (&true.into(), &16.into()));

    let again = place();
    let from = format!("lora.init_from={}", other.path("run/adapter").display());
    let refused = again.run(&["--config", "config.toml", "--set", &from]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("hint: set `lora.use_rslora = true`"), "{said}");
    train(&again, &[&from, "lora.use_rslora=true", "train.max_steps=1"]);
    let (before, after) = (
        records(&again.path("run/eval/scores-golden-before.jsonl")),
        records(&other.path("run/eval/scores-golden-after.jsonl")),
    );
    assert_eq!(before, after, "the same adapter gives the same scores");
}

#[test]
fn lora_plus_moves_b_further_from_the_first_step_on() {
    let losses = ["train.lora_plus_ratio=1", "train.lora_plus_ratio=16"].map(|set| {
        let steps = train(&place(), &["eval.sets=[]", set]);
        [0, 1].map(|step| number(&steps[step], "loss"))
    });
    let [[start, plain], [same_start, plus]] = losses;
    assert!((start - same_start).abs() <= 0.0 && plus < plain, "{losses:?}");
}
