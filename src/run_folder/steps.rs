//! `train.jsonl` as a report reads it: what is there, and what could not be read counted.

use std::path::Path;

use serde::Deserialize;

use crate::error::InputError;

/// One optimizer step; a field that is missing or null is none, as a loss that was not finite is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Optimizer steps done.
    pub step: usize,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss.
    pub loss: Option<f64>,
    /// Mean reward of the chosen answers less that of the rejected ones.
    #[serde(rename = "rewards/margins")]
    pub margin: Option<f64>,
    /// Share of pairs with a positive margin.
    #[serde(rename = "rewards/accuracies")]
    pub accuracy: Option<f64>,
    /// Mean summed log-probability of the chosen answers, nats.
    #[serde(rename = "logps/chosen")]
    pub chosen_logps: Option<f64>,
    /// The same of the rejected answers.
    #[serde(rename = "logps/rejected")]
    pub rejected_logps: Option<f64>,
    /// Pairs of the step.
    pub pairs: usize,
    /// Wall time, seconds.
    pub step_time_s: Option<f64>,
    /// Tokens computed per second.
    pub tokens_per_second: Option<f64>,
    /// The most memory held so far, GiB.
    pub peak_memory_gib: Option<f64>,
    /// Share of the machine's matmul rate.
    pub mfu: Option<f64>,
    /// Whether the step was left out.
    pub skipped: bool,
}

/// The steps of a log, in the order of their numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steps {
    /// The steps; of a number that is there twice, the later line.
    pub steps: Vec<Step>,
    /// Numbers of the lines that are no record.
    pub broken_lines: Vec<usize>,
}

impl Steps {
    /// Reads the log; one that is not there has no steps. Bytes that are not UTF-8 break the line that they are in.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let bytes = std::fs::read(path).map_err(|error| {
            InputError::new(format!("cannot read `{}`: {error}", path.display()))
        })?;
        let mut log = Self::default();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Step>(line) {
                Ok(step) if step.step > 0 => log.steps.push(step),
                _ => log.broken_lines.push(index + 1),
            }
        }
        log.steps.reverse();
        log.steps.sort_by_key(|step| step.step);
        log.steps.dedup_by_key(|step| step.step);
        Ok(log)
    }

    /// What is said of the lines that are no record.
    pub fn note(&self, path: &Path) -> Option<String> {
        let first = self.broken_lines.first()?;
        let count = self.broken_lines.len();
        let (is, are) = if count == 1 { ("line is", "") } else { ("lines are", "; the first is ") };
        let place =
            if count == 1 { format!(": line {first}") } else { format!("{are}line {first}") };
        Some(format!("`{}`: {count} {is} no record of a step and left out{place}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lines_are_left_out_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        assert_eq!(Steps::read(&path).unwrap(), Steps::default());
        let mut text =
            b"{\"step\": 2, \"loss\": 0.5}\n{\"step\": 1, \"loss\": null}\n\nhalf a l\n".to_vec();
        text.extend(b"{\"step\": \"x\"}\n\xff\xfe\n{\"step\": 2, \"loss\": 0.25}\n{}\n");
        std::fs::write(&path, text).unwrap();
        let log = Steps::read(&path).unwrap();
        let losses: Vec<_> = log.steps.iter().map(|step| (step.step, step.loss)).collect();
        assert_eq!(losses, [(1, None), (2, Some(0.25))]);
        assert_eq!(log.broken_lines, [4, 5, 6, 8]);
        assert!(log.note(&path).unwrap().ends_with(
            "train.jsonl`: 4 lines are no record of a step and left out; the first is line 4"
        ));
    }
}
