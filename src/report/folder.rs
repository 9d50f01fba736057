//! A run folder as a report reads it: every file may be missing, and no model is run.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::bail_input;
use crate::disk::json_lines::{self, Logged};
use crate::disk::read;
use crate::error::InputError;
use crate::metrics::Evaluation;
use crate::report::cautions;
use crate::report::missing::{self, Found};
use crate::report::run::RunReport;
use crate::report::set_files::{STATES, SetFiles};
use crate::report::states::{States, set_names};
use crate::report::text::Text;
use crate::run_folder::eval_log;
use crate::run_folder::head;
use crate::run_folder::paths::Paths;
use crate::run_folder::purpose::Purpose;
use crate::run_folder::samples::SampleRecord;
use crate::run_folder::summary::Summary;
use crate::run_folder::train_log::{self, StepRecord, Steps};
use crate::run_folder::wall_time;

/// What a run folder holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The last part of the folder's path.
    pub name: String,
    /// Whether `mvpbench eval` wrote it, so that there was no training.
    pub is_evaluation: bool,
    /// The configuration as values.
    pub config: toml::Table,
    /// The configuration as text, without its head.
    pub config_toml: String,
    /// Comment lines at the head of the configuration: version, device, digest of the inputs.
    pub head: Vec<String>,
    /// None in a folder of an earlier version.
    pub summary: Option<Summary>,
    /// Optimizer steps.
    pub steps: Vec<StepRecord>,
    /// Figures before tuning.
    pub before: Option<Evaluation>,
    /// Figures after tuning.
    pub after: Option<Evaluation>,
    /// Figures during training, by step.
    pub during: Vec<(usize, Evaluation)>,
    /// Scores and answers of each set, in the order of the evaluation.
    pub sets: Vec<SetFiles>,
    /// Answers to fixed prompts, the base model's first.
    pub samples: Vec<SampleRecord>,
    /// Lines and files that could not be read and are left out, one sentence each.
    pub left_out: Vec<String>,
}

impl Run {
    /// Reads the folder and measures groups anew from the scores; `minimum_n` as in [`crate::metrics::groups::measure`].
    ///
    /// Refuses a folder of another kind, and a file whose figures cannot be trusted. Counts the lines of a log that it cannot read.
    pub fn read(folder: &Path, minimum_n: usize) -> anyhow::Result<Self> {
        let (is_evaluation, path) = config_file(folder)?;
        let mut left_out = Vec::new();
        let (head, config_toml, config) = read_config(&path, &mut left_out)?;
        let paths = Paths::of(folder);
        let log = paths.log();
        let steps = Steps::read(&log)?;
        left_out.extend(steps.notes(&log));
        let [mut before, mut after] = [None, None];
        for (state, evaluation) in STATES.into_iter().zip([&mut before, &mut after]) {
            *evaluation = Evaluation::read_if_there(&paths.evaluation(state))?;
        }
        let summary = Summary::read(&paths.summary()).unwrap_or_else(|error| {
            left_out.push(format!("{error:#}; it is left out"));
            None
        });
        // A run that resumed after its last step has neither, and an adapter all the same.
        let is_finished = summary.as_ref().is_some_and(|summary| summary.training.is_some());
        if steps.steps.is_empty() && before.is_none() && after.is_none() && !is_finished {
            bail_input!(
                "run `{}` has neither a step in `train.jsonl` nor an evaluation in `eval`: there is nothing to report",
                folder.display()
            );
        }
        let mut sets = Vec::new();
        let names: Vec<String> =
            set_names(before.as_ref(), after.as_ref()).into_iter().map(str::to_owned).collect();
        for name in names {
            let files = SetFiles::read(&paths, &name)?;
            files
                .group(before.as_mut(), after.as_mut(), minimum_n)
                .with_context(|| format!("run `{}`", folder.display()))?;
            sets.push(files);
        }
        for evaluation in [&before, &after].into_iter().flatten() {
            // A file that is not there is left out; one of other scores or answers is not believed.
            evaluation.check_present_files(&paths.evaluations())?;
        }
        let sets_of = |config: &toml::Table| config.get("eval")?.get("sets")?.as_array().cloned();
        let found = Found {
            is_evaluation,
            has_sets: sets_of(&config).is_some_and(|sets| !sets.is_empty()),
            summary: summary.as_ref(),
            steps: &steps.steps,
            evaluations: [before.as_ref(), after.as_ref()],
        };
        left_out.extend(missing::sentences(&paths, &found)?);
        let during = read_during(&paths, &mut left_out)?;
        let asks = |config: &toml::Table| {
            let samples = config.get("eval")?.get("samples")?;
            Some(!samples.get("prompts")?.as_str()?.is_empty())
        };
        let samples = match asks(&config).filter(|asks| *asks) {
            Some(_) => read_samples(&paths.samples(), &mut left_out)?,
            None => Vec::new(),
        };
        if !is_evaluation {
            let first = before.iter().map(|evaluation| (Some(0), evaluation));
            let during = during.iter().map(|(step, evaluation)| (Some(*step), evaluation));
            let evaluated = first.chain(during).chain(after.iter().map(|last| (None, last)));
            left_out.extend(eval_log::damage(&paths.eval_log(), evaluated)?);
            left_out.extend(wall_time::damage(&paths.wall_time())?);
        }
        let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_owned()));
        Ok(Self {
            name: name.map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned()),
            is_evaluation,
            config,
            config_toml,
            head,
            summary,
            steps: steps.steps,
            before,
            after,
            during,
            sets,
            samples,
            left_out,
        })
    }

    /// A value of the configuration, such as `train.seed`, as written.
    pub fn setting(&self, key: &str) -> Option<&toml::Value> {
        let (section, key) = key.split_once('.')?;
        self.config.get(section)?.get(key)
    }

    /// The base model as configured.
    pub fn model(&self) -> &str {
        let evaluated = self.after.as_ref().or(self.before.as_ref());
        let configured = self.setting("model.path").and_then(|path| path.as_str());
        configured.or(evaluated.map(|evaluation| &*evaluation.model)).unwrap_or("unknown")
    }

    /// The device in words, such as `cpu, 8 threads`.
    pub fn device(&self) -> &str {
        let head = self.head.iter().find_map(|line| line.strip_prefix("device: "));
        self.summary.as_ref().map(|summary| &*summary.device).or(head).unwrap_or("unknown device")
    }

    /// Every set in both states, in the order of [`Self::sets`].
    pub fn states(&self) -> Vec<States<'_>> {
        let (before, after) = (self.before.as_ref(), self.after.as_ref());
        self.sets.iter().filter_map(|files| States::of(&files.name, before, after)).collect()
    }

    /// The set whose evaluations chose the exported step; none where the last step was exported.
    pub fn chosen_set(&self) -> Option<&str> {
        cautions::chosen_set(&self.config, self.has_exported_best())
    }

    /// What must be read before the figures of its sets, whatever those are.
    pub fn cautions_about_sets(&self) -> Vec<Text> {
        cautions::about_sets(&self.config, self.has_exported_best(), &self.states())
    }

    /// Whether a comparison chose the exported step; true where the folder has no summary to tell.
    fn has_exported_best(&self) -> bool {
        let Some(summary) = &self.summary else { return true };
        summary.training.as_ref().is_some_and(|training| training.exported.is_some())
    }

    /// The run as its summary describes it, with its figures.
    pub fn report(&self, folder: &Path) -> RunReport {
        let summary = self.summary.clone();
        let adapter_dir = Paths::of(folder).adapter().display().to_string();
        let wall_time_s = train_log::elapsed_s(&self.steps); // without a summary, the log's time is all that is known
        let last = self.steps.last().map_or(0, |step| step.step);
        RunReport {
            title: summary.as_ref().map_or_else(|| self.name.clone(), |s| s.title.clone()),
            model: self.model().to_owned(),
            device: self.device().to_owned(),
            training: summary.as_ref().map_or_else(
                || {
                    (!self.is_evaluation)
                        .then(|| train_log::summary(&self.steps, last, wall_time_s))
                },
                |s| s.training.clone(),
            ),
            before: self.before.clone(),
            after: self.after.clone(),
            adapter_dir: summary.as_ref().map_or(adapter_dir, |s| s.adapter_dir.clone()),
            config_toml: self.config_toml.clone(),
            cautions: cautions::unlearned(&self.steps)
                .into_iter()
                .chain(cautions::of(
                    &self.config,
                    self.has_exported_best(),
                    &self.sets,
                    &self.states(),
                ))
                .collect(),
            notes: summary
                .map_or_else(Vec::new, |s| s.notes)
                .into_iter()
                .chain(self.left_out.iter().cloned())
                .collect(),
        }
    }
}

/// The folder's configuration file, and whether `mvpbench eval` wrote it.
fn config_file(folder: &Path) -> anyhow::Result<(bool, PathBuf)> {
    for purpose in [Purpose::Run, Purpose::Evaluation] {
        let file = Paths::of(folder).config(purpose);
        if file.exists() {
            return Ok((purpose == Purpose::Evaluation, file));
        }
    }
    let message = if folder.is_dir() {
        let folder = folder.display();
        format!(
            "`{folder}` is no run folder: it has none of `config.toml`, `evaluation.toml` and `paa.json`"
        )
    } else {
        format!("run folder `{}` is not there", folder.display())
    };
    Err(InputError::new(message)
        .hint("name the folder that `train`, `mvpbench eval` or `mvpbench judge` wrote, such as `runs/tiny`")
        .into())
}

/// Head lines, text and values of the configuration at `path`. Adds a sentence to `left_out` if the file does not match
/// its digest.
fn read_config(
    path: &Path,
    left_out: &mut Vec<String>,
) -> anyhow::Result<(Vec<String>, String, toml::Table)> {
    let text = read::text(path).map_err(|error| {
        InputError::of_path(format!("cannot read `{}`", path.display()), error, |error| error)
    })?;
    let config = text.parse().map_err(|error: toml::de::Error| {
        InputError::new(format!("`{}` is no TOML: {}", path.display(), error.message()))
    })?;
    if let Err(broken) = head::check(&text) {
        left_out.push(format!(
            "`{}` was changed after it was written: {broken}; its settings may not be those of the run",
            path.display()
        ));
    }
    let is_head = |line: &&str| line.starts_with('#') || line.is_empty();
    let head: Vec<&str> = text.lines().take_while(is_head).collect();
    let rest = text.lines().skip(head.len()).map(|line| format!("{line}\n")).collect();
    let head = head
        .into_iter()
        .filter(|line| !line.starts_with(head::SEAL))
        .filter_map(|line| line.strip_prefix("# "));
    Ok((head.map(str::to_owned).collect(), rest, config))
}

/// The evaluations `eval/step-<number>.json`, in the order of their steps.
fn read_during(
    paths: &Paths,
    left_out: &mut Vec<String>,
) -> anyhow::Result<Vec<(usize, Evaluation)>> {
    let mut during = Vec::new();
    let mut files = read::folder(&paths.evaluations())?;
    files.sort();
    for path in files {
        let Some(step) = Paths::evaluated_step(&path) else { continue };
        match Evaluation::read(&path) {
            Ok(evaluation) => during.push((step, evaluation)),
            Err(error) => left_out.push(format!("{error:#}; it is left out")),
        }
    }
    during.sort_by_key(|(step, _)| *step);
    Ok(during)
}

/// The answers to fixed prompts, with a sentence about the file that is not there or has broken lines.
fn read_samples(path: &Path, left_out: &mut Vec<String>) -> anyhow::Result<Vec<SampleRecord>> {
    if !read::is_there(path)? {
        let what = "the answers to the fixed prompts are left out";
        left_out.push(format!("`{}` is not there: {what}", path.display()));
        return Ok(Vec::new());
    }
    let Logged { records, broken_lines } = json_lines::read_log::<SampleRecord>(path)?;
    if !broken_lines.is_empty() {
        let lines = json_lines::numbered("line", &broken_lines);
        left_out.push(format!("`{}`: {lines} did not match the digest; left out", path.display()));
    }
    Ok(records)
}

/// A made-up run for the tests of this folder.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::report::run::sample::evaluations;
    use crate::run_folder::summary::TrainingSummary;

    /// A trained run of one set with two files, without steps and scores.
    pub(crate) fn run() -> Run {
        let (before, after) = evaluations("meta-llama/Llama-2-7b-hf", &["UF-P-4"]);
        let config_toml = "[model]\npath = \"meta-llama/Llama-2-7b-hf\"\n".to_owned();
        let training = TrainingSummary {
            steps: 1_234,
            epochs: 3.0,
            pairs: 9_872,
            first_loss: Some(std::f64::consts::LN_2),
            last_loss: Some(0.25),
            final_accuracy: Some(0.875),
            wall_time_s: 75.0,
            ..TrainingSummary::default()
        };
        Run {
            name: "llama2-7b".into(),
            is_evaluation: false,
            config: config_toml.parse().unwrap(),
            config_toml,
            head: vec!["mvpbench 0.1.0".into(), "device: cpu, 2 threads".into()],
            summary: Some(Summary {
                version: "0.1.0".into(),
                title: "runs/llama2-7b".into(),
                device: "cpu, 2 threads".into(),
                adapter_dir: "runs/llama2-7b/adapter".into(),
                training: Some(training),
                notes: vec!["3 pairs were\ncut".into()],
            }),
            steps: vec![],
            before: Some(before),
            after: Some(after),
            during: vec![],
            sets: vec![SetFiles { name: "UF-P-4".into(), ..SetFiles::default() }],
            samples: vec![],
            left_out: vec![],
        }
    }
}
