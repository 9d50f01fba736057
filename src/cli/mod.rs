//! The command line: what was typed, turned into what is used. One file per verb.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::config::LayoutName;
use crate::console::interrupt::{self, Interrupted};
use crate::console::stderr::{self, Mark};
use crate::console::stdout::{self, Closed, Unwritten};
use crate::error::{InputError, printable};
use crate::judge::chat::asker::Stopped;
use crate::machine::threads;
use crate::parallel::launch::Ended;

pub mod data;
pub mod doctor;
pub mod eval;
pub mod generate;
pub mod import_config;
pub mod judge;
pub mod merge;
mod ranks;
mod replies;
pub mod report;
pub mod request_args;
mod template_args;
pub mod train;
mod typed;

const DONE: u8 = 0;
const FAILED: u8 = 1;
/// Exit status where the user's input was wrong.
const WRONG: u8 = 2;
/// Exit status after a limit of the command: finished work is kept, and some is left.
const STOPPED: u8 = 3;

/// Starts the threads of the program, runs `verb` and turns its outcome into the exit status.
pub fn run(verb: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    finish(threads::start().and_then(|()| verb()))
}

/// What was typed. An error is the exit status of a program that is over: after a mistake, after its help or its version, also
/// where those cannot be printed.
pub fn parse<T: Parser>() -> Result<T, ExitCode> {
    T::try_parse().map_err(|error| {
        if error.use_stderr() {
            error.exit()
        }
        let printed = error.print().and_then(|()| io::stdout().flush());
        finish(stdout::outcome(printed))
    })
}

/// Turns a verb's outcome into the exit status: 0 done, or the reader of the results has gone; 2 the user's input was
/// wrong, 3 a limit such as `--max-requests` was reached, 130 after Ctrl-C, 143 after SIGTERM, 1 anything else.
pub fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    ExitCode::from(told(outcome))
}

/// [`finish`], as a number.
fn told(outcome: anyhow::Result<()>) -> u8 {
    let Err(error) = outcome else { return DONE };
    if error.is::<Closed>() {
        return DONE;
    }
    if let Some(ended) = error.downcast_ref::<Ended>() {
        if let Some(remedy) = ended.remedy() {
            stderr::say_as(Mark::Error, ended.to_string());
            stderr::say("");
            stderr::say_as(Mark::Hint, remedy);
        }
        return ended.status();
    }
    if error.is::<Interrupted>() {
        stderr::say("interrupted; finished work is saved, the same command resumes it");
        return interrupt::status();
    }
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        stderr::say(printable(&stopped.to_string()));
        stderr::say_as(Mark::Hint, stopped.remedy());
        return STOPPED;
    }
    stderr::say_as(Mark::Error, printable(&format!("{error:#}")));
    let unwritten = error.is::<Unwritten>().then_some(
        "what was to be printed is lost, files are kept: make room where standard output goes, or give another, and run \
         the same command again; `mvpbench generate` keeps its answers with `--output FILE`",
    );
    let (remedy, status) = match InputError::of(&error) {
        Some(input) => (input.remedy(), WRONG),
        None => {
            let remedy = unwritten.or_else(|| system_refused(&error));
            (remedy.or_else(|| out_of_memory(&error)), FAILED)
        }
    };
    if let Some(remedy) = remedy {
        stderr::say("");
        stderr::say_as(Mark::Hint, remedy);
    }
    status
}

/// A layout of records by its name.
fn layout(text: &str) -> Result<LayoutName, String> {
    let named = LayoutName::ALL.into_iter().find(|layout| layout.name() == text);
    named.ok_or_else(|| format!("expected one of {}", LayoutName::NAMES.join(", ")))
}

/// Parses a seed.
fn whole_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0, got `{text}`"))
}

/// The remedy for a read or write that failed for lack of space or permission, for a disk that fails or for too many open
/// files; none for another error.
fn system_refused(error: &anyhow::Error) -> Option<&'static str> {
    use io::ErrorKind::{
        FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let plain = cause.downcast_ref().map(io::Error::kind);
        plain.or_else(|| cause.downcast_ref().and_then(serde_json::Error::io_error_kind))
    };
    let number = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    match number {
        Some(libc::EIO) => {
            return Some(
                "the disk cannot be read or written: look at its state (`dmesg`, `smartctl`); what was finished before \
                 is kept, and the same command resumes from it, also from a copy on another disk",
            );
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            return Some(
                "too many files are open: raise the limit (`ulimit -n 4096`) or end other programs, and run the same \
                 command again; nothing is lost",
            );
        }
        Some(libc::ENOMEM) => {
            return Some(
                "the system refused memory: raise the limit (`ulimit -v`, or `memory.max` of the container) or end other \
                 programs, and run the same command again",
            );
        }
        Some(libc::EAGAIN) => {
            return Some(
                "a limit of processes and threads is reached: raise it (`ulimit -u`, or `pids.max` of the container) or end \
                 other programs, and run the same command again",
            );
        }
        _ => {}
    }
    match error.chain().find_map(kind)? {
        StorageFull | QuotaExceeded | FileTooLarge => Some(
            "make room and run the same command again; finished work is kept, and a training run resumes from its \
             last checkpoint",
        ),
        ReadOnlyFilesystem | PermissionDenied => Some(
            "make the file or folder readable and writable and run the same command again, or give another with \
             `--output`",
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
            assert!(system_refused(&error).is_some_and(|remedy| remedy.contains("make room")));
        }
        assert!(system_refused(&anyhow::anyhow!("broken")).is_none());
    }

    #[test]
    fn a_failing_disk_and_a_limit_of_open_files_have_their_remedies() {
        for (number, part) in [
            (libc::EIO, "dmesg"),
            (libc::EMFILE, "ulimit -n"),
            (libc::EACCES, "readable"),
            (libc::EAGAIN, "ulimit -u"),
            (libc::ENOMEM, "ulimit -v"),
        ] {
            let failed: io::Result<()> = Err(io::Error::from_raw_os_error(number));
            let error = failed.context("cannot read `a`").unwrap_err();
            assert!(system_refused(&error).is_some_and(|remedy| remedy.contains(part)), "{part}");
        }
    }
}
