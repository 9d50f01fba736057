//! A step that was given to the device, and what is written of it once the device has done it.

use crate::machine::peak;
use crate::machine::rate;
use anyhow::{Result, bail};

use super::checkpoint::{Cursor, State};
use super::plan::PlannedStep;
use super::step::StepOutput;
use crate::console::progress::{Progress, Verbosity};
use crate::machine::moment::Moment;
use crate::model::decoder::Decoder;
use crate::ops::adamw::Norm;
use crate::run_folder::tensorboard::TensorBoard;
use crate::run_folder::train_log::{Log, StepRecord, finite};
use crate::session::inputs::Inputs;

/// A step whose update is queued. A GPU may be computing it still, while the host begins the next one.
pub(super) struct Launched {
    /// Its pairs.
    pub(super) planned: PlannedStep,
    /// Its loss and what goes with it.
    pub(super) output: StepOutput,
    /// The norm of its gradients, before clipping.
    pub(super) norm: Norm,
    /// What it was taken with.
    pub(super) learning_rate: f64,
    /// Before its first work and after its last.
    pub(super) during: [Moment; 2],
}

/// Where steps are written down.
pub(super) struct Bookkeeping<'a> {
    /// `train.jsonl`.
    pub(super) log: &'a mut Log,
    /// The same for TensorBoard.
    pub(super) tensorboard: TensorBoard,
    /// The display.
    pub(super) progress: Progress,
    /// How much is said.
    pub(super) say: Verbosity,
    /// The pairs.
    pub(super) inputs: &'a Inputs,
    /// The base model.
    pub(super) model: &'a Decoder,
    /// The rate that `mfu` is a share of.
    pub(super) ceiling_tflops: f64,
    /// Steps in a row that may be skipped.
    pub(super) max_skipped_steps: usize,
}

impl Bookkeeping<'_> {
    /// Waits until the device has done `launched`, counts the step in `state` and writes it down. A step is skipped, so that it has
    /// changed nothing, where its loss or its norm is not finite; too many of them in a row are an error.
    pub(super) fn settle(&mut self, launched: &Launched, state: &mut State) -> Result<()> {
        let (Launched { planned, output, .. }, cursor) = (launched, &mut state.cursor);
        let norm = launched.norm.get()?;
        let skipped = !(output.loss.is_finite() && norm.is_finite());
        cursor.step += 1;
        if skipped {
            cursor.skipped_in_a_row += 1;
            let ids: Vec<_> =
                planned.pairs.iter().map(|&i| self.inputs.train_ids[i].as_str()).collect();
            let warning = format!(
                "step {} skipped, loss {} and gradient norm {norm}; pairs {}",
                cursor.step,
                output.loss,
                ids.join(", ")
            );
            self.progress.suspend(|| self.say.warn(warning));
        } else {
            cursor.skipped_in_a_row = 0;
            state.optimizer.count += 1;
        }
        cursor.updates = state.optimizer.count;
        cursor.num_tokens += self.tokens_as_sequences(planned);
        let record = self.record(launched, norm, skipped, cursor)?;
        let message = format!(
            "loss {:.4} margin {:+.3} accuracy {:.2} {:.1} pairs/s",
            output.loss,
            output.rewards[0] - output.rewards[1],
            output.accuracy,
            planned.pairs.len() as f64 / record.step_time_s
        );
        self.tensorboard.push(&record)?;
        self.log.push(record)?;
        if cursor.skipped_in_a_row >= self.max_skipped_steps {
            bail!(
                "{} steps in a row had a non-finite loss or gradient; the last checkpoint is untouched",
                cursor.skipped_in_a_row
            );
        }
        self.progress.advance(1, message);
        Ok(())
    }

    /// Tokens of a step's pairs as two whole sequences each, which is what TRL counts.
    fn tokens_as_sequences(&self, planned: &PlannedStep) -> u64 {
        let of = |i: &usize| {
            let pair = &self.inputs.train[*i];
            2 * pair.prompt.len() + pair.chosen.len() + pair.rejected.len()
        };
        planned.pairs.iter().map(of).sum::<usize>() as u64
    }

    /// `cursor`: after the step.
    fn record(
        &self,
        launched: &Launched,
        norm: f64,
        skipped: bool,
        cursor: &Cursor,
    ) -> Result<StepRecord> {
        let Launched { planned, output, learning_rate, during: [first, last], .. } = launched;
        let step_time_s = last.seconds_since(first)?;
        let scored = planned
            .pairs
            .iter()
            .map(|&i| self.inputs.train[i].chosen.len() + self.inputs.train[i].rejected.len())
            .sum();
        let flop = rate::training_flop(&self.model.shape, output.tokens_computed, scored);
        let model_tflops = flop / step_time_s / 1e12;
        Ok(StepRecord {
            step: cursor.step,
            epoch: planned.epoch,
            loss: finite(output.loss),
            grad_norm: finite(norm),
            learning_rate: *learning_rate,
            rewards_chosen: finite(output.rewards[0]),
            rewards_rejected: finite(output.rewards[1]),
            rewards_margins: finite(output.rewards[0] - output.rewards[1]),
            rewards_accuracies: output.accuracy,
            logps_chosen: finite(output.logps[0]),
            logps_rejected: finite(output.logps[1]),
            num_tokens: cursor.num_tokens,
            pairs: planned.pairs.len(),
            step_time_s,
            tokens_computed: output.tokens_computed,
            tokens_per_second: output.tokens_computed as f64 / step_time_s,
            model_tflops,
            mfu: model_tflops / self.ceiling_tflops,
            peak_memory_gib: peak::peak_memory_gib(&self.model.device),
            skipped,
        })
    }
}
