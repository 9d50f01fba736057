//! A protocol file, such as `paa-paper.toml`, in; the messages of stage 1 and stage 2 out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::bail_input;
use crate::disk::{digest, read};
use crate::error::InputError;
use crate::metrics::paa::Thresholds;

pub mod messages;
mod profile;
mod template;

/// The protocols compiled into the binary, by name.
pub const PRESETS: [(&str, &str); 2] = [
    ("paa-paper.toml", include_str!("../../../configs/paa-paper.toml")),
    ("paa-polyjudge.toml", include_str!("../../../configs/paa-polyjudge.toml")),
];

/// How a judge says what it thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `Yes` or `No`: the paper.
    YesNo,
    /// A JSON object of scores of three answers: its successor.
    Scores,
}

/// A protocol: the prompts and settings of both stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// How the judge replies.
    pub kind: Kind,
    /// Stage 1.
    pub answer: Stage,
    /// Stage 2.
    pub judge: Stage,
    /// From the judge's replies to verdicts.
    pub verdict: Verdicts,
    /// Prices by model.
    #[serde(default)]
    pub prices: BTreeMap<String, Price>,
}

/// The prompt of a request and how it is sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The system message; none if empty.
    pub system: String,
    /// The user's message, with placeholders.
    pub prompt: String,
    /// Fields of `{profile}`.
    pub profile: Vec<String>,
    /// 0 to 2.
    pub temperature: f64,
    /// Above 0, to 1.
    pub top_p: f64,
    /// Most tokens of a reply.
    pub max_tokens: u32,
    /// Fields of the endpoint's own, sent as they are, such as `chat_template_kwargs`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// How the judge's replies become verdicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdicts {
    /// Times that each answer is judged by each judge.
    pub repetitions: u32,
    /// The message after a reply that cannot be read.
    pub reminder: String,
    /// Words that are read as yes; for [`Kind::YesNo`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yes: Vec<String>,
    /// Words that are read as no; for [`Kind::YesNo`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no: Vec<String>,
    /// Whether a JSON schema is sent with each request; none: unless the endpoint is known to refuse one. For [`Kind::Scores`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<bool>,
    /// Whether the judge is not told which reference answer is the preferred one; for [`Kind::Scores`].
    #[serde(default)]
    pub blind: bool,
    /// Seed of the coin that orders the reference answers of a blind judge; none: 0. For `blind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Items whose reference answers are judged to measure the judge.
    pub calibrate: usize,
    /// From scores to a verdict; for [`Kind::Scores`].
    #[serde(default)]
    pub thresholds: Thresholds,
}

/// What a model costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// US dollars for a million tokens of prompts.
    pub input: f64,
    /// US dollars for a million tokens of replies.
    pub output: f64,
}

impl Protocol {
    /// Reads the file `path_or_preset`, or the protocol of that name in the binary if there is no such file.
    pub fn load(path_or_preset: &str) -> Result<Self> {
        let text = match read::text(Path::new(path_or_preset)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let preset = PRESETS.iter().find(|(name, _)| *name == path_or_preset);
                let names = PRESETS.map(|(name, _)| format!("`{name}`")).join(" and ");
                let missing = || {
                    InputError::new(format!("`{path_or_preset}`: no such file"))
                        .hint(format!("the protocols in the binary are {names}"))
                };
                preset.ok_or_else(missing)?.1.to_owned()
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read `{path_or_preset}`"));
            }
        };
        Self::parse(&text, path_or_preset)
    }

    /// Reads a protocol from `text`; `name`: for messages.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let protocol: Self = toml::from_str(text)
            .map_err(|error| InputError::new(format!("{name}: {}", error.to_string().trim())))?;
        protocol.check().with_context(|| name.to_owned())?;
        Ok(protocol)
    }

    /// SHA-256 of all settings.
    pub fn sha256(&self) -> Result<String> {
        Ok(digest::of_bytes(toml::to_string(self)?.as_bytes()))
    }

    fn check(&self) -> Result<()> {
        for (name, stage) in [("answer", &self.answer), ("judge", &self.judge)] {
            stage.check(name, allowed(name, self.kind))?;
        }
        if !(1..=100).contains(&self.verdict.repetitions) {
            bail_input!(
                "`verdict.repetitions` must be in 1..=100, got `{}`",
                self.verdict.repetitions
            );
        }
        if self.verdict.repetitions > 1 && self.judge.temperature == 0.0 {
            let what = format!(
                "`verdict.repetitions` is `{}`, but at `judge.temperature` 0 each is the same reply",
                self.verdict.repetitions
            );
            let hint = "set `judge.temperature` above 0, or `verdict.repetitions` to 1";
            return Err(InputError::new(what).hint(hint).into());
        }
        self.check_kind()?;
        for (model, price) in &self.prices {
            if !(price.input >= 0.0 && price.output >= 0.0) {
                bail_input!("`prices.{model}` must be at least 0");
            }
        }
        Ok(())
    }

    /// Refuses a key that this kind of judge does not read.
    fn check_kind(&self) -> Result<()> {
        let verdict = &self.verdict;
        match self.kind {
            Kind::YesNo => {
                if verdict.yes.is_empty() || verdict.no.is_empty() {
                    bail_input!("`verdict.yes` and `verdict.no` must each list a word");
                }
                if let Some(word) = verdict.yes.iter().find(|word| verdict.no.contains(word)) {
                    bail_input!("`verdict.yes` and `verdict.no` both list `{word}`");
                }
                if verdict.blind
                    || verdict.seed.is_some()
                    || verdict.schema.is_some()
                    || verdict.thresholds != Thresholds::default()
                {
                    bail_input!(
                        "`verdict.blind`, `verdict.seed`, `verdict.schema` and `verdict.thresholds` belong to `kind = \"scores\"`"
                    );
                }
            }
            Kind::Scores => {
                if !(verdict.yes.is_empty() && verdict.no.is_empty()) {
                    bail_input!("`verdict.yes` and `verdict.no` belong to `kind = \"yes_no\"`");
                }
                if verdict.seed.is_some() && !verdict.blind {
                    bail_input!("`verdict.seed` belongs to `verdict.blind = true`");
                }
                let Thresholds { above_rejected, below_preferred, far_below_preferred } =
                    verdict.thresholds;
                let finite = [above_rejected, below_preferred, far_below_preferred]
                    .iter()
                    .all(|threshold| (0.0..=100.0).contains(threshold));
                if !finite || far_below_preferred < below_preferred {
                    bail_input!(
                        "`verdict.thresholds` must be in 0..=100, and `far_below_preferred` at least `below_preferred`"
                    );
                }
            }
        }
        Ok(())
    }
}

impl Stage {
    /// SHA-256 of its settings.
    pub fn sha256(&self) -> Result<String> {
        Ok(digest::of_bytes(toml::to_string(self)?.as_bytes()))
    }

    fn check(&self, name: &str, allowed: template::Allowed) -> Result<()> {
        template::check(&self.prompt, allowed).with_context(|| format!("`{name}.prompt`"))?;
        let unique: BTreeSet<_> = self.profile.iter().collect();
        if unique.len() < self.profile.len() {
            bail_input!("`{name}.profile` names a field twice");
        }
        for field in &self.profile {
            profile::label(field).with_context(|| format!("`{name}.profile`"))?;
        }
        if !(0.0..=2.0).contains(&self.temperature) {
            bail_input!("`{name}.temperature` must be in 0..=2, got `{}`", self.temperature);
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            bail_input!("`{name}.top_p` must be above 0 and at most 1, got `{}`", self.top_p);
        }
        if self.max_tokens == 0 {
            bail_input!("`{name}.max_tokens` must be at least 1, got `0`");
        }
        Ok(())
    }
}

/// The placeholders that a stage's prompt must have, and those it may have.
fn allowed(stage: &str, kind: Kind) -> template::Allowed {
    match (stage, kind) {
        ("answer", _) => template::Allowed { needed: &["question"], optional: &["profile"] },
        (_, Kind::YesNo) => template::Allowed {
            needed: &["answer", "question"],
            optional: &["profile", "preferences", "reference", "rejected"],
        },
        (_, Kind::Scores) => template::Allowed {
            needed: &["answer", "first", "question", "roles", "second"],
            optional: &["profile", "preferences"],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(changes: &[(&str, &str)], preset: usize) -> String {
        let mut text = PRESETS[preset].1.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        format!("{:#}", Protocol::parse(&text, "p.toml").unwrap_err())
    }

    #[test]
    fn the_protocols_in_the_binary_are_the_papers_and_its_successors() {
        let paper = Protocol::load("paa-paper.toml").unwrap();
        assert_eq!((paper.kind, paper.answer.max_tokens), (Kind::YesNo, 512));
        assert!((paper.answer.temperature - 0.7).abs() < 1e-12);
        let successor = Protocol::load("paa-polyjudge.toml").unwrap();
        assert_eq!(successor.verdict.thresholds, Thresholds::default());
        assert!(successor.verdict.blind);
        let error = Protocol::load("paa-pap.toml").unwrap_err();
        assert!(InputError::of(&error).unwrap().remedy().unwrap().contains("`paa-paper.toml`"));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (preset, from, to, expected) in [
            (0, "top_p = 1.0", "top_k = 3", "unknown field `top_k`"),
            (0, "top_p = 1.0", "top_p = 0.0", "`answer.top_p` must be above 0"),
            (0, "temperature = 0.7", "temperature = nan", "`answer.temperature` must be in 0..=2"),
            (0, "Question: {question}", "Question: {qestion}", "`{qestion}`"),
            (0, "Question: {question}", "Question:", "`{question}`"),
            (0, "\"education\", \"birth", "\"shoe_size\", \"birth", "`shoe_size`"),
            (0, "no = [\"no\"]", "no = [\"yes\"]", "both list `yes`"),
            (0, "repetitions = 1", "repetitions = 0", "`verdict.repetitions`"),
            (0, "kind = \"yes_no\"", "kind = \"scores\"", "{"),
            (0, "repetitions = 1", "repetitions = 3", "at `judge.temperature` 0 each is the same"),
            (0, "repetitions = 1", "repetitions = 1\nseed = 0", "`verdict.seed`"),
            (1, "blind = true\n", "blind = false\n", "`verdict.seed` belongs to `verdict.blind"),
            (1, "below_preferred = 3.0", "below_preferred = 9.0", "`verdict.thresholds`"),
            (
                1,
                "blind = true\n",
                "blind = true\nyes = [\"yes\"]\n",
                "belong to `kind = \"yes_no\"`",
            ),
        ] {
            let message = error(&[(from, to)], preset);
            assert!(message.contains("p.toml") && message.contains(expected), "{message}");
        }
    }
}
