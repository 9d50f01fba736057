//! `mvpbench generate`: a model's answers to prompts.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::Device;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args};
use serde::Serialize;

use crate::cli::whole_number;
use crate::config::{Dtype, LoraSection, ModelSection, PromptFormat};
use crate::console::interrupt::{self, Interrupted};
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::data::format::Prompts;
use crate::data::prompt::Prompt;
use crate::disk::{atomic, read};
use crate::error::InputError;
use crate::inference::engine;
use crate::inference::generations::{GenerationPass, JournalFile};
use crate::machine::memory::GenerationPlan;
use crate::machine::{self, peak};
use crate::model::adapter;
use crate::model::generation::{GenerationSettings, Sampling, Stop, StopStrings};
use crate::session::base::Base;
use crate::session::held;

/// Generate answers to prompts, with or without an adapter: one JSON object a line, in the order of the prompts.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("asked").required(true).args(["prompt", "prompts"])))]
pub struct GenerateArgs {
    /// Model: a folder, a hub id (OWNER/NAME), or `embedded:tiny/model`, the one inside the binary
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Branch, tag or commit of a model on the hub
    #[arg(long, default_value = "main")]
    revision: String,
    /// Folder of an adapter: adapter_config.json, adapter_model.safetensors
    #[arg(long, value_name = "FOLDER")]
    adapter: Option<PathBuf>,
    /// Add the adapter to the weights in memory first: each token is cheaper
    #[arg(long, requires = "adapter")]
    merge: bool,
    /// Prompts: JSONL, a JSON array or Parquet of records with `prompt` (a text or messages), of pairs, or of MVPBench
    /// records; or a .txt file with one prompt a line
    #[arg(long, value_name = "FILE")]
    prompts: Option<String>,
    /// Text of a prompt; may be repeated
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// Put plain prompts into the model's own chat template, as the user's message
    #[arg(long)]
    chat: bool,
    /// JSONL file to write instead of stdout; FILE.journal keeps finished answers, and the same command resumes from it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 256, allow_negative_numbers = true, value_parser = at_most(1 << 24))]
    max_new_tokens: usize,
    /// Draw tokens from the model's distribution, its logits divided by T; 0: take the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true, value_parser = temperature)]
    temperature: f64,
    /// Draw from the most probable tokens that together reach probability P
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true, value_parser = share)]
    top_p: f64,
    /// Draw from the K most probable tokens; 0: from all
    #[arg(long, value_name = "K", default_value_t = 0, allow_negative_numbers = true, value_parser = at_most(1 << 24))]
    top_k: usize,
    /// Seed of the draws; an answer depends on it and on the prompt's position, not on the batch
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true, value_parser = whole_number)]
    seed: u64,
    /// End an answer before this text; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Answers to generate at once; by default 16 on the CPU and 64 on a GPU, fewer if memory is short. Changes speed
    /// and memory; on a GPU also answers in which two tokens are about equally probable
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_most(1 << 16))]
    batch: Option<usize>,
    /// Number type of the weights; auto is bf16 on a GPU and f32 on the CPU. The CPU computes in f32 only
    #[arg(long, value_name = "DTYPE", value_parser = dtype_named(), default_value = "auto")]
    dtype: Dtype,
    /// Device: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Start although less memory is free than this takes; the system may end it at any moment
    #[arg(long)]
    force: bool,
    /// Print only warnings, errors and results
    #[arg(short, long)]
    quiet: bool,
}

/// One line of the results.
#[derive(Serialize)]
struct AnswerLine<'a> {
    id: &'a str,
    prompt: &'a str,
    completion: String,
    stop: Stop,
    prompt_tokens: usize,
    completion_tokens: usize,
}

/// Runs the verb: results on stdout or in the file, progress on stderr.
pub fn generate(args: &GenerateArgs) -> Result<()> {
    interrupt::install()?;
    peak::keep_freed_memory();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    // A program killed after it has written the answers leaves them and its journal.
    if let Some(output) = args.output.as_deref().filter(|output| output.exists())
        && !journal_path(output).exists()
    {
        return Err(already_exists(output).into());
    }
    let device = machine::device(&args.device)?;
    let base = Base::load(
        &ModelSection {
            path: args.model.clone(),
            revision: args.revision.clone(),
            dtype: args.dtype,
            ..ModelSection::default()
        },
        verbosity,
    )?;
    base.notes.iter().for_each(|note| verbosity.note(note));
    let mut settings = GenerationSettings {
        max_new_tokens: args.max_new_tokens,
        sampling: sampling(args)?,
        eos: base.eos_ids()?,
        batch: args.batch.unwrap_or(1), // until the free memory is known
    };
    settings.check()?;
    let adapter = match &args.adapter {
        Some(folder) => Some(adapter::load(folder, &base.shape, None, &Device::Cpu)?),
        None => None,
    };
    let (prompts, ids) = prompts(args, &base, verbosity)?;

    let dtype = machine::dtype(args.dtype, &device)?;
    let longest = ids.iter().map(Vec::len).max().unwrap_or(1);
    if !args.force {
        let lora = LoraSection::default();
        let tokens = longest.saturating_add(args.max_new_tokens).min(base.shape.max_positions);
        let (shape, sequences) = (&base.shape, args.batch.unwrap_or(1));
        let answers = GenerationPlan { shape, lora: &lora, dtype, sequences, tokens }.bytes();
        held::refuse_inference(&args.model, &base.shape, dtype, longest, answers, &device)?;
    }
    let (mut model, model_digest) = base.open(dtype, &device)?;
    let mut adapter = adapter;
    let mut merged = "";
    if let Some(adapter) = adapter.take_if(|_| args.merge) {
        model = model.merged(&adapter)?;
        merged = "merged";
    }
    if args.batch.is_none() {
        let tokens = longest + args.max_new_tokens;
        settings.batch = engine::answers_at_once(&model.shape, model.dtype, &model.device, tokens);
    }
    let stop = StopStrings::new(&base.tokenizer, &args.stop);
    let pass = GenerationPass {
        model: &model,
        adapter: adapter.as_ref(),
        prompts: &ids,
        settings: &settings,
        stop: &stop,
    };
    let journal_path = args.output.as_deref().map(journal_path);
    let key = pass.key(&format!("{model_digest} {merged}"))?;
    let journal = journal_path.as_deref().map(|path| JournalFile { path, key: &key });
    let (generations, journal) = match pass.run(journal, verbosity) {
        Err(error) if error.is::<Interrupted>() && args.output.is_none() => {
            anyhow::bail!("interrupted; without `--output` nothing is kept")
        }
        done => done?,
    };

    let write = |out: &mut dyn Write| -> Result<()> {
        for ((prompt, ids), generation) in prompts.iter().zip(&ids).zip(&generations) {
            let answer = AnswerLine {
                id: &prompt.id,
                prompt: &prompt.text,
                completion: stop.text(generation)?,
                stop: generation.stop,
                prompt_tokens: ids.len(),
                completion_tokens: generation.ids.len(),
            };
            serde_json::to_writer(&mut *out, &answer)?;
            writeln!(out)?;
        }
        Ok(())
    };
    match &args.output {
        None => {
            let mut answers = Vec::new();
            write(&mut answers)?;
            stdout::print(answers)?;
        }
        Some(path) => {
            let mut answers = Vec::new();
            write(&mut answers)?;
            match read::if_there(path)? {
                Some(found) if found == answers => atomic::sweep_of(path)?,
                Some(_) => return Err(already_exists(path).into()),
                None => atomic::write(path, |out| Ok(out.write_all(&answers)?))?,
            }
            journal.map(|journal| journal.remove()).transpose()?;
            verbosity.note(format!("answers: {}", path.display()));
        }
    }
    Ok(())
}

/// Parses a number up to `most`.
fn at_most(most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if number <= most => Ok(number),
        _ => Err(format!("expected a whole number from 0 to {most}, got `{text}`")),
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

fn already_exists(output: &Path) -> InputError {
    InputError::new(format!("`{}` already exists", output.display()))
        .hint("remove it, or give another `--output`")
}

/// Parses a dtype as the configuration names it.
fn dtype_named() -> impl TypedValueParser<Value = Dtype> {
    PossibleValuesParser::new(Dtype::NAMES).map(|word| {
        let named = Dtype::ALL.into_iter().find(|dtype| dtype.name() == word);
        named.unwrap_or(Dtype::Auto)
    })
}

/// `FILE.journal`.
fn journal_path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

/// How tokens are drawn; none to take the most probable token.
fn sampling(args: &GenerateArgs) -> Result<Option<Sampling>> {
    let &GenerateArgs { temperature, top_p, top_k, seed, .. } = args;
    if temperature.total_cmp(&0.0).is_ne() {
        return Ok(Some(Sampling { temperature, top_p, top_k, seed }));
    }
    if top_p.total_cmp(&1.0).is_ne() || top_k != 0 {
        return Err(InputError::new(
            "`--top-p` and `--top-k` need a `--temperature` above 0, got 0",
        )
        .hint("add `--temperature 1`")
        .into());
    }
    Ok(None)
}

/// The prompts as text and as token ids. Refuses one that leaves no room in the model's context.
fn prompts(
    args: &GenerateArgs,
    base: &Base,
    verbosity: Verbosity,
) -> Result<(Vec<Prompt>, Vec<Vec<u32>>)> {
    let format = if args.chat { PromptFormat::Chat } else { PromptFormat::Mvpbench };
    let mut notes = Vec::new();
    let prompts = match &args.prompts {
        Some(path) => {
            let loaded = base.prompts(path, format, &mut notes)?;
            notes.extend(loaded.counts.unread_line().map(|line| format!("{path}: {line}")));
            loaded.prompts
        }
        None => {
            let template =
                Prompts { format, template: base.template.as_ref(), ..Prompts::default() };
            let typed = (1..).zip(&args.prompt);
            typed
                .map(|(number, text)| Prompt::typed(text, number, &template))
                .collect::<Result<_>>()?
        }
    };
    notes.iter().for_each(|note| verbosity.note(note));
    let most = base.shape.max_positions;
    let ids = prompts.iter().map(|prompt| {
        let ids = prompt.ids(&base.tokenizer)?;
        if ids.len() >= most {
            return Err(InputError::new(format!(
                "{}: expected a prompt and an answer that fit into the model's context of {most} tokens, \
                 got a prompt of {}",
                prompt.place,
                ids.len()
            ))
            .hint("give a shorter prompt")
            .into());
        }
        if ids.is_empty() {
            return Err(InputError::new(format!("{}: the prompt is empty", prompt.place)).into());
        }
        Ok(ids)
    });
    let ids = ids.collect::<Result<_>>()?;
    Ok((prompts, ids))
}
