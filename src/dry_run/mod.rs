//! `train --dry-run`: prints what a run would do and need. Reads the run's inputs but no weight, and writes nothing.

pub mod estimate;

use std::fmt::Write as _;

use anyhow::Result;
use candle_core::{DType, Device};

use crate::config::{Activations, Dtype, RunConfig};
use crate::console::units;
use crate::console::wrap::{COLUMNS, wrap};
use crate::dry_run::estimate::Estimate;
use crate::machine::memory::{DeviceKind, Memory};
use crate::machine::{self, peak, rate};
use crate::model::decoder::Keep;
use crate::report::table::Table;
use crate::run_folder::guard;
use crate::run_folder::purpose::Purpose;
use crate::session::Options;
use crate::session::held::Headers;
use crate::session::inputs::Inputs;
use crate::train::recipe::Recipe;

/// Share of the plain matmul rate that a run sustains: the log's `mfu` on the CPU.
const SUSTAINED_SHARE: f64 = 0.65;

/// The rate that the time of a run is computed from, in TFLOP/s.
enum Rate {
    /// The sustained rate, from `--tflops`.
    Given(f64),
    /// This CPU's plain matmul rate; a run sustains [`SUSTAINED_SHARE`] of it.
    Measured(f64),
    /// Not given for a GPU.
    Unknown,
}

/// The plan of the run that `config` and `options` describe; `tflops`: the sustained rate, none to measure this CPU's
/// matmul rate.
///
/// `--device cuda` and `model.dtype = "bf16"` plan for a GPU, even on a machine without one.
pub fn dry_run(config: &RunConfig, options: &Options, tflops: Option<f64>) -> Result<String> {
    let place = place(config, &options.device)?;
    let dtype = match (config.model.dtype, place) {
        (Dtype::Auto, DeviceKind::Cuda) | (Dtype::Bf16, _) => DType::BF16,
        _ => DType::F32,
    };
    guard::check(Purpose::Run, config, &options.resume, options.allow_config_change)?;
    let inputs = Inputs::load(config, options.verbosity)?;
    inputs.notes.iter().for_each(|note| options.verbosity.note(note));
    let estimate = Estimate::new(config, &inputs, place, dtype)?;
    let doubts = Recipe::of(config).doubts(estimate.steps);
    doubts.iter().for_each(|doubt| options.verbosity.warn(doubt));
    let rate = match (tflops, place) {
        (Some(tflops), _) => Rate::Given(tflops),
        (None, DeviceKind::Cpu) => {
            Rate::Measured(rate::matmul_tflops(&inputs.shape, dtype, &Device::Cpu)?)
        }
        (None, DeviceKind::Cuda) => Rate::Unknown,
    };
    text(config, &estimate, place, dtype, &rate)
}

/// The kind of device that the run is planned for. Refuses the devices that a run would refuse.
fn place(config: &RunConfig, device: &str) -> Result<DeviceKind> {
    let ordinal = device.strip_prefix("cuda:").is_some_and(|n| n.parse::<usize>().is_ok());
    if device == "cuda" || ordinal {
        return Ok(DeviceKind::Cuda);
    }
    let there = machine::device(device)?;
    if device == "auto" && config.model.dtype == Dtype::Bf16 {
        return Ok(DeviceKind::Cuda);
    }
    machine::dtype(config.model.dtype, &there)?;
    Ok(if there.is_cpu() { DeviceKind::Cpu } else { DeviceKind::Cuda })
}

fn text(
    config: &RunConfig,
    estimate: &Estimate,
    place: DeviceKind,
    dtype: DType,
    rate: &Rate,
) -> Result<String> {
    let mut text = String::new();
    let count = units::count;
    let share = 100.0 * estimate.trained as f64 / estimate.parameters as f64;
    let headers = match &estimate.headers {
        Headers::Read { files, bytes } => {
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
        "steps:       {} optimizer steps over {} pairs; {} pairs to evaluate, before and {}",
        count(estimate.steps),
        count(estimate.visited),
        count(estimate.evaluated),
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
    if estimate.generated > 0 {
        writeln!(
            text,
            "generation:  at most {} tokens for SPMR, before and after; not in the compute and the time below",
            count(estimate.generated)
        )?;
    }
    let keeps = match (config.train.activations, place) {
        (Activations::Auto, DeviceKind::Cuda) => "auto: the run decides from the GPU's free memory",
        _ if estimate.chosen == Keep::Everything => "keep",
        _ => "recompute",
    };
    let flop = &estimate.flop;
    writeln!(
        text,
        "compute:     {}: training {}, reference {}, evaluation {}; recomputing would add {}",
        operations(flop.total(estimate.chosen)),
        operations(flop.training),
        operations(flop.reference),
        operations(flop.evaluation),
        operations(flop.recomputing)
    )?;
    let duration = |tflops: f64| units::duration(flop.total(estimate.chosen) / tflops / 1e12);
    match rate {
        Rate::Given(tflops) => {
            writeln!(text, "time:        {} at the given {tflops} TFLOP/s", duration(*tflops))?;
        }
        Rate::Measured(matmul) => writeln!(
            text,
            "time:        {} at {:.0} % of the measured matmul rate, {matmul:.3} TFLOP/s",
            duration(SUSTAINED_SHARE * matmul),
            100.0 * SUSTAINED_SHARE
        )?,
        Rate::Unknown => {
            writeln!(text, "time:        unknown; give the GPU's sustained rate with --tflops")?;
        }
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
        row("peak while answering, for SPMR", |memory| memory.answering());
    }
    if place == DeviceKind::Cpu {
        row("peak while loading, mapped files included", |memory| memory.loading);
    }
    row("peak", |memory| memory.peak());
    table.to_text(1)
}
