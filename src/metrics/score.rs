//! The scores of one pair under both models, and their JSONL file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bail_input;
use crate::disk::json_lines::{self, Line};

/// One line of `eval/scores-<set>-{before,after}.jsonl`. All log-probabilities are sums over an answer's tokens, in nats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairScore {
    /// The pair's id.
    pub id: String,
    /// Who stated the preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Stem of the file the pair came from.
    pub source: String,
    /// Demographic fields of the record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, String>,
    /// `s_policy(w)`.
    pub policy_chosen_logps: f64,
    /// `s_policy(l)`.
    pub policy_rejected_logps: f64,
    /// `s_ref(w)`.
    pub reference_chosen_logps: f64,
    /// `s_ref(l)`.
    pub reference_rejected_logps: f64,
    /// Scored tokens of the preferred answer.
    pub chosen_tokens: usize,
    /// Scored tokens of the other answer.
    pub rejected_tokens: usize,
}

impl PairScore {
    /// `s_policy(w) - s_policy(l)`, in nats.
    pub fn policy_margin(&self) -> f64 {
        self.policy_chosen_logps - self.policy_rejected_logps
    }

    /// `s_ref(w) - s_ref(l)`, in nats.
    pub fn reference_margin(&self) -> f64 {
        self.reference_chosen_logps - self.reference_rejected_logps
    }

    /// `m_policy(w)`, nats per token. An answer cut down to no scored token has the sum 0 and, by definition, the mean 0.
    pub fn policy_chosen_mean(&self) -> f64 {
        per_token(self.policy_chosen_logps, self.chosen_tokens)
    }

    /// `m_policy(l)`, nats per token; 0 where no token was scored, as in [`Self::policy_chosen_mean`].
    pub fn policy_rejected_mean(&self) -> f64 {
        per_token(self.policy_rejected_logps, self.rejected_tokens)
    }

    /// `m_policy(w) - m_policy(l)`, nats per token.
    pub fn policy_mean_margin(&self) -> f64 {
        self.policy_chosen_mean() - self.policy_rejected_mean()
    }

    /// DPO's implicit reward of the preferred answer less that of the other: `beta * (policy margin - reference margin)`.
    pub fn reward_margin(&self, beta: f64) -> f64 {
        beta * (self.policy_margin() - self.reference_margin())
    }

    /// How many of the two answers have no scored token (0, 1 or 2): a mean counts them as 0, so reports name their number.
    pub fn unscored_sides(&self) -> usize {
        usize::from(self.chosen_tokens == 0) + usize::from(self.rejected_tokens == 0)
    }

    /// Refuses a NaN or an infinity in the sums, naming the pair's id and the field.
    pub fn check_finite(&self) -> anyhow::Result<()> {
        let fields = [
            ("policy_chosen_logps", self.policy_chosen_logps),
            ("policy_rejected_logps", self.policy_rejected_logps),
            ("reference_chosen_logps", self.reference_chosen_logps),
            ("reference_rejected_logps", self.reference_rejected_logps),
            ("policy margin", self.policy_margin()),
            ("reference margin", self.reference_margin()),
        ];
        match fields.into_iter().find(|(_, value)| !value.is_finite()) {
            Some((field, value)) => {
                bail_input!("pair `{}`: `{field}` must be finite, got `{value}`", self.id)
            }
            None => Ok(()),
        }
    }
}

fn per_token(sum: f64, tokens: usize) -> f64 {
    if tokens == 0 { 0.0 } else { sum / tokens as f64 }
}

impl Line for PairScore {
    const NOUN: &'static str = "a pair's scores";
    const SKIPS_BLANK_LINES: bool = true;

    fn check(&self) -> anyhow::Result<()> {
        self.check_finite()
    }
}

/// Writes one JSON line per pair, in order. The file appears whole or not at all; a score that is not finite is an error.
pub fn write_scores(path: &Path, scores: &[PairScore]) -> anyhow::Result<()> {
    json_lines::write_checked(path, scores)
}

/// Reads what [`write_scores`] wrote, as [`json_lines::read`] does; blank lines are allowed.
pub fn read_scores(path: &Path) -> anyhow::Result<Vec<PairScore>> {
    json_lines::read(path)
}

/// A pair for tests: `sums` are policy chosen, policy rejected, reference chosen, reference rejected; ten tokens a side.
#[cfg(test)]
pub(crate) fn pair_of(id: &str, user: Option<&str>, sums: [f64; 4]) -> PairScore {
    PairScore {
        id: id.into(),
        user: user.map(Into::into),
        source: "test".into(),
        groups: BTreeMap::new(),
        policy_chosen_logps: sums[0],
        policy_rejected_logps: sums[1],
        reference_chosen_logps: sums[2],
        reference_rejected_logps: sums[3],
        chosen_tokens: 10,
        rejected_tokens: 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::InputError;

    #[test]
    fn a_side_without_scored_tokens_has_mean_zero_and_is_counted() {
        let mut score = pair_of("a", None, [0.0, -4.0, 0.0, -4.0]);
        score.chosen_tokens = 0;
        assert_eq!(score.policy_chosen_mean().to_bits(), 0.0f64.to_bits());
        assert_eq!(score.policy_mean_margin().to_bits(), 0.4f64.to_bits());
        assert_eq!(score.unscored_sides(), 1);
    }

    #[test]
    fn scores_survive_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval/scores-a-before.jsonl");
        let mut first =
            pair_of("a \"quoted\"\n", Some("user1"), [-324.625, -0.1, -1e-300, -12345.6789]);
        first.groups.insert("country".into(), "Côte d'Ivoire".into());
        let scores =
            [first, pair_of("b", None, [-0.0, f64::from(-324.625_03f32), -1.0 / 3.0, -7.0])];
        write_scores(&path, &scores).unwrap();
        assert_eq!(read_scores(&path).unwrap(), scores);
    }

    #[test]
    fn a_nan_is_an_error_that_names_the_pair_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.jsonl");
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let scores =
                [pair_of("a", None, [-1.0; 4]), pair_of("odd", None, [-1.0, bad, -1.0, -1.0])];
            let error = write_scores(&path, &scores).unwrap_err();
            assert!(
                InputError::of(&error)
                    .unwrap()
                    .to_string()
                    .contains("pair `odd`: `policy_rejected_logps`")
            );
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_broken_line_is_named_by_file_line_and_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.jsonl");
        let sealed = |score: PairScore| {
            String::from_utf8(crate::disk::seal::on_a_line(&score).unwrap()).unwrap()
        };
        let good = sealed(pair_of("a", None, [-1.5; 4]));
        for (bad, expected) in [
            ("{", "scores.jsonl:3: not a pair's scores"),
            (&*good.replace("-1.5", "null").replace("\"a\"", "\"b\""), "scores.jsonl:3: pair `b`"),
            (
                &*good.replace("-1.5", "-1.6"),
                "pair `a`: not a pair's scores: its digest does not match",
            ),
            (&*good.replace("-1.5", "1e999"), "scores.jsonl:3: "),
            (&*good.replace("-1.5", "NaN"), "scores.jsonl:3: "),
        ] {
            std::fs::write(&path, format!("{good}\n\n{bad}\n")).unwrap();
            let error = read_scores(&path).unwrap_err();
            assert!(InputError::of(&error).is_some());
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        assert!(InputError::of(&read_scores(&folder.path().join("none")).unwrap_err()).is_some());
    }
}
