//! `mvpbench judge`: what judges say of answers, as preference alignment accuracy.

mod inputs;
mod panel;

use std::fmt::Write;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, ValueEnum};

use crate::cli::ranks::{self, Ranks};
use crate::cli::request_args::{RequestArgs, Way};
use crate::cli::template_args::TemplateArgs;
use crate::cli::typed;
use crate::config::Dtype;
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::eval::paa::judging::Judging;
use crate::judge::protocol::Protocol;
use crate::metrics::groups::MINIMUM_N;
use crate::metrics::paa::PaaEvaluation;
use crate::parallel::world::World;
use crate::report::page;
use crate::report::sections::paa::models::ModelTable;
use crate::run_folder::paa::PaaFolder;

use self::panel::Panel;

/// Let judges say whether answers fit what their users value: preference alignment accuracy by country and group.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("who").required(true).multiple(true).args(["endpoint", "judge", "model"])))]
pub struct JudgeArgs {
    /// Folders of answers that `mvpbench generate --data` wrote, one for each model
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    answers: Vec<PathBuf>,
    /// Folder to write: paa.json, verdicts, tables, the report; the same command resumes
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Protocol: a file, or one in the binary: paa-paper.toml, paa-polyjudge.toml
    #[arg(long, value_name = "FILE", default_value = "paa-paper.toml")]
    config: String,
    /// Data that the answers were made from, where it has moved since
    #[arg(long, value_name = "FILE")]
    data: Vec<String>,
    /// Endpoint of a judge: openai, deepseek, ark, local, or a base URL; may be repeated, with a `--chat-model` each
    #[arg(long, value_name = "NAME|URL")]
    endpoint: Vec<String>,
    /// Name of the judge at its endpoint; may be repeated, in the order of the endpoints
    #[arg(long, value_name = "MODEL")]
    chat_model: Vec<String>,
    /// Environment variable that holds the key of an endpoint, where it is not the preset's; in the order of the endpoints
    #[arg(long, value_name = "NAME")]
    key_env: Vec<String>,
    /// A model as a judge: a folder, a hub id (OWNER/NAME), or `embedded:tiny/model`
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Branch, tag or commit of that model on the hub
    #[arg(long, default_value = "main", requires = "model")]
    revision: String,
    /// Adapter on that model: a folder, or a hub id (OWNER/NAME[@REVISION])
    #[arg(long, value_name = "ID|FOLDER", requires = "model")]
    adapter: Option<PathBuf>,
    #[command(flatten)]
    template: TemplateArgs,
    /// Number type of its weights
    #[arg(long, value_name = "DTYPE", value_parser = PossibleValuesParser::new(Dtype::NAMES), default_value = "auto", requires = "model")]
    dtype: String,
    /// Its device: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", requires = "model")]
    device: String,
    /// Have that model judge on several ranks at once, each on a device of its own: this many, or `all` for as many as there are GPUs
    #[arg(long, value_name = "N|all", value_parser = ranks::parse, requires = "model")]
    ranks: Option<Ranks>,
    /// A judge without a model. `rule` accepts an answer that has more words of the preferred answer alone than of the
    /// rejected answer alone: it shows the way without a network and says nothing about alignment
    #[arg(long, value_enum)]
    judge: Option<OwnJudge>,
    /// Make verdicts and figures anew from the replies that are kept, with the thresholds of `--config`; asks nothing
    #[arg(long)]
    recompute: bool,
    #[command(flatten)]
    requests: RequestArgs,
    /// Fewest answers for which a group gets a figure
    #[arg(long, value_name = "N", default_value_t = MINIMUM_N)]
    minimum_n: usize,
    /// Print only warnings, errors and results
    #[arg(short, long)]
    quiet: bool,
}

/// A judge that needs no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OwnJudge {
    Rule,
}

/// Runs the verb: figures on stdout, progress on stderr.
pub fn judge(args: &JudgeArgs) -> Result<()> {
    ranks::on(args.ranks, &args.device, |device, world| lead(args, device, world))
}

fn lead(args: &JudgeArgs, device: String, world: Rc<World>) -> Result<()> {
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let named = inputs::named(args)?;
    let protocol = Protocol::load(&args.config)?;
    let models = inputs::models(&args.answers)?;
    let benchmark = inputs::benchmark(args, &models, verbosity)?;
    let command = typed::command();
    let judging = Judging {
        protocol: &protocol,
        protocol_name: &args.config,
        benchmark: &benchmark,
        models: &models,
        minimum_n: args.minimum_n,
        command: &command,
        verbosity,
    };
    judging.check()?;
    benchmark.note_absent("judge", &protocol.judge, verbosity);
    let folder = PaaFolder::of(&args.output);
    inputs::check_output(args)?;
    folder.check()?;
    let panel = Panel { args, judging: &judging, folder: &folder, named: &named };
    match args.requests.way() {
        Way::Estimate => return panel.estimate(),
        Way::Export(batch) => return panel.export(batch),
        Way::Ask | Way::Import(_) => {}
    }
    // What refuses to ask does so before the folder is made.
    for one in &named {
        panel.plan(one)?;
    }
    let local = panel.local(device, world)?;
    let _lock = folder.lock()?;
    if let Way::Import(files) = args.requests.way() {
        panel.import(files)?;
    }
    let evaluation = judging.run(&mut panel.judges(local)?, &folder)?;
    print(&evaluation, &folder)
}

/// Writes the pages, and prints the figures and where they are.
fn print(evaluation: &PaaEvaluation, folder: &PaaFolder) -> Result<()> {
    let pages = page::write(&[folder.path().to_owned()], folder.path(), None)?;
    let shown = ModelTable::new(evaluation).to_text();
    let mut out = shown.text.clone();
    writeln!(out, "figures: {}", folder.figures().display())?;
    for file in pages.files {
        writeln!(out, "report:  {}", file.display())?;
    }
    stdout::tell(out + &shown.more())?;
    anyhow::ensure!(
        evaluation.models.iter().any(|model| model.result.paa.is_some()),
        "no answer has a verdict; `reason` of the lines in `verdicts-*.jsonl` says why"
    );
    Ok(())
}
