//! `data stats`: of a configuration, lengths in tokens and cuts of the training pairs and of every evaluation set; of a benchmark's files,
//! people, dimensions, lengths, duplicates and leakage.

mod benchmark;

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgGroup, Args};

use crate::config::{Reading, RunConfig, Source};
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::console::wrap::{COLUMNS, wrap};
use crate::data::pair::Pair;
use crate::data::stats::SetStats;
use crate::data::tokenize::{Limits, beyond_context, tokenize};
use crate::session::base::Base;
use crate::session::inputs::{TRAIN_SPLIT, of_sources, weights_line};
use crate::session::template_choice::TemplateChoice;

/// Print what data holds; read no weights
///
/// Of a benchmark: instances, users, countries, value dimensions, demographics beside PRISM's, lengths, duplicates, leakage between splits.
/// Of a configuration: lengths in tokens, cut and dropped pairs, duplicates and missing fields of each set.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("of").required(true).args(["benchmark", "config"])))]
pub(super) struct StatsArgs {
    /// Folder of a benchmark (MVPBench.json, or train.json, validation.json and test.json, or both), or its files
    #[arg(value_name = "DIR|FILE")]
    benchmark: Vec<PathBuf>,
    /// Folder to write stats.html and stats.md to
    #[arg(long, value_name = "DIR", requires = "benchmark")]
    output: Option<PathBuf>,
    /// Configuration: a TOML file, or a preset inside the binary, as for `train`
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Set one key over the configuration, as in `data.max_length=512`; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", requires = "config")]
    set: Vec<String>,
}

/// Runs the verb.
pub(super) fn stats(args: &StatsArgs) -> Result<()> {
    match &args.config {
        Some(config) => configured(&RunConfig::load(config, &args.set)?.0),
        None => benchmark::stats(&args.benchmark, args.output.as_deref()),
    }
}

fn configured(config: &RunConfig) -> Result<()> {
    let base = Base::load(&config.model, &TemplateChoice::of(config)?, Verbosity::Normal)?;
    let limits = Limits::from(&config.data);
    type Of<'a> = (&'a str, &'a [Source], &'a Reading, Option<&'a str>);
    let of = |(name, sources, reading, fallback): Of<'_>,
              limits: Limits,
              training: Option<&[Pair]>|
     -> Result<(SetStats, String)> {
        let mut notes = Vec::new();
        let loaded = base.texts(sources, reading, fallback, &[], &config.data, &mut notes)?;
        notes.iter().for_each(|note| Verbosity::Normal.note(note));
        let whole = tokenize(&loaded.pairs, &base.tokenizer, &limits.without_limits())?.pairs;
        let kept = tokenize(&loaded.pairs, &base.tokenizer, &limits)?;
        let mut lines = beyond_context(&kept.pairs, base.shape.max_positions)
            .map(|line| line + "\n")
            .unwrap_or_default();
        if training.is_none() {
            let (data, seed) = (&config.data, config.train.seed);
            let visits = of_sources(data, &kept.pairs, &loaded.by_source, seed)?;
            lines.extend(weights_line(&visits).map(|line| line + "\n"));
        }
        Ok((SetStats::new(name, loaded, &whole, kept.counts, training), lines))
    };

    let reading = config.data.reading();
    let train = ("training pairs", &config.data.train[..], &reading, Some(TRAIN_SPLIT));
    let (training, lines) = of(train, limits, None)?;
    let print = |text: String| stdout::print(wrap(&text, COLUMNS, 12) + "\n");
    print(format!("{training}{lines}"))?;
    let of_sets = Limits::of_sets(&config.data, &config.eval);
    for set in &config.eval.sets {
        let name = format!("eval set `{}`", set.name);
        let of_set = (&*name, &set.files[..], &Reading::default(), None);
        let (stats, lines) = of(of_set, of_sets, Some(training.pairs()))?;
        print(format!("\n{stats}{lines}"))?;
    }
    print(format!(
        "\nlengths are before the limits: data.max_prompt_tokens = {}, data.max_length = {}",
        limits.max_prompt_tokens, limits.max_length
    ))
}
