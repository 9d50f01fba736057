//! The `train` command.

use std::process::ExitCode;

use clap::Parser;
use mvpbench::cli::{finish, train};

/// LoRA + DPO fine-tuning of Llama-2, with the evaluation of MVPBench.
#[derive(Parser)]
#[command(name = "train", version)]
struct Train {
    #[command(flatten)]
    args: train::TrainArgs,
}

fn main() -> ExitCode {
    finish(train::train(Train::parse().args))
}
