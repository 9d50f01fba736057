//! The losses, each a function of a pair's two rewards. A loss with TRL's name equals TRL 1.16's in value and gradient;
//! [`LossType`] gives formulas and sources.

use crate::config::{DpoSection, LossType};

/// Temperature of [`LossType::Discopop`], the paper's and TRL's.
const DISCOPOP_TAU: f64 = 0.05;

/// The loss of `dpo` at the rewards of `[chosen, rejected]`, and its slope in each of them.
///
/// The rewards are `beta` times log-ratios: of sums, or of means per token where [`LossType::is_per_token`]. Nothing overflows
/// however far they are from zero.
pub(super) fn of_rewards(dpo: &DpoSection, [chosen, rejected]: [f64; 2]) -> (f64, [f64; 2]) {
    let z = chosen - rejected;
    let (beta, e) = (dpo.beta, dpo.label_smoothing);
    let of_margin = |(loss, slope): (f64, f64)| (loss, [slope, -slope]);
    match dpo.loss {
        LossType::Sigmoid => of_margin(smoothed(z, e)),
        LossType::SigmoidNorm => of_margin(smoothed(z, 0.0)),
        LossType::Simpo => of_margin(smoothed(z - dpo.simpo_gamma, 0.0)),
        LossType::Robust => {
            let loss = -(1.0 - e) * log_sigmoid(z) + e * log_sigmoid(-z);
            let slope = -(1.0 - e) * sigmoid(-z) - e * sigmoid(z);
            of_margin((loss / (1.0 - 2.0 * e), slope / (1.0 - 2.0 * e)))
        }
        LossType::Hinge => of_margin(if z >= 1.0 { (0.0, 0.0) } else { (1.0 - z, -1.0) }),
        LossType::Ipo => of_margin(square((z - 0.5) / beta, beta)),
        LossType::ExoPair => {
            let (p, q) = (sigmoid(z), sigmoid(-z));
            let (keep, flip) = ((-e).ln_1p(), e.ln());
            let loss = p * (log_sigmoid(z) - keep) + q * (log_sigmoid(-z) - flip);
            of_margin((loss, p * q * (z - (keep - flip))))
        }
        LossType::Discopop => of_margin(discopop(z)),
        LossType::NcaPair => {
            let spread = 0.5 * (log_sigmoid(-chosen) + log_sigmoid(-rejected));
            let slopes = [0.5 * sigmoid(chosen) - sigmoid(-chosen), 0.5 * sigmoid(rejected)];
            (-log_sigmoid(chosen) - spread, slopes)
        }
        LossType::BcoPair => {
            let loss = -log_sigmoid(chosen) - log_sigmoid(-rejected);
            (loss, [-sigmoid(-chosen), sigmoid(rejected)])
        }
        LossType::SppoHard => {
            let (winner, loser) =
                (square((chosen - 0.5) / beta, beta), square((rejected + 0.5) / beta, beta));
            (winner.0 + loser.0, [winner.1, loser.1])
        }
        LossType::ApoZero => {
            (sigmoid(-chosen) + sigmoid(rejected), [-bell(chosen), bell(rejected)])
        }
        LossType::ApoDown => (sigmoid(chosen) + sigmoid(-z), [bell(chosen) - bell(z), bell(z)]),
    }
}

/// `-(1 - e) log sigmoid(z) - e log sigmoid(-z)` and its slope.
fn smoothed(z: f64, e: f64) -> (f64, f64) {
    let loss = -(1.0 - e) * log_sigmoid(z) - e * log_sigmoid(-z);
    (loss, e * sigmoid(z) - (1.0 - e) * sigmoid(-z))
}

/// `x^2` and its slope in the reward, where `x` is the reward over `beta` plus a constant.
fn square(x: f64, beta: f64) -> (f64, f64) {
    (x * x, 2.0 * x / beta)
}

/// `(1 - m) * -log sigmoid(z) + m * exp(-z)` with `m = sigmoid(z / tau)`, and its slope.
fn discopop(z: f64) -> (f64, f64) {
    let (m, rest) = (sigmoid(z / DISCOPOP_TAU), sigmoid(-z / DISCOPOP_TAU));
    let (logistic, exponential) = (-log_sigmoid(z), (log_sigmoid(z / DISCOPOP_TAU) - z).exp());
    let slope = -sigmoid(-z) * rest - logistic * m * rest / DISCOPOP_TAU - exponential
        + exponential * rest / DISCOPOP_TAU;
    (logistic * rest + exponential, slope)
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

/// Slope of [`sigmoid`].
fn bell(z: f64) -> f64 {
    sigmoid(z) * sigmoid(-z)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every loss under settings that it accepts.
    fn every_loss() -> Vec<DpoSection> {
        let of = |loss: LossType| {
            let smoothings: &[f64] = match loss {
                LossType::ExoPair => &[1e-3, 0.4],
                _ if loss.reads("label_smoothing") => &[0.0, 0.1, 0.4],
                _ => &[0.0],
            };
            let with = move |&label_smoothing: &f64| DpoSection {
                loss,
                beta: 0.3,
                label_smoothing,
                ..DpoSection::default()
            };
            smoothings.iter().map(with).collect::<Vec<_>>()
        };
        LossType::ALL.into_iter().flat_map(of).collect()
    }

    #[test]
    fn no_loss_makes_a_number_of_a_nan() {
        for dpo in every_loss() {
            let [a, b] =
                [[f64::NAN, 0.3], [0.3, f64::NAN]].map(|rewards| of_rewards(&dpo, rewards));
            assert!(a.0.is_nan() && b.0.is_nan(), "{dpo:?}: {a:?} {b:?}");
        }
    }

    #[test]
    fn slopes_agree_with_finite_differences_far_from_zero_too() {
        let rewards = [-40.0, -3.1, -0.2, 0.0, 0.013, 0.7, 5.0, 38.0];
        for dpo in every_loss() {
            for chosen in rewards {
                for rejected in rewards {
                    let at = |dw: f64, dl: f64| of_rewards(&dpo, [chosen + dw, rejected + dl]).0;
                    let (loss, slopes) = of_rewards(&dpo, [chosen, rejected]);
                    let step = 1e-5;
                    let want = [
                        (at(step, 0.0) - at(-step, 0.0)) / (2.0 * step),
                        (at(0.0, step) - at(0.0, -step)) / (2.0 * step),
                    ];
                    for (got, want) in slopes.iter().zip(want) {
                        let tolerance = 1e-5 * (1.0 + want.abs()) + 1e-14 * loss.abs() / step;
                        assert!(
                            (got - want).abs() <= tolerance,
                            "{dpo:?} at {chosen} {rejected}: {got} {want}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_loss_reads_the_keys_that_name_it_and_no_other() {
        for loss in LossType::ALL {
            let plain = toml::Table::try_from(DpoSection { loss, ..Default::default() }).unwrap();
            for (key, readers) in LossType::keys() {
                let mut other = plain.clone();
                other[key] = match &plain[key] {
                    toml::Value::Float(value) => (value + 0.25).into(),
                    toml::Value::Integer(value) => (value + 1).into(),
                    toml::Value::Boolean(value) => (!value).into(),
                    word => panic!("`dpo.{key}` is {word}: choose another value here"),
                };
                let [before, after] = [&plain, &other].map(|section| {
                    let dpo: DpoSection = section.clone().try_into().unwrap();
                    [[0.7, -0.4], [-1.3, 0.2]].map(|rewards| of_rewards(&dpo, rewards))
                });
                assert_eq!(before != after, readers.contains(&loss), "{loss} reads `dpo.{key}`");
            }
        }
    }

    #[test]
    fn every_loss_is_finite_at_a_margin_of_minus_2400() {
        for dpo in every_loss() {
            let (loss, slopes) = of_rewards(&dpo, [-1200.0, 1200.0]);
            assert!(loss.is_finite() && slopes.iter().all(|s| s.is_finite()), "{dpo:?}: {loss}");
        }
    }

    #[test]
    fn at_the_start_no_loss_but_apo_down_pulls_both_answers_the_same_way() {
        for dpo in every_loss() {
            let (_, [chosen, rejected]) = of_rewards(&dpo, [0.0, 0.0]);
            let balanced = (chosen + rejected).abs() <= 1e-12;
            assert_eq!(balanced, dpo.loss != LossType::ApoDown, "{dpo:?}: {chosen} {rejected}");
        }
    }
}
