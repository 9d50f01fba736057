//! `data build-mvpbench`: PRISM's survey and conversations -> MVPBench.

mod builder;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use self::builder::Builder;
use crate::cli::request_args::{RequestArgs, Way};
use crate::console::interrupt;
use crate::console::progress::Verbosity;
use crate::construct::mvpbench::FILES;
use crate::construct::mvpbench::recipe::{MappedBy, Recipe};
use crate::disk::once::MANIFEST;
use crate::judge::chat::asker;
use crate::judge::chat::endpoint::Endpoint;
use crate::run_folder::begun::Begun;

/// Build MVPBench from PRISM: ratings become labels, a chat model writes three questions with two answers each for every conversation,
/// every item is checked, and users are split into train, validation and test
#[derive(Debug, Clone, Args)]
pub(super) struct BuildMvpbenchArgs {
    /// PRISM's survey.jsonl, a file or `hf://datasets/HannahRoseKirk/prism-alignment/survey.jsonl`
    #[arg(long, value_name = "FILE")]
    survey: String,
    /// PRISM's conversations.jsonl, likewise
    #[arg(long, value_name = "FILE")]
    conversations: String,
    /// Recipe: prompts, checks and shares; a file, or build-mvpbench.toml, the one inside the binary
    #[arg(long, value_name = "RECIPE", default_value = "build-mvpbench.toml")]
    config: String,
    /// Folder to write; the same command resumes in it
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Chat endpoint: openai, deepseek, ark, local, or a base URL such as http://127.0.0.1:8000/v1
    #[arg(long, value_name = "NAME|URL")]
    endpoint: String,
    /// The model's name at the endpoint
    #[arg(long, value_name = "NAME")]
    chat_model: String,
    /// Environment variable that holds the endpoint's key, in place of the preset's; a URL needs none
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
    /// Records to leave out, as `data review exclude` lists them; may be repeated
    #[arg(long, value_name = "FILE")]
    exclude: Vec<PathBuf>,
    /// Folder of an earlier build whose replies are copied into a new one, so that nothing is asked twice
    #[arg(long, value_name = "DIR")]
    replies: Option<PathBuf>,
    #[command(flatten)]
    requests: RequestArgs,
    /// Print only warnings, errors and results
    #[arg(short, long)]
    quiet: bool,
}

impl BuildMvpbenchArgs {
    fn endpoint(&self) -> Result<Endpoint> {
        self.requests.endpoint(&self.endpoint, self.key_env.as_deref())
    }
}

/// A stage that asks a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Mapping,
    Writing,
}

impl Stage {
    /// Its name in messages, and the folder of its batch.
    fn name(self) -> &'static str {
        match self {
            Self::Mapping => "labels",
            Self::Writing => "questions",
        }
    }

    /// The journal of its replies.
    fn journal(self) -> &'static str {
        match self {
            Self::Mapping => "mapping-journal.jsonl",
            Self::Writing => "journal.jsonl",
        }
    }
}

/// Runs the verb.
pub(super) fn build(args: &BuildMvpbenchArgs) -> Result<()> {
    interrupt::install()?;
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let recipe = Recipe::load(&args.config)?;
    let endpoint = args.endpoint()?;
    let stages: &[Stage] = match recipe.mapping.by {
        MappedBy::Rule => &[Stage::Writing],
        MappedBy::Model => &[Stage::Mapping, Stage::Writing],
    };
    let builder = Builder { args, recipe: &recipe, endpoint: &endpoint, verbosity };
    for stage in stages {
        asker::prices(&endpoint, &builder.settings(*stage))?;
    }
    let folder = Begun { path: &args.output, own: FILES, noun: "benchmark files", last: MANIFEST };
    folder.check()?;
    let inputs = builder.inputs()?;
    let depends_on = builder.depends_on(&inputs)?;
    match args.requests.way() {
        Way::Estimate => {
            folder.holds(&depends_on)?;
            builder.estimate(stages, &inputs)
        }
        Way::Export(batch) => {
            folder.holds(&depends_on)?;
            builder.export(stages, &inputs, batch)
        }
        Way::Ask | Way::Import(_) => {
            let _lock = folder.begin(&depends_on)?;
            if builder.is_finished()? {
                return Ok(());
            }
            builder.copy_replies(stages)?;
            if let Way::Import(files) = args.requests.way() {
                builder.import(stages, &inputs, files)?;
            }
            builder.ask(stages, &inputs)
        }
    }
}
