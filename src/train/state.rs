//! Everything that training changes: the adapter, its moments, and how far the run is.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::model::lora::{Adapter, LoraTensors};
use crate::ops::adamw::Norm;
use crate::train::optimizer::Optimizer;
use crate::train::recipe::Recipe;

/// How far a run is. With the adapter and the moments it is all that the next step depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Optimizer steps done, skipped ones included.
    pub step: usize,
    /// Optimizer steps that changed the adapter.
    pub updates: u64,
    /// Skipped steps since the last one that was not.
    pub skipped_in_a_row: usize,
    /// Tokens so far, as logged.
    pub num_tokens: u64,
}

/// Everything that training changes.
#[derive(Debug, Clone)]
pub struct State {
    /// How far the run is.
    pub cursor: Cursor,
    /// The policy.
    pub adapter: Adapter,
    /// Its moments.
    pub optimizer: Optimizer,
}

impl State {
    /// Queues one optimizer step. Nothing changes where the loss or, which a GPU alone may know yet, the norm is not finite.
    ///
    /// The step is not counted before [`State::advance`].
    pub(super) fn step(
        &mut self,
        loss: f64,
        gradients: &LoraTensors,
        norm: &Norm,
        learning_rates: [f64; 2],
        recipe: &Recipe<'_>,
    ) -> Result<()> {
        if loss.is_finite() {
            let (max_norm, decay) = (recipe.train.max_grad_norm, recipe.train.weight_decay);
            let tensors = &self.adapter.tensors;
            self.adapter.tensors =
                self.optimizer.step(tensors, gradients, norm, max_norm, learning_rates, decay)?;
        }
        Ok(())
    }

    /// Counts a step that the device has done, `skipped` or not, of pairs with `num_tokens` tokens.
    pub(super) fn advance(&mut self, skipped: bool, num_tokens: u64) {
        self.cursor.step += 1;
        if skipped {
            self.cursor.skipped_in_a_row += 1;
        } else {
            self.cursor.skipped_in_a_row = 0;
            self.optimizer.count += 1;
        }
        self.cursor.updates = self.optimizer.count;
        self.cursor.num_tokens += num_tokens;
    }
}
