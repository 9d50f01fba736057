//! `report.html` and `report.md` of runs and of folders of verdicts, from the files of their folders.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::disk::atomic;
use crate::metrics::groups::MINIMUM_N;
use crate::report::brief::{Shown, brief};
use crate::report::folder::Run;
use crate::report::judged::{self, JudgedFolder};
use crate::report::paired::Paired;
use crate::report::run::RunReport;
use crate::report::sections::paa::models::ModelTable;
use crate::report::sections::{self, compare, run_differences};
use crate::report::table::Table;
use crate::report::text::Text;
use crate::report::{html, markdown};
use crate::run_folder::paths::Paths;
use crate::run_folder::summary::Summary;

/// Names of the two pages.
pub const FILES: [&str; 2] = ["report.html", "report.md"];

/// The pages written, and what they leave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The pages.
    pub files: Vec<PathBuf>,
    /// Lines and files that could not be read, and sets that several runs do not share, one sentence each.
    pub left_out: Vec<String>,
    /// What must be read before the figures of several runs; empty for one run.
    pub cautions: Vec<Text>,
    /// The figures of several runs side by side, then their differences; empty for one run.
    pub comparison: Vec<Table>,
    /// The models of each folder of verdicts.
    pub judged: Vec<ModelTable>,
}

impl Written {
    /// The comparison of several runs for a console: cautions, figures, differences; then the models of folders of verdicts. Empty for
    /// one run.
    pub fn to_text(&self) -> Shown {
        let (lines, shown) = brief(&self.cautions.iter().collect::<Vec<_>>());
        let above: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let gap = if lines.is_empty() { "" } else { "\n" };
        let tables: String =
            self.comparison.iter().map(|table| table.to_text(1) + "\n\n").collect();
        let mut all =
            Shown { text: format!("{above}{gap}{tables}"), left_out: self.cautions.len() - shown };
        for models in self.judged.iter().map(ModelTable::to_text) {
            all.text += &format!("{}\n", models.text);
            all.left_out += models.left_out;
        }
        all
    }
}

/// Reads the `folders` of runs and of verdicts and writes both pages into `output`; `minimum_n` as in [`crate::metrics::groups::measure`],
/// by default [`MINIMUM_N`] for runs, and as they were judged for verdicts.
///
/// Each file appears whole or not at all. Refuses what [`Run::read`] refuses, before anything is written.
pub fn write(
    folders: &[PathBuf],
    output: &Path,
    minimum_n: Option<usize>,
) -> anyhow::Result<Written> {
    Ok(write_runs(folders, output, minimum_n)?.0)
}

/// [`write`], returning the runs too.
fn write_runs(
    folders: &[PathBuf],
    output: &Path,
    minimum_n: Option<usize>,
) -> anyhow::Result<(Written, Vec<Run>)> {
    let (mut runs, mut folders_of_runs, mut judged) = (Vec::new(), Vec::new(), Vec::new());
    let least = minimum_n.unwrap_or(MINIMUM_N);
    for folder in folders {
        if judged::is_judged(folder)? {
            judged.push(JudgedFolder::read(folder, minimum_n)?);
        } else {
            runs.push(Run::read(folder, least)?);
            folders_of_runs.push(folder.clone());
        }
    }
    let folders = folders_of_runs;
    name_apart(&mut runs, &folders);
    let both: Vec<(&Run, &Path)> = runs.iter().zip(folders.iter().map(PathBuf::as_path)).collect();
    let all: Vec<&Run> = runs.iter().collect();
    let paired = if all.len() > 1 { Paired::of(&all, least) } else { Paired::default() };
    let page = sections::page(&both, &paired, &judged);
    let mut files = Vec::new();
    for (name, text) in FILES.into_iter().zip([html::page(&page), markdown::page(&page)]) {
        let path = output.join(name);
        atomic::write(&path, |out| Ok(out.write_all(text.as_bytes())?))?;
        files.push(path);
    }
    let paired_runs = paired.all();
    let comparison = match &paired_runs[..] {
        [] => Vec::new(),
        all => [
            Some(compare::comparison(all)),
            run_differences::table(&run_differences::differences(all)),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    let left_out = runs.iter().flat_map(|run| run.left_out.iter().cloned());
    let of_judged = judged.iter().flat_map(|folder| folder.left_out.iter().cloned());
    let left_out = left_out.chain(of_judged).chain(paired.sentences.iter().cloned()).collect();
    let cautions = paired.cautions();
    let judged = judged.iter().map(|folder| ModelTable::new(&folder.evaluation)).collect();
    Ok((Written { files, left_out, cautions, comparison, judged }, runs))
}

/// Writes `summary.json` of a run, then both pages from the files of its folder, as `mvpbench report` does again.
///
/// Returns the run as the pages show it. `warn`: takes a sentence for each file that they leave out.
pub fn write_run(
    folder: &Path,
    summary: &Summary,
    warn: impl Fn(&str),
) -> anyhow::Result<RunReport> {
    summary.write(&Paths::of(folder).summary())?;
    let (written, runs) = write_runs(&[folder.to_owned()], folder, None)?;
    written.left_out.iter().for_each(|note| warn(note));
    let run = runs.first().context("a page without a run")?;
    Ok(run.report(folder))
}

/// Gives runs of the same name the paths of their folders as names.
fn name_apart(runs: &mut [Run], folders: &[PathBuf]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (run, folder) in runs.iter_mut().zip(folders) {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = folder.display().to_string();
        }
    }
}
