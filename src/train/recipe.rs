//! How steps are taken: the sections of the configuration that the loop reads, as what one step needs of them.

use crate::config::{DpoSection, RunConfig, TrainSection};
use crate::console::progress::Verbosity;
use crate::inference::engine::Engine;
use crate::model::layer::Dropout;
use crate::train::schedule::learning_rate;
use crate::train::step::StepSettings;

/// The loss, dropout, learning rates, clipping and decay of a run.
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
    /// The recipe that `config` chose.
    pub(super) fn of(config: &'a RunConfig) -> Self {
        Self { dpo: &config.dpo, dropout: config.lora.dropout, train: &config.train }
    }

    /// Prints what a user of TRL would not expect: dropout is on.
    pub(super) fn announce(&self, say: Verbosity) {
        if self.dropout > 0.0 {
            say.note(format!("dropout: {} on the adapter's inputs", self.dropout));
        }
    }

    /// How step `n`, from 0, is computed.
    pub(super) fn settings(&self, n: usize, engine: Engine) -> StepSettings<'a> {
        let dropout = Dropout { probability: self.dropout, seed: self.train.seed, step: n as u32 };
        StepSettings { dpo: self.dpo, dropout: (self.dropout > 0.0).then_some(dropout), engine }
    }

    /// Learning rates of A and of B in step `n` of `steps`; they differ in LoRA+ (arXiv 2402.12354).
    pub(super) fn learning_rates(&self, n: usize, steps: usize) -> [f64; 2] {
        let rate = learning_rate(self.train, n, steps);
        [rate, self.train.lora_plus_ratio * rate]
    }
}
