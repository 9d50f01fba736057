//! `mvpbench report`: pages from the files of folders of runs and of verdicts, no model needed.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use crate::console::stderr::{self, Mark};
use crate::console::stdout;
use crate::error::{InputError, printable};
use crate::report::page;

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
pub fn report(args: &ReportArgs) -> anyhow::Result<()> {
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
    let written = page::write(&args.runs, &output, args.minimum_n)?;
    written.left_out.iter().for_each(|note| stderr::say_as(Mark::Warning, printable(note)));
    let shown = written.to_text();
    let mut out = shown.text.clone();
    for file in written.files {
        writeln!(out, "report: {}", file.display())?;
    }
    stdout::print(out + &shown.more())
}
