//! The recipe: from a configuration to an adapter, its scores and a report.

use std::time::Instant;

use anyhow::Result;

use crate::config::{RunConfig, TrainSection};
use crate::console::interrupt::Interrupted;
use crate::machine::moment::Moment;
use crate::report::{RunReport, page};
use crate::run_folder::begun_batch;
use crate::run_folder::guard::Resume;
use crate::run_folder::purpose::Purpose;
use crate::run_folder::summary::{Summary, TrainingSummary};
use crate::run_folder::train_log::{self, Log};
use crate::run_folder::wall_time::WallTime;
use crate::session::{Options, Session, ranks};
use crate::train::books::Books;
use crate::train::evaluations::Evaluations;
use crate::train::flight::Flight;
use crate::train::launched::Launched;
use crate::train::leaves::{Leaves, whole_step};
use crate::train::plan::Plan;
use crate::train::recipe::Recipe;
use crate::train::state::State;
use crate::train::{checkpoint, divergence, export, leader, optimizer, reference};

/// Trains, evaluates and exports what `config` describes; resumes an interrupted run of it.
///
/// Invalid input is an error before anything is written. If training is [`Interrupted`], a checkpoint is saved first.
pub fn run(config: &RunConfig, options: &Options) -> Result<RunReport> {
    let begun = Instant::now();
    let (config, kept) = &begun_batch::settled(config, options.world.ranks(), &options.resume);
    kept.iter().for_each(|note| options.verbosity.note(note));
    let session = Session::open(config, options, Purpose::Run)?;
    let plan = Plan::new(session.inputs.visits.pairs.clone(), &config.data, &config.train);
    let recipe = Recipe::of(config);
    ranks::begin(&session, plan.steps())?;
    let mut state = checkpoint::newest_or_fresh(&session)?;
    let mut clock = WallTime::open(&session.folder.wall_time(), &session.folder.log(), begun)?;
    let mut evaluations = Evaluations::open(&session, &plan, state.cursor.step)?;
    let mut log = Log::open(&session.folder.log(), state.cursor.step)?;
    let damage: Vec<String> = log.damage().into_iter().chain(clock.damage()).collect();
    for damage in &damage {
        match options.resume {
            Resume::From(_) => options.verbosity.note(damage), // they may be in the log of the other run
            _ => options.verbosity.warn(damage),
        }
    }
    let is_over = evaluations.over(&state) && clock.damage().is_none();
    let finished = finished(&session, is_over, state.cursor.step);
    if finished.is_some() {
        clock.stop();
    }
    let doubts = recipe.doubts(plan.steps());
    doubts.iter().for_each(|doubt| options.verbosity.warn(doubt));

    if !evaluations.over(&state) {
        recipe.announce(options.verbosity);
        leader::share(&session, &state)?;
        let reference = reference::logps(&session, &plan.visited())?;
        let (recorded, answers) = (evaluations.recorded(), evaluations.answers());
        clock.save(state.cursor.step)?;
        let step = state.cursor.step;
        let mut books =
            Books::open(&session, &plan, step, &mut log, recorded, answers, &mut clock)?;
        let trained =
            train(&session, &plan, &recipe, &reference, &mut state, &mut evaluations, &mut books);
        if trained.as_ref().is_err_and(|error| error.is::<Interrupted>()) {
            books.save(&state)?; // an interruption saves here and nowhere else
        }
        let timed = books.save_time(state.cursor.step);
        trained?;
        timed?;
    }

    let exported = evaluations.exported(state)?;
    divergence::refuse_to_export(&exported.adapter.tensors, log.records())?;
    let adapter_sha256 = export::adapter(&session, &exported.adapter)?;
    evaluations.after(&exported, &log)?;
    let wall_time_s = finished.map_or_else(|| clock.seconds(), |earlier| earlier.wall_time_s);
    let mut training = train_log::summary(log.records(), exported.last, wall_time_s);
    training.adapter_sha256 = Some(adapter_sha256);
    evaluations.describe(&exported, &mut training);
    let adapter_dir = session.folder.adapter().display().to_string();
    let mut summary = session.summary("run", adapter_dir, Some(training));
    summary.notes.extend(damage.into_iter().chain(doubts));
    let report =
        page::write_run(session.folder.path(), &summary, |note| options.verbosity.warn(note))?;
    export::model_card(&session, &report)?;
    Ok(report)
}

/// What a run that was finished before this process began says of its training: the same command again changes nothing of it.
fn finished(session: &Session<'_>, is_over: bool, step: usize) -> Option<TrainingSummary> {
    let summary = Summary::read(&session.folder.summary()).ok().flatten().filter(|_| is_over)?;
    summary.training.filter(|training| training.steps == step)
}

/// Trains `state` to the end of the plan, or until patience runs out.
fn train(
    session: &Session<'_>,
    plan: &Plan,
    recipe: &Recipe<'_>,
    reference: &[[f64; 2]],
    state: &mut State,
    evaluations: &mut Evaluations<'_>,
    books: &mut Books<'_>,
) -> Result<()> {
    let Session { model, inputs, engine, .. } = session;
    let TrainSection { checkpoint_every, gradient_shards, .. } = session.config.train;
    let mut planned = plan.steps_from(state.cursor.step);
    // A GPU computes step n while the host prepares step n + 1. On a CPU each step lands at once.
    let mut flight = Flight::default();

    // One round more than there are steps: the last evaluation follows the last step.
    for n in state.cursor.step..=plan.steps() {
        if evaluations.due(n) {
            evaluations.during(state, books)?;
            books.save_time(n)?;
        }
        if let Some(why) = evaluations.stop_reason() {
            books.note(why);
            return books.save(state);
        }
        let Some((_, step)) = planned.next() else { break };

        let begun = Moment::on(&model.device)?;
        let policy = state.adapter.to_dtype(model.dtype)?;
        let settings = recipe.settings(n, *engine);
        let leaves = Leaves { model, adapter: &policy, pairs: &inputs.train, reference, settings };
        let computed = whole_step(&leaves, &step, n, gradient_shards, &session.options.world);
        flight.land(state, books)?; // step n - 1; its norm is known by now
        let (output, gradients) = computed?;
        let norm = optimizer::norm(&gradients)?;
        let rates = recipe.learning_rates(n, plan.steps());
        state.step(output.loss, &gradients, &norm, rates, recipe)?;
        let during = [begun, Moment::on(&model.device)?];
        flight.launch(Launched { planned: step, output, norm, learning_rate: rates[0], during });

        let done = n + 1;
        let saves = done % checkpoint_every == 0 || done == plan.steps();
        if model.device.is_cpu() || saves || evaluations.due(done) {
            flight.land(state, books)?;
        }
        if saves {
            leader::verify(session, state)?;
            books.save(state)?;
        }
    }
    Ok(())
}
