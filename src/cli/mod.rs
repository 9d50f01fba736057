//! The command line: what was typed, turned into what is used. One file per verb.

use std::io;
use std::process::ExitCode;

use crate::console::interrupt::{self, Interrupted};
use crate::error::InputError;

pub mod data;
pub mod doctor;
pub mod eval;
pub mod generate;
pub mod merge;
pub mod report;
pub mod train;

/// Turns a verb's outcome into the exit status: 0 done, 2 the user's input was wrong, 130 after Ctrl-C, 143 after SIGTERM,
/// 1 anything else.
#[expect(clippy::print_stderr, reason = "errors go to stderr")]
pub fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    if error.is::<Interrupted>() {
        eprintln!("interrupted; finished work is saved, the same command resumes it");
        return ExitCode::from(interrupt::status());
    }
    eprintln!("error: {error:#}");
    match InputError::of(&error) {
        Some(input) => {
            if let Some(remedy) = input.remedy() {
                eprintln!("\nhint: {remedy}");
            }
            ExitCode::from(2)
        }
        None => {
            if let Some(remedy) = out_of_space(&error).or_else(|| out_of_memory(&error)) {
                eprintln!("\nhint: {remedy}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The remedy for a write that failed for lack of space or permission; none for another error.
fn out_of_space(error: &anyhow::Error) -> Option<&'static str> {
    use io::ErrorKind::{
        FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let plain = cause.downcast_ref().map(io::Error::kind);
        plain.or_else(|| cause.downcast_ref().and_then(serde_json::Error::io_error_kind))
    };
    match error.chain().find_map(kind)? {
        StorageFull | QuotaExceeded | FileTooLarge => Some(
            "make room and run the same command again; finished work is kept, and a training run resumes from its \
             last checkpoint",
        ),
        ReadOnlyFilesystem | PermissionDenied => Some(
            "make the folder writable and run the same command again, or give another with `--output`",
        ),
        _ => None,
    }
}

/// The remedy for a full GPU memory; none for another error. Recognises the errors of the driver and of cuBLAS by name.
fn out_of_memory(error: &anyhow::Error) -> Option<&'static str> {
    let full = |cause: &(dyn std::error::Error + 'static)| {
        let text = cause.to_string();
        text.contains("CUDA_ERROR_OUT_OF_MEMORY") || text.contains("CUBLAS_STATUS_ALLOC_FAILED")
    };
    error.chain().any(full).then_some(
        "the memory of the GPU is full; `nvidia-smi` lists the programs that use it. Training takes less with \
         `--set train.activations=recompute` or `--set train.micro_batch_tokens=2048`; `train --dry-run` prints how \
         much. `mvpbench generate` takes less with a smaller `--batch`",
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use anyhow::Context;

    use super::*;

    #[test]
    fn a_full_disk_has_its_remedy_however_it_was_written_to() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let plain = Full.write_all(b"x").context("cannot write `a`").unwrap_err();
        let json = serde_json::to_writer(Full, &1).context("cannot write `a`").unwrap_err();
        for error in [plain, json] {
            assert!(out_of_space(&error).is_some_and(|remedy| remedy.contains("make room")));
        }
        assert!(out_of_space(&anyhow::anyhow!("broken")).is_none());
    }
}
