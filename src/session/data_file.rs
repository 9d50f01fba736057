//! A data file by its name, wherever it is -> its bytes.

use std::borrow::Cow;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::disk::read as read_file;
use crate::hub::Hub;
use crate::hub::name::{self, DataFile};
use crate::presets;

/// The bytes of a data file: from the hub if `path` begins with `hf://`, otherwise from the disk or the binary. Adds the
/// commit of a hub file to `notes`.
pub fn read(path: &str, hub: &Hub, notes: &mut Vec<String>) -> Result<Cow<'static, [u8]>> {
    if !path.starts_with(name::SCHEME) {
        return presets::read(path);
    }
    let file = fetched(path, hub, notes)?;
    let bytes =
        read_file::bytes(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(Cow::Owned(bytes))
}

/// Where a data file that is read in pieces lies: in the cache of the hub if `path` begins with `hf://`, otherwise at `path`. Adds the commit
/// of a hub file to `notes`.
pub fn locate(path: &str, hub: &Hub, notes: &mut Vec<String>) -> Result<PathBuf> {
    if path.starts_with(name::SCHEME) { fetched(path, hub, notes) } else { Ok(path.into()) }
}

fn fetched(path: &str, hub: &Hub, notes: &mut Vec<String>) -> Result<PathBuf> {
    let (file, commit) = hub.data_file(&DataFile::parse(path)?)?;
    notes.push(format!("{path}: commit {commit}"));
    Ok(file)
}
