//! `mvpbench eval`: evaluates a base model, and an adapter on it, as `train` does but without training.

use std::rc::Rc;
use std::time::{Instant, SystemTime};

use anyhow::Result;

use crate::config::{EvalSet, PromptFormat, RunConfig};
use crate::console::progress::Verbosity;
use crate::disk::atomic;
use crate::eval::evaluator::Evaluator;
use crate::machine;
use crate::metrics::Evaluation;
use crate::metrics::harness::{self, About};
use crate::parallel::world::World;
use crate::report::page;
use crate::report::text::Text;
use crate::run_folder::guard::Resume;
use crate::run_folder::purpose::Purpose;
use crate::session::{Options, Session, ranks};

/// Figures of a base model and of an adapter on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// Figures of the base model; none without a set.
    pub before: Option<Evaluation>,
    /// Figures with the adapter and the paired differences; none without an adapter.
    pub after: Option<Evaluation>,
    /// What must be read before the figures, one sentence each.
    pub cautions: Vec<Text>,
}

/// Scores the base model of `config`, and the adapter `lora.init_from` on it if there is one, into `output.dir`.
///
/// Computes the same figures and writes the same files as a run, and `results.json` with the figures of the adapter, or
/// of the base model without one. Resumes an interrupted evaluation. Invalid input is an error before anything is
/// written. `command`: as it was typed, for the folder. `world`: the ranks that share the work.
pub fn evaluate(
    config: &RunConfig,
    device: &str,
    force: bool,
    verbosity: Verbosity,
    command: String,
    world: Rc<World>,
) -> Result<Evaluated> {
    let begun = Instant::now();
    let options = Options {
        device: device.to_owned(),
        resume: Resume::Auto,
        allow_config_change: false,
        force,
        verbosity,
        command,
        world,
    };
    let session = Session::open(config, &options, Purpose::Evaluation)?;
    ranks::begin(&session, 0)?;
    let evaluator = Evaluator::new(&session, config.lora.init_from.clone());
    let before = evaluator.before()?;
    let after = match &session.inputs.start {
        Some(adapter) if before.is_some() => Some(evaluator.after(0, adapter)?.evaluation),
        _ => None,
    };
    if let Some(evaluation) = after.as_ref().or(before.as_ref()) {
        write_results(&session, evaluation, begun)?;
    }
    let summary = session.summary("evaluation", config.lora.init_from.clone(), None);
    let report = page::write_run(session.folder.path(), &summary, |note| verbosity.warn(note))?;
    Ok(Evaluated { before, after, cautions: report.cautions })
}

/// Writes `results.json`: the figures in the format of lm-evaluation-harness.
fn write_results(session: &Session<'_>, evaluation: &Evaluation, begun: Instant) -> Result<()> {
    let (config, inputs) = (session.config, &session.inputs);
    let about = About {
        files: config.eval.sets.iter().map(EvalSet::names).collect(),
        original: inputs.sets.iter().map(|set| set.texts.len()).collect(),
        device: machine::describe(&session.model.device),
        dtype: format!("{:?}", session.model.dtype).to_lowercase(),
        chat_template: config.data.prompt_format == PromptFormat::Chat,
        commit: env!("MVPBENCH_COMMIT").to_owned(),
        date: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
        seconds: begun.elapsed().as_secs_f64(),
    };
    let results = harness::results(evaluation, &about);
    atomic::write(&session.folder.results(), |out| {
        serde_json::to_writer_pretty(&mut *out, &results)?;
        Ok(out.write_all(b"\n")?)
    })
}
