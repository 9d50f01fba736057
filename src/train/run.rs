//! The recipe: from a configuration to an adapter, its scores and a report.

use crate::inference::engine;
use crate::machine::peak;
use crate::machine::rate;
use crate::model::weights;
use crate::run_folder::checkpoints;
use crate::run_folder::guard;
use crate::session::{Options, open_model};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::Device;

use super::best::Judge;
use super::checkpoint::{self, Cursor, State};
use super::launched::{Bookkeeping, Launched};
use super::optimizer::{self, Optimizer};
use super::plan::Plan;
use super::schedule::learning_rate;
use super::step::loss_and_gradients;
use crate::config::{Reference, RunConfig};
use crate::console::interrupt::{self, Interrupted};
use crate::disk::atomic;
use crate::encoder::source::EncoderSource;
use crate::eval::evaluate::Scoring;
use crate::machine;
use crate::machine::moment::Moment;
use crate::model::adapter::{self, WEIGHTS_FILE};
use crate::model::decoder::Decoder;
use crate::model::layer::Dropout;
use crate::model::lora::Adapter;
use crate::report::page;
use crate::report::{RunReport, cell};
use crate::run_folder::RunFolder;
use crate::run_folder::eval_log::{self, EvalLog, EvalRecord};
use crate::run_folder::guard::Resume;
use crate::run_folder::purpose::Purpose;
use crate::run_folder::tensorboard::TensorBoard;
use crate::run_folder::train_log::Log;
use crate::session::inputs::Inputs;
use crate::session::source::ModelSource;
use crate::train::reference;

/// Trains, evaluates and exports what `config` describes; goes on where an interrupted run of it stopped.
///
/// The user's mistakes are found before anything is written. An [`Interrupted`] run has saved a checkpoint.
pub fn run(config: &RunConfig, options: &Options) -> Result<RunReport> {
    let begun = Instant::now();
    let say = options.verbosity;

    peak::keep_freed_memory();

    // What the user gave.
    let device = machine::device(&options.device)?;
    let dtype = machine::dtype(config.model.dtype, &device)?;
    let changes = guard::check(Purpose::Run, config, &options.resume, options.allow_config_change)?;
    changes.iter().for_each(|change| say.warn(format!("the configuration has changed: {change}")));
    let mut inputs = Inputs::load(config, say)?;
    inputs.notes.iter().for_each(|note| say.note(note));
    inputs.fetch_weights()?;
    let encoder = inputs.encoder.as_ref().map(EncoderSource::load).transpose()?;

    // The model and the run folder.
    let (model, base_path, folder) = open_model(config, &inputs, dtype, &device)?;
    let model_digest = weights::digest(&base_path)?;
    inputs.save_tokens(say);
    let (commit, revision) = inputs.model.commit().unzip();
    let inputs_digest = inputs.digest(&model_digest)?;
    folder.begin(
        Purpose::Run,
        config,
        &inputs_digest,
        &machine::describe(&device),
        commit,
        &changes,
    )?;
    let engine = engine::engine(
        &config.train,
        &config.lora,
        &model.shape,
        dtype,
        &inputs.train,
        peak::free_bytes(&device),
    );
    let (parameters, device_name) =
        (model.shape.parameters() as f64 / 1e6, machine::describe(&device));
    say.note(format!("model: {parameters:.1} M parameters, {dtype:?} on {device_name}; {:?} activations, {} tokens at once", engine.keep, engine.micro_batch_tokens));

    // The state to start from: the newest whole checkpoint, or a fresh adapter.
    let mut state = load_state(config, options, &inputs, &folder, &device)?;
    let base_name = match &inputs.model {
        ModelSource::Folder(_) | ModelSource::Hub(_) => config.model.path.clone(),
        ModelSource::Embedded(_) => std::path::absolute(&base_path)?.display().to_string(),
    };
    let adapter_config = adapter::config_json(
        &state.adapter,
        &config.lora.target_modules,
        config.lora.dropout,
        &base_name,
        revision,
    );
    let start = start(&inputs, &model)?;
    let adapter_dir = folder.adapter().display().to_string();
    let scoring = Scoring {
        config,
        inputs: &inputs,
        model: &model,
        start: start.as_ref(),
        model_digest: &model_digest,
        tuned: &adapter_dir,
        encoder: encoder.as_ref(),
        folder: &folder,
        engine,
        say,
    };
    let before = scoring.before()?;

    // Training.
    let plan = Plan::new(inputs.train.len(), &config.data, &config.train);
    let dpo = &config.dpo;
    let mut log = Log::open(&folder.log(), state.cursor.step)?;
    let judge = Judge::new(&config.eval);
    let mut evaluations = EvalLog::open(&folder.eval_log(), state.cursor.step)?;
    if before.is_some() && !evaluations.has(0) {
        let (evaluation, scores) = scoring.start()?;
        evaluations.push(eval_log::records(0, 0.0, &evaluation, &scores, dpo))?;
    }
    let stop = |evaluations: &EvalLog| judge.as_ref()?.stop(evaluations.records());
    let is_due = |step: usize, evaluations: &EvalLog| {
        scoring.is_due(step, plan.steps()) && !evaluations.has(step)
    };
    let save = |state: &State| {
        checkpoint::save(
            &folder.checkpoints(),
            state,
            config.train.keep_checkpoints,
            &adapter_config,
        )
    };
    let left = state.cursor.step < plan.steps() || is_due(state.cursor.step, &evaluations);
    if left && stop(&evaluations).is_none() {
        if config.lora.dropout > 0.0 {
            say.note(format!("dropout: {} on the adapter's inputs", config.lora.dropout));
        }
        let reference = if dpo.loss.needs_reference() {
            reference::logps(
                &model,
                start.as_ref().filter(|_| config.dpo.reference == Reference::Init),
                &model_digest,
                &inputs.train,
                &plan.visited(),
                engine.micro_batch_tokens,
                say,
            )?
        } else {
            vec![[0.0; 2]; inputs.train.len()]
        };
        let tensorboard =
            TensorBoard::open(&folder.tensorboard(), log.records(), evaluations.records())?;
        let mut books = Bookkeeping {
            log: &mut log,
            tensorboard,
            progress: say.progress("train", "steps", state.cursor.step as u64, plan.steps() as u64),
            say,
            inputs: &inputs,
            model: &model,
            ceiling_tflops: rate::matmul_tflops(&model.shape, dtype, &device)?,
            max_skipped_steps: config.train.max_skipped_steps,
        };
        let mut steps = plan.steps_from(state.cursor.step);
        // A GPU is given the next step while it computes this one, unless this one is to be saved or evaluated.
        let mut launched: Option<Launched> = None;
        loop {
            if launched.is_none() {
                let step = state.cursor.step;
                if is_due(step, &evaluations) {
                    let (evaluation, scores) = match scoring.during(step, &state.adapter) {
                        Err(error) if error.is::<Interrupted>() => {
                            save(&state)?;
                            return Err(error);
                        }
                        scored => scored?,
                    };
                    let epoch = plan.epochs_after(step);
                    let records = eval_log::records(step, epoch, &evaluation, &scores, dpo);
                    books.progress.suspend(|| records.iter().for_each(|record| say.note(record)));
                    keep_best(
                        &folder,
                        judge.as_ref(),
                        &state,
                        &adapter_config,
                        [evaluations.records(), &records],
                    )?;
                    books.tensorboard.push_evaluation(&records)?;
                    evaluations.push(records)?;
                }
                if let (Some(judge), Some(at)) = (&judge, stop(&evaluations)) {
                    let why = format!("stopped after step {at}: {}", judge.reason());
                    books.progress.suspend(|| say.note(why));
                    save(&state)?;
                    break;
                }
            }
            let Some((step, planned)) = steps.next() else { break };
            let begun = Moment::on(&device)?;
            let rate = learning_rate(&config.train, step, plan.steps());
            let dropout = (config.lora.dropout > 0.0).then_some(Dropout {
                probability: config.lora.dropout,
                seed: config.train.seed,
                step: step as u32,
            });
            let policy = state.adapter.to_dtype(dtype)?;
            let computed = loss_and_gradients(
                &model,
                &policy,
                &inputs.train,
                &reference,
                &planned,
                (dpo, dropout, engine),
                &interrupt::check,
            );
            if let Some(before) = launched.take() {
                books.settle(&before, &mut state)?;
            }
            let (output, gradients) = match computed {
                Err(error) if error.is::<Interrupted>() => {
                    save(&state)?;
                    return Err(error);
                }
                computed => computed?,
            };
            let norm = optimizer::norm(&gradients)?;
            if output.loss.is_finite() {
                state.adapter.tensors = state.optimizer.step(
                    &state.adapter.tensors,
                    &gradients,
                    &norm,
                    config.train.max_grad_norm,
                    [rate, config.train.lora_plus_ratio * rate],
                    config.train.weight_decay,
                )?;
            }
            let during = [begun, Moment::on(&device)?];
            let this = Launched { planned, output, norm, learning_rate: rate, during };
            let done = step + 1;
            let saved = done % config.train.checkpoint_every == 0 || done == plan.steps();
            if device.is_cpu() || saved || is_due(done, &evaluations) {
                books.settle(&this, &mut state)?;
                if saved {
                    save(&state)?;
                }
            } else {
                launched = Some(this);
            }
        }
    }

    // What the user came for: the last adapter, or the best one.
    let last = state.cursor.step;
    let best = judge.as_ref().and_then(|judge| judge.best(evaluations.records(), last));
    let (step, adapter) = match best {
        Some(best) => (best.step, load_best(best.step, config, &inputs, &folder, &device)?),
        None => (last, state.adapter),
    };
    export(&folder, &adapter, &adapter_config, &inputs)?;
    let mut after = None;
    if before.is_some() {
        let (evaluation, scores) = scoring.after(step, &adapter)?;
        if !evaluations.has(step) {
            let epoch = plan.epochs_after(step);
            let records = eval_log::records(step, epoch, &evaluation, &scores, dpo);
            evaluations.push(records)?;
            TensorBoard::open(&folder.tensorboard(), log.records(), evaluations.records())?;
        }
        after = Some(evaluation);
    }
    let mut training = log.summary(begun.elapsed().as_secs_f64());
    if let (Some(judge), Some(best)) = (&judge, best) {
        let (title, figure) = (judge.title(), cell::value(judge.metric, best.value));
        training.exported =
            Some(format!("step {} of {last}, the best by {title}: {figure}", best.step));
        training.stopped_early = stop(&evaluations)
            .map(|at| format!("after step {at} of {}: {}", plan.steps(), judge.reason()));
        say.note(format!("exported: step {} of {last}, the best by {title}: {figure}", best.step));
        if judge.is_worse_than_start(best, evaluations.records()) {
            say.warn(format!("no step has a better {title} than the model before training"));
        }
    }
    let report = RunReport {
        title: config
            .output
            .dir
            .file_name()
            .map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned()),
        model: config.model.path.clone(),
        device: machine::describe(&device),
        training: Some(training),
        before,
        after,
        adapter_dir,
        config_toml: config.to_toml()?,
        notes: inputs.notes.clone(),
    };
    page::write_run(&report, folder.path())?;
    describe(&folder, &report, &base_name, config)?;
    Ok(report)
}

/// The newest checkpoint that is whole, the one that was asked for, or the start.
fn load_state(
    config: &RunConfig,
    options: &Options,
    inputs: &Inputs,
    folder: &RunFolder,
    device: &Device,
) -> Result<State> {
    let load = |path: &Path| checkpoint::load(path, &inputs.model_config, &config.lora, device);
    if let Resume::From(path) = &options.resume {
        let state =
            load(path).with_context(|| format!("cannot resume from `{}`", path.display()))?;
        options.verbosity.note(format!("resumed from `{}`", path.display()));
        return Ok(state);
    }
    for (step, path) in checkpoints::list(&folder.checkpoints()) {
        match load(&path) {
            Ok(state) => {
                options.verbosity.note(format!("resumed after step {step}"));
                return Ok(state);
            }
            Err(error) => options
                .verbosity
                .warn(format!("checkpoint `{}` is passed over: {error:#}", path.display())),
        }
    }
    let adapter = match &inputs.start {
        Some(adapter) => adapter.to_device(device)?,
        None => Adapter::fresh(&inputs.model_config, &config.lora, config.train.seed, device)?,
    };
    let optimizer = Optimizer::new(&adapter.tensors)?;
    Ok(State { cursor: Cursor::default(), adapter, optimizer })
}

/// Keeps the checkpoint of `state` if its evaluation, the `new` records after the `earlier` ones, is the best; removes those that
/// neither this run nor one that goes on from any checkpoint can need.
fn keep_best(
    folder: &RunFolder,
    judge: Option<&Judge>,
    state: &State,
    adapter_config: &serde_json::Value,
    [earlier, new]: [&[EvalRecord]; 2],
) -> Result<()> {
    let Some(judge) = judge else { return Ok(()) };
    let (path, records) = (folder.checkpoints(), [earlier, new].concat());
    let steps = checkpoints::list(&path).into_iter().map(|(step, _)| step);
    let bests: Vec<usize> = steps
        .map(|step| step.min(state.cursor.step.saturating_sub(1)))
        .chain([state.cursor.step.saturating_sub(1), state.cursor.step])
        .filter_map(|until| Some(judge.best(&records, until)?.step))
        .collect();
    if bests.contains(&state.cursor.step) {
        checkpoint::save_best(&path, state, adapter_config)?;
    }
    checkpoint::prune_best(&path, &bests)
}

/// The adapter of the best checkpoint, which must be whole.
fn load_best(
    step: usize,
    config: &RunConfig,
    inputs: &Inputs,
    folder: &RunFolder,
    device: &Device,
) -> Result<Adapter> {
    let path = checkpoints::best_path(&folder.checkpoints(), step);
    let state = checkpoint::load(&path, &inputs.model_config, &config.lora, device)
        .with_context(|| format!("the best checkpoint `{}` cannot be used", path.display()))?;
    Ok(state.adapter)
}

/// The adapter that the run starts from, as the base computes; none for a fresh one, which changes nothing.
fn start(inputs: &Inputs, model: &Decoder) -> Result<Option<Adapter>> {
    Ok(inputs.start.as_ref().map(|adapter| model.bring(adapter)).transpose()?)
}

/// Writes the adapter folder, unless it holds this adapter already.
fn export(
    folder: &RunFolder,
    adapter: &Adapter,
    adapter_config: &serde_json::Value,
    inputs: &Inputs,
) -> Result<()> {
    let weights = adapter::to_safetensors(&adapter.tensors)?;
    let path = folder.adapter();
    if std::fs::read(path.join(WEIGHTS_FILE)).is_ok_and(|there| there == weights) {
        return Ok(());
    }
    let mut files = vec![
        (WEIGHTS_FILE.to_owned(), weights),
        (adapter::CONFIG_FILE.to_owned(), serde_json::to_vec_pretty(adapter_config)?),
    ];
    files.extend(inputs.tokenizer_files.iter().cloned());
    atomic::write_folder(&path, &files)
}

/// Writes the model card and the configuration beside the adapter, which stays as it is.
fn describe(
    folder: &RunFolder,
    report: &RunReport,
    base_model: &str,
    config: &RunConfig,
) -> Result<()> {
    let (lora, dpo, train) = (&config.lora, &config.dpo, &config.train);
    let modules: Vec<_> = lora.target_modules.iter().map(|module| module.name()).collect();
    let pairs_a_step = train.per_device_batch_size * train.gradient_accumulation_steps;
    let settings = [
        ("rank, alpha, dropout", format!("{}, {}, {}", lora.rank, lora.alpha, lora.dropout)),
        ("adapted layers", modules.join(", ")),
        ("loss, beta", format!("{}, {}", dpo.loss, dpo.beta)),
        ("learning rate, schedule", format!("{:e}, {}", train.learning_rate, train.scheduler)),
        ("pairs a step", pairs_a_step.to_string()),
        ("tokens at most", config.data.max_length.to_string()),
        ("seed", train.seed.to_string()),
    ];
    let card = report.to_model_card(base_model, &settings);
    let put = |name: &str, text: &str| {
        atomic::write(&folder.adapter().join(name), |out| Ok(out.write_all(text.as_bytes())?))
    };
    put("README.md", &card)?;
    put("config.toml", &report.config_toml)
}
