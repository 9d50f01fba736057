//! The evaluation of the paper's authors, repeated by `mvpbench eval` with keys alone.

use serde_json::Value;

use crate::command::{Place, records};
use crate::train::authors::path;

/// Evaluates the golden model on the golden pairs with the keys `more`; the pairs' scores and the figures.
fn evaluate(more: &[&str]) -> (Vec<Value>, Value) {
    let place = Place::new();
    let (model, data) = (path("models/mha"), path("data/whole.json"));
    let data = format!("whole={}", data.display());
    let base = ["eval", "--model", model.to_str().unwrap(), "--data", &data, "--output", "out"];
    let keys = more.iter().flat_map(|key| ["--set", key]);
    let arguments: Vec<&str> = base.into_iter().chain(keys).collect();
    let output = place.mvpbench(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&place.bytes("out/eval/before.json")).unwrap();
    let scores = records(&place.path("out/eval/scores-whole-before.jsonl"));
    (scores, figures["sets"][0]["overall"].clone())
}

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(path("eval/mha-whole.json")).unwrap()).unwrap()
}

#[track_caller]
fn assert_sums(scores: &[Value], golden: &Value, with_eos: bool) {
    let rows = golden["rows"].as_array().unwrap();
    assert_eq!(scores.len(), rows.len());
    for (got, want) in scores.iter().zip(rows) {
        for (name, side) in [("chosen", "w"), ("rejected", "l")] {
            let number = |key: &str| want[side][key].as_f64().unwrap();
            let eos = if with_eos { number("eos") } else { 0.0 };
            let sum = got[format!("policy_{name}_logps")].as_f64().unwrap();
            let off = (sum - number("sum") - eos).abs();
            assert!(off <= 1e-3, "{name} of {}: off by {off}", want["id"]);
            let tokens = want[side]["tokens"].as_u64().unwrap() + u64::from(with_eos);
            assert_eq!(got[format!("{name}_tokens")], tokens, "{name} of {}", want["id"]);
        }
    }
}

#[test]
fn sums_tokens_and_figures_are_those_of_the_authors_evaluation() {
    let golden = golden();
    let (scores, figures) = evaluate(&["eval.tokenization=prefix", "eval.score_eos=false"]);
    assert_sums(&scores, &golden, false);
    for (ours, theirs) in [
        ("preference_accuracy", "accuracy_sums"),
        ("preference_accuracy_normalized", "accuracy_means"),
        ("opa_margin_mean", "opa_margins"),
    ] {
        let [got, want] = [&figures[ours]["value"], &golden["figures"][theirs]]
            .map(|value| value.as_f64().unwrap());
        assert!((got - want).abs() <= 1e-12, "{ours}: {got} {want}");
    }
}

#[test]
fn with_the_eos_each_sum_has_one_token_more() {
    let (scores, _) = evaluate(&["data.tokenization=separate", "eval.tokenization=prefix"]);
    assert_sums(&scores, &golden(), true);
}

#[test]
fn the_tokenization_of_the_sets_is_that_of_training_unless_it_is_set() {
    let sums = |keys: &[&str]| evaluate(keys).0;
    let joint = sums(&[]);
    assert_eq!(sums(&["data.tokenization=separate", "eval.tokenization=joint"]), joint);
    let separate = sums(&["data.tokenization=separate"]);
    assert_ne!(separate, joint);
    assert_eq!(sums(&["eval.tokenization=separate"]), separate);
}
