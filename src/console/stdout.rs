//! Results on stdout. A reader that has gone, as in `| head -1`, is no error; a full disk behind it is.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};

use crate::console::colour;

/// Nobody reads stdout any more: a verb that gets this from [`print()`] ends, with exit status 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reader of standard output has gone")]
pub struct Closed;

/// Standard output does not take the results, so that they are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct Unwritten;

/// Writes results that are kept nowhere else, all of them before it returns. [`Closed`] where the reader has gone,
/// [`Unwritten`] where they cannot be written, also where the program was started without a standard output.
pub fn print(text: impl AsRef<[u8]>) -> Result<()> {
    outcome(write(text.as_ref()))
}

/// [`print()`] of what files hold too: a program that was started without a standard output loses it without an error.
pub fn tell(text: impl AsRef<[u8]>) -> Result<()> {
    if is_closed() { Ok(()) } else { print(text) }
}

/// The outcome of a verb whose results were written to stdout by other means than [`print()`], such as its help.
pub fn outcome(written: io::Result<()>) -> Result<()> {
    let written = match is_closed() {
        true => Err(io::Error::from_raw_os_error(libc::EBADF)),
        false => written,
    };
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => written.context(Unwritten),
    }
}

fn write(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()
}

/// Whether the program was started without a standard output, as by `>&-`.
pub fn is_closed() -> bool {
    begun::WAS_CLOSED.load(Ordering::Relaxed)
}

/// How standard output was when the process began: Rust puts the null device in the place of a closed one before `main`.
mod begun {
    use std::sync::atomic::AtomicBool;

    pub(super) static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "runs before `main`")]
    // SAFETY: the section holds functions that the C library calls before `main`; this one needs nothing of Rust's runtime.
    #[unsafe(link_section = ".init_array")]
    #[used]
    static LOOK: extern "C" fn() = look;

    #[cfg(target_os = "linux")]
    extern "C" fn look() {
        // SAFETY: the call only asks about a descriptor, whether it is open or not.
        #[expect(unsafe_code, reason = "a C function")]
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
        WAS_CLOSED.store(flags == -1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Whether stdout takes colours: a terminal that knows them, and `NO_COLOR` is not set.
pub fn has_colours() -> bool {
    colour::is_taken_by(&io::stdout())
}
