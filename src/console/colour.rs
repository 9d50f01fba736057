//! Whether a stream takes colours.

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};

/// Whether `stream` is a terminal that knows colours, and `NO_COLOR` is not set. A terminal whose `TERM` is `dumb` knows none, in CI
/// too, whose logs anstream takes for coloured ones.
pub(super) fn is_taken_by(stream: &impl RawStream) -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !is_dumb && AutoStream::choice(stream) != ColorChoice::Never
}
