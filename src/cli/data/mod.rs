//! `data`: builds the paper's data sets, shows what they hold and what training sees, splits records, has them reviewed.

use clap::{Args, Subcommand};

use crate::config::RunConfig;

mod build_mvpbench;
mod build_prism_pairs;
mod build_ufp4;
mod built;
mod inspect;
mod review;
mod split;
mod stats;

/// Build the paper's data sets, show what they hold and what training sees, split records, review them
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    verb: DataVerb,
}

#[derive(Debug, Clone, Subcommand)]
enum DataVerb {
    Inspect(inspect::InspectArgs),
    Stats(stats::StatsArgs),
    Split(split::SplitArgs),
    BuildMvpbench(build_mvpbench::BuildMvpbenchArgs),
    BuildUfp4(build_ufp4::BuildUfp4Args),
    BuildPrismPairs(build_prism_pairs::BuildPrismPairsArgs),
    Review(review::ReviewArgs),
}

/// The configuration that names the model and the files.
#[derive(Debug, Clone, Args)]
struct ConfigArgs {
    /// Configuration: a TOML file, or a preset inside the binary, as for `train`
    #[arg(long, value_name = "FILE")]
    config: String,
    /// Set one key over the configuration, as in `data.max_length=512`; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    fn load(&self) -> anyhow::Result<RunConfig> {
        Ok(RunConfig::load(&self.config, &self.set)?.0)
    }
}

/// Runs the verb: results on stdout.
pub fn data(args: DataArgs) -> anyhow::Result<()> {
    match args.verb {
        DataVerb::Inspect(args) => inspect::inspect(&args),
        DataVerb::Stats(args) => stats::stats(&args),
        DataVerb::Split(args) => split::split(&args),
        DataVerb::BuildMvpbench(args) => build_mvpbench::build(&args),
        DataVerb::BuildUfp4(args) => build_ufp4::build_ufp4(&args),
        DataVerb::BuildPrismPairs(args) => build_prism_pairs::build_prism_pairs(&args),
        DataVerb::Review(args) => review::review(&args),
    }
}
