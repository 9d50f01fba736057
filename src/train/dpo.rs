//! The DPO loss (Rafailov et al. 2023, Eq. 7) of one pair, with the label smoothing of conservative DPO (cDPO).

/// How the loss is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dpo {
    /// Rewards are `beta * (policy - reference)`.
    pub beta: f64,
    /// Probability that the label is the wrong way round, in `0..0.5`.
    pub label_smoothing: f64,
}

/// One pair under the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLoss {
    /// The loss, in nats.
    pub loss: f64,
    /// Gradient of the loss with respect to the summed log-probabilities of chosen and rejected.
    pub gradient: [f64; 2],
    /// `beta * (policy - reference)` of chosen and rejected.
    pub rewards: [f64; 2],
}

impl PairLoss {
    /// Reward of chosen less reward of rejected.
    pub fn margin(&self) -> f64 {
        self.rewards[0] - self.rewards[1]
    }
}

impl Dpo {
    /// `-(1 - e) log sigmoid(z) - e log sigmoid(-z)` with `z` the reward margin and `e` the label smoothing.
    ///
    /// `policy`, `reference`: summed log-probabilities of `[chosen, rejected]`, in nats.
    pub fn loss(&self, policy: [f64; 2], reference: [f64; 2]) -> PairLoss {
        let rewards = [0, 1].map(|side| self.beta * (policy[side] - reference[side]));
        let z = rewards[0] - rewards[1];
        let keep = 1.0 - self.label_smoothing;
        let loss = -keep * log_sigmoid(z) - self.label_smoothing * log_sigmoid(-z);
        let slope = self.beta * (self.label_smoothing * sigmoid(z) - keep * sigmoid(-z));
        PairLoss { loss, gradient: [slope, -slope], rewards }
    }
}

/// `log(1 / (1 + exp(-z)))`, without overflow on either side.
fn log_sigmoid(z: f64) -> f64 {
    z.min(0.0) - (-z.abs()).exp().ln_1p()
}

/// `1 / (1 + exp(-z))`, without overflow on either side.
fn sigmoid(z: f64) -> f64 {
    let small = (-z.abs()).exp();
    if z >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DPO: Dpo = Dpo { beta: 0.1, label_smoothing: 0.0 };

    #[test]
    fn loss_at_init_is_ln_2() {
        let pair = DPO.loss([-50.0, -70.0], [-50.0, -70.0]);
        assert!((pair.loss - std::f64::consts::LN_2).abs() <= 1e-15);
        assert!(pair.margin().abs() <= 1e-15);
    }

    #[test]
    fn log_sigmoid_gradient_at_zero_is_one_half() {
        let pair = DPO.loss([0.0, 0.0], [0.0, 0.0]);
        assert!(
            (pair.gradient[0] + 0.05).abs() <= 1e-15 && (pair.gradient[1] - 0.05).abs() <= 1e-15
        );
    }

    #[test]
    fn gradients_agree_with_finite_differences_far_from_zero_too() {
        for label_smoothing in [0.0, 0.1, 0.4] {
            let dpo = Dpo { beta: 0.3, label_smoothing };
            for policy in [[-10.0, -20.0], [-2000.0, -3.0], [-3.0, -2000.0], [-1.0, -1.5]] {
                let at = |d: f64| dpo.loss([policy[0] + d, policy[1]], [-12.0, -18.0]).loss;
                let want = (at(1e-5) - at(-1e-5)) / 2e-5;
                let got = dpo.loss(policy, [-12.0, -18.0]).gradient[0];
                assert!((got - want).abs() <= 1e-6, "{policy:?}: {got} {want}");
            }
        }
    }

    #[test]
    fn swapping_the_pair_negates_the_margin() {
        let (pair, swapped) =
            (DPO.loss([-3.0, -9.0], [-4.0, -5.0]), DPO.loss([-9.0, -3.0], [-5.0, -4.0]));
        assert!((pair.margin() + swapped.margin()).abs() <= 1e-15);
    }

    #[test]
    fn a_margin_of_minus_1200_is_finite() {
        let pair = DPO.loss([-12_000.0, 0.0], [0.0, 0.0]);
        assert!((pair.loss - 1200.0).abs() <= 1e-9 && (pair.gradient[0] + 0.1).abs() <= 1e-12);
    }
}
