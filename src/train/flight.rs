//! The step that a GPU may still be computing while the host prepares the next one.

use anyhow::Result;

use crate::train::books::Books;
use crate::train::divergence;
use crate::train::launched::Launched;
use crate::train::state::State;

/// No step, or one in flight. Code that reads the state between two steps lands it first.
#[derive(Default)]
pub(super) struct Flight(Option<Launched>);

impl Flight {
    /// Puts a step in flight. The step before it must have landed.
    pub(super) fn launch(&mut self, step: Launched) {
        debug_assert!(self.0.is_none(), "two steps in flight");
        self.0 = Some(step);
    }

    /// Waits for the step in flight, if any, then advances the state and logs the step.
    ///
    /// A step with a loss or norm that is not finite was skipped: it changed nothing. `train.max_skipped_steps` of them
    /// in a row are an error.
    pub(super) fn land(&mut self, state: &mut State, books: &mut Books<'_>) -> Result<()> {
        let Some(step) = self.0.take() else { return Ok(()) };
        let norm = step.norm.get()?;
        let skipped = !(step.output.loss.is_finite() && norm.is_finite());
        state.advance(skipped, books.tokens_as_sequences(&step.planned));
        books.write(&step, norm, skipped, &state.cursor)?;
        if state.cursor.skipped_in_a_row >= books.max_skipped_steps {
            let what = format!(
                "{} steps in a row had a non-finite loss or gradient; the last checkpoint is untouched",
                state.cursor.skipped_in_a_row
            );
            return Err(divergence::told(&what, books.records()));
        }
        Ok(())
    }
}
