//! `mvpbench eval`: score a model, with or without an adapter, on any pair files.

use std::path::PathBuf;
use std::rc::Rc;

use clap::{Args, ValueEnum};
use toml::{Table, Value};

use crate::cli::ranks::{self, Ranks};
use crate::cli::typed;
use crate::config::{Reading, RunConfig};
use crate::console::progress::Verbosity;
use crate::console::stdout;
use crate::disk::digest;
use crate::error::InputError;
use crate::eval::standalone::evaluate;
use crate::parallel::world::World;
use crate::report::Table1;

/// Evaluate a model, with or without an adapter, on any pair files: the figures that `train` computes before and after.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// Base model: a hub id, or a folder with config.json, tokenizer.json, *.safetensors
    #[arg(long, value_name = "ID|FOLDER")]
    model: String,
    /// Adapter in PEFT's format, a folder or a hub id (OWNER/NAME[@REVISION]): evaluate the base without it and with it, and report the
    /// differences
    #[arg(long, value_name = "ID|FOLDER")]
    adapter: Option<PathBuf>,
    /// Data set: a name and its files, folders, patterns or hub data sets (`hf://datasets/OWNER/NAME:SPLIT`), separated by commas; may be
    /// repeated
    #[arg(long, value_name = "NAME=FILES", required = true)]
    data: Vec<String>,
    /// Metrics to compute: opa is OPA and the other metrics of scores; spmr also generates an answer to every prompt
    /// and takes far longer
    #[arg(long, value_enum, value_delimiter = ',', default_value = "opa")]
    metrics: Vec<Figures>,
    /// Sentence encoder of SPMR: a sentence-transformers folder or hub id
    #[arg(long, value_name = "ID|FOLDER")]
    embedder: Option<String>,
    /// Folder to write, instead of one in `runs` that is named after what is evaluated; the same command resumes an
    /// interrupted evaluation in it
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Set one key that an evaluation reads, as in `model.dtype=bf16`, `data.max_length=512` or `eval.spmr.max_new_tokens=128`; may be
    /// repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Device: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Compute on several ranks at once, each on a device of its own: this many, or `all` for as many as there are GPUs
    #[arg(long, value_name = "N|all", value_parser = ranks::parse)]
    ranks: Option<Ranks>,
    /// Start although less memory is free than this takes; the system may end it at any moment
    #[arg(long)]
    force: bool,
    /// Print only warnings, errors and results
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figures {
    Opa,
    Spmr,
}

/// Runs the verb: results on stdout, progress on stderr.
pub fn eval(args: EvalArgs) -> anyhow::Result<()> {
    let (asked, device) = (args.ranks, args.device.clone());
    ranks::on(asked, &device, |device, world| lead(&args, &device, world))
}

/// The evaluation, on the only rank or on the first.
fn lead(args: &EvalArgs, device: &str, world: Rc<World>) -> anyhow::Result<()> {
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let config = config(args)?;
    let evaluated = evaluate(&config, device, args.force, verbosity, typed::command(), world)?;

    let (before, after) = (evaluated.before.as_ref(), evaluated.after.as_ref());
    let shown = Table1::new(before, after).below(&evaluated.cautions).to_text();
    let dir = config.output.dir.display();
    stdout::tell(format!(
        "{}\nfigures: {dir}/eval\nresults: {dir}/results.json\nreport:  {dir}/report.html\n{}",
        shown.text,
        shown.more()
    ))
}

/// The configuration that the arguments describe.
fn config(args: &EvalArgs) -> anyhow::Result<RunConfig> {
    let spmr = args.metrics.contains(&Figures::Spmr);
    if spmr
        && args.embedder.is_none()
        && !args.set.iter().any(|set| set.starts_with("eval.spmr.embedder="))
    {
        return Err(InputError::new("`--metrics spmr` needs a sentence encoder")
            .hint("add `--embedder sentence-transformers/all-MiniLM-L6-v2`, or an encoder's folder")
            .into());
    }
    if !spmr && args.embedder.is_some() {
        return Err(InputError::new("expected `--metrics spmr` with `--embedder`, got opa alone")
            .hint("add `--metrics opa,spmr`")
            .into());
    }
    let metrics: Value =
        ["opa"].into_iter().chain(spmr.then_some("spmr")).collect::<Vec<_>>().into();
    let mut sets = Vec::new();
    for data in &args.data {
        let Some((name, files)) = data.split_once('=') else {
            return Err(InputError::new(format!(
                "`--data {data}`: expected NAME=FILES, found no `=`"
            ))
            .hint(format!("give the set a name, as in `--data MVP_test={data}`"))
            .into());
        };
        let files: Value = files.split(',').map(str::trim).collect::<Vec<_>>().into();
        let set = [("name", name.into()), ("files", files), ("metrics", metrics.clone())];
        sets.push(Value::Table(Table::from_iter(set.map(|(key, value)| (key.to_owned(), value)))));
    }
    let shown = |name: &str, value: &str| format!("--{name} {value}");
    let mut options = vec![
        ("model.path", args.model.as_str().into(), shown("model", &args.model)),
        ("eval.sets", Value::Array(sets), shown("data", &args.data.join(" --data "))),
    ];
    if let Some(output) = &args.output {
        let output = output.display().to_string();
        options.push(("output.dir", output.as_str().into(), shown("output", &output)));
    }
    if let Some(adapter) = &args.adapter {
        let adapter = adapter.display().to_string();
        let option = shown("adapter", &adapter);
        options.push(("lora.init_from", adapter.into(), option));
    }
    if let Some(embedder) = &args.embedder {
        options.push(("eval.spmr.embedder", embedder.as_str().into(), shown("embedder", embedder)));
    }
    let mut config = RunConfig::for_evaluation(&options, &args.set)?;
    // The sets of the command line have no keys of their own.
    let reading = config.data.reading();
    if reading != Reading::default() {
        let sources = config.eval.sets.iter_mut().flat_map(|set| &mut set.files);
        sources.for_each(|source| source.reading = Some(reading.clone()));
    }
    if config.output.dir.as_os_str().is_empty() {
        config.output.dir = default_output(&config)?;
    }
    Ok(config)
}

/// The folder of an evaluation without `--output`: named after the adapter or the model and the sets, and by the digest of all settings,
/// so that another evaluation has another folder and the same one resumes.
fn default_output(config: &RunConfig) -> anyhow::Result<PathBuf> {
    const LONGEST: usize = 60;
    let evaluated = match config.lora.init_from.as_str() {
        "" => &config.model.path,
        adapter => adapter,
    };
    // `runs/a/adapter` is the adapter of `a`, and `embedded:tiny/model` the model `tiny`.
    let parts = evaluated.split(['/', '\\', ':']).filter(|part| !["", ".", ".."].contains(part));
    let parts: Vec<_> = parts.collect();
    let own = match parts[..] {
        [.., folder, "adapter" | "model"] => folder,
        _ => parts.last().copied().unwrap_or("model"),
    };
    let sets = config.eval.sets.iter().map(|set| set.name.as_str());
    let name: Vec<_> = [own].into_iter().chain(sets).collect();
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.join("-").chars().map(plain).take(LONGEST).collect();
    let digest = digest::of_bytes(config.to_evaluation_toml()?.as_bytes());
    Ok(format!("runs/eval-{name}-{}", &digest[..8]).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_after_what_is_evaluated_and_differs_with_every_setting() {
        let of = |model: &str, adapter: &str, length: usize| {
            let mut config = RunConfig::default();
            (config.model.path, config.lora.init_from) = (model.to_owned(), adapter.to_owned());
            config.data.max_length = length;
            default_output(&config).unwrap().display().to_string()
        };
        for (model, adapter, name) in [
            ("meta-llama/Llama-2-7b-hf", "", "runs/eval-Llama-2-7b-hf-"),
            ("meta-llama/Llama-2-7b-hf", "runs/a/adapter", "runs/eval-a-"),
            ("embedded:tiny/model", "", "runs/eval-tiny-"),
            ("../models/odd name/", "", "runs/eval-odd_name-"),
            ("m", "./adapter", "runs/eval-adapter-"),
            ("..", "", "runs/eval-model-"),
        ] {
            let digest = of(model, adapter, 512).strip_prefix(name).map(str::len);
            assert_eq!(digest, Some(8), "{}", of(model, adapter, 512));
        }
        assert_eq!(of("m", "", 512), of("m", "", 512));
        assert_ne!(of("m", "", 512), of("m", "", 256));
        assert_ne!(of("a/m", "", 512), of("b/m", "", 512));
    }
}
