//! The logs of a run: `train.jsonl`, TensorBoard and the display. Books only write; `flight` advances the state.

use std::time::Instant;

use anyhow::Result;

use crate::console::progress::{Progress, Verbosity};
use crate::error::one_line;
use crate::machine::{peak, rate};
use crate::run_folder::drift::Watch;
use crate::run_folder::eval_log::{EvalRecord, KL, KL_STDERR};
use crate::run_folder::samples::{self, SampleMeans, SampleRecord};
use crate::run_folder::tensorboard::TensorBoard;
use crate::run_folder::train_log::{Log, StepRecord, finite};
use crate::run_folder::wall_time::WallTime;
use crate::session::Session;
use crate::train::checkpoint;
use crate::train::launched::Launched;
use crate::train::plan::{Plan, PlannedStep};
use crate::train::state::{Cursor, State};

/// The open logs of a run.
pub(super) struct Books<'a> {
    session: &'a Session<'a>,
    log: &'a mut Log,
    clock: &'a mut WallTime,
    tensorboard: TensorBoard,
    progress: Progress,
    verbosity: Verbosity,
    watch: Watch,
    /// When the last record was written, or the books were opened.
    written: Instant,
    /// The best rate seen so far: the measured matmul rate or that of a step; `mfu` is a share of it.
    ceiling: Ceiling,
    /// Skipped steps in a row at which the run fails.
    pub(super) max_skipped_steps: usize,
}

impl<'a> Books<'a> {
    /// Opens the logs of a run at step `step` of `plan`. `log`, `evaluations` and `answers` hold the records of an interrupted run
    /// up to that step. What they have told of drift is not told again.
    pub(super) fn open(
        session: &'a Session<'a>,
        plan: &Plan,
        step: usize,
        log: &'a mut Log,
        evaluations: &[EvalRecord],
        answers: &[SampleRecord],
        clock: &'a mut WallTime,
    ) -> Result<Self> {
        let mut watch = Watch::default();
        log.records().iter().for_each(|record| drop(watch.step(record)));
        evaluations.iter().for_each(|record| drop(watched(&mut watch, record)));
        for state in samples::states(answers).filter(|state| state[0].step <= step) {
            drop(watched_samples(&mut watch, state, answers));
        }
        let (model, verbosity) = (&session.model, session.options.verbosity);
        let measured = rate::matmul_tflops(&model.shape, model.dtype, &model.device)?;
        Ok(Self {
            session,
            tensorboard: TensorBoard::open(
                &session.folder.tensorboard(),
                log.records(),
                evaluations,
                answers,
            )?,
            ceiling: Ceiling::of(measured, log.records()),
            log,
            clock,
            progress: verbosity.progress("train", "steps", step as u64, plan.steps() as u64),
            verbosity,
            watch,
            written: Instant::now(),
            max_skipped_steps: session.config.train.max_skipped_steps,
        })
    }

    /// Saves the run's wall time after step `step`.
    pub(super) fn save_time(&mut self, step: usize) -> Result<()> {
        self.clock.save(step)
    }

    /// The steps so far.
    pub(super) fn records(&self) -> &[StepRecord] {
        self.log.records()
    }

    /// Prints a line without breaking the progress bar.
    pub(super) fn note(&self, line: impl std::fmt::Display) {
        self.progress.suspend(|| self.verbosity.note(line));
    }

    /// Prints the records of one evaluation and adds them to TensorBoard.
    pub(super) fn write_evaluation(&mut self, records: &[EvalRecord]) -> Result<()> {
        self.progress.suspend(|| records.iter().for_each(|record| self.verbosity.note(record)));
        for record in records {
            let drift = watched(&mut self.watch, record);
            self.warn(drift);
        }
        self.tensorboard.push_evaluation(records)
    }

    /// Prints `line` about the answers `state` to the fixed prompts and adds them to TensorBoard; `answers`: all so far.
    pub(super) fn write_samples(
        &mut self,
        state: &[SampleRecord],
        answers: &[SampleRecord],
        line: Option<String>,
    ) -> Result<()> {
        line.into_iter().for_each(|line| self.note(line));
        let drift = watched_samples(&mut self.watch, state, answers);
        self.warn(drift);
        state.first().map_or(Ok(()), |first| self.tensorboard.push_samples(answers, first.step))
    }

    /// Prints a warning without breaking the progress bar.
    fn warn(&self, line: Option<String>) {
        if let Some(line) = line {
            self.progress.suspend(|| self.verbosity.warn(line));
        }
    }

    /// Logs a finished step. `norm` is before clipping, `cursor` after the step.
    pub(super) fn write(
        &mut self,
        step: &Launched,
        norm: f64,
        skipped: bool,
        cursor: &Cursor,
    ) -> Result<()> {
        let (planned, output) = (&step.planned, &step.output);
        if skipped {
            let ids = planned.pairs.iter().map(|&i| one_line(&self.session.inputs.train_ids[i]));
            let warning = format!(
                "step {} skipped, loss {} and gradient norm {norm}; pairs {}",
                cursor.step,
                output.loss,
                ids.collect::<Vec<_>>().join(", ")
            );
            self.progress.suspend(|| self.verbosity.warn(warning));
        }
        let record = self.record(step, norm, skipped, cursor)?;
        let drift = self.watch.step(&record);
        self.warn(drift);
        let pairs_per_second = planned.pairs.len() as f64 / record.step_time_s.unwrap_or(f64::NAN);
        let parts = [
            format!("loss {:.4}", output.loss),
            format!("margin {:+.2}", output.rewards[0] - output.rewards[1]),
            format!("accuracy {:.2}", output.accuracy),
            format!("{pairs_per_second:.1} pairs/s"),
        ];
        self.tensorboard.push(&record)?;
        self.log.push(record)?;
        self.progress.advance(1, &parts);
        Ok(())
    }

    /// Flushes the log, then saves `state` as the newest checkpoint and the run's wall time.
    pub(super) fn save(&mut self, state: &State) -> Result<()> {
        self.log.sync()?;
        checkpoint::save(self.session, state)?;
        self.save_time(state.cursor.step)
    }

    /// Flushes the log before a checkpoint that relies on it.
    pub(super) fn sync(&self) -> Result<()> {
        self.log.sync()
    }

    /// Tokens of a step, each pair counted as two whole sequences, as TRL counts.
    pub(super) fn tokens_as_sequences(&self, planned: &PlannedStep) -> u64 {
        let of = |i: &usize| {
            let pair = &self.session.inputs.train[*i];
            2 * pair.prompt.len() + pair.chosen.len() + pair.rejected.len()
        };
        planned.pairs.iter().map(of).sum::<usize>() as u64
    }

    /// The `train.jsonl` record of a finished step.
    fn record(
        &mut self,
        step: &Launched,
        norm: f64,
        skipped: bool,
        cursor: &Cursor,
    ) -> Result<StepRecord> {
        let Launched { planned, output, learning_rate, during: [first, last], .. } = step;
        let (model, pairs) = (&self.session.model, &self.session.inputs.train);
        let step_time_s = last.seconds_since(first)?;
        let scored = |&i: &usize| pairs[i].chosen.len() + pairs[i].rejected.len();
        let scored = planned.pairs.iter().map(scored).sum();
        let since_last_s = self.written.elapsed().as_secs_f64();
        self.written = Instant::now();
        let flop = rate::training_flop(&model.shape, output.tokens_computed, scored);
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
            rewards_accuracies: finite(output.accuracy),
            logps_chosen: finite(output.logps[0]),
            logps_rejected: finite(output.logps[1]),
            logratios_chosen: output.logratios.and_then(|ratios| finite(ratios[0])),
            logratios_rejected: output.logratios.and_then(|ratios| finite(ratios[1])),
            lengths_chosen: finite(output.lengths[0]),
            lengths_rejected: finite(output.lengths[1]),
            num_tokens: cursor.num_tokens,
            pairs: planned.pairs.len(),
            step_time_s: finite(step_time_s),
            since_last_s: finite(since_last_s),
            tokens_computed: output.tokens_computed,
            tokens_per_second: finite(output.tokens_computed as f64 / step_time_s),
            model_tflops: finite(model_tflops),
            mfu: self.ceiling.share(model_tflops),
            peak_memory_gib: peak::peak_memory_gib(&model.device),
            reserved_memory_gib: peak::reserved_memory_gib(&model.device),
            skipped,
        })
    }
}

/// What an evaluation tells of drift.
fn watched(watch: &mut Watch, record: &EvalRecord) -> Option<String> {
    let error = record.figures.get(KL_STDERR).copied();
    watch.kl(record.step, &record.set, *record.figures.get(KL)?, error)
}

/// What the answers of a state tell of drift.
fn watched_samples(
    watch: &mut Watch,
    state: &[SampleRecord],
    answers: &[SampleRecord],
) -> Option<String> {
    let base = SampleMeans::of(samples::base(answers))?;
    watch.samples(state.first()?.step, &SampleMeans::of(state)?, &base)
}

/// The best rate seen so far, TFLOP/s. The matmul is timed once, perhaps while the machine is busy; a step that is faster raises it.
struct Ceiling(f64);

impl Ceiling {
    /// `measured`: rate of a plain matmul; `records`: steps of the run so far.
    fn of(measured: f64, records: &[StepRecord]) -> Self {
        let mut ceiling = Self(measured);
        records.iter().filter_map(|record| record.model_tflops).for_each(|x| ceiling.raise(x));
        ceiling
    }

    fn raise(&mut self, tflops: f64) {
        if tflops.is_finite() {
            self.0 = self.0.max(tflops);
        }
    }

    /// `tflops` as a share of the best rate, itself included: at most 1.
    fn share(&mut self, tflops: f64) -> Option<f64> {
        self.raise(tflops);
        finite(tflops / self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_is_faster_than_the_best_rate_seen() {
        let mut ceiling = Ceiling::of(1.0, &[]);
        assert_eq!(ceiling.share(0.5), Some(0.5));
        assert_eq!(ceiling.share(1.63), Some(1.0), "the matmul was timed on a busy machine");
        assert_eq!(ceiling.share(0.815), Some(0.5));
        assert_eq!(ceiling.share(f64::INFINITY), None);
        let earlier = StepRecord { model_tflops: Some(2.0), ..StepRecord::default() };
        assert_eq!(Ceiling::of(1.0, &[earlier]).share(1.0), Some(0.5), "a resumed run");
    }
}
