//! The command line: what was typed, turned into what is used. One file per verb.

use std::process::ExitCode;

use crate::error::InputError;
use crate::train::interrupt::Interrupted;

pub mod data;
pub mod doctor;
pub mod eval;
pub mod generate;
pub mod merge;
pub mod report;
pub mod train;

/// Turns a verb's outcome into the exit status: 0 done, 2 the user's input was wrong, 1 anything else.
#[expect(clippy::print_stderr, reason = "errors go to stderr")]
pub fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    if error.is::<Interrupted>() {
        eprintln!("interrupted; what was done is saved, the same command goes on from there");
        return ExitCode::FAILURE;
    }
    eprintln!("error: {error:#}");
    match InputError::of(&error) {
        Some(input) => {
            if let Some(remedy) = input.remedy() {
                eprintln!("\nhint: {remedy}");
            }
            ExitCode::from(2)
        }
        None => ExitCode::FAILURE,
    }
}
