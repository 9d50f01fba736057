//! The metrics of scores. Each is the mean of one number per pair.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::dpo;
use crate::metrics::score::PairScore;

/// Thresholds d of [`Metric::OpaMarginMean`], nats per token (DiverValue-Bench, IJCAI 2026).
pub const OPA_MARGIN_THRESHOLDS: [f64; 6] = [0.0, 0.2, 2.0, 4.0, 6.0, 8.0];

/// A metric of scores alone. `s` is an answer's summed log-probability, `m` its mean per token, `w` the preferred
/// answer and `l` the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share with `s_policy(w) - s_policy(l) > s_ref(w) - s_ref(l)`, strictly (the paper's Eq. 3).
    Opa,
    /// Share with `s_policy(w) > s_policy(l)`, strictly.
    PreferenceAccuracy,
    /// Share with `m_policy(w) > m_policy(l)`, strictly. A `w` without a scored token has no mean and is not above one.
    PreferenceAccuracyNormalized,
    /// Mean over d in [`OPA_MARGIN_THRESHOLDS`] of the share with `m_policy(w) - m_policy(l) > d`, in which a `w` without a scored token
    /// has no part.
    OpaMarginMean,
    /// Mean of [`PairScore::reward_margin`], TRL's `rewards/margins`.
    RewardMarginMean,
    /// Mean of `-log sigmoid(reward margin)`, TRL's `eval_loss`: the loss with `loss = "sigmoid"` and no label smoothing, whatever loss
    /// was trained.
    DpoLoss,
}

impl Metric {
    /// Every metric, in the order of reports.
    pub const ALL: [Self; 6] = [
        Self::Opa,
        Self::PreferenceAccuracy,
        Self::PreferenceAccuracyNormalized,
        Self::OpaMarginMean,
        Self::RewardMarginMean,
        Self::DpoLoss,
    ];

    /// The key in `eval/{before,after}.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opa => "opa",
            Self::PreferenceAccuracy => "preference_accuracy",
            Self::PreferenceAccuracyNormalized => "preference_accuracy_normalized",
            Self::OpaMarginMean => "opa_margin_mean",
            Self::RewardMarginMean => "reward_margin_mean",
            Self::DpoLoss => "dpo_loss",
        }
    }

    /// Whether the figure lies in 0..=1 and is shown in percent.
    pub fn is_share(self) -> bool {
        !matches!(self, Self::RewardMarginMean | Self::DpoLoss)
    }

    /// This pair's term of the mean.
    pub fn of(self, score: &PairScore, beta: f64) -> f64 {
        match self {
            Self::Opa | Self::PreferenceAccuracy | Self::PreferenceAccuracyNormalized => {
                f64::from(u8::from(self.compare(score) == Some(Ordering::Greater)))
            }
            Self::OpaMarginMean if score.chosen_tokens == 0 => 0.0,
            Self::OpaMarginMean => {
                let margin = score.policy_mean_margin();
                let exceeded =
                    OPA_MARGIN_THRESHOLDS.iter().filter(|&&threshold| margin > threshold).count();
                exceeded as f64 / OPA_MARGIN_THRESHOLDS.len() as f64
            }
            Self::RewardMarginMean => score.reward_margin(beta),
            Self::DpoLoss => dpo::sigmoid_loss(score.reward_margin(beta)),
        }
    }

    /// The comparison that a strict metric wins with `Greater` and ties with `Equal`; none for the others.
    pub(crate) fn compare(self, score: &PairScore) -> Option<Ordering> {
        match self {
            Self::Opa => score.policy_margin().partial_cmp(&score.reference_margin()),
            Self::PreferenceAccuracy => {
                score.policy_chosen_logps.partial_cmp(&score.policy_rejected_logps)
            }
            // A mean of no token wins nothing.
            Self::PreferenceAccuracyNormalized
                if score.chosen_tokens == 0 && score.rejected_tokens > 0 =>
            {
                Some(Ordering::Less)
            }
            Self::PreferenceAccuracyNormalized => {
                score.policy_chosen_mean().partial_cmp(&score.policy_rejected_mean())
            }
            Self::OpaMarginMean | Self::RewardMarginMean | Self::DpoLoss => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::score::pair_of;

    /// The authors' scripts divide 0 by 0 there, and NaN is above nothing.
    #[test]
    fn a_preferred_answer_without_a_scored_token_wins_no_mean() {
        let mut score = pair_of("a", None, [0.0, -4.0, 0.0, -4.0]);
        score.chosen_tokens = 0;
        for metric in [Metric::PreferenceAccuracyNormalized, Metric::OpaMarginMean] {
            assert_eq!(metric.of(&score, 0.1).to_bits(), 0f64.to_bits(), "{}", metric.name());
        }
        assert_eq!(Metric::PreferenceAccuracyNormalized.compare(&score), Some(Ordering::Less));
        assert_eq!(Metric::PreferenceAccuracy.of(&score, 0.1).to_bits(), 1f64.to_bits());
        score.rejected_tokens = 0;
        score.policy_rejected_logps = 0.0;
        assert_eq!(Metric::PreferenceAccuracyNormalized.compare(&score), Some(Ordering::Equal));
    }

    #[test]
    fn a_metric_is_written_under_its_name() {
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }
}
