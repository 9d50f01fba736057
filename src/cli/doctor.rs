//! `mvpbench doctor`: checks the numbers, the speed and the memory of a device.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use crate::console::stdout;
use crate::disk::atomic;
use crate::{doctor as examination, machine};

/// Check a device: each operation's values and gradients against a reference, its rate against the device's own limits,
/// and the memory of a step against the plan of `train --dry-run`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Device: auto (a GPU if there is one), cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Use small sizes: errors still show, rates mean little
    #[arg(long)]
    quick: bool,
    /// Print one JSON object instead of lines; with a file, write it there beside the lines
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    json: Option<Option<PathBuf>>,
}

/// Runs the verb: findings on stdout; an error (exit status 1) if a check failed.
pub fn doctor(args: DoctorArgs) -> anyhow::Result<()> {
    let device = machine::device(&args.device)?;
    let diagnosis = examination::examine(&device, args.quick)?;
    let json = serde_json::to_string_pretty(&diagnosis)? + "\n";
    let written = match &args.json {
        Some(Some(file)) => atomic::write_named(file, |out| Ok(out.write_all(json.as_bytes())?)),
        _ => Ok(()),
    };
    let printed = stdout::print(match args.json {
        Some(None) => json,
        _ => diagnosis.to_text(),
    });
    written?;
    printed?;
    match diagnosis.failed() {
        (0, _) => Ok(()),
        (failed, all) => bail!("{failed} of {all} checks failed"),
    }
}
