//! `mvpbench report`: pages from the files of folders of runs and of verdicts, no model needed.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::console::stderr::{self, Mark};
use crate::console::stdout;
use crate::disk::writable;
use crate::error::{InputError, printable};
use crate::report::page;
use crate::run_folder::kind;

/// Write report.html and report.md of one run, or of several side by side, and of judged answers, from the files in their folders.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Folders of runs, such as runs/tiny, or of verdicts, such as runs/paa; for runs that differ only in the seed the report adds
    /// mean ± sd
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Folder of the pages; by default the folder of the run, if there is only one
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Fewest pairs for which a group gets figures; by default 10 for runs, and as they were judged for verdicts
    #[arg(long, value_name = "N")]
    minimum_n: Option<usize>,
}

/// Runs the verb: the paths of the pages on stdout, warnings about what was left out on stderr.
pub fn report(args: &ReportArgs) -> Result<()> {
    let output = match (&args.output, &args.runs[..]) {
        (Some(output), _) => output.clone(),
        (None, [run]) => run.clone(),
        (None, runs) => {
            let message = format!("the report of {} runs needs a folder of its own", runs.len());
            return Err(InputError::new(message).hint("add `--output DIR`").into());
        }
    };
    if output.is_file() {
        let message = format!("output folder `{}` is a file", output.display());
        return Err(InputError::new(message).hint("give another folder with `--output`").into());
    }
    refuse_twice(&args.runs)?;
    refuse_other(&args.runs, &output)?;
    writable::check(&output)?;
    let written = page::write(&args.runs, &output, args.minimum_n)?;
    written.left_out.iter().for_each(|note| stderr::say_as(Mark::Warning, printable(note)));
    let shown = written.to_text();
    let mut out = shown.text.clone();
    for file in written.files {
        writeln!(out, "report: {}", file.display())?;
    }
    stdout::tell(out + &shown.more())
}

/// Refuses a run that is given twice, however its folder is spelled: its figures would count twice.
fn refuse_twice(runs: &[PathBuf]) -> Result<()> {
    let mut seen: Vec<(PathBuf, &Path)> = Vec::new();
    for run in runs {
        // A folder that is not there is refused when it is read.
        let Ok(folder) = run.canonicalize() else { continue };
        if let Some((_, earlier)) = seen.iter().find(|(known, _)| *known == folder) {
            let message =
                format!("`{}` and `{}` are the same folder", earlier.display(), run.display());
            return Err(InputError::new(message).hint("name each folder once").into());
        }
        seen.push((folder, run));
    }
    Ok(())
}

/// Refuses to write over the report of a folder that is not the one reported.
fn refuse_other(runs: &[PathBuf], output: &Path) -> Result<()> {
    let is_own = match runs {
        [run] => run.canonicalize().ok() == output.canonicalize().ok(),
        _ => false,
    };
    match kind::of(output).filter(|_| !is_own) {
        Some(kind) => {
            let message = format!("output folder `{}` holds {kind}", output.display());
            Err(InputError::new(message)
                .hint("its own report would be lost; give another folder with `--output`")
                .into())
        }
        None => Ok(()),
    }
}
