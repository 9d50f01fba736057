//! The run folder: where everything lies, whose it is, and that one program at a time writes in it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::checkpoint;
use crate::atomic_file;
use crate::config::{Difference, RunConfig};
use crate::error::InputError;

const LOCK_FILE: &str = "run.lock";
const INPUTS: &str = "# inputs: sha256 ";
const CHANGED: &str = "# changed after step ";

/// What a folder is for; each has a file of its own that says with which settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A run of `train`.
    Run,
    /// An evaluation alone, of `mvpbench eval`.
    Evaluation,
}

impl Purpose {
    fn config_file(self) -> &'static str {
        match self {
            Self::Run => "config.toml",
            Self::Evaluation => "evaluation.toml",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Evaluation => "evaluation",
        }
    }

    fn to_toml(self, config: &RunConfig) -> Result<String> {
        match self {
            Self::Run => config.to_toml(),
            Self::Evaluation => config.to_evaluation_toml(),
        }
    }

    fn parse(self, text: &str, name: &str) -> Result<RunConfig> {
        match self {
            Self::Run => RunConfig::parse(text, name),
            Self::Evaluation => RunConfig::parse_evaluation(text, name),
        }
    }
}

/// What to do about a run that is already there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Go on with it.
    Auto,
    /// Refuse.
    Never,
    /// Go on from this checkpoint.
    From(PathBuf),
}

/// An open run folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

/// Refuses a folder that is not empty and not this configuration's. Writes nothing.
///
/// - `allow_change`: a run whose configuration differs is not refused either, if it can go on from its checkpoints.
///
/// Returns how the configuration differs from the one that the run began with, one sentence each.
pub fn check(
    purpose: Purpose,
    config: &RunConfig,
    resume: &Resume,
    allow_change: bool,
) -> Result<Vec<String>> {
    let (path, noun) = (&config.output.dir, purpose.noun());
    let article = if purpose == Purpose::Run { "a" } else { "an" };
    if path.exists() && !path.is_dir() {
        return Err(InputError::new(format!("output folder `{}` is a file", path.display()))
            .hint("give another folder with `--output`")
            .into());
    }
    let file = path.join(purpose.config_file());
    if !file.exists() {
        let strange = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| entry.file_name() != LOCK_FILE);
        return match strange {
            Some(entry) => {
                let message = format!(
                    "output folder `{}` holds `{}` and is not the folder of {article} {noun}",
                    path.display(),
                    entry.file_name().to_string_lossy()
                );
                Err(InputError::new(message).hint("give another folder with `--output`").into())
            }
            None => match resume {
                Resume::From(checkpoint) => check_checkpoint(config, checkpoint, allow_change),
                Resume::Auto | Resume::Never => Ok(Vec::new()),
            },
        };
    }
    if *resume == Resume::Never {
        let message = format!("output folder `{}` holds {article} {noun} already", path.display());
        return Err(InputError::new(message).hint("leave `--resume never` out to go on with it, or give another folder with `--output`").into());
    }
    let differences = differences(purpose, config, &file)?;
    let what = format!("output folder `{}` holds another {noun}", path.display());
    let may_change = purpose == Purpose::Run;
    allowed(&differences, &what, allow_change, may_change, || {
        format!(
            "give another folder with `--output`, or the configuration that the {noun} began with"
        )
    })?;
    if let Resume::From(checkpoint) = resume {
        check_checkpoint(config, checkpoint, allow_change)?;
    }
    Ok(differences.into_iter().map(|difference| difference.said).collect())
}

/// Refuses a checkpoint of a run whose configuration differs, where that configuration still lies two folders up.
fn check_checkpoint(
    config: &RunConfig,
    checkpoint: &Path,
    allow_change: bool,
) -> Result<Vec<String>> {
    let run = checkpoint.canonicalize().ok();
    let file = run.as_deref().and_then(|path| path.parent()?.parent());
    let Some(file) = file.map(|run| run.join(Purpose::Run.config_file())).filter(|f| f.exists())
    else {
        return Ok(Vec::new());
    };
    let differences = differences(Purpose::Run, config, &file)?;
    let what = format!("checkpoint `{}` is of another run", checkpoint.display());
    allowed(&differences, &what, allow_change, true, || {
        "give the configuration that the run began with".to_owned()
    })?;
    Ok(differences.into_iter().map(|difference| difference.said).collect())
}

fn differences(purpose: Purpose, config: &RunConfig, file: &Path) -> Result<Vec<Difference>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    config.differences(&purpose.parse(&text, &file.display().to_string())?)
}

/// Refuses differences unless they are allowed, and those that no checkpoint survives in any case.
fn allowed(
    differences: &[Difference],
    what: &str,
    allow_change: bool,
    may_change: bool,
    remedy: impl FnOnce() -> String,
) -> Result<()> {
    let said = |some: &mut dyn Iterator<Item = &Difference>| {
        some.map(|difference| &*difference.said).collect::<Vec<_>>().join("; ")
    };
    let mut lasting = differences.iter().filter(|difference| difference.is_lasting()).peekable();
    if allow_change && lasting.peek().is_some() {
        let message = format!("{what}, and its checkpoints cannot go on: {}", said(&mut lasting));
        return Err(InputError::new(message)
            .hint("begin a run in another folder; `lora.init_from` starts it from an adapter of the same shape")
            .into());
    }
    if allow_change || differences.is_empty() {
        return Ok(());
    }
    let told = match may_change && lasting.peek().is_none() {
        true => ", or add `--allow-config-change` to go on with this one",
        false => "",
    };
    let message = format!("{what}: {}", said(&mut differences.iter()));
    Err(InputError::new(message).hint(remedy() + told).into())
}

impl RunFolder {
    /// Makes the folder if need be and locks it for this process. Call [`check`] first.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("cannot make the output folder `{}`", path.display()))?;
        let lock = File::create(path.join(LOCK_FILE))
            .with_context(|| format!("cannot write in the output folder `{}`", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(InputError::new(format!("another program is writing in `{}`", path.display()))
                    .hint("wait for it, or give another folder with `--output`")
                    .into())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock `{}`", path.display()))
            }
        }
    }

    /// Writes the configuration of something new; for what goes on, refuses inputs that are not those it began with.
    ///
    /// - `commit`: of a base model on the hub.
    /// - `changes`: what [`check`] returned. What goes on with another configuration keeps a line of each in the head of the file, and
    ///   its figures, which may be of other inputs, are computed again.
    pub fn begin(
        &self,
        purpose: Purpose,
        config: &RunConfig,
        inputs_digest: &str,
        device: &str,
        commit: Option<&str>,
        changes: &[String],
    ) -> Result<()> {
        let (file, noun) = (self.path.join(purpose.config_file()), purpose.noun());
        let mut changed = String::new();
        if let Ok(text) = fs::read_to_string(&file) {
            let earlier = text.lines().find_map(|line| line.strip_prefix(INPUTS));
            if !changes.is_empty() {
                self.remove_figures()?;
                let steps = checkpoint::list(&self.checkpoints());
                let step = steps.first().map_or(0, |(step, _)| *step);
                for line in text.lines().filter(|line| line.starts_with(CHANGED)) {
                    changed += &format!("{line}\n");
                }
                for change in changes {
                    changed += &format!("{CHANGED}{step}: {}\n", change.replace('\n', " "));
                }
            } else if earlier.is_some_and(|earlier| earlier != inputs_digest) {
                let message = format!(
                    "the model, the data or the start adapter is not what the {noun} in `{}` began with, though the configuration is",
                    self.path.display()
                );
                return Err(InputError::new(message)
                    .hint(format!(
                        "give another folder with `--output`, or the files that the {noun} began with"
                    ))
                    .into());
            } else {
                return Ok(());
            }
        }
        let (version, built_from) = (env!("CARGO_PKG_VERSION"), env!("MVPBENCH_COMMIT"));
        let model = commit.map_or_else(String::new, |commit| format!("# model: commit {commit}\n"));
        let head = format!(
            "# mvpbench {version}, commit {built_from}\n# device: {device}\n{model}{INPUTS}{inputs_digest}\n{changed}\n"
        );
        let toml = purpose.to_toml(config)?;
        atomic_file::write(&file, |out| Ok(out.write_all(format!("{head}{toml}").as_bytes())?))
    }

    /// Removes the figures of all evaluations; scores and answers are written over.
    fn remove_figures(&self) -> Result<()> {
        for entry in fs::read_dir(self.path.join("eval")).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove `{}`", path.display()))?;
            }
        }
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where an embedded base model is unpacked.
    pub fn base_model(&self) -> PathBuf {
        self.path.join("base_model")
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The exported adapter.
    pub fn adapter(&self) -> PathBuf {
        self.path.join("adapter")
    }

    /// The log of the steps.
    pub fn log(&self) -> PathBuf {
        self.path.join("train.jsonl")
    }

    /// The folder of the TensorBoard events.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// The figures of every evaluation, step by step.
    pub fn eval_log(&self) -> PathBuf {
        self.path.join("eval.jsonl")
    }

    /// Figures of all sets; `when` is `before`, `after` or such as `step-000100`.
    pub fn evaluation(&self, when: &str) -> PathBuf {
        self.path.join("eval").join(format!("{when}.json"))
    }

    /// Scores of one set.
    pub fn scores(&self, set: &str, when: &str) -> PathBuf {
        self.path.join("eval").join(format!("scores-{set}-{when}.jsonl"))
    }

    /// Generated answers of one set.
    pub fn generations(&self, set: &str, when: &str) -> PathBuf {
        self.path.join("eval").join(format!("generations-{set}-{when}.jsonl"))
    }

    /// Answers of a set of which not all are generated yet.
    pub fn journal(&self, set: &str, when: &str) -> PathBuf {
        self.path.join("eval").join(format!(".generations-{set}-{when}.journal"))
    }

    /// Figures in the form of lm-evaluation-harness.
    pub fn results(&self) -> PathBuf {
        self.path.join("results.json")
    }
}
