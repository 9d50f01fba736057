//! `mvpbench generate`: answers of a local model or of a chat endpoint, to prompts or to the questions of a benchmark.

mod benchmark;
mod endpoint;
mod local;

use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args};

use crate::cli::ranks::{self, Ranks};
use crate::cli::request_args::RequestArgs;
use crate::cli::template_args::TemplateArgs;
use crate::cli::{layout, whole_number};
use crate::config::{Dtype, LayoutName};
use crate::console::interrupt;
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::disk::{atomic, read, writable};
use crate::error::InputError;
use crate::session::local_model::LocalChoice;

/// Options that an endpoint does not read.
const OF_A_MODEL: [&str; 12] = [
    "revision",
    "adapter",
    "merge",
    "chat_template",
    "template_date",
    "chat",
    "top_k",
    "batch",
    "dtype",
    "device",
    "ranks",
    "force",
];

/// Options in whose place a protocol stands.
const OF_PROMPTS: [&str; 6] = ["max_new_tokens", "temperature", "top_p", "top_k", "stop", "chat"];

/// Generate answers of a local model, with or without an adapter, or of a chat endpoint: to prompts, one JSON object a line in their
/// order, or to the questions of a benchmark, a folder for `mvpbench judge`.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("asked").required(true).args(["prompt", "prompts", "data"])))]
#[command(group(ArgGroup::new("answerer").required(true).args(["model", "endpoint"])))]
pub struct GenerateArgs {
    /// Model: a folder, a hub id (OWNER/NAME), or `embedded:tiny/model`, the one inside the binary
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Branch, tag or commit of a model on the hub
    #[arg(long, default_value = "main")]
    revision: String,
    /// Adapter in PEFT's format: a folder, or a hub id (OWNER/NAME[@REVISION])
    #[arg(long, value_name = "ID|FOLDER")]
    adapter: Option<PathBuf>,
    /// Add the adapter to the weights in memory first: each token is cheaper
    #[arg(long, requires = "adapter")]
    merge: bool,
    #[command(flatten)]
    template: TemplateArgs,
    /// Chat endpoint in place of a model: openai, deepseek, ark, local, or a base URL such as http://127.0.0.1:8000/v1
    #[arg(long, value_name = "NAME|URL", requires = "chat_model", conflicts_with_all = OF_A_MODEL)]
    endpoint: Option<String>,
    /// The model's name at the endpoint
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    chat_model: Option<String>,
    /// Environment variable that holds the endpoint's key, in place of the preset's; a URL needs none
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    key_env: Option<String>,
    #[command(flatten)]
    requests: RequestArgs,
    /// Benchmark: MVPBench records, each asked as stage 1 of `--config` has it, with its temperature and lengths; may be repeated
    #[arg(long, value_name = "FILE", requires = "output", conflicts_with_all = OF_PROMPTS)]
    data: Vec<String>,
    /// Protocol of `--data`: a file, paa-paper.toml or paa-polyjudge.toml
    #[arg(long, value_name = "PROTOCOL", requires = "data", default_value = "paa-paper.toml")]
    config: String,
    /// Prompts: JSONL, a JSON array or Parquet of records with `prompt` (a text or messages), of pairs, or of MVPBench
    /// records; or a .txt file with one prompt a line
    #[arg(long, value_name = "FILE")]
    prompts: Option<String>,
    /// Layout of the records of `--prompts`, as in `data.layout`
    #[arg(long, value_name = "NAME", requires = "prompts", default_value = "auto", value_parser = layout)]
    layout: LayoutName,
    /// Text of a prompt; may be repeated
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// Put plain prompts into the model's own chat template, as the user's message
    #[arg(long)]
    chat: bool,
    /// JSONL file to write instead of stdout; FILE.journal keeps finished answers, and the same command resumes from it. With
    /// `--data` a folder, in which the same command resumes
    #[arg(long, value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 256, allow_negative_numbers = true, value_parser = within(1..=1 << 24))]
    max_new_tokens: usize,
    /// Draw tokens from the model's distribution, its logits divided by T; 0: take the most probable token. By default 0, and an
    /// endpoint's own
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = temperature)]
    temperature: Option<f64>,
    /// Draw from the most probable tokens that together reach probability P. By default 1, and an endpoint's own
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = share)]
    top_p: Option<f64>,
    /// Draw from the K most probable tokens; 0: from all
    #[arg(long, value_name = "K", default_value_t = 0, allow_negative_numbers = true, value_parser = within(0..=1 << 24))]
    top_k: usize,
    /// Seed of the draws; an answer depends on it and on the prompt's position, not on the batch. By default 0; an endpoint is told
    /// it where it is given
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole_number)]
    seed: Option<u64>,
    /// End an answer before this text; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Answers to generate at once; by default 16 on the CPU and 64 on a GPU, fewer if memory is short. Changes speed
    /// and memory; on a GPU also answers in which two tokens are about equally probable
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = within(1..=1 << 16))]
    batch: Option<usize>,
    /// Number type of the weights; auto is bf16 on a GPU and f32 on the CPU
    #[arg(long, value_name = "DTYPE", value_parser = dtype_named(), default_value = "auto")]
    dtype: Dtype,
    /// Device: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Answer on several ranks at once, each on a device of its own: this many, or `all` for as many as there are GPUs; prompts with
    /// `--stop` are answered by the first alone
    #[arg(long, value_name = "N|all", value_parser = ranks::parse)]
    ranks: Option<Ranks>,
    /// Start although less memory is free than this takes; the system may end it at any moment
    #[arg(long)]
    force: bool,
    /// Print only warnings, errors and results
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb: results on stdout or in the file or folder, progress on stderr.
pub fn generate(args: &GenerateArgs) -> Result<()> {
    interrupt::install()?;
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    match (&args.model, &args.endpoint) {
        (Some(model), _) => {
            if let Some(option) = args.requests.given() {
                let what = format!("`{option}` needs `--endpoint`, got `--model`");
                return Err(InputError::new(what).hint("leave it out for a local model").into());
            }
            ranks::on(args.ranks, &args.device, |device, world| {
                let choice = choice(args, model, device);
                match &args.data[..] {
                    [] => local::prompts(args, choice, world, verbosity),
                    _ => benchmark::local(args, choice, world, verbosity),
                }
            })
        }
        (None, given) => {
            let asked = endpoint::Asked {
                endpoint: given.as_deref().unwrap_or_default(),
                model: args.chat_model.as_deref().unwrap_or_default(),
            };
            match &args.data[..] {
                [] => endpoint::prompts(args, asked, verbosity),
                _ => benchmark::endpoint(args, asked, verbosity),
            }
        }
    }
}

fn choice(args: &GenerateArgs, model: &str, device: String) -> LocalChoice {
    LocalChoice {
        model: model.to_owned(),
        revision: args.revision.clone(),
        adapter: args.adapter.clone(),
        merge: args.merge,
        template: args.template.choice(),
        dtype: args.dtype,
        device,
        batch: args.batch,
        force: args.force,
    }
}

/// Refuses an output that cannot hold the answers, before anything is read.
fn refuse_output(output: Option<&Path>, prompts: Option<&str>) -> Result<()> {
    let Some(output) = output else {
        if stdout::is_closed() {
            return Err(InputError::new("standard output is closed, so the answers would be lost")
                .hint("give a file with `--output`")
                .into());
        }
        return Ok(());
    };
    let path = output.canonicalize().ok();
    if path.is_some() && prompts.and_then(|prompts| Path::new(prompts).canonicalize().ok()) == path
    {
        return Err(InputError::new(format!("`{}` is the file of the prompts", output.display()))
            .hint("give another `--output`")
            .into());
    }
    writable::check_file(output)?;
    // A program killed after it has written the answers leaves them and its journal.
    match path.is_some() && !journal_path(output).exists() {
        true => Err(already_exists(output).into()),
        false => Ok(()),
    }
}

/// Prints the finished `answers`, or writes them into the file, after which its journal goes.
fn give(output: Option<&Path>, answers: Vec<u8>, verbosity: Verbosity) -> Result<()> {
    let Some(path) = output else { return stdout::print(answers) };
    match read::if_there(path)? {
        Some(found) if found == answers => atomic::sweep_of(path)?,
        Some(_) => return Err(already_exists(path).into()),
        None => atomic::write(path, |out| Ok(out.write_all(&answers)?))?,
    }
    read::remove_if_there(&journal_path(path))?;
    verbosity.note(format!("answers: {}", path.display()));
    Ok(())
}

/// An answer as a line of JSON.
fn write_line(out: &mut Vec<u8>, answer: &impl serde::Serialize) -> Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    Ok(writeln!(out)?)
}

fn already_exists(output: &Path) -> InputError {
    InputError::new(format!("`{}` already exists", output.display()))
        .hint("give another `--output`, or move the file away if it is not needed")
}

/// `FILE.journal`.
fn journal_path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

/// Parses a whole number in `range`.
fn within(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let (least, most) = (range.start(), range.end());
            Err(format!("expected a whole number from {least} to {most}, got `{text}`"))
        }
    }
}

/// Parses a temperature.
fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x >= 0.0 => Ok(x),
        _ => Err(format!("a temperature must be at least 0, got `{text}`")),
    }
}

/// Parses a probability that is not 0.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x <= 1.0 => Ok(x),
        _ => Err(format!("a probability must be above 0 and at most 1, got `{text}`")),
    }
}

/// Parses a dtype as the configuration names it.
fn dtype_named() -> impl TypedValueParser<Value = Dtype> {
    PossibleValuesParser::new(Dtype::NAMES).map(|word| {
        let named = Dtype::ALL.into_iter().find(|dtype| dtype.name() == word);
        named.unwrap_or(Dtype::Auto)
    })
}
