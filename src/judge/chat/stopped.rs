//! The end of a command that is not finished, by a limit that the user set or by an import that leaves some open.

/// A command ended before all was answered; finished work is kept. The program ends with status 3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Stopped {
    what: String,
    remedy: &'static str,
}

impl Stopped {
    /// A limit was reached. `what`: what is left, for one sentence on stderr.
    pub fn at_limit(what: impl Into<String>) -> Self {
        let remedy = "run the same command again to ask the rest; what was answered is kept";
        Self { what: what.into(), remedy }
    }

    /// An import, which sends nothing, leaves some open. `what`: what is left, for one sentence on stderr.
    pub fn after_import(what: impl Into<String>) -> Self {
        let remedy = "export what is left with `--batch-export DIR` in place of `--batch-import`, or ask it with neither";
        Self { what: what.into(), remedy }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}
