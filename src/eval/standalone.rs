//! `mvpbench eval`: the evaluation of `train` by itself, of a base model and of an adapter on it.

use crate::inference::engine;
use crate::machine::peak;
use crate::model::weights;
use crate::run_folder::guard::{self, Resume};
use crate::session::open_model;
use std::time::{Instant, SystemTime};

use anyhow::Result;

use crate::config::{PromptFormat, RunConfig};
use crate::console::progress::Verbosity;
use crate::disk::atomic;
use crate::encoder::source::EncoderSource;
use crate::eval::evaluate::Scoring;
use crate::machine;
use crate::metrics::Evaluation;
use crate::metrics::harness::{self, About};
use crate::report::RunReport;
use crate::report::page;
use crate::run_folder::purpose::Purpose;
use crate::session::inputs::Inputs;

/// Figures of the base model alone, and with the adapter where there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// Of the base model.
    pub before: Option<Evaluation>,
    /// Of base and adapter, with the paired differences.
    pub after: Option<Evaluation>,
}

/// Scores what `config` names, with `lora.init_from` as the adapter, into its `output.dir`; goes on where an interrupted evaluation of it
/// stopped.
///
/// The same passes, files and figures as a run's; `results.json` beside them is of the model as it was asked for.
pub fn evaluate(config: &RunConfig, device: &str, say: Verbosity) -> Result<Evaluated> {
    let begun = Instant::now();
    peak::keep_freed_memory();
    let device = machine::device(device)?;
    let dtype = machine::dtype(config.model.dtype, &device)?;
    guard::check(Purpose::Evaluation, config, &Resume::Auto, false)?;
    let mut inputs = Inputs::for_evaluation(config, say)?;
    inputs.notes.iter().for_each(|note| say.note(note));
    inputs.fetch_weights()?;
    let encoder = inputs.encoder.as_ref().map(EncoderSource::load).transpose()?;
    let (model, base_path, folder) = open_model(config, &inputs, dtype, &device)?;
    let model_digest = weights::digest(&base_path)?;
    inputs.save_tokens(say);
    let inputs_digest = inputs.digest(&model_digest)?;
    let (place, commit) = (machine::describe(&device), inputs.model.commit());
    folder.begin(
        Purpose::Evaluation,
        config,
        &inputs_digest,
        &place,
        commit.map(|(hash, _)| hash),
        &[],
    )?;
    let engine =
        engine::engine(&config.train, &config.lora, &model.shape, dtype, &inputs.train, None);
    let scoring = Scoring {
        config,
        inputs: &inputs,
        model: &model,
        start: None,
        model_digest: &model_digest,
        tuned: &config.lora.init_from,
        encoder: encoder.as_ref(),
        folder: &folder,
        engine,
        say,
    };
    let before = scoring.before()?;
    let after = match &inputs.start {
        Some(adapter) if before.is_some() => Some(scoring.after(0, adapter)?.0),
        _ => None,
    };
    if let Some(evaluation) = after.as_ref().or(before.as_ref()) {
        let about = About {
            files: config.eval.sets.iter().map(|set| set.files.clone()).collect(),
            original: inputs.sets.iter().map(|set| set.texts.len()).collect(),
            device: place,
            dtype: format!("{dtype:?}").to_lowercase(),
            chat_template: config.data.prompt_format == PromptFormat::Chat,
            commit: env!("MVPBENCH_COMMIT").to_owned(),
            date: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
            seconds: begun.elapsed().as_secs_f64(),
        };
        let results = harness::results(evaluation, &about);
        atomic::write(&folder.results(), |out| {
            serde_json::to_writer_pretty(&mut *out, &results)?;
            Ok(out.write_all(b"\n")?)
        })?;
    }
    let title = config.output.dir.file_name();
    let report = RunReport {
        title: title.map_or("evaluation".to_owned(), |name| name.to_string_lossy().into_owned()),
        model: config.model.path.clone(),
        device: machine::describe(&device),
        training: None,
        before: before.clone(),
        after: after.clone(),
        adapter_dir: config.lora.init_from.clone(),
        config_toml: config.to_evaluation_toml()?,
        notes: inputs.notes.clone(),
    };
    page::write_run(&report, folder.path())?;
    Ok(Evaluated { before, after })
}
