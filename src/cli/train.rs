//! `train`: fine-tune, evaluate, export.

use std::fmt::Write;
use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;

use crate::bail_input;
use crate::cli::ranks::{self, Ranks};
use crate::cli::{typed, whole_number};
use crate::config::{LoraSection, Modules, Projection, RunConfig};
use crate::console::interrupt;
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::console::wrap::{self, COLUMNS, wrap};
use crate::dry_run::dry_run;
use crate::error::InputError;
use crate::machine::card;
use crate::parallel::world::World;
use crate::presets;
use crate::report::Table1;
use crate::run_folder::guard::Resume;
use crate::session::Options;
use crate::train::run::run;
use crate::train::seeds;

/// Fine-tune a Llama with LoRA and DPO, evaluate it before and after, export the adapter.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Configuration: a TOML file, or a preset inside the binary (llama2-7b.toml, llama2-13b.toml, llama2-7b-chat.toml,
    /// llama2-13b-chat.toml, each of these with paper- before it, tiny.toml)
    #[arg(long, value_name = "FILE", required_unless_present = "print_config")]
    config: Option<String>,
    /// Print a preset, with its comments, and end: the beginning of a configuration of your own
    #[arg(long, value_name = "PRESET", exclusive = true)]
    print_config: Option<String>,
    /// Set one key over the configuration, as in `train.learning_rate=1e-4`; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Run folder, instead of `output.dir`
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Device: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// If the folder already has a run: auto resumes it, never is an error, DIR resumes from that checkpoint
    #[arg(long, default_value = "auto", value_name = "auto|never|DIR")]
    resume: String,
    /// Resume a run with a changed configuration, from its last checkpoint; the model and the adapter's shape must be
    /// the same
    #[arg(long)]
    allow_config_change: bool,
    /// Train once for each of these seeds, one after another in seed-N under the run folder, and report all runs
    /// together with mean and standard deviation
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', allow_negative_numbers = true, value_parser = whole_number)]
    seeds: Vec<u64>,
    /// Compute on several ranks at once, each on a device of its own: this many, or `all` for as many as there are GPUs
    #[arg(long, value_name = "N|all", value_parser = ranks::parse)]
    ranks: Option<Ranks>,
    /// Print what the run would do and need (tokens, steps, FLOP, time, memory, disk); read no weight and write
    /// nothing. With `--device cuda` or `model.dtype=bf16` the plan is for a GPU, even on a machine without one
    #[arg(long)]
    dry_run: bool,
    /// Sustained TFLOP/s from which `--dry-run` computes the time, instead of the measured rate
    #[arg(long, value_name = "X", requires = "dry_run", value_parser = positive)]
    tflops: Option<f64>,
    /// Card that `--dry-run` plans for: its memory, and a step launch by launch with the time of each group and of the run, all of it
    /// predicted: b200, h200, h100, h100-nvl, h100-pcie, a100-80, a100-40, a40, a30, a10, l40s, l40, l4, a6000, 5090, 4090, 3090
    #[arg(long, value_name = "NAME", requires = "dry_run")]
    card: Option<String>,
    /// Start although less memory is free than this takes; the system may end it at any moment
    #[arg(long)]
    force: bool,
    /// Print only warnings, errors and results
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb: results on stdout, progress on stderr.
pub fn train(args: TrainArgs) -> anyhow::Result<()> {
    if let Some(preset) = &args.print_config {
        return print_preset(preset);
    }
    if args.dry_run {
        interrupt::install()?;
        let device = args.device.clone();
        return lead(args, device, Rc::default());
    }
    let (asked, device) = (args.ranks, args.device.clone());
    ranks::on(asked, &device, |device, world| lead(args, device, world))
}

/// The run or the runs, on the only rank or on the first.
fn lead(args: TrainArgs, device: String, world: Rc<World>) -> anyhow::Result<()> {
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let config_file = args.config.unwrap_or_default(); // clap has refused a missing one
    let mut overrides = args.set.clone();
    overrides.extend(args.output.map(|dir| format!("output.dir={}", dir.display())));
    let (config, origin) = RunConfig::load(&config_file, &overrides)?;
    verbosity.note(format!("config: {origin}"));
    let resume = match args.resume.as_str() {
        "auto" => Resume::Auto,
        "never" => Resume::Never,
        dir => Resume::From(dir.into()),
    };
    let options = Options {
        device,
        resume,
        allow_config_change: args.allow_config_change,
        force: args.force,
        verbosity,
        command: typed::command(),
        world,
    };
    let configs = seeds::configs(&config, &args.seeds)?;
    if let [_, _, ..] = &configs[..]
        && matches!(options.resume, Resume::From(_))
    {
        bail_input!("`--resume DIR` resumes one run, but `--seeds` names several");
    }
    if args.dry_run {
        let card = args.card.as_deref().map(card::named).transpose()?;
        let config = configs.first().unwrap_or(&config);
        let ranks = args.ranks.map_or(Ok(1), Ranks::number)?;
        let mut out = dry_run(config, &options, args.tflops, card, ranks)?;
        if configs.len() > 1 {
            let runs = configs.len();
            let line = format!(
                "seeds:       {runs} such runs, one after another: {runs} times the time and the disk, the memory of one"
            );
            writeln!(out, "{}", wrap(&line, COLUMNS, 13))?;
        }
        return stdout::print(out);
    }
    if !configs.is_empty() {
        let written = seeds::run_all(&configs, &config.output.dir, &options)?;
        written.left_out.iter().for_each(|note| verbosity.warn(note));
        let shown = written.to_text();
        let mut out = shown.text.clone();
        for config in &configs {
            writeln!(out, "run:     {}", config.output.dir.display())?;
        }
        for file in &written.files {
            writeln!(out, "report:  {}", file.display())?;
        }
        return stdout::tell(out + &shown.more());
    }
    let report = run(&config, &options)?;

    let mut out = String::new();
    let mut more = String::new();
    if report.after.is_some() {
        let table = Table1::new(report.before.as_ref(), report.after.as_ref());
        let shown = table.below(&report.cautions).to_text();
        writeln!(out, "{}", shown.text)?;
        more = shown.more();
    }
    let dir = config.output.dir.display();
    writeln!(out, "adapter: {}", report.adapter_dir)?;
    writeln!(out, "report:  {dir}/report.html")?;
    out += &more;
    let next = wrap::command(&next_command(&config_file, &args.set, &config), "next:    ".len());
    writeln!(out, "next:    {next}")?;
    stdout::tell(out)
}

/// Prints the text of a preset.
fn print_preset(name: &str) -> anyhow::Result<()> {
    let Some(text) = presets::preset(name) else {
        let names: Vec<_> = presets::NAMES.iter().map(|name| format!("`{name}`")).collect();
        return Err(InputError::new(format!("`--print-config {name}`: no preset of that name"))
            .hint(format!("the presets are {}", names.join(", ")))
            .into());
    };
    stdout::print(text)
}

/// The words of a complete command to try after a run: the same run with an adapter on all attention projections. After such a run:
/// the adapter's answer to a prompt.
///
/// - `file`, `sets`: `--config` and every `--set` of the run.
fn next_command(file: &str, sets: &[String], config: &RunConfig) -> Vec<String> {
    use Projection::{KProj, OProj, QProj, VProj};
    let dir = config.output.dir.display();
    let LoraSection { target_modules, exclude_modules, rank_pattern, alpha_pattern, .. } =
        &config.lora;
    let has_attention = [QProj, KProj, VProj, OProj].iter().all(|p| target_modules.has(*p));
    let is_plain =
        exclude_modules.is_empty() && rank_pattern.is_empty() && alpha_pattern.is_empty();
    if has_attention || !is_plain || matches!(target_modules, Modules::Pattern(_)) {
        let adapter = quoted(&format!("{dir}/adapter"));
        let model = quoted(&config.model.path);
        let words = ["mvpbench", "generate", "--model", &model, "--adapter", &adapter];
        let prompt = ["--prompt", "'How should I begin my day?'"];
        return words.into_iter().chain(prompt).map(str::to_owned).collect();
    }
    let target = "lora.target_modules=[q_proj,k_proj,v_proj,o_proj]".to_owned();
    let sets = sets.iter().filter(|set| !set.starts_with("lora.target_modules")).chain([&target]);
    ["train".to_owned(), "--config".to_owned(), quoted(file)]
        .into_iter()
        .chain(sets.flat_map(|set| ["--set".to_owned(), quoted(set)]))
        .chain(["--output".to_owned(), quoted(&format!("{dir}-attention"))])
        .collect()
}

/// `word`, quoted for a shell if need be.
fn quoted(word: &str) -> String {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x > 0.0 => Ok(x),
        _ => Err(format!("expected a positive number, got `{text}`")),
    }
}
