//! The table of keys: names, accepted values, and the losses that read them.

use std::ops::RangeInclusive;

use super::choices::LossType::*;
use super::choices::{
    Activations, AddBos, BestMetric, ColumnRole, Dtype, EvalTokenization, LayoutName,
    LeftoverBatches, LossType, MetricName, OptimizerName, Order, PromptFormat, RankedPairs,
    Reference, Scheduler, Tokenization, TokenizerRules, Truncation,
};

/// Which values a key accepts.
#[derive(Debug)]
pub(super) enum Kind {
    /// A string that is not blank.
    Text,
    /// A string.
    OptionalText,
    /// A day, `YYYY-MM-DD`, or an empty string.
    OptionalDay,
    /// `true` or `false`.
    Flag,
    /// An integer in a range.
    Integer(RangeInclusive<i64>),
    /// A number in an interval.
    Number(Interval),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of one or more of these words, each once.
    Choices(&'static [&'static str]),
    /// A list of one or more names of files or of columns.
    Files,
    /// A list of one or more sources, each a name or a table.
    Sources,
    /// A table of these words, each with the name of a column.
    Columns(&'static [&'static str]),
    /// A list of names of modules, each once, or a pattern of them; not empty if it is required.
    Modules {
        /// Whether it must not be empty.
        is_required: bool,
    },
    /// A list of strings, which may be empty.
    Words,
    /// A list of integers from 0, each once, which may be empty.
    Counts,
    /// A table whose keys are patterns and whose values are of this kind.
    Table(&'static Kind),
    /// The list of `[[eval.sets]]`.
    Sets,
}

/// An interval of numbers; it never holds NaN.
#[derive(Debug)]
pub(super) struct Interval {
    /// The interval in words that follow `must be`.
    pub(super) text: &'static str,
    /// Whether it holds a number.
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
const EPOCHS: Kind = Kind::Number(Interval {
    text: "above 0 and at most 1000000",
    holds: |x| x > 0.0 && x <= 1_000_000.0,
});
const RANK: Kind = Kind::Integer(1..=1024);
const ANY_COUNT: Kind = Kind::Integer(0..=i64::MAX);
/// Bounded, so that products of two of them stay far from overflow.
const AT_LEAST_ONE: Kind = Kind::Integer(1..=1_000_000);
/// Bounded alike, where 0 leaves it to something else.
const UP_TO_A_MILLION: Kind = Kind::Integer(0..=1_000_000);

/// A key of the configuration.
#[derive(Debug)]
pub(super) struct Key {
    /// Its dotted name.
    pub(super) name: &'static str,
    /// Which values it accepts.
    pub(super) kind: Kind,
    /// The losses that read it; none for a key that does not depend on the loss.
    pub(super) readers: Option<&'static [LossType]>,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, readers: None }
}

/// A key that these losses read, and no other.
const fn of_losses(name: &'static str, kind: Kind, readers: &'static [LossType]) -> Key {
    Key { name, kind, readers: Some(readers) }
}

/// Every key but those of `[[eval.sets]]`, in the order of the sections.
pub(super) const KEYS: &[Key] = &[
    key("model.path", Kind::Text),
    key("model.revision", Kind::Text),
    key("model.dtype", Kind::Choice(Dtype::NAMES)),
    key("model.tokenizer", Kind::Choice(TokenizerRules::NAMES)),
    key("lora.rank", RANK),
    key("lora.alpha", POSITIVE),
    key("lora.use_rslora", Kind::Flag),
    key("lora.dropout", BELOW_ONE),
    key("lora.target_modules", Kind::Modules { is_required: true }),
    key("lora.exclude_modules", Kind::Modules { is_required: false }),
    key("lora.layers_to_transform", Kind::Counts),
    key("lora.layers_pattern", Kind::Words),
    key("lora.rank_pattern", Kind::Table(&RANK)),
    key("lora.alpha_pattern", Kind::Table(&POSITIVE)),
    key("lora.init_from", Kind::OptionalText),
    key("dpo.beta", POSITIVE),
    key("dpo.loss", Kind::Choice(LossType::NAMES)),
    of_losses("dpo.label_smoothing", BELOW_HALF, &[Sigmoid, Robust, ExoPair]),
    of_losses("dpo.simpo_gamma", NOT_NEGATIVE, &[Simpo]),
    key("dpo.sft_weight", NOT_NEGATIVE),
    key("dpo.reference", Kind::Choice(Reference::NAMES)),
    key("data.train", Kind::Sources),
    key("data.layout", Kind::Choice(LayoutName::NAMES)),
    key("data.columns", Kind::Columns(ColumnRole::NAMES)),
    key("data.ranked_pairs", Kind::Choice(RankedPairs::NAMES)),
    key("data.ranked_margin", NOT_NEGATIVE),
    key("data.prompt_format", Kind::Choice(PromptFormat::NAMES)),
    key("data.chat_template", Kind::OptionalText),
    key("data.template_date", Kind::OptionalDay),
    key("data.tokenization", Kind::Choice(Tokenization::NAMES)),
    key("data.add_bos", Kind::Choice(AddBos::NAMES)),
    key("data.max_prompt_tokens", ANY_COUNT),
    key("data.max_length", ANY_COUNT),
    key("data.truncation", Kind::Choice(Truncation::NAMES)),
    key("data.shuffle", Kind::Flag),
    key("data.order", Kind::Choice(Order::NAMES)),
    key("train.epochs", EPOCHS),
    key("train.max_steps", ANY_COUNT),
    key("train.learning_rate", NOT_NEGATIVE),
    key("train.lora_plus_ratio", POSITIVE),
    key("train.scheduler", Kind::Choice(Scheduler::NAMES)),
    key("train.warmup_steps", ANY_COUNT),
    key("train.warmup_ratio", BELOW_ONE),
    key("train.optimizer", Kind::Choice(OptimizerName::NAMES)),
    key("train.weight_decay", NOT_NEGATIVE),
    key("train.max_grad_norm", NOT_NEGATIVE),
    key("train.per_device_batch_size", AT_LEAST_ONE),
    key("train.gradient_accumulation_steps", AT_LEAST_ONE),
    key("train.total_batch_size", UP_TO_A_MILLION),
    key("train.gradient_shards", UP_TO_A_MILLION),
    key("train.leftover_batches", Kind::Choice(LeftoverBatches::NAMES)),
    key("train.seed", ANY_COUNT),
    key("train.activations", Kind::Choice(Activations::NAMES)),
    key("train.micro_batch_tokens", ANY_COUNT),
    key("train.checkpoint_every", AT_LEAST_ONE),
    key("train.keep_checkpoints", AT_LEAST_ONE),
    key("train.max_skipped_steps", AT_LEAST_ONE),
    key("eval.tokenization", Kind::Choice(EvalTokenization::NAMES)),
    key("eval.score_eos", Kind::Flag),
    key("eval.every", ANY_COUNT),
    key("eval.best_metric", Kind::Choice(BestMetric::NAMES)),
    key("eval.best_set", Kind::OptionalText),
    key("eval.patience", ANY_COUNT),
    key("eval.min_delta", NOT_NEGATIVE),
    key("eval.kl_pairs", ANY_COUNT),
    key("eval.sets", Kind::Sets),
    key("eval.spmr.embedder", Kind::OptionalText),
    key("eval.spmr.threshold", COSINE),
    key("eval.spmr.max_new_tokens", AT_LEAST_ONE),
    key("eval.spmr.embed_prompt", Kind::Flag),
    key("eval.spmr.max_prompts", ANY_COUNT),
    key("eval.samples.prompts", Kind::OptionalText),
    key("eval.samples.max_prompts", ANY_COUNT),
    key("eval.samples.max_new_tokens", AT_LEAST_ONE),
    key("output.dir", Kind::Text),
];

/// The keys that `mvpbench eval` reads: those that a figure depends on, without training.
pub(super) const EVALUATION_KEYS: &[&str] = &[
    "model.path",
    "model.revision",
    "model.dtype",
    "model.tokenizer",
    "lora.init_from",
    "dpo.beta",
    "data.layout",
    "data.columns",
    "data.ranked_pairs",
    "data.ranked_margin",
    "data.prompt_format",
    "data.chat_template",
    "data.template_date",
    "data.tokenization",
    "data.add_bos",
    "data.max_prompt_tokens",
    "data.max_length",
    "data.truncation",
    "train.seed",
    "train.micro_batch_tokens",
    "eval.tokenization",
    "eval.score_eos",
    "eval.kl_pairs",
    "eval.sets",
    "eval.spmr.embedder",
    "eval.spmr.threshold",
    "eval.spmr.max_new_tokens",
    "eval.spmr.embed_prompt",
    "eval.spmr.max_prompts",
    "output.dir",
];

/// The keys of one `[[eval.sets]]`.
pub(super) const SET_KEYS: &[(&str, Kind)] = &[
    ("name", Kind::Text),
    ("files", Kind::Sources),
    ("metrics", Kind::Choices(MetricName::NAMES)),
    ("group_by", Kind::Files),
];

/// The keys of a source that is a table.
pub(super) const SOURCE_KEYS: &[(&str, Kind)] = &[
    ("files", Kind::Files),
    ("split", Kind::OptionalText),
    ("weight", POSITIVE),
    ("layout", Kind::Choice(LayoutName::NAMES)),
    ("columns", Kind::Columns(ColumnRole::NAMES)),
    ("ranked_pairs", Kind::Choice(RankedPairs::NAMES)),
    ("ranked_margin", NOT_NEGATIVE),
];

/// The keys without a default, with an example of each.
pub(super) const REQUIRED: &[(&str, &str)] = &[
    ("model.path", r#"path = "meta-llama/Llama-2-7b-hf""#),
    ("data.train", r#"train = ["data/MVP_train.json"]"#),
    ("output.dir", r#"dir = "runs/llama2-7b""#),
];

/// The keys of one `[[eval.sets]]` without a default.
pub(super) const SET_REQUIRED: &[&str] = &["name", "files"];

/// The section names, in order; `a.b` is inside `a`.
pub(super) const SECTIONS: &[&str] =
    &["model", "lora", "dpo", "data", "train", "eval", "eval.spmr", "eval.samples", "output"];

/// The kind of a dotted key; none for an unknown key.
pub(super) fn kind(key: &str) -> Option<&'static Kind> {
    KEYS.iter().find(|known| known.name == key).map(|known| &known.kind)
}

impl LossType {
    /// The keys of `[dpo]` that some losses read and others do not, such as `label_smoothing`, each with its readers.
    pub fn keys() -> impl Iterator<Item = (&'static str, &'static [Self])> {
        KEYS.iter().filter_map(|key| Some((key.name.strip_prefix("dpo.")?, key.readers?)))
    }

    /// Whether it reads `dpo.<key>`.
    pub fn reads(self, key: &str) -> bool {
        Self::keys().all(|(known, readers)| known != key || readers.contains(&self))
    }
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
                    toml::Value::Table(table) if SECTIONS.contains(&&*path) => {
                        tables.push((path, table))
                    }
                    _ => fields.push(path),
                }
            }
        }
        let mut keys: Vec<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        fields.sort();
        keys.sort();
        assert_eq!(fields, keys);

        let set = EvalSet {
            name: "a".into(),
            files: vec!["a.json".into()],
            metrics: vec![MetricName::Opa],
            group_by: vec!["subset".into()],
        };
        let mut fields: Vec<_> = toml::Table::try_from(set).unwrap().keys().cloned().collect();
        fields.sort();
        assert_eq!(fields, ["files", "group_by", "metrics", "name"]);
        assert_eq!(SET_KEYS.len(), 4);
    }

    #[test]
    fn a_nan_is_in_no_interval() {
        for key in KEYS {
            if let Kind::Number(Interval { holds, .. }) = key.kind {
                assert!(!holds(f64::NAN) && !holds(f64::INFINITY), "{}", key.name);
            }
        }
    }
}
