//! What the verbs that write a data set have in common: the folder to write, and the records that are left out.

use std::path::Path;

use anyhow::Result;

use crate::bail_input;
use crate::console::progress::Verbosity;
use crate::console::units::counted;
use crate::construct::prism::Broken;
use crate::disk::writable;

/// Refuses an output folder that is a file or cannot be written.
pub(super) fn check(output: &Path) -> Result<()> {
    if output.exists() && !output.is_dir() {
        bail_input!("output folder `{}` is a file", output.display());
    }
    writable::check(output)
}

/// Names the broken records, the first of them where they are many, and the fields that are not read.
pub(super) fn warn_of_broken<'a>(
    verbosity: Verbosity,
    broken: &[Broken],
    unknown_fields: impl IntoIterator<Item = &'a String>,
) {
    const SHOWN: usize = 20;
    for Broken { file, line, why } in broken.iter().take(SHOWN) {
        verbosity.warn(format!("{file}:{line}: {why}; the record is left out"));
    }
    if broken.len() > SHOWN {
        let more = counted(broken.len() - SHOWN, "more broken record");
        verbosity.warn(format!("{more}; the manifest lists all"));
    }
    let names: Vec<_> = unknown_fields.into_iter().map(|name| format!("`{name}`")).collect();
    if !names.is_empty() {
        verbosity.note(format!("fields that are not read: {}", names.join(", ")));
    }
}
