//! A data file by its name, wherever it is -> its bytes.

use std::borrow::Cow;

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
    let (file, commit) = hub.data_file(&DataFile::parse(path)?)?;
    notes.push(format!("{path}: commit {commit}"));
    let bytes =
        read_file::bytes(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(Cow::Owned(bytes))
}
