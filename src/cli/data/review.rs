//! `data review`: a sample of a benchmark for people to read and mark, their marks, their agreement, and what they reject.

mod judge;
mod sample;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::console::units::{count, counted};
use crate::console::{interrupt, stdout};
use crate::construct::quality::exclude::rejected;
use crate::construct::quality::import::{Changed, Imported, import};
use crate::construct::quality::sample::QUALITY;
use crate::construct::quality::{Marks, Records, Sample, exclusions, figures, marks};
use crate::disk::{atomic, writable};
use crate::error::InputError;
use crate::report::{html, markdown, plain};

/// Have people review a benchmark: draw a sample, take their marks, leave out what they reject
#[derive(Debug, Clone, Args)]
pub(super) struct ReviewArgs {
    #[command(subcommand)]
    verb: ReviewVerb,
}

#[derive(Debug, Clone, Subcommand)]
enum ReviewVerb {
    Sample(sample::SampleArgs),
    Import(ImportArgs),
    Judge(judge::JudgeArgs),
    Exclude(ExcludeArgs),
}

impl ReviewVerb {
    /// The folder of the benchmark, in which the verb writes; none where it may write nothing there.
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Sample(args) => Some(args.folder()),
            Self::Import(args) => Some(&args.folder),
            Self::Judge(args) => args.writes_in(),
            Self::Exclude(args) => Some(&args.folder),
        }
    }
}

/// The remedy for a folder of a benchmark that cannot be written.
const WRITABLE: &str = "samples and marks are written beside the benchmark: make the folder writable, or give a copy of it";

/// Take the marks of reviewers, and print shares accepted, agreement beside chance, and disagreements
#[derive(Debug, Clone, Args)]
struct ImportArgs {
    /// Folder of the benchmark
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Files that the page saved, or sample.csv filled in; none: print the figures of the marks that are there
    #[arg(value_name = "MARKS.csv")]
    files: Vec<PathBuf>,
    /// Let marks take the place of others that the same reviewer gave before
    #[arg(long)]
    replace: bool,
}

/// Write the records that most reviewers reject to quality/exclude.jsonl, which the next build leaves out
#[derive(Debug, Clone, Args)]
struct ExcludeArgs {
    /// Folder of the benchmark
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Names of the pages of figures.
const PAGES: [&str; 2] = ["figures.html", "figures.md"];

/// The list of records that are left out.
const EXCLUDED: &str = "exclude.jsonl";

/// Runs the verb.
pub(super) fn review(args: &ReviewArgs) -> Result<()> {
    interrupt::install()?;
    if let Some(folder) = args.verb.folder().filter(|folder| folder.is_dir()) {
        writable::check_or(&folder.join(QUALITY), WRITABLE)?;
    }
    match &args.verb {
        ReviewVerb::Sample(args) => sample::sample(args),
        ReviewVerb::Import(args) => take(args),
        ReviewVerb::Judge(args) => judge::judge(args),
        ReviewVerb::Exclude(args) => exclude(args),
    }
}

fn take(args: &ImportArgs) -> Result<()> {
    let records = Records::read(&args.folder)?;
    let _lock = marks::lock(&args.folder)?;
    let mut marks = Marks::read(&args.folder)?;
    let mut out = String::new();
    if !args.files.is_empty() {
        let samples = Sample::all(&args.folder)?;
        let changed = if args.replace { Changed::Replace } else { Changed::Refuse };
        let Imported { added, blank } =
            import(&args.files, &samples, &records, &mut marks, changed)?;
        let path = marks.write(&args.folder)?;
        writeln!(
            out,
            "imported: {} new, {} there already, {} replaced; {} without a mark\nmarks:    {}",
            counted(added.new, "record"),
            count(added.same),
            count(added.replaced),
            counted(blank, "row"),
            path.display()
        )?;
    }
    tell(&args.folder, &marks, out)
}

/// Writes the pages of figures, and prints `before` and the figures.
fn tell(folder: &Path, marks: &Marks, before: String) -> Result<()> {
    refuse_none(folder, marks)?;
    let page = figures::page(marks, &title(folder));
    let mut out = plain::page(&page) + "\n" + &before;
    for (name, text) in PAGES.into_iter().zip([html::page(&page), markdown::page(&page)]) {
        let path = folder.join(QUALITY).join(name);
        atomic::write(&path, |file| Ok(file.write_all(text.as_bytes())?))?;
        writeln!(out, "page:     {}", path.display())?;
    }
    stdout::tell(out)
}

fn refuse_none(folder: &Path, marks: &Marks) -> Result<()> {
    if !marks.is_empty() {
        return Ok(());
    }
    let what = format!("`{}` has no marks of reviewers", folder.display());
    Err(InputError::new(what)
        .hint("draw a sample with `mvpbench data review sample`, have it marked, and import the marks")
        .into())
}

fn exclude(args: &ExcludeArgs) -> Result<()> {
    let folder = &args.folder;
    // Refuses what is no benchmark; what an earlier build held may be excluded from it already.
    let records = Records::read(folder)?;
    let _lock = marks::lock(folder)?;
    let marks = Marks::read(folder)?;
    refuse_none(folder, &marks)?;
    let rejected = rejected(&marks);
    let path = folder.join(QUALITY).join(EXCLUDED);
    exclusions::write(&path, &rejected)?;
    let mut out = String::new();
    for one in &rejected {
        let gone = if records.get(&one.id).is_some() { "" } else { " (not in this build)" };
        writeln!(out, "{}{gone}: {}", one.id, one.why)?;
    }
    let marked: std::collections::BTreeSet<&str> =
        marks.all().filter(|mark| !mark.is_judges()).map(|mark| &*mark.id).collect();
    writeln!(
        out,
        "rejected: {} of {} marked by people",
        counted(rejected.len(), "record"),
        count(marked.len())
    )?;
    writeln!(out, "list:     {}", path.display())?;
    stdout::tell(out)
}

/// What pages call the benchmark in a folder.
fn title(folder: &Path) -> String {
    folder
        .canonicalize()
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_else(|| folder.display().to_string())
}
