//! The sections of the configuration that an optimizer step reads.

use crate::config::{DpoSection, RunConfig, TrainSection};
use crate::console::progress::Verbosity;
use crate::inference::engine::Engine;
use crate::model::layer::Dropout;
use crate::train::schedule::learning_rate;
use crate::train::step::StepSettings;

/// Loss, dropout, learning rates, clipping and weight decay of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe<'a> {
    /// The loss.
    pub(super) dpo: &'a DpoSection,
    /// Dropout on the adapter's inputs, in `0..1`.
    pub(super) dropout: f64,
    /// Learning rates, clipping, weight decay and the seed.
    pub(super) train: &'a TrainSection,
}

impl<'a> Recipe<'a> {
    /// The recipe of `config`.
    pub(super) fn of(config: &'a RunConfig) -> Self {
        Self { dpo: &config.dpo, dropout: config.lora.dropout, train: &config.train }
    }

    /// Prints the dropout, if it is on: TRL turns it off by default.
    pub(super) fn announce(&self, verbosity: Verbosity) {
        if self.dropout > 0.0 {
            verbosity.note(format!("dropout: {} on the adapter's inputs", self.dropout));
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
