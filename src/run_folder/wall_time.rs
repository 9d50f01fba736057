//! `wall_time.json`: how long the processes of a run have worked on it, so that a resumed run counts those before it.
//!
//! Saved before the first step of a process, after every evaluation and checkpoint, and when the process ends. What a killed process did
//! after that is known from the step times of the log.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::disk::seal::Broken;
use crate::disk::{atomic, read, seal};
use crate::run_folder::train_log::{Steps, elapsed_s};

/// The content of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Saved {
    /// Wall time of all processes so far, seconds.
    wall_time_s: f64,
    /// Optimizer steps that it includes.
    step: usize,
}

/// The clock of a run.
#[derive(Debug)]
pub struct WallTime {
    path: PathBuf,
    begun: Instant,
    earlier_s: f64,
    /// The last step of the log whose time is included.
    step: usize,
    damage: Option<String>,
    /// Whether it no longer saves anything.
    is_stopped: bool,
}

impl WallTime {
    /// The clock of a process that began at `begun`. Call it before the log at `log` drops the steps after a checkpoint.
    ///
    /// A file that is broken, which [`WallTime::damage`] says, is worth the step times of the log.
    pub fn open(path: &Path, log: &Path, begun: Instant) -> Result<Self> {
        let found = saved(path)?;
        let damage = found.err().map(|why| {
            format!(
                "`{}`: {why}; the wall time is that of the steps in the log and of this process",
                path.display()
            )
        });
        let saved = found.ok().flatten().unwrap_or_default();
        let mut after = Steps::read(log)?.steps;
        let last = after.last().map_or(0, |record| record.step);
        after.retain(|record| record.step > saved.step);
        let earlier_s = saved.wall_time_s + elapsed_s(&after);
        Ok(Self { path: path.to_owned(), begun, earlier_s, step: last, damage, is_stopped: false })
    }

    /// A sentence about a broken file; none where it is whole or not there.
    pub fn damage(&self) -> Option<String> {
        self.damage.clone()
    }

    /// Wall time of all processes, this one included, seconds.
    pub fn seconds(&self) -> f64 {
        self.earlier_s + self.begun.elapsed().as_secs_f64()
    }

    /// Leaves the file as it is from here on: the run was finished before this process began, which adds nothing to it.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Saves the time after optimizer step `step`.
    pub fn save(&mut self, step: usize) -> Result<()> {
        self.step = step;
        let saved = Saved { wall_time_s: self.seconds(), step };
        let sealed = seal::on_a_line(&saved)?;
        atomic::write(&self.path, |out| Ok(out.write_all(&sealed)?))
    }
}

/// The content of the file; none if it is not there. The inner error is about what stands in it.
fn saved(path: &Path) -> Result<std::result::Result<Option<Saved>, Broken>> {
    let Some(bytes) = read::if_there(path)? else { return Ok(Ok(None)) };
    Ok(seal::open(&bytes)
        .and_then(|object| serde_json::from_slice(&object).map(Some).map_err(|_| Broken::Wrong)))
}

/// A sentence for a report about a broken file at `path`; none where it is whole or not there.
pub fn damage(path: &Path) -> Result<Option<String>> {
    Ok(saved(path)?.err().map(|why| {
        format!("`{}`: {why}; the wall time here is that of `summary.json`", path.display())
    }))
}

/// Saves the time of a process that ends, whether it is done, interrupted or has failed.
impl Drop for WallTime {
    fn drop(&mut self) {
        if !self.is_stopped {
            let _ = self.save(self.step); // the step times of the log are left
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::disk::json_lines;
    use crate::run_folder::train_log::StepRecord;

    #[test]
    fn a_resumed_run_counts_the_processes_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("wall_time.json"), folder.path().join("train.jsonl"));
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let open = |seconds| WallTime::open(&path, &log, ago(seconds)).unwrap();
        let near = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1.0, "{found}, expected {expected}");
        };
        let mut first = open(100);
        near(first.seconds(), 100.0);
        first.save(2).unwrap();
        std::mem::forget(first); // killed: two more steps are in the log alone
        let step = |step| StepRecord { step, step_time_s: Some(30.0), ..StepRecord::default() };
        json_lines::write(&log, &[1, 2, 3, 4].map(step)).unwrap();
        near(open(50).seconds(), 210.0);
        near(open(5).seconds(), 215.0); // the second process saved its time as it ended
        let saved = std::fs::read(&path).unwrap();
        open(1000).stop();
        assert_eq!(std::fs::read(&path).unwrap(), saved);
        std::fs::write(&path, "half a fi").unwrap();
        near(open(0).seconds(), 120.0);
    }
}
