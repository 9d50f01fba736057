//! Results in the form of lm-evaluation-harness (`results_*.json` of its 0.4), for tools that read those.
//!
//! A set is a task; where it has several files, each file is a task of the set's group too. Keys are `METRIC,none` and
//! `METRIC_stderr,none`, shares in 0..=1. The standard error is clustered by user. `opa` is given of a tuned model alone, with its null
//! under `metadata.chance`.

use serde_json::{Map, Value, json};

use crate::metrics::figure::Figure;
use crate::metrics::metric::Metric;
use crate::metrics::result::{Evaluation, SetResult};

/// Version of the metrics: raised when a figure of the same scores changes.
const TASK_VERSION: u32 = 1;

/// z of the middle 95 % of a normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// What results hold besides the figures.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Data files of each set, in the evaluation's order.
    pub files: Vec<Vec<String>>,
    /// Pairs of each set before any was dropped.
    pub original: Vec<usize>,
    /// Device, in words.
    pub device: String,
    /// Number type of the model.
    pub dtype: String,
    /// Whether prompts went through the model's chat template.
    pub chat_template: bool,
    /// Commit that the program was built from.
    pub commit: String,
    /// Seconds since 1970.
    pub date: u64,
    /// Duration of the evaluation.
    pub seconds: f64,
}

/// One value of a task.
struct Row<'a> {
    name: &'a str,
    figure: &'a Figure,
    higher_is_better: bool,
}

/// The results of `evaluation`, one of a single model: base, or base with adapter.
pub fn results(evaluation: &Evaluation, about: &About) -> Value {
    let (mut results, mut groups) = (Map::new(), Map::new());
    let (mut configs, mut versions, mut better, mut samples, mut shots) =
        (Map::new(), Map::new(), Map::new(), Map::new(), Map::new());
    let is_tuned = evaluation.adapter.is_some();
    for (i, set) in evaluation.sets.iter().enumerate() {
        let files = about.files.get(i).cloned().unwrap_or_default();
        let rows = rows(set, is_tuned);
        let metrics: Vec<_> = rows.iter().map(metric).collect();
        let generates = set.spmr.as_ref().map(
            |spmr| json!({"do_sample": false, "max_gen_toks": spmr.max_new_tokens, "until": []}),
        );
        configs.insert(
            set.name.clone(),
            json!({
                "task": set.name, "dataset_path": "json", "dataset_kwargs": {"data_files": files}, "output_type": "loglikelihood",
                "metric_list": metrics, "num_fewshot": 0, "repeats": 1, "should_decontaminate": false,
                "generation_kwargs": generates, "metadata": {"version": TASK_VERSION, "beta": evaluation.beta, "chance": chance(&rows)},
            }),
        );
        let original = about.original.get(i).copied().unwrap_or(set.n);
        let directions: Map<_, _> =
            rows.iter().map(|row| (row.name.to_owned(), row.higher_is_better.into())).collect();
        let mut task = |name: &str, entry: Value, count: Value| {
            results.insert(name.to_owned(), entry);
            versions.insert(name.to_owned(), TASK_VERSION.into());
            shots.insert(name.to_owned(), 0.into());
            samples.insert(name.to_owned(), count);
            better.insert(name.to_owned(), Value::Object(directions.clone()));
        };
        task(&set.name, entry(&set.name, &rows), json!({"original": original, "effective": set.n}));
        let mut members = Vec::new();
        for (source, metrics) in set.sources.iter().filter(|_| set.sources.len() > 1) {
            let name = format!("{}_{source}", set.name);
            let rows: Vec<_> = measured(is_tuned)
                .map(|metric| row(metric, metrics.get(metric)))
                .chain(set.spmr.as_ref().and_then(|spmr| {
                    Some(Row {
                        name: "spmr",
                        figure: spmr.sources.get(source)?,
                        higher_is_better: true,
                    })
                }))
                .collect();
            let n = metrics.opa.n;
            task(
                &name,
                entry(&format!(" - {source}"), &rows),
                json!({"original": n, "effective": n}),
            );
            members.push(name);
        }
        groups.insert(set.name.clone(), json!(members));
    }
    let peft =
        evaluation.adapter.as_ref().map_or(String::new(), |adapter| format!(",peft={adapter}"));
    json!({
        "results": results,
        "group_subtasks": groups,
        "configs": configs,
        "versions": versions,
        "n-shot": shots,
        "higher_is_better": better,
        "n-samples": samples,
        "config": {
            "model": "mvpbench",
            "model_args": format!("pretrained={}{peft},dtype={}", evaluation.model, about.dtype),
            "batch_size": "auto", "batch_sizes": [], "device": about.device, "use_cache": null, "limit": null,
            "bootstrap_iters": evaluation.resamples, "gen_kwargs": null, "random_seed": evaluation.seed,
        },
        "git_hash": about.commit,
        "date": about.date,
        "mvpbench_version": evaluation.version,
        "model_source": "mvpbench",
        "model_name": evaluation.model,
        "model_name_sanitized": evaluation.model.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect::<String>(),
        "system_instruction": null,
        "chat_template": about.chat_template.then_some("the model's own"),
        "total_evaluation_time_seconds": about.seconds.to_string(),
    })
}

/// The metrics of the evaluation: an untuned model is its own reference and has no OPA.
fn measured(is_tuned: bool) -> impl Iterator<Item = Metric> {
    Metric::ALL.into_iter().filter(move |metric| is_tuned || *metric != Metric::Opa)
}

/// The nulls of the metrics that have one other than the model before tuning.
fn chance(rows: &[Row<'_>]) -> Value {
    let has_opa = rows.iter().any(|row| row.name == Metric::Opa.name());
    if has_opa { json!({"opa": 0.5}) } else { json!({}) }
}

fn rows(set: &SetResult, is_tuned: bool) -> Vec<Row<'_>> {
    let mut rows: Vec<_> =
        measured(is_tuned).map(|metric| row(metric, set.overall.get(metric))).collect();
    if let Some(spmr) = &set.spmr {
        rows.extend([
            Row { name: "spmr", figure: spmr.figure(), higher_is_better: true },
            Row {
                name: "spmr_answer_alone",
                figure: &spmr.answer_alone.spmr,
                higher_is_better: true,
            },
            Row {
                name: "spmr_with_prompt",
                figure: &spmr.with_prompt.spmr,
                higher_is_better: true,
            },
            Row {
                name: "cosine_mean",
                figure: &spmr.answer_alone.cosine_mean,
                higher_is_better: true,
            },
        ]);
    }
    rows
}

fn row(metric: Metric, figure: &Figure) -> Row<'_> {
    Row { name: metric.name(), figure, higher_is_better: metric != Metric::DpoLoss }
}

fn metric(row: &Row<'_>) -> Value {
    json!({"metric": row.name, "aggregation": "mean", "higher_is_better": row.higher_is_better})
}

/// `{"alias": ..., "METRIC,none": value, "METRIC_stderr,none": error}`; `"N/A"` where there is no error, as the harness writes it.
fn entry(alias: &str, rows: &[Row<'_>]) -> Value {
    let mut entry = Map::from_iter([("alias".to_owned(), Value::from(alias))]);
    for Row { name, figure, .. } in rows {
        entry.insert(format!("{name},none"), figure.value.into());
        let error = standard_error(figure).map_or_else(|| "N/A".into(), Value::from);
        entry.insert(format!("{name}_stderr,none"), error);
    }
    Value::Object(entry)
}

/// Half the width of the bootstrap interval over z: the clustered standard error, if the resampled means are normal.
fn standard_error(figure: &Figure) -> Option<f64> {
    Some((figure.high? - figure.low?) / (2.0 * Z95))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::score::pair_of;

    /// The results of a set of two files and of one of a single file.
    fn of_two_sets() -> (Value, Vec<SetResult>) {
        let pair = |i: usize| {
            let policy = [-19.0 + 0.1 * i as f64, -20.0];
            let mut score = pair_of(
                &format!("p{i}"),
                Some(&format!("u{}", i / 2)),
                [policy[0], policy[1], -20.0, -20.0],
            );
            score.source = if i < 6 { "helpfulness" } else { "honesty" }.into();
            score
        };
        let scores: Vec<_> = (0..10).map(pair).collect();
        let sets = vec![
            SetResult::measure("UF", &scores, 0.1).unwrap(),
            SetResult::measure("MVP", &scores[..6], 0.1).unwrap(),
        ];
        let evaluation = Evaluation::new("models/tiny 2", None, 0.1, sets.clone());
        let about = About {
            files: vec![vec!["a.json".to_owned()]; 2],
            original: vec![11, 6],
            device: "cpu".to_owned(),
            dtype: "f32".to_owned(),
            chat_template: false,
            commit: "c".to_owned(),
            date: 0,
            seconds: 1.0,
        };
        (results(&evaluation, &about), sets)
    }

    #[test]
    fn each_file_of_a_set_of_several_is_a_task_and_that_of_one_is_none() {
        let (results, _) = of_two_sets();
        assert_eq!(results["group_subtasks"]["UF"], json!(["UF_helpfulness", "UF_honesty"]));
        assert_eq!(results["group_subtasks"]["MVP"], json!([]));
        for (task, n) in [("UF", 10), ("UF_helpfulness", 6), ("UF_honesty", 4), ("MVP", 6)] {
            assert_eq!(results["n-samples"][task]["effective"], n, "{task}");
            assert!(results["results"][task]["preference_accuracy,none"].is_number(), "{task}");
            assert_eq!(results["higher_is_better"][task]["dpo_loss"], false, "{task}");
            assert_eq!(results["higher_is_better"][task]["preference_accuracy"], true, "{task}");
        }
        assert_eq!(results["n-samples"]["UF"]["original"], 11);
    }

    #[test]
    fn the_standard_error_is_the_width_of_the_interval_over_two_z() {
        let (results, sets) = of_two_sets();
        let figure = sets[0].overall.get(Metric::RewardMarginMean);
        let (low, high) = (figure.low.unwrap(), figure.high.unwrap());
        assert!(low > 0.0 && high > low);
        let error = results["results"]["UF"]["reward_margin_mean_stderr,none"].as_f64().unwrap();
        assert!((error * 2.0 * 1.959_963_984_540_054 - (high - low)).abs() <= 1e-12, "{error}");
    }

    #[test]
    fn a_models_name_is_a_file_name_too() {
        let (results, _) = of_two_sets();
        assert_eq!(results["model_name"], "models/tiny 2");
        assert_eq!(results["model_name_sanitized"], "models_tiny_2");
    }
}
