//! The `mvpbench` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mvpbench::cli::{
    data, doctor, eval, generate, import_config, judge, merge, parse, report, run, train,
};
use mvpbench::error::bounded::Bounded;

/// Ends the program where a file asks for too much memory.
#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// LoRA + DPO fine-tuning of Llama-2, with the evaluation of MVPBench.
#[derive(Parser)]
#[command(name = "mvpbench", version)]
struct Mvpbench {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Train(train::TrainArgs),
    Eval(eval::EvalArgs),
    Data(data::DataArgs),
    Merge(merge::MergeArgs),
    Doctor(doctor::DoctorArgs),
    Generate(Box<generate::GenerateArgs>),
    Judge(Box<judge::JudgeArgs>),
    Report(report::ReportArgs),
    ImportConfig(import_config::ImportConfigArgs),
}

fn main() -> ExitCode {
    let verb = match parse::<Mvpbench>() {
        Ok(Mvpbench { verb }) => verb,
        Err(status) => return status,
    };
    run(|| match verb {
        Verb::Train(args) => train::train(args),
        Verb::Eval(args) => eval::eval(args),
        Verb::Data(args) => data::data(args),
        Verb::Merge(args) => merge::merge(args),
        Verb::Doctor(args) => doctor::doctor(args),
        Verb::Generate(args) => generate::generate(&args),
        Verb::Judge(args) => judge::judge(&args),
        Verb::Report(args) => report::report(&args),
        Verb::ImportConfig(args) => import_config::import_config(&args),
    })
}
