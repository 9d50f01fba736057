//! The `train` command.

use std::process::ExitCode;

use clap::Parser;
use mvpbench::cli::{parse, run, train};
use mvpbench::error::bounded::Bounded;

/// Ends the program where a file asks for too much memory.
#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// LoRA + DPO fine-tuning of Llama-2, with the evaluation of MVPBench.
#[derive(Parser)]
#[command(name = "train", version)]
struct Train {
    #[command(flatten)]
    args: train::TrainArgs,
}

fn main() -> ExitCode {
    match parse::<Train>() {
        Ok(Train { args }) => run(|| train::train(args)),
        Err(status) => status,
    }
}
