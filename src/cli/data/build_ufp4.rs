//! `data build-ufp4`: UltraFeedback -> four files of pairs, one for each attribute, and a manifest.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::built;
use crate::bail_input;
use crate::cli::whole_number;
use crate::console::interrupt;
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::console::units::{count, counted};
use crate::construct::ultrafeedback::build::{self, Built, Input};
use crate::construct::ultrafeedback::pairs::{Pairing, Ties};
use crate::construct::ultrafeedback::plan::Rule;
use crate::data::listing;
use crate::disk::once::MANIFEST;
use crate::disk::read;
use crate::hub::Hub;
use crate::session::{data_file, data_files};

/// Build UF-P-4 from UltraFeedback: four files of pairs, one for each attribute
///
/// Each of helpfulness, honesty, instruction_following and truthfulness has a file of preference pairs, in which the answer with the higher
/// rating by this attribute is the chosen one.
///
/// Left out and counted: pairs with an empty answer, pairs of equal answers, pairs that an earlier record has, and in the file of an attribute
/// the pairs with a rating that is N/A or missing and, by default, those with equal ratings (ties). A record that is broken is named with file
/// and line, and left out.
///
/// The data set of Poddar et al. 2024 comes about by further rules: `--complete --ties flip --controversial
/// --without-source truthful_qa --test-share 0.1`. Its coin and its draws are others, so the pairs are not the same ones.
#[derive(Debug, Clone, Args)]
pub(super) struct BuildUfp4Args {
    /// UltraFeedback: JSONL, JSON or Parquet files, folders of such files, or hf://datasets/openbmb/UltraFeedback/FILE
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    ultrafeedback: Vec<String>,
    /// Folder to write: ATTRIBUTE.json and manifest.json
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Which completions of a record are paired
    #[arg(long, value_enum, default_value_t = Pairing::BestRandom)]
    pairs: Pairing,
    /// What becomes of a pair that an attribute rates equally
    #[arg(long, value_enum, default_value_t = Ties::Drop)]
    ties: Ties,
    /// Keep only pairs about which the attributes disagree; a coin's choice counts
    #[arg(long)]
    controversial: bool,
    /// Keep only pairs that all four attributes rate on both sides
    #[arg(long)]
    complete: bool,
    /// Cut the files of a side to the size of the smallest, by a seeded draw
    #[arg(long)]
    equal_sizes: bool,
    /// Most pairs of a file, by a seeded draw; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_pairs: usize,
    /// Leave out the records of these sources, such as truthful_qa
    #[arg(long, num_args = 1.., value_name = "SOURCE")]
    without_source: Vec<String>,
    /// Share of the prompts that goes to the test side: writes train/ATTRIBUTE.json and test/ATTRIBUTE.json; 0 for one side
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    test_share: f64,
    /// Seed of every draw
    #[arg(long, value_name = "N", default_value_t = 12, allow_negative_numbers = true, value_parser = whole_number)]
    seed: u64,
}

/// Runs the verb.
pub(super) fn build_ufp4(args: &BuildUfp4Args) -> Result<()> {
    interrupt::install()?;
    if !(0.0..1.0).contains(&args.test_share) {
        bail_input!("`--test-share` must be at least 0 and below 1, got `{}`", args.test_share);
    }
    built::check(&args.output)?;
    let verbosity = Verbosity::Normal;
    let inputs = inputs(&args.ultrafeedback, verbosity)?;
    let rule = Rule {
        pairs: args.pairs,
        ties: args.ties,
        controversial: args.controversial,
        complete: args.complete,
        equal_sizes: args.equal_sizes,
        max_pairs: args.max_pairs,
        without_source: args.without_source.clone(),
        test_share: args.test_share,
        seed: args.seed,
    };
    let built = build::build(&inputs, &rule, &args.output, verbosity)?;
    built::warn_of_broken(verbosity, &built.broken, &built.unknown_fields);
    stdout::tell(summary(&built, &args.output)?)
}

/// The files that `paths` name, those of a folder in the order of their names.
fn inputs(paths: &[String], verbosity: Verbosity) -> Result<Vec<Input>> {
    let (hub, mut notes, mut inputs) = (Hub::new(verbosity), Vec::new(), Vec::new());
    for path in paths {
        if !Path::new(path).is_dir() {
            for name in data_files::expand(path, "", None, &hub, &mut notes)? {
                let path = data_file::locate(&name, &hub, &mut notes)?;
                inputs.push(Input { name, path });
            }
            continue;
        }
        let is_data =
            |path: &PathBuf| path.is_file() && path.to_str().is_some_and(listing::is_data);
        let mut files: Vec<PathBuf> =
            read::folder(Path::new(path))?.into_iter().filter(is_data).collect();
        if files.is_empty() {
            bail_input!("`{path}`: no file in the folder ends in .{}", ENDINGS.join(", ."));
        }
        files.sort();
        inputs
            .extend(files.into_iter().map(|path| Input { name: path.display().to_string(), path }));
    }
    notes.iter().for_each(|note| verbosity.note(note));
    Ok(inputs)
}

/// Endings of the files of a folder that are read, alone or before `.gz` or `.zst`.
const ENDINGS: [&str; 6] = ["json", "jsonl", "parquet", "arrow", "csv", "tsv"];

fn summary(built: &Built, output: &Path) -> Result<String> {
    let Built { counts, files, prompts, .. } = built;
    let mut out = String::new();
    let mut line = |number: usize, what: &str| -> Result<()> {
        if number > 0 {
            writeln!(out, "{:>12} {what}", count(number))?;
        }
        Ok(())
    };
    line(counts.records, "records")?;
    line(counts.broken_records, "broken records, left out")?;
    line(counts.records_of_other_sources, "records of sources that are left out")?;
    line(counts.records_of_one_completion, "records with fewer than two completions")?;
    line(counts.records_without_lower_mean, "records without a completion of lower mean")?;
    line(counts.records_of_an_earlier_prompt, "records with the prompt of an earlier one")?;
    line(counts.pairs_considered, "pairs of completions")?;
    line(counts.pairs_with_an_empty_answer, "with an empty answer, left out")?;
    line(counts.pairs_of_equal_answers, "of equal answers, left out")?;
    line(counts.pairs_of_an_earlier_record, "of an earlier record, left out")?;
    line(counts.pairs_not_complete, "that lack a rating, left out")?;
    line(counts.pairs_not_controversial, "about which the attributes agree, left out")?;
    line(counts.pairs_compared, "compared")?;
    line(counts.pairs_controversial, "of these about which the attributes disagree")?;
    writeln!(out)?;
    for count_of in counts.attributes {
        let parts = [
            (count_of.not_rated, "not rated"),
            (count_of.ties_dropped, "ties dropped"),
            (count_of.ties_flipped, "ties by the coin"),
            (count_of.beyond_size, "beyond the size"),
        ];
        write!(out, "{}: {} kept", count_of.attribute, count(count_of.kept))?;
        for (number, what) in parts.into_iter().filter(|(number, _)| *number > 0) {
            write!(out, ", {} {what}", count(number))?;
        }
        writeln!(out)?;
    }
    writeln!(out)?;
    for (name, pairs) in files {
        writeln!(out, "{}: {}", output.join(name).display(), counted(*pairs, "pair"))?;
    }
    let (all, test) = *prompts;
    if test > 0 {
        writeln!(out, "prompts: {}, {} of the test side", count(all), count(test))?;
    }
    writeln!(out, "manifest: {}", output.join(MANIFEST).display())?;
    Ok(out)
}
