//! Generated answers of a run, and how near they are to the preferred ones (SPMR, the paper's Eq. 4).

use std::path::Path;

use serde::Deserialize;

use crate::error::InputError;
use crate::eval::Figure;
use crate::eval::bootstrap::{self, Clusters};

/// Cosine that an answer must exceed, unless the run's configuration says otherwise: the paper's.
pub const THRESHOLD: f64 = 0.8;

/// One line of `eval/generations-<set>-{before,after}.jsonl`; other fields are passed over.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Answer {
    /// The pair's id.
    pub id: String,
    /// Who stated the preference.
    #[serde(default)]
    pub user: Option<String>,
    /// What the model was given.
    pub prompt: String,
    /// What it answered.
    pub generation: String,
    /// The preferred answer.
    #[serde(default, alias = "reference_answer", alias = "answer_w")]
    pub reference: Option<String>,
    /// Cosine of the embeddings of both.
    #[serde(default)]
    pub cosine: Option<f64>,
}

/// The answers of one set in one state of the model, and the lines that are none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// The answers, in order.
    pub answers: Vec<Answer>,
    /// How many lines are no answer.
    pub broken_lines: usize,
}

impl Answers {
    /// Reads the file; one that is not there has no answers.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let bytes = std::fs::read(path).map_err(|error| {
            InputError::new(format!("cannot read `{}`: {error}", path.display()))
        })?;
        let mut all = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(answer) => all.answers.push(answer),
                Err(_) => all.broken_lines += 1,
            }
        }
        Ok(all)
    }

    /// The cosines that are known and finite, with whose they are.
    pub fn cosines(&self) -> Vec<(Option<&str>, f64)> {
        let known = |answer: &'_ Answer| answer.cosine.filter(|cosine| cosine.is_finite());
        let own = self.answers.iter();
        own.filter_map(|answer| Some((answer.user.as_deref(), known(answer)?))).collect()
    }

    /// Share of the cosines above `threshold`, strictly, with an interval clustered by user; none without a cosine.
    pub fn spmr(&self, threshold: f64, seed: u64) -> Option<Figure> {
        let cosines = self.cosines();
        let rows: Vec<[f64; 1]> =
            cosines.iter().map(|(_, cosine)| [f64::from(u8::from(*cosine > threshold))]).collect();
        let clusters = Clusters::by_user(cosines.iter().map(|(user, _)| *user));
        let interval = bootstrap::intervals(&rows, &clusters, seed).map(|[interval]| interval);
        let ties =
            cosines.iter().filter(|(_, cosine)| cosine.total_cmp(&threshold).is_eq()).count();
        (!rows.is_empty()).then(|| Figure {
            value: rows.iter().map(|row| row[0]).sum::<f64>() / rows.len() as f64,
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            n: rows.len(),
            ties: Some(ties),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spmr_is_strict_and_what_is_no_answer_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("generations-a-after.jsonl");
        let line = |id: &str, cosine: &str| {
            format!(
                "{{\"id\": \"{id}\", \"prompt\": \"p\", \"generation\": \"g\", \"cosine\": {cosine}, \"new\": 1}}\n"
            )
        };
        let text =
            [line("a", "0.9"), line("b", "0.8"), line("c", "0.1"), line("d", "null")].concat();
        std::fs::write(&path, format!("{text}{{\"id\": 1}}\n")).unwrap();
        let answers = Answers::read(&path).unwrap();
        assert_eq!((answers.answers.len(), answers.broken_lines), (4, 1));
        let spmr = answers.spmr(THRESHOLD, 12).unwrap();
        assert!((spmr.value - 1.0 / 3.0).abs() <= 1e-12 && spmr.ties == Some(1) && spmr.n == 3);
        assert_eq!(Answers::read(&folder.path().join("none")).unwrap().spmr(0.8, 12), None);
    }
}
