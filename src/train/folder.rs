//! The run folder: where everything lies, whose it is, and that one program at a time writes in it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::atomic_file;
use crate::config::RunConfig;
use crate::error::InputError;

const CONFIG_FILE: &str = "config.toml";
const LOCK_FILE: &str = "run.lock";
const INPUTS: &str = "# inputs: sha256 ";

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

/// Refuses a folder that is not empty and not this run's. Writes nothing.
pub fn check(config: &RunConfig, resume: &Resume) -> Result<()> {
    let path = &config.output.dir;
    if path.exists() && !path.is_dir() {
        return Err(InputError::new(format!("output folder `{}` is a file", path.display()))
            .hint("give another folder with `--output`")
            .into());
    }
    let file = path.join(CONFIG_FILE);
    if !file.exists() {
        let strange = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| entry.file_name() != LOCK_FILE);
        return match strange {
            Some(entry) => {
                let message = format!(
                    "output folder `{}` holds `{}` and is not the folder of a run",
                    path.display(),
                    entry.file_name().to_string_lossy()
                );
                Err(InputError::new(message).hint("give another folder with `--output`").into())
            }
            None => Ok(()),
        };
    }
    if *resume == Resume::Never {
        let message = format!("output folder `{}` holds a run already", path.display());
        return Err(InputError::new(message).hint("leave `--resume never` out to go on with it, or give another folder with `--output`").into());
    }
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let earlier = RunConfig::parse(&text, &file.display().to_string())?;
    let differences = config.differences(&earlier)?;
    if !differences.is_empty() {
        let message = format!(
            "output folder `{}` holds another run: {}",
            path.display(),
            differences.join("; ")
        );
        return Err(InputError::new(message)
            .hint(
                "give another folder with `--output`, or the configuration that the run began with",
            )
            .into());
    }
    Ok(())
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

    /// Writes `config.toml` for a new run; for one that goes on, refuses inputs that are not those it began with.
    ///
    /// `commit`: of a base model on the hub.
    pub fn begin(
        &self,
        config: &RunConfig,
        inputs_digest: &str,
        device: &str,
        commit: Option<&str>,
    ) -> Result<()> {
        let file = self.path.join(CONFIG_FILE);
        if let Ok(text) = fs::read_to_string(&file) {
            let earlier = text.lines().find_map(|line| line.strip_prefix(INPUTS));
            if earlier.is_some_and(|earlier| earlier != inputs_digest) {
                let message = format!(
                    "the model, the data or the start adapter is not what the run in `{}` began with, though the configuration is",
                    self.path.display()
                );
                return Err(InputError::new(message)
                    .hint(
                        "give another folder with `--output`, or the files that the run began with",
                    )
                    .into());
            }
            return Ok(());
        }
        let (version, built_from) = (env!("CARGO_PKG_VERSION"), env!("MVPBENCH_COMMIT"));
        let model = commit.map_or_else(String::new, |commit| format!("# model: commit {commit}\n"));
        let head = format!(
            "# mvpbench {version}, commit {built_from}\n# device: {device}\n{model}{INPUTS}{inputs_digest}\n\n"
        );
        let toml = config.to_toml()?;
        atomic_file::write(&file, |out| Ok(out.write_all(format!("{head}{toml}").as_bytes())?))
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

    /// Figures of all sets; `when` is `before` or `after`.
    pub fn evaluation(&self, when: &str) -> PathBuf {
        self.path.join("eval").join(format!("{when}.json"))
    }

    /// Scores of one set.
    pub fn scores(&self, set: &str, when: &str) -> PathBuf {
        self.path.join("eval").join(format!("scores-{set}-{when}.jsonl"))
    }
}
