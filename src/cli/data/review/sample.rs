//! `data review sample`: draws records and writes what reviewers read and mark.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::cli::whole_number;
use crate::console::stdout;
use crate::console::units::counted;
use crate::construct::quality::draw::By;
use crate::construct::quality::sample::Wanted;
use crate::construct::quality::{Records, Sample, marks, sample_files};

/// Draw a seeded sample: sample.csv for a spreadsheet, review.html to read and mark in a browser
#[derive(Debug, Clone, Args)]
pub(super) struct SampleArgs {
    /// Folder of the benchmark
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Records to draw
    #[arg(long, value_name = "N", default_value_t = 200)]
    n: usize,
    /// Seed of the draw
    #[arg(long, value_name = "N", default_value_t = 12, allow_negative_numbers = true, value_parser = whole_number)]
    seed: u64,
    /// Draw every record alike, or as many of each country of birth as of any other
    #[arg(long, value_enum, default_value_t = By::None)]
    by: By,
    /// Reviewers who share the sample
    #[arg(long, value_name = "N", default_value_t = 2)]
    reviewers: usize,
    /// Share of the records that every reviewer reads; each of the others is read by one
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, allow_negative_numbers = true)]
    overlap: f64,
}

impl SampleArgs {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Runs the verb.
pub(super) fn sample(args: &SampleArgs) -> Result<()> {
    let records = Records::read(&args.folder)?;
    let wanted = Wanted {
        n: args.n,
        seed: args.seed,
        by: args.by,
        reviewers: args.reviewers,
        overlap: args.overlap,
    };
    let sample = Sample::draw(&records, &wanted)?;
    let _lock = marks::lock(&args.folder)?;
    let folder = sample_files::write(&sample, &records)?;
    let (drawn, all) = (sample.records.len(), records.all().len());
    let everything = if drawn < args.n { ", all there are" } else { "" };
    let shared = sample.records.iter().filter(|one| one.reviewer.is_none()).count();
    let page = folder.join(sample_files::PAGE);
    stdout::tell(format!(
        "drawn:  {} of {all}{everything}; sample {}, seed {}\nread:   {shared} by every reviewer, {} by one of {}\npage:   {}\ntable:  {}\n",
        counted(drawn, "record"),
        sample.sample,
        args.seed,
        drawn - shared,
        args.reviewers,
        page.display(),
        folder.join(sample_files::TABLE).display(),
    ))
}
