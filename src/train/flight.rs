//! The one step that may be in flight: a GPU computes it while the host prepares the next.

use anyhow::{Result, bail};

use crate::train::books::Books;
use crate::train::launched::Launched;
use crate::train::state::State;

/// No step, or one in flight. Whatever reads the state between two steps lands it first.
#[derive(Default)]
pub(super) struct Flight(Option<Launched>);

impl Flight {
    /// Puts a step in flight; the one before it has landed.
    pub(super) fn launch(&mut self, step: Launched) {
        debug_assert!(self.0.is_none(), "two steps in flight");
        self.0 = Some(step);
    }

    /// Waits for the step in flight, if there is one: the state advances, then the books write it down.
    ///
    /// A step is skipped, so that it changed nothing, where its loss or its norm is not finite. Too many of them in a row are an error.
    pub(super) fn land(&mut self, state: &mut State, books: &mut Books<'_>) -> Result<()> {
        let Some(step) = self.0.take() else { return Ok(()) };
        let norm = step.norm.get()?;
        let skipped = !(step.output.loss.is_finite() && norm.is_finite());
        state.advance(skipped, books.tokens_as_sequences(&step.planned));
        books.write(&step, norm, skipped, &state.cursor)?;
        if state.cursor.skipped_in_a_row >= books.max_skipped_steps {
            bail!(
                "{} steps in a row had a non-finite loss or gradient; the last checkpoint is untouched",
                state.cursor.skipped_in_a_row
            );
        }
        Ok(())
    }
}
