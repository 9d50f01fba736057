//! `data review judge`: a model's opinion of a sample, as one more reviewer without a vote.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::cli::request_args::{RequestArgs, Way, estimate_lines, export_lines};
use crate::cli::whole_number;
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::console::units::{count, counted};
use crate::construct::quality::marks::Added;
use crate::construct::quality::sample::QUALITY;
use crate::construct::quality::{Marks, Records, Sample, marks, opinion};
use crate::disk::digest;
use crate::error::{InputError, one_line};
use crate::judge::chat::Asker;
use crate::run_folder::paa::PaaFolder;

/// Records without a verdict that are named, at most.
const NAMED: usize = 5;

/// Ask a model at an endpoint what people are asked of a sample: one more reviewer in the figures, without a vote on what is left out
#[derive(Debug, Clone, Args)]
pub(super) struct JudgeArgs {
    /// Folder of the benchmark
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Seed of the sample; needed where there are several
    #[arg(long, value_name = "N", value_parser = whole_number)]
    seed: Option<u64>,
    /// Endpoint: openai, deepseek, ark, local, or a base URL
    #[arg(long, value_name = "NAME|URL")]
    endpoint: String,
    /// Name of the model there
    #[arg(long, value_name = "MODEL")]
    chat_model: String,
    /// Environment variable that holds the key, where it is not the preset's
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
    #[command(flatten)]
    requests: RequestArgs,
    /// Print only warnings, errors and results
    #[arg(short, long)]
    quiet: bool,
}

impl JudgeArgs {
    /// The folder of the benchmark; none where requests are only counted, or written elsewhere.
    pub(super) fn writes_in(&self) -> Option<&Path> {
        match self.requests.way() {
            Way::Estimate | Way::Export(_) => None,
            Way::Ask | Way::Import(_) => Some(&self.folder),
        }
    }
}

/// Runs the verb.
pub(super) fn judge(args: &JudgeArgs) -> Result<()> {
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let folder = &args.folder;
    let records = Records::read(folder)?;
    let sample = sample_of(args)?;
    let items = opinion::items(&sample, &records)?;
    let endpoint = args.requests.endpoint(&args.endpoint, args.key_env.as_deref())?;
    let parameters = opinion::parameters(&args.chat_model, !endpoint.refuses_schemas());
    let settings = args.requests.settings(parameters, None);
    let reviewer = opinion::reviewer(&args.chat_model, endpoint.base());
    let digest = digest::of_parts([&*args.chat_model, endpoint.base()]);
    let name = format!("judge-{}-{}.jsonl", PaaFolder::plain(&args.chat_model), &digest[..8]);
    let journal = folder.join(QUALITY).join(name);
    match args.requests.way() {
        Way::Estimate => {
            let plan = Asker::plan(endpoint, settings, &journal, verbosity)?;
            let estimate = plan.estimate(&items)?;
            return stdout::print(estimate_lines(&estimate, plan.prices(), &args.chat_model)?);
        }
        Way::Export(batch) => {
            let plan = Asker::plan(endpoint, settings, &journal, verbosity)?;
            return stdout::print(export_lines(&plan.export(&items, batch)?)?);
        }
        Way::Ask | Way::Import(_) => {}
    }
    let _lock = marks::lock(folder)?;
    let mut asker = Asker::open(endpoint, settings, &journal, verbosity)?;
    let outcomes = args.requests.outcomes(&mut asker, &items, verbosity)?;
    let (said, without) = opinion::marks(&sample, &outcomes, &reviewer);
    for (id, why) in without.iter().take(NAMED) {
        verbosity.warn(format!("record `{}` has no verdict: {}", one_line(id), one_line(why)));
    }
    anyhow::ensure!(!said.is_empty(), "no record has a verdict of the model");
    let mut all = Marks::read(folder)?;
    let mut added = Added::default();
    let judged = said.len();
    said.into_iter().for_each(|mark| all.add(mark, &mut added));
    all.write(folder)?;
    let before = format!(
        "judged:   {} by {}, {} without a verdict\n",
        counted(judged, "record"),
        one_line(&args.chat_model),
        count(without.len())
    );
    super::tell(folder, &all, before)
}

/// The sample of the seed that was given, or the only one.
fn sample_of(args: &JudgeArgs) -> Result<Sample> {
    let mut all = Sample::all(&args.folder)?;
    let seeds: Vec<String> = all.iter().map(|sample| sample.drawn.seed.to_string()).collect();
    let place = match args.seed {
        Some(seed) => all.iter().position(|sample| sample.drawn.seed == seed),
        None if all.len() == 1 => Some(0),
        None => None,
    };
    match place {
        Some(place) => Ok(all.swap_remove(place)),
        None if all.is_empty() => {
            let what = format!("no sample was drawn from `{}` yet", args.folder.display());
            Err(InputError::new(what).hint("draw one with `mvpbench data review sample`").into())
        }
        None => {
            let what = match args.seed {
                Some(seed) => format!("no sample has the seed `{seed}`"),
                None => "several samples were drawn".to_owned(),
            };
            let hint = format!("give the `--seed` of one of them: {}", seeds.join(", "));
            Err(InputError::new(what).hint(hint).into())
        }
    }
}
