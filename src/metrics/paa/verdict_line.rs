//! One line of `verdicts-MODEL.jsonl`: what the judges said of one answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::disk::json_lines::Line;
use crate::metrics::paa::{Judged, Scores, Verdict, majority};

/// What the judges said of one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictLine {
    /// Id of the record.
    pub id: String,
    /// Whose question it is.
    pub user: Option<String>,
    /// Country of the record.
    pub country: Option<String>,
    /// Stem of the file of the record.
    pub source: String,
    /// Demographic fields of the record.
    pub groups: BTreeMap<String, String>,
    /// The question.
    pub question: String,
    /// The answer; empty where there is none.
    pub answer: String,
    /// The verdict of all judges together.
    pub verdict: Verdict,
    /// The scores of a single judge; none of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// The value dimensions that a single judge of scores says it used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<String>,
    /// The judge, or `majority`.
    pub judge: String,
    /// The reason that a single judge gave, or why there is no verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What each judge and each repetition said, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opinions: Vec<Opinion>,
}

/// What one judge said in one repetition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// The judge.
    pub judge: String,
    /// Which repetition, from 0.
    pub repetition: u32,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// The value dimensions that it says it used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<String>,
    /// Its reason, or why there is no verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&VerdictLine> for Judged {
    fn from(line: &VerdictLine) -> Self {
        let opinions = match &line.opinions[..] {
            [] => vec![line.verdict],
            several => independent(several),
        };
        Self {
            id: line.id.clone(),
            user: line.user.clone(),
            source: line.source.clone(),
            groups: line.groups.clone(),
            verdict: line.verdict,
            opinions,
        }
    }
}

/// The verdicts that can agree or not: each judge's own, all its repetitions together, or the repetitions of a single judge.
fn independent(opinions: &[Opinion]) -> Vec<Verdict> {
    let mut of_judge: Vec<(&str, Vec<Verdict>)> = Vec::new();
    for opinion in opinions {
        match of_judge.iter_mut().find(|(judge, _)| *judge == opinion.judge) {
            Some((_, own)) => own.push(opinion.verdict),
            None => of_judge.push((&opinion.judge, vec![opinion.verdict])),
        }
    }
    match &mut of_judge[..] {
        [(_, repetitions)] => std::mem::take(repetitions),
        judges => judges.iter().map(|(_, own)| majority(own)).collect(),
    }
}

impl Line for VerdictLine {
    const NOUN: &'static str = "the verdict on an answer";
    const SKIPS_BLANK_LINES: bool = false;

    fn check(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_of_one_judge_do_not_agree_in_place_of_two_judges() {
        use Verdict::{No, Yes};
        let opinion = |judge: &str, repetition, verdict| Opinion {
            judge: judge.into(),
            repetition,
            verdict,
            scores: None,
            dimensions: Vec::new(),
            reason: None,
        };
        let one = [opinion("a", 0, Yes), opinion("a", 1, No), opinion("a", 2, Yes)];
        assert_eq!(independent(&one), [Yes, No, Yes]);
        let two = [&one[..], &[opinion("b", 0, No), opinion("b", 1, No), opinion("b", 2, Yes)]];
        assert_eq!(independent(&two.concat()), [Yes, No]);
    }
}
