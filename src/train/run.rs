//! The recipe: from a configuration to an adapter, its scores and a report.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};

use super::checkpoint::{self, Cursor, State};
use super::dpo::Dpo;
use super::folder::{self, Resume, RunFolder};
use super::hub::model::HubModel;
use super::inputs::{Inputs, ModelSource};
use super::interrupt::{self, Interrupted};
use super::log::{Log, StepRecord, finite};
use super::optimizer::{self, Optimizer};
use super::plan::{Plan, PlannedStep};
use super::progress::Verbosity;
use super::schedule::learning_rate;
use super::step::{Engine, StepOutput, loss_and_gradients};
use super::{digest, machine, reference, scores};
use crate::atomic_file;
use crate::config::RunConfig;
use crate::eval::score::{PairScore, read_scores, write_scores};
use crate::eval::{Evaluation, SetResult};
use crate::model::adapter::{self, WEIGHTS_FILE};
use crate::model::layer::Dropout;
use crate::model::llama::Llama;
use crate::model::lora::Adapter;
use crate::report::RunReport;

/// What the command line adds to the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// What to do about a run that is already in the folder.
    pub resume: Resume,
    /// How much is said.
    pub verbosity: Verbosity,
}

/// Trains, evaluates and exports what `config` describes; goes on where an interrupted run of it stopped.
///
/// The user's mistakes are found before anything is written. An [`Interrupted`] run has saved a checkpoint.
pub fn run(config: &RunConfig, options: &Options) -> Result<RunReport> {
    let begun = Instant::now();
    let say = options.verbosity;

    machine::keep_freed_memory();

    // What the user gave.
    let device = machine::device(&options.device)?;
    let dtype = machine::dtype(config.model.dtype, &device)?;
    folder::check(config, &options.resume)?;
    let inputs = Inputs::load(config, say)?;
    inputs.notes.iter().for_each(|note| say.note(note));

    // The model and the run folder.
    let (model, base_path, folder) = open_model(config, &inputs, dtype, &device)?;
    let model_digest = digest::of_model(&base_path)?;
    let (commit, revision) = inputs.model.commit().unzip();
    folder.begin(config, &inputs.digest(&model_digest)?, &machine::describe(&device), commit)?;
    let engine = machine::engine(&config.train, &model.config, dtype, &inputs.train);
    let (parameters, device_name) =
        (model.config.parameters() as f64 / 1e6, machine::describe(&device));
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
    let scoring = Scoring { config, inputs: &inputs, model: &model, folder: &folder, engine, say };
    let before = scoring.before(&state)?;

    // Training.
    let plan = Plan::new(inputs.train.len(), &config.data, &config.train);
    let dpo = Dpo { beta: config.dpo.beta, label_smoothing: config.dpo.label_smoothing };
    let mut log = Log::open(&folder.log(), state.cursor.step)?;
    let save = |state: &State| {
        checkpoint::save(
            &folder.checkpoints(),
            state,
            config.train.keep_checkpoints,
            &adapter_config,
        )
    };
    if state.cursor.step < plan.steps() {
        if config.lora.dropout > 0.0 {
            say.note(format!("dropout: {} on the adapter's inputs", config.lora.dropout));
        }
        let reference = reference::logps(
            &model,
            &model_digest,
            &inputs.train,
            &plan.visited(),
            engine.micro_batch_tokens,
            say,
        )?;
        let ceiling_tflops = machine::matmul_tflops(&model.config, dtype, &device)?;
        let mut progress =
            say.progress("train", "steps", state.cursor.step as u64, plan.steps() as u64);
        for (step, planned) in plan.steps_from(state.cursor.step) {
            let clock = Instant::now();
            let rate = learning_rate(&config.train, step, plan.steps());
            let dropout = (config.lora.dropout > 0.0).then_some(Dropout {
                probability: config.lora.dropout,
                seed: config.train.seed,
                step: step as u32,
            });
            let policy = in_dtype(&state.adapter, dtype)?;
            let output = match loss_and_gradients(
                &model,
                &policy,
                &inputs.train,
                &reference,
                &planned,
                (dpo, dropout, engine),
                &interrupt::check,
            ) {
                Err(error) if error.is::<Interrupted>() => {
                    save(&state)?;
                    return Err(error);
                }
                output => output?,
            };
            let norm = optimizer::norm(&output.gradients)?;
            let skipped = !(output.loss.is_finite() && norm.is_finite());
            if skipped {
                state.cursor.skipped_in_a_row += 1;
                let ids: Vec<_> =
                    planned.pairs.iter().map(|&i| inputs.train_ids[i].as_str()).collect();
                say.note(format!(
                    "warning: step {} skipped, loss {} and gradient norm {norm}; pairs {}",
                    step + 1,
                    output.loss,
                    ids.join(", ")
                ));
            } else {
                state.cursor.skipped_in_a_row = 0;
                state.adapter.tensors = state.optimizer.step(
                    &state.adapter.tensors,
                    &output.gradients,
                    norm,
                    config.train.max_grad_norm,
                    rate,
                    config.train.weight_decay,
                )?;
            }
            state.cursor.step = step + 1;
            state.cursor.updates = state.optimizer.count;
            state.cursor.num_tokens += tokens_as_sequences(&inputs, &planned);
            let record = record(
                &state.cursor,
                &planned,
                &output,
                (norm, rate, skipped),
                &model,
                &inputs,
                clock.elapsed().as_secs_f64(),
                ceiling_tflops,
            );
            let message = format!(
                "loss {:.4} margin {:+.3} accuracy {:.2} {:.1} pairs/s",
                output.loss,
                output.rewards[0] - output.rewards[1],
                output.accuracy,
                planned.pairs.len() as f64 / record.step_time_s
            );
            log.push(record)?;
            if state.cursor.skipped_in_a_row >= config.train.max_skipped_steps {
                bail!(
                    "{} steps in a row had a non-finite loss or gradient; the last checkpoint is untouched",
                    state.cursor.skipped_in_a_row
                );
            }
            if state.cursor.step % config.train.checkpoint_every == 0
                || state.cursor.step == plan.steps()
            {
                save(&state)?;
            }
            progress.advance(1, message);
        }
    }

    // What the user came for.
    export(&folder, &state.adapter, &adapter_config, &inputs)?;
    let after = scoring.after(&state, before.as_ref())?;
    let report = RunReport {
        title: config
            .output
            .dir
            .file_name()
            .map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned()),
        model: config.model.path.clone(),
        device: machine::describe(&device),
        training: log.summary(begun.elapsed().as_secs_f64()),
        before,
        after,
        adapter_dir: folder.adapter().display().to_string(),
        config_toml: config.to_toml()?,
        notes: inputs.notes.clone(),
    };
    report.write(&folder.report())?;
    Ok(report)
}

/// Loads the model, then opens the run folder; a model of the binary is unpacked into it, so there the order is the other one.
fn open_model(
    config: &RunConfig,
    inputs: &Inputs,
    dtype: DType,
    device: &Device,
) -> Result<(Llama, std::path::PathBuf, RunFolder)> {
    match &inputs.model {
        ModelSource::Folder(path) | ModelSource::Hub(HubModel { folder: path, .. }) => Ok((
            Llama::load(path, dtype, device)?,
            path.clone(),
            RunFolder::open(&config.output.dir)?,
        )),
        ModelSource::Embedded(files) => {
            let folder = RunFolder::open(&config.output.dir)?;
            let path = folder.base_model();
            let files: Vec<_> =
                files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
            atomic_file::write_folder(&path, &files)?;
            Ok((Llama::load(&path, dtype, device)?, path, folder))
        }
    }
}

/// The newest checkpoint that is whole, the one that was asked for, or the start.
fn load_state(
    config: &RunConfig,
    options: &Options,
    inputs: &Inputs,
    folder: &RunFolder,
    device: &Device,
) -> Result<State> {
    let load = |path: &Path| {
        checkpoint::load(
            path,
            &inputs.model_config,
            &config.lora.target_modules,
            config.lora.rank,
            config.lora.alpha,
            device,
        )
    };
    if let Resume::From(path) = &options.resume {
        let state =
            load(path).with_context(|| format!("cannot resume from `{}`", path.display()))?;
        options.verbosity.note(format!("resumed from `{}`", path.display()));
        return Ok(state);
    }
    for (step, path) in checkpoint::list(&folder.checkpoints()) {
        match load(&path) {
            Ok(state) => {
                options.verbosity.note(format!("resumed after step {step}"));
                return Ok(state);
            }
            Err(error) => options.verbosity.note(format!(
                "warning: checkpoint `{}` is passed over: {error:#}",
                path.display()
            )),
        }
    }
    let adapter = match &inputs.start {
        Some(adapter) => Adapter {
            tensors: adapter.tensors.map(|tensor| tensor.to_device(device))?,
            ..adapter.clone()
        },
        None => Adapter::fresh(
            &inputs.model_config,
            &config.lora.target_modules,
            config.lora.rank,
            config.lora.alpha,
            config.train.seed,
            device,
        )?,
    };
    let optimizer = Optimizer::new(&adapter.tensors)?;
    Ok(State { cursor: Cursor::default(), adapter, optimizer })
}

/// The adapter in the dtype that the base computes in.
fn in_dtype(adapter: &Adapter, dtype: DType) -> Result<Adapter> {
    Ok(Adapter { tensors: adapter.tensors.map(|tensor| tensor.to_dtype(dtype))?, ..*adapter })
}

/// Tokens of a step's pairs as two whole sequences each, which is what TRL counts.
fn tokens_as_sequences(inputs: &Inputs, planned: &PlannedStep) -> u64 {
    let of = |i: &usize| {
        let pair = &inputs.train[*i];
        2 * pair.prompt.len() + pair.chosen.len() + pair.rejected.len()
    };
    planned.pairs.iter().map(of).sum::<usize>() as u64
}

#[expect(clippy::too_many_arguments, reason = "a record is about all of them")]
fn record(
    cursor: &Cursor,
    planned: &PlannedStep,
    output: &StepOutput,
    (norm, learning_rate, skipped): (f64, f64, bool),
    model: &Llama,
    inputs: &Inputs,
    step_time_s: f64,
    ceiling_tflops: f64,
) -> StepRecord {
    let scored = planned
        .pairs
        .iter()
        .map(|&i| inputs.train[i].chosen.len() + inputs.train[i].rejected.len())
        .sum();
    let model_tflops =
        machine::training_flop(&model.config, output.tokens_computed, scored) / step_time_s / 1e12;
    StepRecord {
        step: cursor.step,
        epoch: planned.epoch,
        loss: finite(output.loss),
        grad_norm: finite(norm),
        learning_rate,
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
        mfu: model_tflops / ceiling_tflops,
        peak_memory_gib: machine::peak_memory_gib(),
        skipped,
    }
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
    atomic_file::write_folder(&path, &files)
}

/// Evaluation before and after training, one forward pass for each set and model.
struct Scoring<'a> {
    config: &'a RunConfig,
    inputs: &'a Inputs,
    model: &'a Llama,
    folder: &'a RunFolder,
    engine: Engine,
    say: Verbosity,
}

impl Scoring<'_> {
    fn sums(&self, title: &str, adapter: Option<&Adapter>, set: usize) -> Result<Vec<[f64; 2]>> {
        let set = &self.inputs.sets[set];
        let pairs: Vec<_> = set.pairs.iter().collect();
        let mut progress =
            self.say.progress(&format!("{title} {}", set.name), "pairs", 0, pairs.len() as u64);
        scores::sums(self.model, adapter, &pairs, self.engine.micro_batch_tokens, &mut progress)
    }

    /// What an earlier, interrupted run of the same configuration and inputs has already written.
    fn written(&self, when: &str) -> Option<(Evaluation, Vec<Vec<PairScore>>)> {
        let evaluation = Evaluation::read(&self.folder.evaluation(when)).ok()?;
        let mut all = Vec::new();
        for set in &self.inputs.sets {
            let scores = read_scores(&self.folder.scores(&set.name, when)).ok()?;
            let whole = scores.len() == set.pairs.len() && evaluation.set(&set.name).is_some();
            all.push(whole.then_some(scores)?);
        }
        Some((evaluation, all))
    }

    /// Scores of the policy as it starts, and of the reference.
    fn before(&self, state: &State) -> Result<Option<Evaluation>> {
        if self.inputs.sets.is_empty() {
            return Ok(None);
        }
        if let Some((evaluation, _)) = self.written("before") {
            return Ok(Some(evaluation));
        }
        let start = match &self.inputs.start {
            Some(adapter) => Some(in_dtype(
                &Adapter {
                    tensors: adapter.tensors.map(|t| t.to_device(&self.model.device))?,
                    ..adapter.clone()
                },
                self.model.dtype,
            )?),
            None => None,
        };
        let mut results = Vec::new();
        for (i, set) in self.inputs.sets.iter().enumerate() {
            let reference = self.sums("before", None, i)?;
            // A fresh adapter is the identity: its scores are the reference's, to the bit.
            let policy = start.as_ref().map_or_else(
                || Ok(reference.clone()),
                |adapter| self.sums("start", Some(adapter), i),
            )?;
            let scores = scores::scores(&set.texts, &set.pairs, &policy, &reference);
            write_scores(&self.folder.scores(&set.name, "before"), &scores)?;
            results.push(SetResult::measure(
                &set.name,
                &scores,
                self.config.dpo.beta,
                self.config.train.seed,
            )?);
        }
        let adapter = self.inputs.start.as_ref().map(|_| self.config.lora.init_from.clone());
        debug_assert_eq!(state.adapter.rank, self.config.lora.rank);
        let evaluation = Evaluation::new(
            &self.config.model.path,
            adapter,
            self.config.dpo.beta,
            self.config.train.seed,
            results,
        );
        evaluation.write(&self.folder.evaluation("before"))?;
        Ok(Some(evaluation))
    }

    /// Scores of the trained policy beside those of the reference that [`Scoring::before`] wrote.
    fn after(&self, state: &State, before: Option<&Evaluation>) -> Result<Option<Evaluation>> {
        if before.is_none() {
            return Ok(None);
        }
        if let Some((evaluation, _)) = self.written("after") {
            return Ok(Some(evaluation));
        }
        let (_, before) =
            self.written("before").context("the scores from before training are gone")?;
        let policy = in_dtype(&state.adapter, self.model.dtype)?;
        let mut results = Vec::new();
        for (i, (set, before)) in self.inputs.sets.iter().zip(&before).enumerate() {
            let reference: Vec<_> = before
                .iter()
                .map(|score| [score.reference_chosen_logps, score.reference_rejected_logps])
                .collect();
            let scores = scores::scores(
                &set.texts,
                &set.pairs,
                &self.sums("after", Some(&policy), i)?,
                &reference,
            );
            write_scores(&self.folder.scores(&set.name, "after"), &scores)?;
            results.push(SetResult::measure_change(
                &set.name,
                before,
                &scores,
                self.config.dpo.beta,
                self.config.train.seed,
            )?);
        }
        let adapter = Some(self.folder.adapter().display().to_string());
        let evaluation = Evaluation::new(
            &self.config.model.path,
            adapter,
            self.config.dpo.beta,
            self.config.train.seed,
            results,
        );
        evaluation.write(&self.folder.evaluation("after"))?;
        Ok(Some(evaluation))
    }
}
