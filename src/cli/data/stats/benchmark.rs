//! The statistics of a benchmark on stdout, and as a page.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::bail_input;
use crate::console::{interrupt, stdout};
use crate::construct::statistics::{Benchmark, Statistics};
use crate::disk::{atomic, writable};
use crate::report::{html, markdown, plain};

/// Names of the pages.
const FILES: [&str; 2] = ["stats.html", "stats.md"];

/// Prints the statistics of `paths`, and writes the pages into `output` where one is given.
pub(super) fn stats(paths: &[PathBuf], output: Option<&Path>) -> Result<()> {
    interrupt::install()?;
    if let Some(output) = output {
        if output.exists() && !output.is_dir() {
            bail_input!("output folder `{}` is a file", output.display());
        }
        writable::check(output)?;
    }
    let benchmark = Benchmark::read(paths)?;
    let statistics = Statistics::of(&benchmark)?;
    let page = statistics.page(&title(paths));
    let mut text = plain::page(&page);
    if let Some(output) = output {
        text.push('\n');
        for (name, content) in FILES.into_iter().zip([html::page(&page), markdown::page(&page)]) {
            let path = output.join(name);
            atomic::write(&path, |out| Ok(out.write_all(content.as_bytes())?))?;
            text += &format!("page: {}\n", path.display());
        }
    }
    stdout::print(text)
}

/// What the page calls the benchmark: the folder's name, or the files.
fn title(paths: &[PathBuf]) -> String {
    let name = |path: &PathBuf| match path.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => path.display().to_string(),
    };
    let names: Vec<String> = paths.iter().map(name).collect();
    names.join(", ")
}
