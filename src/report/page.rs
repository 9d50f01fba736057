//! `report.html` and `report.md` of one run or of several, from the files of their folders.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::disk::atomic;
use crate::metrics::groups::MINIMUM_N;
use crate::report::folder::Run;
use crate::report::html::{
    about, answers, axes, compare, curves, document, groups, margins, section, sets, table, tiles,
};
use crate::report::markup::one_line;
use crate::report::markup::{escape, paragraph};
use crate::report::run::RunReport;
use crate::report::table::Table;
use crate::report::table1::Table1;
use crate::run_folder::paths::Paths;
use crate::run_folder::summary::Summary;

/// Names of the two pages.
pub const FILES: [&str; 2] = ["report.html", "report.md"];

/// What the bootstrap cannot say.
const NO_WIDTH: &str =
    "An interval without width, at 0 or 100 %, says nothing: every resample repeats the value.";

/// What was written, and what was left out on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The pages.
    pub files: Vec<PathBuf>,
    /// Lines and files that could not be read, one sentence each.
    pub left_out: Vec<String>,
    /// Several runs side by side.
    pub comparison: Option<Table>,
}

/// Reads the run `folders` and writes both pages into `output`; `minimum_n` as in [`crate::metrics::groups::measure`].
///
/// Each file appears whole or not at all. Refuses what [`Run::read`] refuses, before anything is written.
pub fn write(folders: &[PathBuf], output: &Path, minimum_n: usize) -> anyhow::Result<Written> {
    Ok(write_runs(folders, output, minimum_n)?.0)
}

/// [`write`], and the runs it read.
fn write_runs(
    folders: &[PathBuf],
    output: &Path,
    minimum_n: usize,
) -> anyhow::Result<(Written, Vec<Run>)> {
    let mut runs = folders
        .iter()
        .map(|folder| Run::read(folder, minimum_n))
        .collect::<anyhow::Result<Vec<_>>>()?;
    name_apart(&mut runs, folders);
    let both: Vec<(&Run, &Path)> = runs.iter().zip(folders.iter().map(PathBuf::as_path)).collect();
    let mut files = Vec::new();
    for (name, page) in FILES.into_iter().zip([html(&both), markdown(&both)]) {
        let path = output.join(name);
        atomic::write(&path, |out| Ok(out.write_all(page.as_bytes())?))?;
        files.push(path);
    }
    let all: Vec<&Run> = runs.iter().collect();
    let comparison = (all.len() > 1).then(|| compare::comparison(&all));
    let left_out = runs.iter().flat_map(|run| run.left_out.iter().cloned()).collect();
    Ok((Written { files, left_out, comparison }, runs))
}

/// Writes `summary.json` of a run, then both pages from the files of its folder, as `mvpbench report` does again.
///
/// Returns what the pages are made of.
pub fn write_run(folder: &Path, summary: &Summary) -> anyhow::Result<RunReport> {
    summary.write(&Paths::of(folder).summary())?;
    let (_, runs) = write_runs(&[folder.to_owned()], folder, MINIMUM_N)?;
    let run = runs.first().context("a page without a run")?;
    Ok(run.report(folder))
}

/// Runs of one name get the paths of their folders, so that a reader can tell them apart.
fn name_apart(runs: &mut [Run], folders: &[PathBuf]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (run, folder) in runs.iter_mut().zip(folders) {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = folder.display().to_string();
        }
    }
}

fn html(runs: &[(&Run, &Path)]) -> String {
    if let [(run, folder)] = runs {
        return one(run, folder);
    }
    let all: Vec<&Run> = runs.iter().map(|(run, _)| *run).collect();
    let names: Vec<&str> = all.iter().map(|run| &*run.name).collect();
    let title = format!("{} runs: {}", all.len(), names.join(", "));
    let mut body = format!("<header>\n<h1>{} runs side by side</h1>\n", all.len());
    body += &paragraph("lead", &names.join(", "));
    body += "</header>\n<main>\n";
    body += &section("runs", "Results", &compare::compare(&all));
    body += &section("curves", "Training", &curves::curves(&all));
    for (index, (run, folder)) in runs.iter().enumerate() {
        let content = tiles::tiles(run) + &details(run, folder, &format!("run{index}-"), 3);
        body += &section(&format!("run{index}"), &format!("Run {}", run.name), &content);
    }
    document(&title, &(body + "</main>\n"))
}

/// The page of one run.
fn one(run: &Run, folder: &Path) -> String {
    let report = run.report(folder);
    let mut body = format!("<header>\n<h1>{}</h1>\n", escape(&report.title));
    body += &paragraph(
        "lead",
        &format!("Base model `{}`, on {}.", one_line(&report.model), one_line(&report.device)),
    );
    body += &tiles::tiles(run);
    body += "</header>\n<main>\n";
    let (before, after) = (run.before.as_ref(), run.after.as_ref());
    let table1 = if before.is_some() || after.is_some() {
        let (rows, notes) = Table1::new(before, after).into_parts();
        let class = |name: &str| if name.ends_with(", paper") { "paper" } else { "own" };
        let notes: String = notes.iter().map(|note| paragraph("note", note)).collect();
        table(&rows, class) + &notes + &paragraph("note", NO_WIDTH)
    } else {
        paragraph("missing", "This run was not evaluated.")
    };
    body += &section("table1", "Results beside the paper's Table 1", &table1);
    let curves = curves::curves(&[run]);
    let curves = if curves.is_empty() && !run.is_evaluation {
        paragraph("missing", "The folder has no record of a training step.")
    } else {
        curves
    };
    body += &section("training", "Training", &curves);
    body += &details(run, folder, "", 2);
    document(&report.title, &(body + "</main>\n"))
}

/// What is shown of every run; headings of rank `rank`, 2 where the page is the run's own.
fn details(run: &Run, folder: &Path, prefix: &str, rank: usize) -> String {
    let part = |id: &str, title: &str, body: &str| {
        if body.is_empty() {
            String::new()
        } else if rank == 2 {
            section(&format!("{prefix}{id}"), title, body)
        } else {
            format!(
                "<h3 id=\"{}\">{}</h3>\n{body}",
                escape(&format!("{prefix}{id}")),
                escape(title)
            )
        }
    };
    let mut html = part("evaluations", "Evaluation during training", &curves::evaluations(run));
    let (before, after) = (run.before.as_ref(), run.after.as_ref());
    for (i, files) in run.sets.iter().enumerate() {
        let name = &*files.name;
        let (before, after) =
            (before.and_then(|all| all.set(name)), after.and_then(|all| all.set(name)));
        let margins = margins::margins(files);
        html += &part(
            &format!("set{i}"),
            &format!("{name}: figures"),
            &(sets::figures(before, after) + &margins),
        );
        html += &part(
            &format!("spmr{i}"),
            &format!("{name}: SPMR"),
            &answers::spmr(before, after, files),
        );
        html += &part(
            &format!("axes{i}"),
            &format!("{name}: accuracy, consistency, fairness"),
            &axes::axes(before, after),
        );
        html += &part(
            &format!("groups{i}"),
            &format!("{name}: groups"),
            &groups::groups(before, after),
        );
    }
    html += &part("answers", "Sample answers", &answers::samples(run));
    html + &part("about", "The run", &about::about(run, &run.report(folder)))
}

fn markdown(runs: &[(&Run, &Path)]) -> String {
    let pages: Vec<String> =
        runs.iter().map(|(run, folder)| run.report(folder).to_markdown()).collect();
    if let [page] = &pages[..] {
        return page.clone();
    }
    let all: Vec<&Run> = runs.iter().map(|(run, _)| *run).collect();
    let head = format!(
        "# {} runs side by side\n\n{}\nAll in percent, with 95 % bootstrap intervals clustered by user.\n",
        all.len(),
        compare::comparison(&all).to_markdown()
    );
    let differences = compare::differences(&all);
    let differences = if differences.rows().is_empty() {
        "\nThe configurations differ in nothing but the folder.\n".to_owned()
    } else {
        format!("\n{}", differences.to_markdown())
    };
    format!("{head}{differences}\n{}", pages.join("\n"))
}
