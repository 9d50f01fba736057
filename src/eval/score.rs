//! What is known of one pair once both models have read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
