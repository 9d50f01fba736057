//! `train --dry-run`: prints what a run would do and need. Reads the run's inputs but no weight, and writes nothing.

pub mod estimate;
pub mod prediction;
mod scaling;

use std::fmt::Write as _;

use anyhow::Result;
use candle_core::{DType, Device};

use crate::bail_input;
use crate::config::{Activations, Dtype, RunConfig};
use crate::console::clock;
use crate::console::units;
use crate::console::wrap::{COLUMNS, wrap};
use crate::dry_run::estimate::Estimate;
use crate::dry_run::prediction::Prediction;
use crate::dry_run::scaling::Scaling;
use crate::machine::card::Card;
use crate::machine::memory::{DeviceKind, Memory};
use crate::machine::{self, peak, rate};
use crate::model::decoder::Keep;
use crate::report::table::Table;
use crate::run_folder::purpose::Purpose;
use crate::run_folder::{begun_batch, guard};
use crate::session::Options;
use crate::session::held::Headers;
use crate::session::inputs::Inputs;
use crate::session::precision::{self, Precision};
use crate::session::template_choice::TemplateChoice;
use crate::train::recipe::Recipe;

/// Share of the plain matmul rate that a run sustains: the log's `mfu` on the CPU.
const SUSTAINED_SHARE: f64 = 0.65;

/// What the time of a run is computed from.
enum Rate {
    /// The sustained rate in TFLOP/s, from `--tflops`.
    Given(f64),
    /// This CPU's plain matmul rate; a run sustains [`SUSTAINED_SHARE`] of it.
    Measured(f64),
    /// Launch by launch, on the card of `--card`.
    Card(Box<Prediction>),
    /// Not given for a GPU.
    Unknown,
}

impl Rate {
    /// Seconds of `flop` operations at the sustained rate; none where there is no rate.
    fn seconds(&self, flop: f64) -> Option<f64> {
        match self {
            Self::Given(tflops) => Some(flop / tflops / 1e12),
            Self::Measured(matmul) => Some(flop / (SUSTAINED_SHARE * matmul) / 1e12),
            Self::Card(_) | Self::Unknown => None,
        }
    }

    /// Seconds of a step of `flop` operations; none where the rate is unknown.
    fn step_s(&self, flop: f64) -> Option<f64> {
        match self {
            Self::Card(prediction) => Some(prediction.step_s()),
            _ => self.seconds(flop),
        }
    }
}

/// The plan of the run that `config` and `options` describe.
///
/// - `tflops`: the sustained rate; none to predict each launch on the card, or to measure this CPU's matmul rate.
/// - `card`: plans for this card, whatever the machine has.
/// - `ranks`: how many share the run; time and memory are those of one.
///
/// `--device cuda` plans for a GPU, even on a machine without one.
pub fn dry_run(
    config: &RunConfig,
    options: &Options,
    tflops: Option<f64>,
    card: Option<&'static Card>,
    ranks: usize,
) -> Result<String> {
    let (config, kept) = &begun_batch::settled(config, ranks, &options.resume);
    kept.iter().for_each(|note| options.verbosity.note(note));
    let place = match card {
        Some(card) if options.device == "cpu" => bail_input!(
            "`--card {}` plans for a GPU, and `--device cpu` for the CPU; give one of them",
            card.name
        ),
        Some(_) => DeviceKind::Cuda,
        None => place(&options.device)?,
    };
    guard::check(Purpose::Run, config, &options.resume, options.allow_config_change)?;
    let today = clock::now().date_naive();
    let template = TemplateChoice::of_run(config, Purpose::Run, &options.resume, today)?;
    let inputs = Inputs::load(config, &template, options.verbosity)?;
    inputs.notes.iter().for_each(|note| options.verbosity.note(note));
    let precision = match (place, config.model.dtype) {
        (DeviceKind::Cpu, _) => {
            precision::choose(config, &inputs, &Device::Cpu, Purpose::Run, &options.resume)?
        }
        (DeviceKind::Cuda, Dtype::F32) => {
            Precision { dtype: DType::F32, products: None, reason: None }
        }
        (DeviceKind::Cuda, _) => Precision { dtype: DType::BF16, products: None, reason: None },
    };
    precision.note().iter().for_each(|note| options.verbosity.note(note));
    let dtype = precision.dtype;
    let estimate = Estimate::new(config, &inputs, place, dtype)?;
    let doubts = Recipe::of(config).doubts(estimate.steps);
    doubts.iter().for_each(|doubt| options.verbosity.warn(doubt));
    let rate = match (tflops, place) {
        (Some(tflops), _) => Rate::Given(tflops),
        (None, DeviceKind::Cpu) => {
            Rate::Measured(rate::matmul_tflops(&inputs.shape, dtype, &Device::Cpu)?)
        }
        (None, DeviceKind::Cuda) => match card {
            Some(card) => {
                let on = (card, dtype, fitting(config, &estimate, card).0);
                Rate::Card(Box::new(Prediction::new(config, &inputs, &estimate, on)))
            }
            None => Rate::Unknown,
        },
    };
    let scaling = (ranks > 1).then(|| Scaling::new(config, &inputs, estimate.trained, ranks));
    let mut text = text(config, &estimate, place, dtype, &rate, scaling.as_ref())?;
    if let Some(card) = card {
        text += &fit(config, &estimate, card);
    }
    if let Rate::Card(prediction) = &rate {
        text += &format!("\n{}", prediction.table()?);
    }
    Ok(text)
}

/// The kind of device that the run is planned for. Refuses the devices that a run would refuse.
fn place(device: &str) -> Result<DeviceKind> {
    let ordinal = device.strip_prefix("cuda:").is_some_and(|n| n.parse::<usize>().is_ok());
    if device == "cuda" || ordinal {
        return Ok(DeviceKind::Cuda);
    }
    let there = machine::device(device)?;
    Ok(if there.is_cpu() { DeviceKind::Cpu } else { DeviceKind::Cuda })
}

fn text(
    config: &RunConfig,
    estimate: &Estimate,
    place: DeviceKind,
    dtype: DType,
    rate: &Rate,
    scaling: Option<&Scaling>,
) -> Result<String> {
    let mut text = String::new();
    let (count, counted) = (units::count, units::counted);
    let share = 100.0 * estimate.trained as f64 / estimate.parameters as f64;
    let headers = match &estimate.headers {
        Headers::Read { files, bytes, .. } => {
            let plural = if *files == 1 { "" } else { "s" };
            format!("{} in {files} safetensors file{plural}", units::bytes(*bytes))
        }
        Headers::Absent(why) => {
            format!("no weights found, planned from config.json alone ({why})")
        }
    };
    writeln!(text, "model:       {}: {headers}", config.model.path)?;
    writeln!(
        text,
        "parameters:  {} in all, {} trained ({share:.3} %)",
        count(estimate.parameters),
        count(estimate.trained)
    )?;
    writeln!(
        text,
        "steps:       {} over {}; {} to evaluate, before and {}",
        counted(estimate.steps, "optimizer step"),
        counted(estimate.visited, "pair"),
        counted(estimate.evaluated, "pair"),
        match estimate.evaluations {
            1 => "after".to_owned(),
            more => format!("{} times during training", count(more)),
        }
    )?;
    writeln!(
        text,
        "tokens:      {} computed, {} scored; at most {} at once",
        count(estimate.tokens),
        count(estimate.scored),
        count(estimate.micro_batch.tokens)
    )?;
    let (spmr, samples) = (estimate.generated - estimate.sampled, estimate.sampled);
    let spmr = (spmr > 0).then(|| format!("{} tokens for SPMR, before and after", count(spmr)));
    let samples = (samples > 0).then(|| {
        let times = counted(estimate.sampled_states, "time");
        format!("{} tokens for `eval.samples`, {times}", count(samples))
    });
    let both: Vec<String> = spmr.into_iter().chain(samples).collect();
    if !both.is_empty() {
        let both = both.join("; ");
        writeln!(text, "generation:  at most {both}: every answer of full length")?;
    }
    let keeps = match (config.train.activations, place) {
        (Activations::Auto, DeviceKind::Cuda) => "auto: the run decides from the GPU's free memory",
        _ if estimate.chosen == Keep::Everything => "keep",
        _ => "recompute",
    };
    let flop = &estimate.flop;
    writeln!(
        text,
        "compute:     {}: training {}, reference {}, evaluation {}{}; recomputing would add {}",
        operations(flop.total(estimate.chosen)),
        operations(flop.training),
        operations(flop.reference),
        operations(flop.evaluation),
        match estimate.generated {
            0 => String::new(),
            _ => format!(", generation at most {}", operations(flop.generation)),
        },
        operations(flop.recomputing)
    )?;
    let of_one = if scaling.is_some() { " on one rank" } else { "" };
    writeln!(text, "time:        {}{of_one}", time(estimate, rate))?;
    if let Rate::Card(prediction) = rate {
        writeln!(text, "speed:       {}", prediction.speed())?;
    }
    if let Some(scaling) = scaling {
        let step =
            flop.training + if estimate.chosen == Keep::Inputs { flop.recomputing } else { 0.0 };
        let step_s = rate.step_s(step / estimate.steps.max(1) as f64);
        writeln!(text, "{}", scaling.text(step_s))?;
    }
    let disk = &estimate.disk;
    let base = match disk.base_model {
        0.0 => String::new(),
        bytes => format!(", base model {}", units::bytes(bytes)),
    };
    writeln!(
        text,
        "disk:        {}: checkpoints {}, adapter {}, records {}{base}",
        units::bytes(disk.total()),
        units::bytes(disk.checkpoints),
        units::bytes(disk.adapter),
        units::bytes(disk.records)
    )?;
    let device = match place {
        DeviceKind::Cpu => "cpu",
        DeviceKind::Cuda => "one GPU",
    };
    writeln!(text, "memory:      on {device} in {dtype:?}; activations = {keeps}\n")?;
    text = wrap(&text, COLUMNS, 13) + "\n" + &memory(estimate, place);
    if place == DeviceKind::Cpu
        && let Some(free) = peak::available_memory_bytes()
    {
        // The system drops mapped files when memory is short.
        let memory = estimate.memory(estimate.chosen);
        let needed = memory.computing();
        let verdict = if needed <= free { "it fits" } else { "it does not fit" };
        writeln!(
            text,
            "\n{verdict}: {} needed, {} free here",
            units::bytes(needed),
            units::bytes(free)
        )?;
    }
    Ok(text)
}

/// The time of the run at `rate`.
fn time(estimate: &Estimate, rate: &Rate) -> String {
    let flop = &estimate.flop;
    let seconds = |flop: f64| rate.seconds(flop).map(units::duration).unwrap_or_default();
    let (all, answers) = match estimate.generated {
        0 => (seconds(flop.total(estimate.chosen)), String::new()),
        _ => (
            format!("at most {}", seconds(flop.total(estimate.chosen))),
            format!(", of it answers {}", seconds(flop.generation)),
        ),
    };
    match rate {
        Rate::Given(tflops) => format!("{all} at the given {tflops} TFLOP/s{answers}"),
        Rate::Measured(matmul) => {
            let share = 100.0 * SUSTAINED_SHARE;
            format!(
                "{all} at {share:.0} % of the measured matmul rate, {matmul:.3} TFLOP/s{answers}"
            )
        }
        Rate::Card(prediction) => prediction.time(),
        Rate::Unknown => {
            "unknown; name the card with --card, or give its sustained rate with --tflops"
                .to_owned()
        }
    }
}

/// The first way that the configuration allows whose memory `card` has, else the one that needs least; and whether it fits.
fn fitting(config: &RunConfig, estimate: &Estimate, card: &Card) -> (Keep, bool) {
    let ways = match config.train.activations {
        Activations::Auto => &[Keep::Everything, Keep::Inputs][..],
        Activations::Keep => &[Keep::Everything],
        Activations::Recompute => &[Keep::Inputs],
    };
    let fits = |keep: &Keep| estimate.memory(*keep).peak() <= card.memory_mib * 1024.0 * 1024.0;
    match ways.iter().copied().find(fits) {
        Some(keep) => (keep, true),
        None => (ways.last().copied().unwrap_or(Keep::Inputs), false),
    }
}

/// Whether the run fits the memory of `card`, in the ways that the configuration allows.
fn fit(config: &RunConfig, estimate: &Estimate, card: &Card) -> String {
    let (keep, fits) = fitting(config, estimate, card);
    let verdict = if fits { "it fits" } else { "it does not fit" };
    let needed = units::bytes(estimate.memory(keep).peak());
    let (there, name) = (units::bytes(card.memory_mib * 1024.0 * 1024.0), keep.name());
    format!("\n{verdict}: {needed} needed under {name}, {there} on {}\n", card.model)
}

/// A number of operations in the unit that suits it: `12.3 PFLOP`.
fn operations(flop: f64) -> String {
    let (size, unit) = match flop {
        1e18.. => (1e18, "EFLOP"),
        1e15.. => (1e15, "PFLOP"),
        1e12.. => (1e12, "TFLOP"),
        _ => (1e9, "GFLOP"),
    };
    format!("{:.1} {unit}", flop / size)
}

/// The components of the peak, one column for each way to treat activations.
fn memory(estimate: &Estimate, place: DeviceKind) -> String {
    let mut table = Table::new(["memory", "keep", "recompute"]);
    let mut row = |name: &str, of: fn(&Memory) -> f64| {
        let [keep, recompute] = estimate.memory.each_ref().map(|memory| units::bytes(of(memory)));
        table.push([name, &keep, &recompute]);
    };
    row(if place == DeviceKind::Cpu { "program" } else { "CUDA context" }, |memory| memory.program);
    if place == DeviceKind::Cpu {
        row("tokenizer, texts, token ids, reference", |memory| memory.inputs);
    }
    row("weights", |memory| memory.weights);
    row("adapter, moments, gradients", |memory| memory.adapter);
    row("activations kept", |memory| memory.activations);
    row("working memory", |memory| memory.working);
    row("  of it, a chunk of logits", |memory| memory.logits);
    row("peak while training", |memory| memory.training());
    if estimate.generated > 0 {
        row("peak while answering", |memory| memory.answering());
    }
    if place == DeviceKind::Cpu {
        row("peak while loading, mapped files included", |memory| memory.loading);
    }
    row("peak", |memory| memory.peak());
    table.to_text(1)
}
