//! `eval/samples.jsonl`: answers to fixed prompts, one record per state of the model and prompt, the base model first.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::disk::json_lines::{self, Logged};

/// An answer to one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// Optimizer steps done; 0 for the base model and for the start of training.
    pub step: usize,
    /// Place of the prompt among those that are answered, from 0.
    pub row: usize,
    /// The prompt's id.
    pub id: String,
    /// The prompt as the model reads it.
    pub prompt: String,
    /// The answer, greedily generated.
    pub answer: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer, with the one that ended it.
    pub generated_tokens: usize,
    /// Whether the model ended the answer; otherwise `max_new_tokens` or the context cut it.
    pub ended: bool,
    /// Mean KL divergence from the reference over the tokens of this answer, in nats; left out of the base model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// SHA-256 of the adapter's weights; left out of the base model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_sha256: Option<String>,
    /// Digest of base model, prompts and settings: records of others are not of this run.
    pub settings: String,
}

impl SampleRecord {
    /// Whether it is the base model's.
    pub fn is_base(&self) -> bool {
        self.adapter_sha256.is_none()
    }
}

/// Means over the answers of one state of the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleMeans {
    /// Tokens of an answer.
    pub length: f64,
    /// Share of the answers that were cut.
    pub clipped: f64,
    /// KL divergence from the reference per token, the mean over the answers; none for the base model.
    pub kl: Option<f64>,
}

impl SampleMeans {
    /// The means over `records`; none without one.
    pub fn of(records: &[SampleRecord]) -> Option<Self> {
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (count, sum) = values.fold((0usize, 0.0), |(n, sum), x| (n + 1, sum + x));
            (count > 0).then(|| sum / count as f64)
        };
        Some(Self {
            length: mean(&mut records.iter().map(|record| record.generated_tokens as f64))?,
            clipped: mean(&mut records.iter().map(|record| f64::from(u8::from(!record.ended))))?,
            kl: mean(&mut records.iter().filter_map(|record| record.kl)),
        })
    }
}

/// The records of each state of the model, in order: the base model, then the steps.
pub fn states(records: &[SampleRecord]) -> impl Iterator<Item = &[SampleRecord]> {
    records.chunk_by(|a, b| (a.step, a.is_base()) == (b.step, b.is_base()))
}

/// The base model's records.
pub fn base(records: &[SampleRecord]) -> &[SampleRecord] {
    states(records).next().filter(|state| state[0].is_base()).unwrap_or(&[])
}

/// The open file.
pub struct SampleLog {
    path: PathBuf,
    settings: String,
    prompts: usize,
    records: Vec<SampleRecord>,
    broken_lines: Vec<usize>,
}

impl SampleLog {
    /// Opens the file of answers to `prompts` prompts. Drops broken lines, and records of other `settings`.
    pub fn open(path: &Path, settings: String, prompts: usize) -> Result<Self> {
        let Logged { records, broken_lines } = json_lines::read_log::<SampleRecord>(path)?;
        let mut records: Vec<_> =
            records.into_iter().filter(|record| record.settings == settings).collect();
        sort(&mut records);
        Ok(Self { path: path.to_owned(), settings, prompts, records, broken_lines })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Digest of base model, prompts and settings.
    pub fn settings(&self) -> &str {
        &self.settings
    }

    /// Numbers of the lines that were dropped because their digest did not match, from 1.
    pub fn broken_lines(&self) -> &[usize] {
        &self.broken_lines
    }

    /// The records so far, by state and prompt.
    pub fn records(&self) -> &[SampleRecord] {
        &self.records
    }

    /// The records of an adapter after `step` steps, or of the base model without one; none unless every prompt is answered.
    pub fn of(&self, step: usize, adapter: Option<&str>) -> Option<&[SampleRecord]> {
        let is_whole = |state: &&[SampleRecord]| {
            state.len() == self.prompts
                && state[0].step == step
                && state.iter().all(|record| record.adapter_sha256.as_deref() == adapter)
        };
        states(&self.records).find(is_whole)
    }

    /// Whether every prompt is answered by some adapter after `step` steps.
    pub fn has(&self, step: usize) -> bool {
        let is_there =
            |state: &[SampleRecord]| state[0].step == step && state.len() == self.prompts;
        states(&self.records).any(|state| is_there(state) && !state[0].is_base())
    }

    /// Adds the records of one state, in place of any others of it. The file is replaced atomically.
    pub fn push(&mut self, new: Vec<SampleRecord>) -> Result<()> {
        let Some(first) = new.first() else { return Ok(()) };
        let state = (first.step, first.is_base());
        self.records.retain(|record| (record.step, record.is_base()) != state);
        self.records.extend(new);
        sort(&mut self.records);
        self.write()
    }

    /// Keeps the records of the steps that `is_kept`. The file is replaced if that drops one, or if it had broken lines.
    pub fn retain(&mut self, is_kept: impl Fn(usize) -> bool) -> Result<()> {
        let before = self.records.len();
        self.records.retain(|record| is_kept(record.step));
        if self.records.len() == before && self.broken_lines.is_empty() {
            return Ok(());
        }
        self.write()
    }

    fn write(&mut self) -> Result<()> {
        json_lines::write(&self.path, &self.records)?;
        self.broken_lines.clear();
        Ok(())
    }
}

fn sort(records: &mut [SampleRecord]) {
    records.sort_by_key(|record| (record.step, !record.is_base(), record.row));
}

/// Records for tests: the answers of a state to `answers.len()` prompts.
#[cfg(test)]
pub(crate) fn state_of(step: usize, adapter: Option<&str>, answers: &[&str]) -> Vec<SampleRecord> {
    let record = |(row, answer): (usize, &&str)| SampleRecord {
        step,
        row,
        id: format!("p:{row}"),
        prompt: format!("Why {row}?"),
        answer: (*answer).to_owned(),
        prompt_tokens: 3,
        generated_tokens: answer.len(),
        ended: row == 0,
        kl: adapter.map(|_| 0.5),
        adapter_sha256: adapter.map(str::to_owned),
        settings: "s".to_owned(),
    };
    answers.iter().enumerate().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_there_when_every_prompt_is_answered_by_that_adapter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval/samples.jsonl");
        let open = || SampleLog::open(&path, "s".into(), 2).unwrap();
        let mut log = open();
        log.push(state_of(3, Some("a"), &["x", "yy"])).unwrap();
        log.push(state_of(0, None, &["b", "c"])).unwrap();
        log.push(state_of(6, Some("b"), &["only one"])).unwrap();
        let log = open();
        assert_eq!(log.of(3, Some("a")).unwrap()[1].answer, "yy");
        assert_eq!(log.of(3, Some("other")), None);
        assert!(log.of(0, None).is_some() && !log.has(0), "the base model is no adapter");
        assert!(log.has(3) && !log.has(6) && !log.has(4));
        assert_eq!(base(log.records()).len(), 2);
        let steps: Vec<_> = states(log.records()).map(|state| state[0].step).collect();
        assert_eq!(steps, [0, 3, 6]);
        assert!(SampleLog::open(&path, "other prompts".into(), 2).unwrap().records().is_empty());
    }

    #[test]
    fn a_broken_line_takes_its_state_along_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.jsonl");
        let mut log = SampleLog::open(&path, "s".into(), 2).unwrap();
        log.push(state_of(0, None, &["b", "c"])).unwrap();
        log.push(state_of(3, Some("a"), &["x", "yy"])).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"yy\"", "\"zz\"")).unwrap();
        let mut log = SampleLog::open(&path, "s".into(), 2).unwrap();
        assert_eq!(log.broken_lines(), [4]);
        assert!(log.of(0, None).is_some() && !log.has(3));
        log.retain(|step| step < 3).unwrap();
        let again = SampleLog::open(&path, "s".into(), 2).unwrap();
        assert_eq!((again.broken_lines().len(), again.records().len()), (0, 2));
    }

    #[test]
    fn means_are_those_of_a_calculation_by_hand() {
        let means = SampleMeans::of(&state_of(3, Some("a"), &["x", "yyyy"])).unwrap();
        assert_eq!(means, SampleMeans { length: 2.5, clipped: 0.5, kl: Some(0.5) });
        assert_eq!(SampleMeans::of(&state_of(0, None, &["x"])).unwrap().kl, None);
        assert_eq!(SampleMeans::of(&[]), None);
    }
}
