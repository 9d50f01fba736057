//! A folder of the disk -> the paths of its files.

use std::path::Path;

use anyhow::{Context, Result};

use crate::bail_input;
use crate::console::interrupt;
use crate::data::listing;
use crate::disk::read;

/// Deepest folder that is looked into, so that a link to a folder above ends.
const DEEPEST: usize = 12;

/// Most files of a folder.
const MOST_FILES: usize = 100_000;

/// The files below `folder` by their paths in it, sorted, without hidden ones. The folders of a run's checkpoints are not looked into and are
/// listed in place of their files.
pub(super) fn files(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    add(folder, "", 0, &mut files)?;
    files.sort();
    Ok(files)
}

fn add(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) -> Result<()> {
    interrupt::check()?;
    for path in read::folder(folder)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let own = format!("{prefix}{name}");
        if files.len() >= MOST_FILES {
            bail_input!(
                "folder `{}` has more than {MOST_FILES} files: name a folder of data",
                folder.display()
            );
        }
        let kind = path.metadata().with_context(|| format!("cannot read `{}`", path.display()))?;
        if listing::is_hidden(&own) || (kind.is_dir() && name.starts_with("__")) {
            continue;
        }
        match kind.is_dir() {
            false => files.push(own),
            true if name == "checkpoints" || name.starts_with("checkpoint-") => files.push(own),
            true if depth < DEEPEST => add(&path, &format!("{own}/"), depth + 1, files)?,
            true => bail_input!(
                "folder `{}` has folders more than {DEEPEST} deep: name a folder of data",
                folder.display()
            ),
        }
    }
    Ok(())
}
