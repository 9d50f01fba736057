//! Everything that training changes: the adapter, the optimizer's moments and the cursor.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::model::lora::{Adapter, LoraTensors};
use crate::ops::adamw::Norm;
use crate::train::optimizer::Optimizer;
use crate::train::recipe::Recipe;

/// Progress of a run. The next step depends on it, the adapter and the moments, and on nothing else that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Optimizer steps done, skipped ones included.
    pub step: usize,
    /// Optimizer steps that changed the adapter.
    pub updates: u64,
    /// Steps skipped in a row up to now; 0 after a step that changed the adapter.
    pub skipped_in_a_row: usize,
    /// Tokens so far, each pair counted as two whole sequences, as TRL counts.
    pub num_tokens: u64,
}

/// Everything that training changes.
#[derive(Debug, Clone)]
pub struct State {
    /// Progress of the run.
    pub cursor: Cursor,
    /// The policy's adapter, f32.
    pub adapter: Adapter,
    /// Moments of the adapter's tensors and the number of updates.
    pub optimizer: Optimizer,
}

impl State {
    /// Queues one optimizer step. Nothing changes if the loss or the norm is not finite.
    ///
    /// A GPU may still be computing the norm, so this does not count the step: [`State::advance`] does.
    ///
    /// - `loss`: in nats.
    /// - `gradients`: f32, shaped as the adapter.
    /// - `norm`: L2 norm of `gradients`, before clipping.
    /// - `learning_rates`: of A and of B.
    pub(super) fn step(
        &mut self,
        loss: f64,
        gradients: &LoraTensors,
        norm: &Norm,
        learning_rates: [f64; 2],
        recipe: &Recipe<'_>,
    ) -> Result<()> {
        if loss.is_finite() {
            let tensors = &self.adapter.tensors;
            self.adapter.tensors =
                self.optimizer.step(tensors, gradients, norm, learning_rates, recipe.train)?;
        }
        Ok(())
    }

    /// Counts a finished step over `num_tokens` tokens. A skipped step is not an update.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::AdapterPlan;

    #[test]
    fn a_skipped_step_counts_as_a_step_and_as_no_update() {
        let adapter = Adapter { plan: AdapterPlan::default(), tensors: LoraTensors::default() };
        let optimizer = Optimizer::new(&adapter.tensors).unwrap();
        let mut state = State { cursor: Cursor::default(), adapter, optimizer };
        let mut seen = Vec::new();
        for (skipped, num_tokens) in [(false, 10), (true, 20), (true, 30), (false, 40)] {
            state.advance(skipped, num_tokens);
            let Cursor { step, updates, skipped_in_a_row, num_tokens } = state.cursor;
            assert_eq!(updates, state.optimizer.count);
            seen.push((step, updates, skipped_in_a_row, num_tokens));
        }
        assert_eq!(seen, [(1, 1, 0, 10), (2, 1, 1, 30), (3, 1, 2, 60), (4, 2, 0, 100)]);
    }
}
