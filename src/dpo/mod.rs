//! The loss of one pair from its log-probabilities: DPO (Rafailov et al. 2023, Eq. 7) and its relatives, with an SFT term.

pub mod losses;

use crate::config::DpoSection;

/// One pair under the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLoss {
    /// The loss; in nats for the logistic ones.
    pub loss: f64,
    /// Gradient of the loss with respect to the summed log-probabilities of chosen and rejected.
    pub gradient: [f64; 2],
    /// `beta * (policy - reference)` of chosen and rejected; without a reference, `beta` times the policy's mean per token.
    pub rewards: [f64; 2],
}

impl PairLoss {
    /// Reward of chosen less reward of rejected.
    pub fn margin(&self) -> f64 {
        self.rewards[0] - self.rewards[1]
    }
}

/// The loss of a pair under the section `[dpo]`, and its gradient.
///
/// - `policy`, `reference`: summed log-probabilities of `[chosen, rejected]`, in nats; a loss without a reference reads
///   only the first.
/// - `tokens`: how many tokens each sum is over; an answer without any has the mean 0.
pub fn pair_loss(
    dpo: &DpoSection,
    policy: [f64; 2],
    reference: [f64; 2],
    tokens: [usize; 2],
) -> PairLoss {
    let per_token = tokens.map(|n| 1.0 / n.max(1) as f64);
    let share = if dpo.loss.is_per_token() { per_token } else { [1.0; 2] };
    let reference = if dpo.loss.needs_reference() { reference } else { [0.0; 2] };
    let rewards = [0, 1].map(|side| dpo.beta * (policy[side] - reference[side]));
    let shared = [0, 1].map(|side| share[side] * rewards[side]);

    let (mut loss, slopes) = losses::of_rewards(dpo, shared);
    let mut gradient = [0, 1].map(|side| dpo.beta * share[side] * slopes[side]);
    loss -= dpo.sft_weight * per_token[0] * policy[0];
    gradient[0] -= dpo.sft_weight * per_token[0];

    let rewards = if dpo.loss.needs_reference() { rewards } else { shared };
    PairLoss { loss, gradient, rewards }
}

/// `-log sigmoid(margin)`, in nats: the loss of a pair under `loss = "sigmoid"`, without label smoothing and SFT term.
pub fn sigmoid_loss(margin: f64) -> f64 {
    losses::of_rewards(&DpoSection::default(), [margin, 0.0]).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LossType;

    const TOKENS: [usize; 2] = [4, 9];

    fn dpo(loss: LossType) -> DpoSection {
        DpoSection { loss, ..DpoSection::default() }
    }

    #[test]
    fn loss_at_init_is_ln_2() {
        let pair = pair_loss(&DpoSection::default(), [-50.0, -70.0], [-50.0, -70.0], TOKENS);
        assert!((pair.loss - std::f64::consts::LN_2).abs() <= 1e-15);
        assert!(pair.margin().abs() <= 1e-15);
    }

    #[test]
    fn log_sigmoid_gradient_at_zero_is_one_half() {
        let pair = pair_loss(&DpoSection::default(), [0.0, 0.0], [0.0, 0.0], TOKENS);
        assert!(
            (pair.gradient[0] + 0.05).abs() <= 1e-15 && (pair.gradient[1] - 0.05).abs() <= 1e-15
        );
    }

    #[test]
    fn gradients_agree_with_finite_differences_for_every_loss() {
        let reference = [-12.0, -18.0];
        for loss in LossType::ALL {
            let label_smoothing = if loss.reads("label_smoothing") { 0.1 } else { 0.0 };
            for sft_weight in [0.0, 0.7] {
                let dpo = DpoSection { label_smoothing, sft_weight, beta: 0.3, ..dpo(loss) };
                for policy in [[-10.0, -20.0], [-90.0, -3.0], [-3.0, -90.0], [-1.0, -1.5]] {
                    for side in 0..2 {
                        let at = |d: f64| {
                            let mut policy = policy;
                            policy[side] += d;
                            pair_loss(&dpo, policy, reference, TOKENS).loss
                        };
                        let want = (at(1e-5) - at(-1e-5)) / 2e-5;
                        let got = pair_loss(&dpo, policy, reference, TOKENS).gradient[side];
                        assert!(
                            (got - want).abs() <= 1e-5 * (1.0 + want.abs()),
                            "{dpo:?} at {policy:?}: {got} {want}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn swapping_the_pair_negates_the_margin() {
        let dpo = DpoSection::default();
        let (pair, swapped) = (
            pair_loss(&dpo, [-3.0, -9.0], [-4.0, -5.0], TOKENS),
            pair_loss(&dpo, [-9.0, -3.0], [-5.0, -4.0], TOKENS),
        );
        assert!((pair.margin() + swapped.margin()).abs() <= 1e-15);
    }

    #[test]
    fn a_margin_of_minus_1200_is_finite() {
        let pair = pair_loss(&DpoSection::default(), [-12_000.0, 0.0], [0.0, 0.0], TOKENS);
        assert!((pair.loss - 1200.0).abs() <= 1e-9 && (pair.gradient[0] + 0.1).abs() <= 1e-12);
    }

    /// `max(-z, 0) + log(1 + exp(-|z|))` neither overflows nor loses the small end. Result files hold these bits.
    #[test]
    fn the_sigmoid_loss_is_exact_to_the_bit_far_from_zero_too() {
        for z in [-1e6_f64, -700.5, -3.1, -1e-9, -0.0, 0.0, 1.0 / 3.0, 2.0, 40.0, 1e6] {
            let want = (-z).max(0.0) + (-z.abs()).exp().ln_1p();
            assert_eq!(sigmoid_loss(z).to_bits(), want.to_bits(), "loss({z})");
        }
        for (z, want) in
            [(-1e6, 1e6), (1e6, 0.0), (0.0, std::f64::consts::LN_2), (40.0, (-40.0f64).exp())]
        {
            let loss = sigmoid_loss(z);
            assert!((loss - want).abs() <= 1e-12 * want, "loss({z}) is {loss}, expected {want}");
        }
    }

    #[test]
    fn simpo_reads_no_reference_and_rewards_the_mean_per_token() {
        let simpo = DpoSection { beta: 2.0, ..dpo(LossType::Simpo) };
        let pair = pair_loss(&simpo, [-8.0, -27.0], [f64::NAN, f64::NAN], TOKENS);
        assert!((pair.rewards[0] + 4.0).abs() <= 1e-12 && (pair.rewards[1] + 6.0).abs() <= 1e-12);
        // -log sigmoid(2 - 0.5)
        assert!((pair.loss - 0.201_413_277_982_752_46).abs() <= 1e-12, "{}", pair.loss);
    }

    #[test]
    fn an_answer_without_tokens_adds_nothing_to_a_mean() {
        for loss in [LossType::Ipo, LossType::SigmoidNorm, LossType::Simpo] {
            let pair =
                pair_loss(&DpoSection { sft_weight: 1.0, ..dpo(loss) }, [0.0; 2], [0.0; 2], [0, 0]);
            assert!(pair.loss.is_finite() && pair.gradient.iter().all(|g| g.is_finite()));
        }
    }

    #[test]
    fn the_mean_over_one_token_is_that_token() {
        let simpo = DpoSection { beta: 2.0, sft_weight: 0.5, ..dpo(LossType::Simpo) };
        let pair = pair_loss(&simpo, [-3.0, -4.0], [0.0; 2], [1, 1]);
        assert!((pair.rewards[0] + 6.0).abs() <= 1e-12 && (pair.rewards[1] + 8.0).abs() <= 1e-12);
        // -log sigmoid(2 - 0.5) + 0.5 * 3
        assert!((pair.loss - 1.701_413_277_982_752_4).abs() <= 1e-12, "{}", pair.loss);
    }
}
