//! Learning rate over the optimizer steps, as transformers computes it.

use crate::config::{Scheduler, TrainSection};

/// Learning rate of step `step` (from 0) of `steps`.
///
/// Warm-up: `lr * step / warmup`, so the first step has rate 0. Afterwards, with
/// `t = (step - warmup) / (steps - warmup)`: linear `lr * (1 - t)`, cosine `lr * (1 + cos(pi t)) / 2`, constant `lr`.
pub fn learning_rate(train: &TrainSection, step: usize, steps: usize) -> f64 {
    let (peak, warmup) = (train.learning_rate, warmup(train, steps));
    if step < warmup {
        return peak * step as f64 / warmup as f64;
    }
    let remaining = steps.saturating_sub(warmup).max(1) as f64;
    let done = (step - warmup) as f64;
    match train.scheduler {
        Scheduler::Linear => peak * ((remaining - done) / remaining).max(0.0),
        Scheduler::Cosine => {
            peak * (0.5 * (1.0 + (std::f64::consts::PI * done / remaining).cos())).max(0.0)
        }
        Scheduler::Constant => peak,
    }
}

/// Steps of the warm-up in a run of `steps`.
pub(super) fn warmup(train: &TrainSection, steps: usize) -> usize {
    match train.warmup_ratio {
        ratio if ratio > 0.0 => (steps as f64 * ratio).ceil() as usize,
        _ => train.warmup_steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(scheduler: Scheduler, warmup_steps: usize) -> Vec<f64> {
        let train = TrainSection {
            learning_rate: 0.002,
            scheduler,
            warmup_steps,
            ..TrainSection::default()
        };
        (0..6).map(|step| learning_rate(&train, step, 6)).collect()
    }

    #[track_caller]
    fn assert_rates(got: &[f64], want: [f64; 6]) {
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() <= 1e-12), "{got:?}");
    }

    #[test]
    fn cosine_with_warm_up_gives_transformers_rates() {
        assert_rates(
            &rates(Scheduler::Cosine, 2),
            [0.0, 0.001, 0.002, 0.0017071067811865474, 0.001, 0.00029289321881345256],
        );
    }

    #[test]
    fn linear_reaches_zero_after_the_last_step_and_constant_stays() {
        let third = 0.002 / 6.0;
        assert_rates(
            &rates(Scheduler::Linear, 0),
            [6.0, 5.0, 4.0, 3.0, 2.0, 1.0].map(|k| k * third),
        );
        assert_rates(&rates(Scheduler::Constant, 1), [0.0, 0.002, 0.002, 0.002, 0.002, 0.002]);
    }

    #[test]
    fn a_warm_up_longer_than_the_run_never_divides_by_zero() {
        assert!(rates(Scheduler::Cosine, 10).iter().all(|rate| rate.is_finite()));
    }
}
