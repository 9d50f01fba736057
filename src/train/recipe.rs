//! The sections of the configuration that an optimizer step reads.

use crate::config::{DpoSection, RunConfig, TrainSection};
use crate::console::progress::Verbosity;
use crate::inference::engine::Engine;
use crate::model::layer::Dropout;
use crate::train::schedule::{self, learning_rate};
use crate::train::step::StepSettings;

/// Loss, dropout, learning rates, clipping and weight decay of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe<'a> {
    /// The loss.
    pub(super) dpo: &'a DpoSection,
    /// Dropout on the adapter's inputs, in `0..1`.
    pub(super) dropout: f64,
    /// Learning rates, clipping, weight decay and the seed.
    pub(super) train: &'a TrainSection,
}

impl<'a> Recipe<'a> {
    /// The recipe of `config`.
    pub(crate) fn of(config: &'a RunConfig) -> Self {
        Self { dpo: &config.dpo, dropout: config.lora.dropout, train: &config.train }
    }

    /// Prints the dropout, if it is on: TRL turns it off by default.
    pub(super) fn announce(&self, verbosity: Verbosity) {
        if self.dropout > 0.0 {
            verbosity.note(format!("dropout: {} on the adapter's inputs", self.dropout));
        }
    }

    /// What the learning rates of a run of `steps` steps do not do: a sentence for each thing that is seldom meant.
    pub(crate) fn doubts(&self, steps: usize) -> Option<String> {
        let (peak, warmup) = (self.train.learning_rate, schedule::warmup(self.train, steps));
        let highest = (0..steps).map(|n| self.learning_rates(n, steps)[0]).fold(0.0, f64::max);
        if steps == 0 {
            None
        } else if peak <= 0.0 {
            Some(
                "`train.learning_rate` is 0: the run learns nothing, and every pair ties"
                    .to_owned(),
            )
        } else if warmup < steps {
            None
        } else {
            let than = if warmup == steps { "as long as" } else { "longer than" };
            let reached = if highest > 0.0 {
                format!("never reaches {peak:e}, {highest:.3e} is the highest")
            } else {
                "is 0 in every step, so the run learns nothing, and every pair ties".to_owned()
            };
            let of = |n: usize| format!("{n} step{}", if n == 1 { "" } else { "s" });
            Some(format!(
                "the warm-up of {} (`train.warmup_steps`) is {than} the run of {}: the learning rate {reached}",
                of(warmup),
                of(steps)
            ))
        }
    }

    /// Settings of step `n`, from 0.
    pub(super) fn settings(&self, n: usize, engine: Engine) -> StepSettings<'a> {
        let dropout = Dropout { probability: self.dropout, seed: self.train.seed, step: n as u32 };
        StepSettings { dpo: self.dpo, dropout: (self.dropout > 0.0).then_some(dropout), engine }
    }

    /// Learning rates of A and of B in step `n`, from 0, of `steps`; they differ in LoRA+ (arXiv 2402.12354).
    pub(super) fn learning_rates(&self, n: usize, steps: usize) -> [f64; 2] {
        let rate = learning_rate(self.train, n, steps);
        [rate, self.train.lora_plus_ratio * rate]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::decoder::Keep;

    #[test]
    fn a_schedule_that_learns_little_or_nothing_is_said() {
        let dpo = DpoSection::default();
        let said = |learning_rate, warmup_steps, steps| {
            let train = TrainSection { learning_rate, warmup_steps, ..TrainSection::default() };
            Recipe { dpo: &dpo, dropout: 0.0, train: &train }.doubts(steps)
        };
        assert_eq!(said(5e-5, 0, 120), None);
        assert_eq!(said(5e-5, 119, 120), None, "the last step has the peak");
        assert_eq!(
            said(5e-5, 500, 120).unwrap(),
            "the warm-up of 500 steps (`train.warmup_steps`) is longer than the run of 120 steps: the learning rate \
             never reaches 5e-5, 1.190e-5 is the highest"
        );
        let nothing = said(5e-5, 1, 1).unwrap();
        assert!(nothing.ends_with("is as long as the run of 1 step: the learning rate is 0 in every step, so the run learns nothing, and every pair ties"), "{nothing}");
        assert!(said(0.0, 0, 3).unwrap().starts_with("`train.learning_rate` is 0"));
        assert_eq!(said(0.0, 0, 0), None);
    }

    #[test]
    fn a_step_has_a_mask_of_its_own_and_none_without_dropout() {
        let (dpo, train) =
            (DpoSection::default(), TrainSection { seed: 5, ..TrainSection::default() });
        let engine = Engine { micro_batch_tokens: 1, keep: Keep::Everything };
        let of =
            |dropout, n| Recipe { dpo: &dpo, dropout, train: &train }.settings(n, engine).dropout;
        assert!(of(0.0, 3).is_none());
        let mask = of(0.25, 3).unwrap();
        assert_eq!(
            (mask.seed, mask.step, (4.0 * mask.probability).to_bits()),
            (5, 3, 1f64.to_bits())
        );
    }
}
