//! The end of a run that is not finished, by a limit that the user set.

/// A limit of the command was reached; finished work is kept. The program ends with status 3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(String);

impl Stopped {
    /// What is left, for one sentence on stderr.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        "run the same command again to ask the rest; what was answered is kept"
    }
}
