//! The KL divergence of a policy from its reference on held-out answers: how far tuning moved the model's predictions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Mean over answers of the KL divergence per token, in nats: exact over the whole vocabulary at every scored token of the answer. The
/// reference itself has 0, its null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kl {
    /// The mean.
    pub value: f64,
    /// Standard error of the mean, by users; none with fewer than two users.
    pub standard_error: Option<f64>,
    /// Answers with a scored token.
    pub answers: usize,
    /// Scored tokens of those.
    pub tokens: usize,
}

/// The divergence along one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnswerKl<'a> {
    /// Who stated the preference; an answer without a user is a cluster of its own.
    pub user: Option<&'a str>,
    /// Mean over the scored tokens, in nats.
    pub per_token: f64,
    /// Scored tokens, at least 1.
    pub tokens: usize,
}

impl Kl {
    /// The mean over `answers`; none without an answer, and where a divergence is not finite.
    pub fn measure(answers: &[AnswerKl<'_>]) -> Option<Self> {
        let n = answers.len() as f64;
        let value = answers.iter().map(|answer| answer.per_token).sum::<f64>() / n;
        if !value.is_finite() {
            return None;
        }
        let mut users: BTreeMap<&str, f64> = BTreeMap::new();
        let mut residuals = Vec::new();
        for answer in answers {
            let residual = answer.per_token - value;
            match answer.user {
                Some(user) => *users.entry(user).or_default() += residual,
                None => residuals.push(residual),
            }
        }
        residuals.extend(users.into_values());
        let clusters = residuals.len() as f64;
        let squares: f64 = residuals.iter().map(|sum| sum * sum).sum();
        let standard_error =
            (clusters > 1.0).then(|| (clusters / (clusters - 1.0) * squares).sqrt() / n);
        let tokens = answers.iter().map(|answer| answer.tokens).sum();
        Some(Self { value, standard_error, answers: answers.len(), tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(user: Option<&str>, per_token: f64) -> AnswerKl<'_> {
        AnswerKl { user, per_token, tokens: 3 }
    }

    #[test]
    fn a_mean_has_the_standard_error_of_its_users() {
        let alone = [1.0, 2.0, 6.0].map(|x| answer(None, x));
        let kl = Kl::measure(&alone).unwrap();
        // Variance 7 of 3 values: sqrt(7 / 3).
        assert!((kl.value - 3.0).abs() <= 1e-15);
        assert!((kl.standard_error.unwrap() - (7.0f64 / 3.0).sqrt()).abs() <= 1e-15);
        assert_eq!((kl.answers, kl.tokens), (3, 9));
        // The first two of one user: residuals -3 and 3, so sqrt(2 * 18) / 3 = 2.
        let together = [answer(Some("u"), 1.0), answer(Some("u"), 2.0), answer(Some("v"), 6.0)];
        assert!((Kl::measure(&together).unwrap().standard_error.unwrap() - 2.0).abs() <= 1e-15);
    }

    #[test]
    fn one_user_has_no_standard_error_and_nothing_or_infinity_no_mean() {
        assert_eq!(Kl::measure(&[answer(Some("u"), 1.0); 2]).unwrap().standard_error, None);
        assert_eq!(Kl::measure(&[]), None);
        assert_eq!(Kl::measure(&[answer(None, f64::INFINITY)]), None);
        let zero = Kl::measure(&[answer(None, 0.0); 4]).unwrap();
        assert_eq!((zero.value.to_bits(), zero.standard_error), (0, Some(0.0)));
    }
}
