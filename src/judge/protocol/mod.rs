//! A protocol file, such as `paa-paper.toml`, in; the messages of stage 1 and stage 2 out.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk::{digest, read};
use crate::error::InputError;
use crate::judge::chat::request::Parameters;
use crate::metrics::paa::Thresholds;

mod check;
pub mod messages;
mod profile;
pub mod template;

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

/// The text of the file `path_or_preset`, or of the one of `presets`, name and text each, if there is no such file. `in_binary`: begins the
/// hint that names them.
pub fn text_of(path_or_preset: &str, presets: &[(&str, &str)], in_binary: &str) -> Result<String> {
    match read::text(Path::new(path_or_preset)) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let preset = presets.iter().find(|(name, _)| *name == path_or_preset);
            let names: Vec<_> = presets.iter().map(|(name, _)| format!("`{name}`")).collect();
            let missing = || {
                InputError::new(format!("`{path_or_preset}`: no such file"))
                    .hint(format!("{in_binary} {}", names.join(" and ")))
            };
            Ok(preset.ok_or_else(missing)?.1.to_owned())
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(InputError::new(format!("{path_or_preset}: expected a TOML file in UTF-8")).into())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read `{path_or_preset}`")),
    }
}

/// What the TOML `text` of the file `name` says, once `check` finds nothing wrong with it.
pub fn parse_checked<T: DeserializeOwned>(
    text: &str,
    name: &str,
    check: impl FnOnce(&T) -> Result<()>,
) -> Result<T> {
    let parsed: T = toml::from_str(text)
        .map_err(|error| InputError::new(format!("{name}: {}", error.to_string().trim())))?;
    check(&parsed).with_context(|| name.to_owned())?;
    Ok(parsed)
}

impl Protocol {
    /// Reads the file `path_or_preset`, or the protocol of that name in the binary if there is no such file.
    pub fn load(path_or_preset: &str) -> Result<Self> {
        let in_binary = "the protocols in the binary are";
        Self::parse(&text_of(path_or_preset, &PRESETS, in_binary)?, path_or_preset)
    }

    /// Reads a protocol from `text`; `name`: for messages.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        parse_checked(text, name, Self::check)
    }

    /// SHA-256 of all settings.
    pub fn sha256(&self) -> Result<String> {
        Ok(digest::of_bytes(toml::to_string(self)?.as_bytes()))
    }
}

impl Stage {
    /// How `model` is asked at an endpoint.
    pub fn parameters(&self, model: &str) -> Parameters {
        Parameters::of_stage(model, [self.temperature, self.top_p], self.max_tokens, &self.extra)
    }

    /// SHA-256 of its settings.
    pub fn sha256(&self) -> Result<String> {
        Ok(digest::of_bytes(toml::to_string(self)?.as_bytes()))
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
