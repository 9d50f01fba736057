//! `data stats`: lengths, cuts, duplicates and missing fields of the training pairs and of every evaluation set.

use anyhow::Result;
use clap::Args;

use super::ConfigArgs;
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::console::wrap::{COLUMNS, wrap};
use crate::data::pair::Pair;
use crate::data::stats::SetStats;
use crate::data::tokenize::{Limits, beyond_context, tokenize};
use crate::session::base::Base;

/// Print lengths, cut and dropped pairs, duplicates and missing fields of each set; read no weights
#[derive(Debug, Clone, Args)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the verb.
pub(super) fn stats(args: &StatsArgs) -> Result<()> {
    let config = args.config.load()?;
    let base = Base::load(&config.model, Verbosity::Normal)?;
    let limits = Limits::from(&config.data);
    type Stats = (SetStats, String);
    let of = |name: &str,
              files: &[String],
              limits: Limits,
              training: Option<&[Pair]>|
     -> Result<Stats> {
        let loaded = base.texts(files, &[], &config.data, &mut Vec::new())?;
        let whole = tokenize(&loaded.pairs, &base.tokenizer, &limits.without_limits())?.pairs;
        let kept = tokenize(&loaded.pairs, &base.tokenizer, &limits)?;
        let beyond = beyond_context(&kept.pairs, base.shape.max_positions);
        let stats = SetStats::new(name, loaded, &whole, kept.counts, training);
        Ok((stats, beyond.map(|line| line + "\n").unwrap_or_default()))
    };

    let (training, beyond) = of("training pairs", &config.data.train, limits, None)?;
    let print = |text: String| stdout::print(wrap(&text, COLUMNS, 12) + "\n");
    print(format!("{training}{beyond}"))?;
    let of_sets = Limits::of_sets(&config.data, &config.eval);
    for set in &config.eval.sets {
        let name = format!("eval set `{}`", set.name);
        let (stats, beyond) = of(&name, &set.files, of_sets, Some(training.pairs()))?;
        print(format!("\n{stats}{beyond}"))?;
    }
    print(format!(
        "\nlengths are before the limits: data.max_prompt_tokens = {}, data.max_length = {}",
        limits.max_prompt_tokens, limits.max_length
    ))
}
