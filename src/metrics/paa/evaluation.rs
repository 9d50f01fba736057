//! Verdicts on the answers of several models, measured: the content of `paa.json`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::disk::{atomic, read, seal};
use crate::error::InputError;
use crate::metrics::paa::models::{CountryMean, PaaDifference};
use crate::metrics::paa::{Calibration, ModelResult, Thresholds};

/// What the judges say of all models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaaEvaluation {
    /// Version of this program.
    pub version: String,
    /// The command as it was typed.
    pub command: String,
    /// When the verdicts were complete, `2026-11-26 12:00 UTC`.
    pub date: String,
    /// How it was judged.
    pub protocol: ProtocolUsed,
    /// Who judged.
    pub judges: Vec<JudgeUsed>,
    /// The files of the items.
    pub data: Vec<DataFile>,
    /// Fewest answers of a group with a figure.
    pub minimum_n: usize,
    /// How often the verdict of all judges together is right on reference answers; none where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Every model, in the order in which they were named.
    pub models: Vec<JudgedModel>,
    /// Each model against each later one.
    pub differences: Vec<PaaDifference>,
    /// Each country over all models, the largest first.
    pub countries: Vec<CountryMean>,
    /// US dollars of all requests to judges; none without prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// SHA-256 of each file of verdicts, by its name.
    pub files: BTreeMap<String, String>,
}

/// A protocol as it was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProtocolUsed {
    /// The file or the preset, such as `paa-paper.toml`.
    pub name: String,
    /// SHA-256 of all its settings.
    pub sha256: String,
    /// `yes_no` or `scores`.
    pub kind: String,
    /// Whether a judge of scores is not told which reference answer is the preferred one.
    pub blind: bool,
    /// Times that each judge judges each answer.
    pub repetitions: u32,
    /// Sampling temperature of the judges.
    pub temperature: f64,
    /// From scores to a verdict; none for Yes and No.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
}

/// One judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeUsed {
    /// Its model's name, or `rule`.
    pub name: String,
    /// Where it is: a preset, a base URL, a model's folder; empty for the rule.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// Digest of the weights and the adapter of a local model; empty for another judge.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// The names under which the endpoint says it answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<String>,
    /// How often this judge alone is right on reference answers; none where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Replies that could not be read, also after a reminder.
    pub unparsed: usize,
    /// Requests without a reply.
    pub failed: usize,
}

/// A file of items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its path as given.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its items.
    pub n: usize,
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredBy {
    /// The model: its name at the endpoint, its folder or its hub id.
    pub model: String,
    /// The endpoint, a preset or a base URL; empty for a local model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// The names under which the endpoint says it answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<String>,
    /// Folder of the adapter; empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub adapter: String,
    /// Digest of a local model's weights, adapter, tokenizer and chat template; empty for an endpoint.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// One model's figures and where they are from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedModel {
    /// The figures.
    #[serde(flatten)]
    pub result: ModelResult,
    /// Who answered; none where the answers do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<AnsweredBy>,
    /// SHA-256 of the answers' file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answers_sha256: String,
    /// SHA-256 of the settings of stage 1 under which it answered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asked_sha256: String,
    /// Answers that are blank; they are judged as any other.
    #[serde(default)]
    pub blank: usize,
    /// Answers that the limit of tokens cut.
    pub cut: usize,
    /// The file of its verdicts, beside `paa.json`.
    pub verdicts: String,
}

impl PaaEvaluation {
    /// Writes the file `path` atomically, with its digest.
    pub fn write(&self, path: &Path) -> Result<()> {
        atomic::write(path, |out| Ok(out.write_all(&seal::indented(self)?)?))
    }

    /// Reads what [`Self::write`] wrote; none if the file does not exist. Refuses a file that is not that, or that its digest does
    /// not match.
    pub fn read_if_there(path: &Path) -> Result<Option<Self>> {
        let Some(bytes) = read::if_there(path)? else { return Ok(None) };
        let broken = |why: &dyn std::fmt::Display| {
            InputError::new(format!(
                "`{}` is not what `mvpbench judge` wrote: {why}",
                path.display()
            ))
            .hint("run the command that wrote it again: it measures anew and asks no judge twice")
        };
        let object = seal::open(&bytes).map_err(|error| broken(&error))?;
        Ok(Some(serde_json::from_slice(&object).map_err(|error| broken(&error))?))
    }
}
