//! Everything a command needs before its first forward pass, opened and checked in one place.
//!
//! [`source`] finds the base model ([`hub_model`] on the hub), [`adapter_source`] an adapter, [`base`] reads its small files,
//! [`template_choice`] decides which template renders conversations, [`inputs`] reads the data files and the start adapter, [`samples`]
//! the prompts to answer, `token_cache` caches token ids, [`unpacked`] is the model of the binary as a folder, [`precision`] chooses the dtype. [`local_model`] is a model
//! that generates, without a run. [`Session::open`] does all of it in order, so that no caller can forget a step.

pub mod adapter_source;
pub mod base;
pub mod data_file;
pub mod data_files;
mod generation_config;
pub mod held;
pub mod hub_model;
pub mod inputs;
pub mod local_model;
pub mod precision;
pub mod ranks;
pub mod samples;
pub mod source;
pub mod template_choice;
mod token_cache;
pub mod unpacked;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;
use candle_core::{DType, Device};

use crate::config::RunConfig;
use crate::console::clock;
use crate::console::progress::Verbosity;
use crate::disk::atomic;
use crate::encoder::embedder::Embedder;
use crate::encoder::source::EncoderSource;
use crate::hub::HubModel;
use crate::inference::engine::{self, Engine};
use crate::machine::memory::DeviceKind;
use crate::machine::{self, peak};
use crate::model::decoder::Decoder;
use crate::model::lora::Adapter;
use crate::model::{adapter, weights};
use crate::parallel::world::World;
use crate::run_folder::RunFolder;
use crate::run_folder::guard::{self, Resume};
use crate::run_folder::paths::Paths;
use crate::run_folder::provenance::Provenance;
use crate::run_folder::purpose::Purpose;
use crate::run_folder::summary::{Summary, TrainingSummary};
use crate::session::inputs::Inputs;
use crate::session::source::ModelSource;
use crate::session::template_choice::TemplateChoice;

/// What the command line adds to the configuration.
#[derive(Clone)]
pub struct Options {
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// What to do if the folder already has a run.
    pub resume: Resume,
    /// Whether to resume a run after its configuration has changed.
    pub allow_config_change: bool,
    /// Whether to start although the memory that is free is less than planned.
    pub force: bool,
    /// How much is printed.
    pub verbosity: Verbosity,
    /// The command as it was typed, for the run folder.
    pub command: String,
    /// The ranks of the job.
    pub world: Rc<World>,
}

/// A run or an evaluation that is about to compute: all input is checked, the model is loaded, the folder is locked.
pub struct Session<'a> {
    /// The configuration.
    pub config: &'a RunConfig,
    /// The options of the command line.
    pub options: &'a Options,
    /// Training pairs, evaluation sets, tokenizer.
    pub inputs: Inputs,
    /// The base model.
    pub model: Decoder,
    /// The folder of the base model's files.
    pub model_folder: PathBuf,
    /// Digest of the base model's files.
    pub model_digest: String,
    /// The base model's name in `adapter_config.json` and on the model card.
    pub base_name: String,
    /// The adapter that training starts from, in the base's dtype; none for a fresh one, and for `mvpbench eval`.
    pub start: Option<Adapter>,
    /// The sentence encoder; none without SPMR.
    pub encoder: Option<Embedder>,
    /// The output folder.
    pub folder: RunFolder,
    /// How much is computed at once.
    pub engine: Engine,
}

impl<'a> Session<'a> {
    /// Checks everything the user gave, then loads the model and opens the output folder. Writes nothing before every
    /// check has passed.
    ///
    /// Refuses a folder of another configuration or with other inputs ([`guard::check`], [`RunFolder::begin`]).
    pub fn open(config: &'a RunConfig, options: &'a Options, purpose: Purpose) -> Result<Self> {
        peak::keep_freed_memory();
        let (verbosity, is_run) = (options.verbosity, purpose == Purpose::Run);

        // What the user gave. Weights come last, so that a mistake in the data costs no download.
        let device = machine::device(&options.device)?;
        machine::dtype(config.model.dtype, &device)?;
        let check = || guard::check(purpose, config, &options.resume, options.allow_config_change);
        for change in check()? {
            verbosity.warn(format!("the configuration has changed: {change}"));
        }
        // One instant for both, so that the day in the folder is the one in the prompts.
        let begun = clock::now();
        let template =
            TemplateChoice::of_run(config, purpose, &options.resume, begun.date_naive())?;
        let mut inputs = match purpose {
            Purpose::Run => Inputs::load(config, &template, verbosity)?,
            Purpose::Evaluation => Inputs::for_evaluation(config, &template, verbosity)?,
        };
        inputs.notes.iter().for_each(|note| verbosity.note(note));
        let precision = precision::choose(config, &inputs, &device, purpose, &options.resume)?;
        precision.note().iter().for_each(|note| verbosity.note(note));
        let dtype = precision.dtype;
        if !options.force {
            refuse_what_does_not_fit(config, &inputs, dtype, &device, purpose)?;
        }
        inputs.fetch_weights()?;
        let encoder = inputs.encoder.as_ref().map(EncoderSource::load).transpose()?;

        // The model and the folder.
        let open_folder = || {
            let folder = RunFolder::open(&config.output.dir)?;
            let changes = check()?; // another program may have written there before the lock
            folder.sweep()?;
            Ok((folder, changes))
        };
        let (mut model, base_path, (folder, changes)) =
            open_model(&inputs, dtype, &device, &config.output.dir, verbosity, open_folder)?;
        model.notes.iter().for_each(|note| verbosity.note(note));
        inputs.notes.extend(model.notes.iter().cloned());
        let model_digest = weights::digest(&base_path)?;
        inputs.save_tokens(verbosity);
        let input_files = inputs.all_input_files(&config.eval.spmr.embedder)?;
        let inputs_digest = inputs.digest(&model_digest, &input_files)?;
        let place = machine::describe(&device);
        let commit = inputs.model.on_hub().map(|model| model.commit.as_str());
        let provenance = Provenance {
            begun,
            command: &options.command,
            device: &place,
            dtype: &precision.recorded(),
            commit,
            weights: &model_digest,
            files: &inputs.files,
            input_files: &input_files,
            inputs: &inputs_digest,
        };
        folder.begin(purpose, config, &provenance, &changes)?;

        let free = if is_run { peak::free_bytes(&device) } else { None };
        let engine = engine::engine(
            &config.train,
            &inputs.plan,
            &model.shape,
            DeviceKind::of(&device),
            dtype,
            &inputs.train,
            free,
        );
        let start = match &inputs.start {
            Some(adapter) if is_run => Some(model.bring(adapter)?),
            _ => None,
        };
        let base_name = match &inputs.model {
            ModelSource::Folder(_) | ModelSource::Hub(_) => config.model.path.clone(),
            ModelSource::Embedded(_) => std::path::absolute(&base_path)?.display().to_string(),
        };
        if is_run {
            verbosity.note(format!(
                "model: {:.1} M parameters, {}; activations: {}, {} tokens at once",
                model.shape.parameters() as f64 / 1e6,
                machine::computation(&device, dtype),
                engine.keep.name(),
                engine.micro_batch_tokens
            ));
        }
        // Other ranks would take the same memory.
        if options.world.ranks() == 1 {
            let packed = held::keep_packed(&mut model, config, &inputs, engine, purpose)?;
            packed.iter().for_each(|line| verbosity.note(line));
        }
        Ok(Self {
            config,
            options,
            inputs,
            model,
            model_folder: base_path,
            model_digest,
            base_name,
            start,
            encoder,
            folder,
            engine,
        })
    }

    /// The content of `summary.json`; `otherwise`: the title if the folder's path has no last part.
    pub fn summary(
        &self,
        otherwise: &str,
        adapter_dir: String,
        training: Option<TrainingSummary>,
    ) -> Summary {
        Summary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            title: self.folder.name(otherwise),
            device: machine::describe(&self.model.device),
            adapter_dir,
            training,
            notes: self.inputs.notes.clone(),
        }
    }

    /// The content of `adapter_config.json` of a trained adapter.
    pub fn adapter_config(&self) -> serde_json::Value {
        let revision = self.inputs.model.on_hub().map(|model| model.repository.revision.as_str());
        adapter::config_json(&self.config.lora, &self.base_name, revision)
    }
}

/// Refuses what takes more memory than is free, before a weight is fetched or read.
fn refuse_what_does_not_fit(
    config: &RunConfig,
    inputs: &Inputs,
    dtype: DType,
    device: &Device,
    purpose: Purpose,
) -> Result<()> {
    if purpose == Purpose::Run {
        return held::refuse_training(config, inputs, dtype, device);
    }
    let answering = held::generating(config, inputs, dtype);
    held::refuse_inference(
        &config.model.path,
        &inputs.shape,
        dtype,
        engine::micro_batch_tokens(&config.train, DeviceKind::of(device)),
        answering,
        device,
        held::NARROWER,
    )
}

/// Loads the model and opens the output folder `dir`. The embedded model is unpacked into the folder, so for it the
/// folder is opened first; otherwise a model that cannot be loaded leaves no folder.
///
/// Returns the model, the folder of its files, and what `open_folder` returned.
fn open_model<T>(
    inputs: &Inputs,
    dtype: DType,
    device: &Device,
    dir: &Path,
    verbosity: Verbosity,
    open_folder: impl FnOnce() -> Result<T>,
) -> Result<(Decoder, PathBuf, T)> {
    match &inputs.model {
        ModelSource::Folder(path) | ModelSource::Hub(HubModel { folder: path, .. }) => {
            Ok((Decoder::load(path, dtype, device)?, path.clone(), open_folder()?))
        }
        ModelSource::Embedded(files) => {
            let folder = open_folder()?;
            let path = Paths::of(dir).base_model();
            let files: Vec<_> =
                files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
            if path.exists() {
                atomic::warned_differences(&path, &files, verbosity)?;
            }
            atomic::write_folder(&path, &files)?;
            Ok((Decoder::load(&path, dtype, device)?, path, folder))
        }
    }
}
