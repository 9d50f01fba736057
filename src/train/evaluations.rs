//! The evaluations of a run: before, during and after training, the best one so far, and the decision to stop.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::disk::{json_lines, read};
use crate::error::InputError;
use crate::eval::evaluator::{Evaluator, Scored};
use crate::model::lora::Adapter;
use crate::report::cell;
use crate::run_folder::checkpoints;
use crate::run_folder::eval_log::{self, EvalLog, EvalRecord};
use crate::run_folder::paths::{BEFORE, Paths};
use crate::run_folder::samples::SampleRecord;
use crate::run_folder::summary::TrainingSummary;
use crate::run_folder::tensorboard::TensorBoard;
use crate::run_folder::train_log::Log;
use crate::session::Session;
use crate::train::best::{Best, Judge};
use crate::train::books::Books;
use crate::train::checkpoint;
use crate::train::divergence;
use crate::train::plan::Plan;
use crate::train::samples::Samples;
use crate::train::state::State;

/// Runs the evaluations that are due, logs them in `eval.jsonl`, and saves the best checkpoint.
pub(super) struct Evaluations<'a> {
    session: &'a Session<'a>,
    plan: &'a Plan,
    evaluator: Evaluator<'a>,
    judge: Option<Judge>,
    log: EvalLog,
    has_sets: bool,
    samples: Option<Samples<'a>>,
}

/// The adapter that a run exports.
pub(super) struct Exported {
    /// The adapter.
    pub(super) adapter: Adapter,
    /// Steps it was trained for.
    step: usize,
    /// Steps that the run took.
    pub(super) last: usize,
    /// Its evaluation; none if the last step is exported without a comparison.
    best: Option<Best>,
}

impl<'a> Evaluations<'a> {
    /// Evaluates the policy before training, or reads that evaluation if an interrupted run wrote it. Then opens
    /// `eval.jsonl` for a run that resumes after `steps` steps.
    pub(super) fn open(session: &'a Session<'a>, plan: &'a Plan, steps: usize) -> Result<Self> {
        let evaluator = Evaluator::new(session, session.folder.adapter().display().to_string());
        let scored_before = |name: &str| session.folder.scores(name, BEFORE).exists();
        let names = session.inputs.sets.iter().map(|set| set.name.clone());
        let evaluated: Vec<String> = names.filter(|name| scored_before(name)).collect();
        let has_sets = evaluator.before()?.is_some();
        let judge = Judge::new(&session.config.eval);
        let log = EvalLog::open(&session.folder.eval_log(), steps)?;
        let every = session.config.eval.every;
        let samples = Samples::open(session, (1..steps).filter(|step| in_turn(*step, every)))?;
        let mut all = Self { session, plan, evaluator, judge, log, has_sets, samples };
        if has_sets {
            all.repair(steps, &evaluated)?;
            all.mend_figures()?;
        }
        if has_sets && !all.log.has(0) {
            let scored = all.evaluator.start()?;
            all.log.push(all.records(0, &scored))?;
        }
        Ok(all)
    }

    /// Restores the records that `eval.jsonl` has lost: from the figures and scores in `eval/`, or by an evaluation of
    /// the checkpoint of their step. A record that cannot be restored is an error if a best step is chosen from the
    /// records, otherwise a warning. A log may also have lost its end without a broken line; then only an evaluation
    /// that left figures or a best checkpoint is missed, since another configuration may have planned fewer.
    ///
    /// - `steps`: steps taken so far.
    /// - `evaluated`: the sets that an earlier program evaluated before training, so that the log had a record of each.
    fn repair(&mut self, steps: usize, evaluated: &[String]) -> Result<()> {
        let (verbosity, file) =
            (self.session.options.verbosity, self.log.path().display().to_string());
        let broken = json_lines::numbered("line", self.log.broken_lines());
        let is_broken = !self.log.broken_lines().is_empty();
        let is_lost = steps > 0 && evaluated.iter().any(|set| !self.log.has_set(0, set));
        let mut missing = self.without_record(steps, is_broken || is_lost)?;
        // The last one is evaluated again in its turn, which also saves the best checkpoint.
        if missing.remove(&steps) {
            self.log.forget(steps);
        }
        let of = |steps: &[usize]| json_lines::numbered("step", steps);
        let why = if is_broken {
            format!("`{file}`: {broken} did not match the digest")
        } else if is_lost {
            format!("`{file}` has lost records")
        } else if missing.is_empty() {
            return Ok(());
        } else {
            let missing: Vec<_> = missing.iter().copied().collect();
            format!("`{file}` has no record of the evaluation after {}", of(&missing))
        };
        let (mut restored, mut lost) = (Vec::new(), Vec::new());
        for step in missing {
            match self.again(step)? {
                Some(scored) => restored.push((step, self.records(step, &scored))),
                None => lost.push(step),
            }
        }
        let steps: Vec<_> = restored.iter().map(|(step, _)| *step).collect();
        let mut what = match &steps[..] {
            [] => why,
            steps => format!("{why}; the evaluation after {} is restored from `eval`", of(steps)),
        };
        if !lost.is_empty() {
            what += &format!("; the evaluation after {} is lost", of(&lost));
        }
        if let Some(judge) = self.judge.as_ref().filter(|_| !lost.is_empty()) {
            // The file stays as it is, so that the next command finds the damage too.
            let error = format!("{what}, and the best step by {} depends on it", judge.title());
            return Err(InputError::new(error)
                .hint(
                    "resume from a checkpoint before it with `--resume`, or run the command again in another folder \
                     with `--output`",
                )
                .into());
        }
        verbosity.warn(what);
        self.log.mend(restored.into_iter().map(|(_, records)| records))
    }

    /// Writes damaged figures of a recorded step again: from its scores, where the record agrees with them, or by an evaluation of its
    /// checkpoint, each with a warning, as is what neither is left of.
    fn mend_figures(&self) -> Result<()> {
        let steps: BTreeSet<usize> = self.log.records().iter().map(|record| record.step).collect();
        for step in steps.into_iter().filter(|step| *step > 0) {
            let Some(damage) = self.evaluator.damage(step)? else { continue };
            let recorded: Vec<EvalRecord> =
                self.log.records().iter().filter(|record| record.step == step).cloned().collect();
            let adapter = checkpoint::adapter_after(self.session, step).ok();
            let scored = self.evaluator.from_scores(step, adapter.as_ref(), &recorded)?;
            if let Some(scored) = scored.filter(|scored| self.records(step, scored) == recorded) {
                let again = format!("{damage}; it is written again from the scores");
                self.session.options.verbosity.warn(again);
                self.evaluator.write_during(step, &scored)?;
            } else if let Some(adapter) = adapter {
                self.evaluator.during(step, &adapter)?;
            } else {
                let lost =
                    format!("{damage}; no checkpoint of the step is left to compute it again");
                self.session.options.verbosity.warn(lost);
            }
        }
        Ok(())
    }

    /// The steps up to `steps` that were evaluated, by the files in `eval/` or the best checkpoints, if `planned` also
    /// by the plan, and have no record of some set.
    fn without_record(&self, steps: usize, planned: bool) -> Result<BTreeSet<usize>> {
        let (folder, every) = (&self.session.folder, self.session.config.eval.every);
        let planned = (0..=steps).filter(|step| {
            let in_turn = every > 0 && (step.is_multiple_of(every) || *step == self.plan.steps());
            planned && (*step == 0 || in_turn)
        });
        let files = read::folder(&folder.evaluations())?;
        let files = files.iter().filter_map(|file| Paths::evaluated_step(file));
        let best = checkpoints::list_best(&folder.checkpoints())?.into_iter().map(|(step, _)| step);
        let sets = &self.session.inputs.sets;
        let mut steps: BTreeSet<usize> =
            planned.chain(files).chain(best).filter(|step| *step <= steps).collect();
        steps.retain(|step| !sets.iter().all(|set| self.log.has_set(*step, &set.name)));
        Ok(steps)
    }

    /// The evaluation after `step` steps, which an earlier program made: read, or computed again from a checkpoint of
    /// that step; none if neither is there.
    fn again(&self, step: usize) -> Result<Option<Scored>> {
        if step == 0 {
            return self.evaluator.start().map(Some);
        }
        if let Some(scored) = self.evaluator.written_during(step)? {
            return Ok(Some(scored));
        }
        let adapter = checkpoint::adapter_after(self.session, step).ok();
        adapter.map(|adapter| self.evaluator.during(step, &adapter)).transpose()
    }

    /// The records of `scored`, the evaluation after `step` steps, one for each set.
    pub(super) fn records(&self, step: usize, scored: &Scored) -> Vec<EvalRecord> {
        let epoch = self.plan.epochs_after(step);
        eval_log::records(step, epoch, &scored.evaluation, &scored.scores, &self.session.config.dpo)
    }

    /// The records of `eval.jsonl`, by step.
    pub(super) fn recorded(&self) -> &[EvalRecord] {
        self.log.records()
    }

    /// All answers to fixed prompts.
    pub(super) fn answers(&self) -> &[SampleRecord] {
        self.samples.as_ref().map_or(&[], Samples::records)
    }

    /// Whether the policy after `step` steps must be evaluated and has not been yet.
    pub(super) fn due(&self, step: usize) -> bool {
        let every = self.session.config.eval.every;
        let is_last = every > 0 && step == self.plan.steps();
        let is_due = step > 0 && (in_turn(step, every) || is_last);
        let is_answered = self.samples.as_ref().is_none_or(|samples| samples.has(step));
        is_due && (self.has_sets && !self.log.has(step) || !is_answered)
    }

    /// The step at which patience ran out; none if it did not.
    fn stopped(&self) -> Option<usize> {
        self.judge.as_ref()?.stop(self.log.records())
    }

    /// Why training stops before the end of the plan; none if it does not.
    pub(super) fn stop_reason(&self) -> Option<String> {
        let (at, judge) = (self.stopped()?, self.judge.as_ref()?);
        Some(format!("stopped after step {at}: {}", judge.reason()))
    }

    /// Whether training is over: the plan is done and evaluated, or patience ran out.
    pub(super) fn over(&self, state: &State) -> bool {
        let step = state.cursor.step;
        (step >= self.plan.steps() && !self.due(step)) || self.stopped().is_some()
    }

    /// Evaluates the policy of `state`, and saves its checkpoint if it is the best so far.
    pub(super) fn during(&mut self, state: &State, books: &mut Books<'_>) -> Result<()> {
        let step = state.cursor.step;
        let mut records = Vec::new();
        if self.has_sets {
            let scored = self.evaluator.during(step, &state.adapter);
            let scored = scored.map_err(|error| divergence::explained(error, books.records()))?;
            records = self.records(step, &scored);
        }
        if let Some(samples) = &mut self.samples {
            let answers = samples.during(step, &state.adapter)?;
            let line = samples.line(step, &answers);
            books.write_samples(&answers, samples.records(), line)?;
        }
        if !self.has_sets {
            return Ok(());
        }
        books.sync()?;
        self.save_if_best(state, &records)?;
        books.write_evaluation(&records)?;
        self.log.push(records)
    }

    /// Saves a best checkpoint of `state` if its evaluation, in the records `new`, is the best so far.
    ///
    /// Removes the best checkpoints that neither this run nor one resumed from any of its checkpoints can need.
    fn save_if_best(&self, state: &State, new: &[EvalRecord]) -> Result<()> {
        let Some(judge) = &self.judge else { return Ok(()) };
        let (path, step) = (self.session.folder.checkpoints(), state.cursor.step);
        let records = [self.log.records(), new].concat();
        let saved = checkpoints::list(&path)?.into_iter().map(|(step, _)| step);
        let before = step.saturating_sub(1);
        let bests: Vec<usize> = saved
            .map(|saved| saved.min(before))
            .chain([before, step])
            .filter_map(|until| Some(judge.best(&records, until)?.step))
            .collect();
        if bests.contains(&step) {
            checkpoint::save_best(self.session, state)?;
        }
        checkpoint::prune_best(&path, &bests)
    }

    /// The adapter to export: that of the best evaluation, or of the last step if no evaluation is a candidate.
    pub(super) fn exported(&self, state: State) -> Result<Exported> {
        let last = state.cursor.step;
        let best = self.judge.as_ref().and_then(|judge| judge.best(self.log.records(), last));
        let Some(best) = best else {
            return Ok(Exported { adapter: state.adapter, step: last, last, best });
        };
        let adapter = checkpoint::adapter_after(self.session, best.step)?;
        Ok(Exported { adapter, step: best.step, last, best: Some(best) })
    }

    /// Evaluates the exported adapter. `log`: records of the steps, for the rewritten TensorBoard file.
    pub(super) fn after(&mut self, exported: &Exported, log: &Log) -> Result<()> {
        let (step, adapter, last) = (exported.step, &exported.adapter, exported.last);
        let mut is_new = match &mut self.samples {
            Some(samples) => samples.after(step, adapter, last)?,
            None => false,
        };
        is_new |= self.has_sets && self.evaluate_exported(exported, log)?;
        if is_new {
            let folder = self.session.folder.tensorboard();
            TensorBoard::open(&folder, log.records(), self.log.records(), self.answers())?;
        }
        Ok(())
    }

    /// Evaluates the exported adapter on the sets; true if its records are new.
    fn evaluate_exported(&mut self, exported: &Exported, log: &Log) -> Result<bool> {
        let scored = self.evaluator.after(exported.step, &exported.adapter);
        let scored = scored.map_err(|error| divergence::explained(error, log.records()))?;
        let sets = &self.session.inputs.sets;
        if sets.iter().all(|set| self.log.has_set(exported.step, &set.name)) {
            return Ok(false);
        }
        if self.log.has(exported.step) {
            let file = self.log.path().display();
            let step = exported.step;
            let what = format!(
                "`{file}` has lost a record of the evaluation after step {step}; it is restored"
            );
            self.session.options.verbosity.warn(what);
        }
        self.log.push(self.records(exported.step, &scored))?;
        Ok(true)
    }

    /// Adds the exported step and the reason for it to `training`, and prints them.
    pub(super) fn describe(&self, exported: &Exported, training: &mut TrainingSummary) {
        let (Some(judge), Some(best)) = (&self.judge, exported.best) else { return };
        let (verbosity, last) = (self.session.options.verbosity, exported.last);
        let (title, figure) = (judge.title(), cell::value(judge.metric, best.value));
        let what = format!("step {} of {last}, the best by {title}: {figure}", best.step);
        verbosity.note(format!("exported: {what}"));
        training.exported = Some(what);
        training.stopped_early = self
            .stopped()
            .map(|at| format!("after step {at} of {}: {}", self.plan.steps(), judge.reason()));
        if judge.is_worse_than_baseline(best, self.log.records()) {
            let baseline = judge.baseline_name();
            verbosity.warn(format!("no step has a better {title} than {baseline}"));
        }
    }
}

/// Whether an evaluation follows step `step`, which may not be the last one.
fn in_turn(step: usize, every: usize) -> bool {
    every > 0 && step > 0 && step.is_multiple_of(every)
}
