//! The table of keys: which exist and which values each accepts.

use std::ops::RangeInclusive;

use super::choices::{
    Activations, BestMetric, Dtype, LossType, MetricName, Projection, PromptFormat, Reference,
    Scheduler, Tokenization,
};

/// Which values a key accepts.
#[derive(Debug)]
pub(super) enum Kind {
    /// A string with something in it.
    Text,
    /// A string.
    OptionalText,
    /// `true` or `false`.
    Flag,
    /// An integer of a range.
    Integer(RangeInclusive<i64>),
    /// A number of an interval.
    Number(Interval),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of one or more of these words, each once.
    Choices(&'static [&'static str]),
    /// A list of one or more file names.
    Files,
    /// The list of `[[eval.sets]]`.
    Sets,
}

/// An interval of the numbers; no NaN is in any.
#[derive(Debug)]
pub(super) struct Interval {
    /// Which numbers, to follow `must be`.
    pub(super) text: &'static str,
    /// Whether a number is one of them.
    pub(super) holds: fn(f64) -> bool,
}

const POSITIVE: Kind =
    Kind::Number(Interval { text: "finite and above 0", holds: |x| x > 0.0 && x.is_finite() });
const NOT_NEGATIVE: Kind =
    Kind::Number(Interval { text: "finite and at least 0", holds: |x| x >= 0.0 && x.is_finite() });
const BELOW_ONE: Kind =
    Kind::Number(Interval { text: "in 0..1", holds: |x| (0.0..1.0).contains(&x) });
const BELOW_HALF: Kind =
    Kind::Number(Interval { text: "in 0..0.5", holds: |x| (0.0..0.5).contains(&x) });
const COSINE: Kind =
    Kind::Number(Interval { text: "in -1..=1", holds: |x| (-1.0..=1.0).contains(&x) });
const ANY_COUNT: Kind = Kind::Integer(0..=i64::MAX);
/// Bounded, so that products of two of them stay far from overflow.
const AT_LEAST_ONE: Kind = Kind::Integer(1..=1_000_000);

/// Every key but those of `[[eval.sets]]`, in the order of the sections.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("model.path", Kind::Text),
    ("model.revision", Kind::Text),
    ("model.dtype", Kind::Choice(Dtype::NAMES)),
    ("lora.rank", Kind::Integer(1..=1024)),
    ("lora.alpha", POSITIVE),
    ("lora.use_rslora", Kind::Flag),
    ("lora.dropout", BELOW_ONE),
    ("lora.target_modules", Kind::Choices(Projection::NAMES)),
    ("lora.init_from", Kind::OptionalText),
    ("dpo.beta", POSITIVE),
    ("dpo.loss", Kind::Choice(LossType::NAMES)),
    ("dpo.label_smoothing", BELOW_HALF),
    ("dpo.simpo_gamma", NOT_NEGATIVE),
    ("dpo.sft_weight", NOT_NEGATIVE),
    ("dpo.reference", Kind::Choice(Reference::NAMES)),
    ("data.train", Kind::Files),
    ("data.prompt_format", Kind::Choice(PromptFormat::NAMES)),
    ("data.tokenization", Kind::Choice(Tokenization::NAMES)),
    ("data.max_prompt_tokens", ANY_COUNT),
    ("data.max_length", ANY_COUNT),
    ("data.shuffle", Kind::Flag),
    ("train.epochs", AT_LEAST_ONE),
    ("train.max_steps", ANY_COUNT),
    ("train.learning_rate", NOT_NEGATIVE),
    ("train.lora_plus_ratio", POSITIVE),
    ("train.scheduler", Kind::Choice(Scheduler::NAMES)),
    ("train.warmup_steps", ANY_COUNT),
    ("train.weight_decay", NOT_NEGATIVE),
    ("train.max_grad_norm", NOT_NEGATIVE),
    ("train.per_device_batch_size", AT_LEAST_ONE),
    ("train.gradient_accumulation_steps", AT_LEAST_ONE),
    ("train.seed", ANY_COUNT),
    ("train.activations", Kind::Choice(Activations::NAMES)),
    ("train.micro_batch_tokens", ANY_COUNT),
    ("train.checkpoint_every", AT_LEAST_ONE),
    ("train.keep_checkpoints", AT_LEAST_ONE),
    ("train.max_skipped_steps", AT_LEAST_ONE),
    ("eval.every", ANY_COUNT),
    ("eval.best_metric", Kind::Choice(BestMetric::NAMES)),
    ("eval.best_set", Kind::OptionalText),
    ("eval.patience", ANY_COUNT),
    ("eval.min_delta", NOT_NEGATIVE),
    ("eval.sets", Kind::Sets),
    ("eval.spmr.embedder", Kind::OptionalText),
    ("eval.spmr.threshold", COSINE),
    ("eval.spmr.max_new_tokens", AT_LEAST_ONE),
    ("eval.spmr.embed_prompt", Kind::Flag),
    ("eval.spmr.max_prompts", ANY_COUNT),
    ("output.dir", Kind::Text),
];

/// The keys that `mvpbench eval` reads: all that a figure depends on but training.
pub(super) const EVALUATION_KEYS: &[&str] = &[
    "model.path",
    "model.revision",
    "model.dtype",
    "lora.init_from",
    "dpo.beta",
    "data.prompt_format",
    "data.tokenization",
    "data.max_prompt_tokens",
    "data.max_length",
    "train.seed",
    "train.micro_batch_tokens",
    "eval.sets",
    "eval.spmr.embedder",
    "eval.spmr.threshold",
    "eval.spmr.max_new_tokens",
    "eval.spmr.embed_prompt",
    "eval.spmr.max_prompts",
    "output.dir",
];

/// The keys of one `[[eval.sets]]`.
pub(super) const SET_KEYS: &[(&str, Kind)] =
    &[("name", Kind::Text), ("files", Kind::Files), ("metrics", Kind::Choices(MetricName::NAMES))];

/// The keys without a default, with an example of each.
pub(super) const REQUIRED: &[(&str, &str)] = &[
    ("model.path", r#"path = "meta-llama/Llama-2-7b-hf""#),
    ("data.train", r#"train = ["data/MVP_train.json"]"#),
    ("output.dir", r#"dir = "runs/llama2-7b""#),
];

/// The keys of one `[[eval.sets]]` without a default.
pub(super) const SET_REQUIRED: &[&str] = &["name", "files"];

/// The section names, in order; one with a dot lies inside another.
pub(super) const SECTIONS: &[&str] =
    &["model", "lora", "dpo", "data", "train", "eval", "eval.spmr", "output"];

/// The kind of a dotted key, if there is such a key.
pub(super) fn kind(key: &str) -> Option<&'static Kind> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, kind)| kind)
}

/// Names in backticks, with commas between them.
pub(super) fn quoted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{EvalSet, RunConfig};
    use super::*;

    #[test]
    fn the_table_has_every_key_and_no_other() {
        let mut fields = Vec::new();
        let mut tables =
            vec![(String::new(), toml::Table::try_from(RunConfig::default()).unwrap())];
        while let Some((section, table)) = tables.pop() {
            assert!(section.is_empty() || SECTIONS.contains(&section.as_str()), "{section}");
            for (key, value) in table {
                let path = if section.is_empty() { key } else { format!("{section}.{key}") };
                match value {
                    toml::Value::Table(table) => tables.push((path, table)),
                    _ => fields.push(path),
                }
            }
        }
        let mut keys: Vec<_> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
        fields.sort();
        keys.sort();
        assert_eq!(fields, keys);

        let set = EvalSet {
            name: "a".into(),
            files: vec!["a.json".into()],
            metrics: vec![MetricName::Opa],
        };
        let mut fields: Vec<_> = toml::Table::try_from(set).unwrap().keys().cloned().collect();
        fields.sort();
        assert_eq!(fields, ["files", "metrics", "name"]);
        assert_eq!(SET_KEYS.len(), 3);
    }

    #[test]
    fn a_nan_is_in_no_interval() {
        for (key, kind) in KEYS {
            if let Kind::Number(interval) = kind {
                assert!(!(interval.holds)(f64::NAN) && !(interval.holds)(f64::INFINITY), "{key}");
            }
        }
    }
}
