//! `mvpbench doctor`: whether this device computes what the formulas say, and how fast.

use std::io::Write;

use anyhow::bail;
use clap::Args;

use crate::config::Dtype;
use crate::train::{doctor as examination, machine};

/// Check a device: each operation's values and gradients against its reference, its rate beside what the device can do.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Compute in f32 where auto would be bf16
    #[arg(long)]
    f32: bool,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// Runs the verb: findings on stdout; an error, and exit status 1, if a check failed.
pub fn doctor(args: DoctorArgs) -> anyhow::Result<()> {
    let device = machine::device(&args.device)?;
    let dtype = machine::dtype(if args.f32 { Dtype::F32 } else { Dtype::Auto }, &device)?;
    let diagnosis = examination::examine(&device, dtype)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&diagnosis)?)?;
    } else {
        write!(out, "{}", diagnosis.to_text())?;
    }
    match diagnosis.failed() {
        0 => Ok(()),
        failed => bail!("{failed} of {} checks failed", diagnosis.checks.len()),
    }
}
