//! The dtype that a run began in, where `model.dtype = "auto"` left it to the memory of that moment.

use std::path::Path;

use anyhow::Result;

use crate::run_folder::begun_day;
use crate::run_folder::guard::Resume;
use crate::run_folder::provenance::DTYPE;
use crate::run_folder::purpose::Purpose;

/// The dtype of the run or evaluation in the folder `output`, or else of the run of the checkpoint that it resumes from, with its reason as
/// the head of its configuration has them; none for a new one.
pub fn find(purpose: Purpose, output: &Path, resume: &Resume) -> Result<Option<String>> {
    let dtype = begun_day::fact(purpose, output, resume, DTYPE)?;
    Ok(dtype.map(|dtype| dtype.trim_end().to_owned()))
}
