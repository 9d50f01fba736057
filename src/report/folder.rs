//! A run folder as a report reads it: whatever is there, nothing computed by a model.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::bail_input;
use crate::error::InputError;
use crate::metrics::score::{PairScore, read_scores};
use crate::metrics::spmr::{Answer, read_answers};
use crate::metrics::{Evaluation, SetResult};
use crate::report::run::RunReport;
use crate::run_folder::paths::{AFTER, BEFORE, Paths};
use crate::run_folder::purpose::Purpose;
use crate::run_folder::summary::Summary;
use crate::run_folder::train_log::{self, StepRecord, Steps};

/// A run, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The last part of the folder's path.
    pub name: String,
    /// Whether it is an evaluation alone, of `mvpbench eval`.
    pub is_evaluation: bool,
    /// The configuration, as values and as written.
    pub config: toml::Table,
    /// The configuration as written, without its head.
    pub config_toml: String,
    /// What the head of the configuration says: version, device, digest of the inputs.
    pub head: Vec<String>,
    /// None of a run of an earlier version.
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
    /// What could not be read and is left out, one sentence each.
    pub left_out: Vec<String>,
}

/// The lines behind the figures of a set; each list is empty where its file is not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SetFiles {
    /// The set's name.
    pub name: String,
    /// Scores before and after tuning.
    pub scores: [Vec<PairScore>; 2],
    /// Generated answers before and after tuning.
    pub answers: [Vec<Answer>; 2],
}

/// Names of the two states in file names.
const STATES: [&str; 2] = [BEFORE, AFTER];

impl Run {
    /// Reads the folder; groups are measured anew from the scores, with `minimum_n` pairs a group or more.
    ///
    /// Refuses what is no run folder, and a file whose figures cannot be trusted. Lines of logs that cannot be read are counted.
    pub fn read(folder: &Path, minimum_n: usize) -> anyhow::Result<Self> {
        let (is_evaluation, path) = config_file(folder)?;
        let (head, config_toml, config) = read_config(&path)?;
        let mut left_out = Vec::new();
        let paths = Paths::of(folder);
        let log = paths.log();
        let steps = Steps::read(&log)?;
        left_out.extend(steps.note(&log));
        let [mut before, mut after] = [None, None];
        for (state, evaluation) in STATES.into_iter().zip([&mut before, &mut after]) {
            let path = paths.evaluation(state);
            if path.exists() {
                *evaluation = Some(Evaluation::read(&path)?);
            }
        }
        if steps.steps.is_empty() && before.is_none() && after.is_none() {
            bail_input!(
                "run `{}` has neither a step in `train.jsonl` nor an evaluation in `eval`: there is nothing to report",
                folder.display()
            );
        }
        let mut sets = Vec::new();
        let names: Vec<String> = super::table1::set_names(before.as_ref(), after.as_ref())
            .into_iter()
            .map(str::to_owned)
            .collect();
        for name in names {
            let files = SetFiles::read(&paths, &name)?;
            files
                .group(before.as_mut(), after.as_mut(), minimum_n)
                .with_context(|| format!("run `{}`", folder.display()))?;
            sets.push(files);
        }
        let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_owned()));
        Ok(Self {
            name: name.map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned()),
            is_evaluation,
            config,
            config_toml,
            head,
            summary: Summary::read(&paths.summary())?,
            steps: steps.steps,
            before,
            after,
            during: read_during(&paths, &mut left_out)?,
            sets,
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

    /// The device in words.
    pub fn device(&self) -> &str {
        let head = self.head.iter().find_map(|line| line.strip_prefix("device: "));
        self.summary.as_ref().map(|summary| &*summary.device).or(head).unwrap_or("unknown device")
    }

    /// The lines of `set`.
    pub fn files(&self, set: &str) -> Option<&SetFiles> {
        self.sets.iter().find(|files| files.name == set)
    }

    /// What `report.md` is made of.
    pub fn report(&self, folder: &Path) -> RunReport {
        let summary = self.summary.clone();
        let adapter_dir = Paths::of(folder).adapter().display().to_string();
        let wall_time_s = train_log::stepping_s(&self.steps); // without a summary, that of the steps alone
        RunReport {
            title: summary.as_ref().map_or_else(|| self.name.clone(), |s| s.title.clone()),
            model: self.model().to_owned(),
            device: self.device().to_owned(),
            training: summary.as_ref().map_or_else(
                || (!self.is_evaluation).then(|| train_log::summary(&self.steps, wall_time_s)),
                |s| s.training.clone(),
            ),
            before: self.before.clone(),
            after: self.after.clone(),
            adapter_dir: summary.as_ref().map_or(adapter_dir, |s| s.adapter_dir.clone()),
            config_toml: self.config_toml.clone(),
            notes: summary
                .map_or_else(Vec::new, |s| s.notes)
                .into_iter()
                .chain(self.left_out.iter().cloned())
                .collect(),
        }
    }
}

impl SetFiles {
    fn read(paths: &Paths, name: &str) -> anyhow::Result<Self> {
        let mut files = Self { name: name.to_owned(), ..Self::default() };
        for (i, state) in STATES.into_iter().enumerate() {
            let (scores, generations) = (paths.scores(name, state), paths.generations(name, state));
            if scores.exists() {
                files.scores[i] = read_scores(&scores)?;
            }
            if generations.exists() {
                files.answers[i] = read_answers(&generations)?;
            }
        }
        Ok(files)
    }

    /// Measures the groups of both states from the scores, where they are there.
    fn group(
        &self,
        before: Option<&mut Evaluation>,
        after: Option<&mut Evaluation>,
        minimum_n: usize,
    ) -> anyhow::Result<()> {
        let [scores_before, scores_after] = &self.scores;
        let [answers_before, answers_after] = &self.answers;
        let earlier = (!scores_before.is_empty()).then_some(&**scores_before);
        let earlier_answers = (!answers_before.is_empty()).then_some(&**answers_before);
        for (evaluation, scores, earlier, answers, earlier_answers) in [
            (before, scores_before, None, answers_before, None),
            (after, scores_after, earlier, answers_after, earlier_answers),
        ] {
            let Some(evaluation) = evaluation else { continue };
            let (beta, seed) = (evaluation.beta, evaluation.seed);
            let own = |set: &&mut SetResult| set.name == self.name;
            let Some(set) = evaluation.sets.iter_mut().find(own) else { continue };
            if let Some(spmr) = set.spmr.take_if(|_| !answers.is_empty()) {
                let grouped = spmr.group(earlier_answers, answers, seed, minimum_n);
                set.spmr =
                    Some(grouped.with_context(|| format!("evaluation set `{}`", self.name))?);
            }
            if scores.is_empty() {
                continue;
            }
            if scores.len() != set.n {
                bail_input!(
                    "evaluation set `{}`: its figures are of {} pairs, its file of scores has {}",
                    self.name,
                    set.n,
                    scores.len()
                );
            }
            set.group(earlier, scores, beta, seed, minimum_n)?;
        }
        Ok(())
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
        format!("`{folder}` is no run folder: it has neither `config.toml` nor `evaluation.toml`")
    } else {
        format!("run folder `{}` is not there", folder.display())
    };
    Err(InputError::new(message)
        .hint("name the folder that `train` or `mvpbench eval` wrote, such as `runs/tiny`")
        .into())
}

/// Head lines, text and values of the configuration at `path`.
fn read_config(path: &Path) -> anyhow::Result<(Vec<String>, String, toml::Table)> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| InputError::new(format!("cannot read `{}`: {error}", path.display())))?;
    let config = text.parse().map_err(|error: toml::de::Error| {
        InputError::new(format!("`{}` is no TOML: {}", path.display(), error.message()))
    })?;
    let is_head = |line: &&str| line.starts_with('#') || line.is_empty();
    let head: Vec<&str> = text.lines().take_while(is_head).collect();
    let rest = text.lines().skip(head.len()).map(|line| format!("{line}\n")).collect();
    let head = head.into_iter().filter_map(|line| line.strip_prefix("# "));
    Ok((head.map(str::to_owned).collect(), rest, config))
}

/// `eval/step-<number>.json`, in the order of their steps.
fn read_during(
    paths: &Paths,
    left_out: &mut Vec<String>,
) -> anyhow::Result<Vec<(usize, Evaluation)>> {
    let mut during = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(paths.evaluations())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
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
