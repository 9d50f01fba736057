//! The questions of a benchmark, into a folder of answers.

use std::fmt::Write;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};

use super::GenerateArgs;
use super::endpoint::Asked;
use crate::cli::request_args::{Way, estimate_lines, export_lines};
use crate::cli::typed;
use crate::console::progress::Verbosity;
use crate::console::{stdout, units};
use crate::data::benchmark::References;
use crate::eval::paa::answering::Answering;
use crate::eval::paa::items::Benchmark;
use crate::eval::paa::local_chat::LocalChat;
use crate::judge::chat::cost::Prices;
use crate::judge::protocol::Protocol;
use crate::machine::peak;
use crate::parallel::world::World;
use crate::run_folder::answers::{AnswersAbout, AnswersFolder};
use crate::session::local_model::LocalChoice;

/// Answers of a local model.
pub(super) fn local(
    args: &GenerateArgs,
    choice: LocalChoice,
    world: Rc<World>,
    verbosity: Verbosity,
) -> Result<()> {
    peak::keep_freed_memory();
    let (protocol, benchmark) = inputs(args, verbosity)?;
    let answering = answering(args, &protocol, &benchmark, verbosity)?;
    answering.folder.begun().check()?;
    let chat = LocalChat::load(choice, verbosity)?.on(world)?;
    let about = answering.by_local(&chat, args.seed.unwrap_or(0))?;
    print(&answering, &about)
}

/// Answers over an endpoint, or their estimate, or the requests as files.
pub(super) fn endpoint(args: &GenerateArgs, asked: Asked<'_>, verbosity: Verbosity) -> Result<()> {
    let (protocol, benchmark) = inputs(args, verbosity)?;
    let answering = answering(args, &protocol, &benchmark, verbosity)?;
    let requests = &args.requests;
    let endpoint = requests.endpoint(asked.endpoint, args.key_env.as_deref())?;
    let seed = super::endpoint::seed(args)?;
    let prices = Prices::set_by(&protocol.prices, &args.config, asked.model);
    let settings = requests.settings(answering.parameters(asked.model, seed), prices);
    match requests.way() {
        Way::Estimate => {
            let plan = answering.plan(endpoint, settings)?;
            let estimate = plan.estimate(&answering.requests()?)?;
            stdout::print(estimate_lines(&estimate, plan.prices(), asked.model)?)
        }
        Way::Export(folder) => {
            let plan = answering.plan(endpoint, settings)?;
            stdout::print(export_lines(&plan.export(&answering.requests()?, folder)?)?)
        }
        Way::Ask | Way::Import(_) => {
            let mends = requests.mends();
            let about = answering.by_endpoint(endpoint, settings, mends, |asker, items| {
                requests.outcomes(asker, items, verbosity)
            })?;
            print(&answering, &about)
        }
    }
}

fn inputs(args: &GenerateArgs, verbosity: Verbosity) -> Result<(Protocol, Benchmark)> {
    let protocol = Protocol::load(&args.config)?;
    Ok((protocol, Benchmark::load(&args.data, References::Drop, verbosity)?))
}

fn answering<'a>(
    args: &'a GenerateArgs,
    protocol: &'a Protocol,
    benchmark: &'a Benchmark,
    verbosity: Verbosity,
) -> Result<Answering<'a>> {
    let output: &Path = args.output.as_deref().context("`--data` requires `--output`")?;
    Ok(Answering {
        folder: AnswersFolder::of(output),
        protocol_name: &args.config,
        protocol,
        benchmark,
        command: typed::command(),
        verbosity,
    })
}

/// The result on stdout; a warning about items without an answer.
fn print(answering: &Answering<'_>, about: &AnswersAbout) -> Result<()> {
    let AnswersAbout { name, n, failed, cut, cost_usd, answered_by, .. } = about;
    let mut text = String::new();
    let served = match &answered_by.served[..] {
        [] => String::new(),
        served => format!(", served as {}", served.join(", ")),
    };
    writeln!(text, "model:   {name}: {}{served}", answered_by.model)?;
    let [n, failed_items, cut] = [n, failed, cut].map(|count| units::count(*count));
    writeln!(
        text,
        "answers: {n} items, {failed_items} without an answer, {cut} cut at the limit of tokens"
    )?;
    if let Some(cost) = cost_usd {
        writeln!(text, "cost:    {}", units::dollars(*cost))?;
    }
    writeln!(text, "folder:  {}", answering.folder.path().display())?;
    stdout::tell(text)?;
    anyhow::ensure!(
        about.failed < about.n,
        "no item has an answer; `finish` of the lines in answers.jsonl says why"
    );
    if *failed > 0 {
        let again = match answered_by.endpoint.is_empty() {
            true => "",
            false => "; `--retry-failed` asks them again",
        };
        answering.verbosity.warn(format!(
            "{failed_items} items have no answer, `finish` in answers.jsonl says why{again}"
        ));
    }
    Ok(())
}
