//! The run folder: the paths and formats of its files, who may write in it, and a lock so that one program writes at a
//! time.

pub mod answers;
pub mod begun;
pub mod begun_batch;
pub mod begun_day;
pub mod begun_dtype;
pub mod checkpoints;
pub mod drift;
pub mod eval_log;
pub mod guard;
pub mod head;
pub mod kind;
pub mod paa;
pub mod paths;
pub mod provenance;
pub mod purpose;
pub mod samples;
pub mod summary;
pub mod tensorboard;
pub mod train_log;
pub mod wall_time;

use std::fs::{self, File};
use std::ops::Deref;
use std::path::Path;

use anyhow::{Context, Result};

use crate::config::RunConfig;
use crate::disk::{atomic, lock, read};
use crate::error::InputError;
use crate::run_folder::paths::Paths;
use crate::run_folder::provenance::{BEGUN, Provenance};
use crate::run_folder::purpose::Purpose;

const CHANGED: &str = "# changed after step ";

/// An open run folder.
#[derive(Debug)]
pub struct RunFolder {
    paths: Paths,
    _lock: File,
}

impl Deref for RunFolder {
    type Target = Paths;

    fn deref(&self) -> &Paths {
        &self.paths
    }
}

impl RunFolder {
    /// Makes the folder if it is missing, and locks it for this process. Only what is read afterwards, such as by
    /// [`guard::check`], cannot be changed by another program any more.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { paths: Paths::of(path), _lock: lock::folder(path)? })
    }

    /// Removes what killed programs left half-written.
    pub fn sweep(&self) -> Result<()> {
        let folders = [self.checkpoints(), self.evaluations(), self.adapter(), self.tensorboard()];
        atomic::sweep(self.path())?;
        folders.iter().try_for_each(|folder| atomic::sweep(folder))
    }

    /// Writes the configuration of a new run or evaluation, with a digest in its head. Refuses to resume one with other inputs than it began with.
    ///
    /// - `provenance`: as this process has it. A resumed run keeps what its folder began with, a changed one its first date.
    /// - `changes`: what [`guard::check`] returned. The head of the file records each change. Figures may be of other
    ///   inputs, so all are removed, to be computed again.
    pub fn begin(
        &self,
        purpose: Purpose,
        config: &RunConfig,
        provenance: &Provenance<'_>,
        changes: &[String],
    ) -> Result<()> {
        let (file, noun) = (self.config(purpose), purpose.noun());
        let mut changed = String::new();
        let mut begun = provenance.begun_line();
        if let Some(text) = guard::read_config(&file)? {
            if !changes.is_empty() {
                self.remove_figures()?;
                if let Some(first) = text.lines().find(|line| line.starts_with(BEGUN)) {
                    begun = format!("{first}\n");
                }
                let steps = checkpoints::list(&self.checkpoints())?;
                let step = steps.first().map_or(0, |(step, _)| *step);
                for line in text.lines().filter(|line| line.starts_with(CHANGED)) {
                    changed += &format!("{line}\n");
                }
                for change in changes {
                    changed += &format!("{CHANGED}{step}: {}\n", change.replace('\n', " "));
                }
            } else if let Some(what) = provenance.other_than(&text) {
                let message = format!(
                    "{what} not what the {noun} in `{}` began with; the configuration is the same",
                    self.path().display()
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
        let head = format!("{}{changed}", provenance.lines(&begun));
        let text = head::sealed(&head, &purpose.to_toml(config)?);
        atomic::write(&file, |out| Ok(out.write_all(text.as_bytes())?))
    }

    /// Removes the figures of all evaluations; scores and answers are overwritten later.
    fn remove_figures(&self) -> Result<()> {
        for path in read::folder(&self.evaluations())? {
            if path.extension().is_some_and(|extension| extension == "json") {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove `{}`", path.display()))?;
            }
        }
        Ok(())
    }
}
