//! Results on stdout. A reader that has gone, as in `| head -1`, is no error; a full disk behind it is.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

use crate::console::colour;

/// Nobody reads stdout any more: a verb that gets this from [`print()`] ends, with exit status 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reader of standard output has gone")]
pub struct Closed;

/// Writes `text` as it is, all of it before it returns. [`Closed`] where the reader has gone.
pub fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => written.context("cannot write to standard output"),
    }
}

/// Whether stdout takes colours: a terminal that knows them, and `NO_COLOR` is not set.
pub fn has_colours() -> bool {
    colour::is_taken_by(&io::stdout())
}
