//! Everything a command needs before its first forward pass, opened and checked in one place.
//!
//! [`source`] finds the base model ([`hub_model`] on the hub), [`base`] reads its small files, [`inputs`] the data files and the adapter to
//! start from, whose token ids `token_cache` keeps.

pub mod base;
pub mod hub_model;
pub mod inputs;
pub mod source;
mod token_cache;

use std::path::PathBuf;

use anyhow::Result;
use candle_core::{DType, Device};

use crate::config::RunConfig;
use crate::console::progress::Verbosity;
use crate::disk::atomic;
use crate::hub::HubModel;
use crate::model::decoder::Decoder;
use crate::run_folder::RunFolder;
use crate::run_folder::guard::Resume;
use crate::session::inputs::Inputs;
use crate::session::source::ModelSource;

/// What the command line adds to the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// What to do about a run that is already in the folder.
    pub resume: Resume,
    /// Whether a run goes on with another configuration than it began with.
    pub allow_config_change: bool,
    /// How much is said.
    pub verbosity: Verbosity,
}

/// Loads the model, then opens the run folder; a model of the binary is unpacked into it, so there the order is the other one.
pub fn open_model(
    config: &RunConfig,
    inputs: &Inputs,
    dtype: DType,
    device: &Device,
) -> Result<(Decoder, PathBuf, RunFolder)> {
    match &inputs.model {
        ModelSource::Folder(path) | ModelSource::Hub(HubModel { folder: path, .. }) => Ok((
            Decoder::load(path, dtype, device)?,
            path.clone(),
            RunFolder::open(&config.output.dir)?,
        )),
        ModelSource::Embedded(files) => {
            let folder = RunFolder::open(&config.output.dir)?;
            let path = folder.base_model();
            let files: Vec<_> =
                files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
            atomic::write_folder(&path, &files)?;
            Ok((Decoder::load(&path, dtype, device)?, path, folder))
        }
    }
}
