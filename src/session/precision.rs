//! The dtype of a run or an evaluation, and why.
//!
//! `model.dtype = "auto"` on a CPU is f32. It is bf16 where the processor multiplies bf16 and the model does not fit in f32 into the memory
//! that is free. A resumed run keeps what it began with, so that no run is of two dtypes.

use anyhow::Result;
use candle_core::{DType, Device};

use crate::config::{Dtype, RunConfig};
use crate::machine;
use crate::run_folder::begun_dtype;
use crate::run_folder::guard::Resume;
use crate::run_folder::purpose::Purpose;
use crate::session::inputs::Inputs;
use crate::session::refuse_what_does_not_fit;

/// A dtype with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precision {
    /// Of weights and activations.
    pub dtype: DType,
    /// Why the program chose it; none where that is the rule.
    pub reason: Option<String>,
}

impl Precision {
    /// As the head of the configuration has it: `bf16`, or `bf16, since ...`.
    pub fn recorded(&self) -> String {
        let reason = self.reason.iter().map(|reason| format!(", {reason}"));
        std::iter::once(self.dtype.as_str().to_owned()).chain(reason).collect()
    }

    /// What is printed; none where it is the rule.
    pub fn note(&self) -> Option<String> {
        self.reason.as_ref().map(|_| format!("dtype: {}", self.recorded()))
    }

    /// The choice that is this dtype on any machine.
    pub fn named(dtype: DType) -> Dtype {
        if dtype == DType::BF16 { Dtype::Bf16 } else { Dtype::F32 }
    }
}

/// The dtype for `config` on `device`. Refuses a `MVPBENCH_CPU_PRODUCT` that is none or that this processor lacks, where it is read.
pub fn choose(
    config: &RunConfig,
    inputs: &Inputs,
    device: &Device,
    purpose: Purpose,
    resume: &Resume,
) -> Result<Precision> {
    let dtype = machine::dtype(config.model.dtype, device)?;
    if config.model.dtype != Dtype::Auto || !device.is_cpu() {
        return Ok(Precision { dtype, reason: None });
    }
    let begun = begun_dtype::find(purpose, &config.output.dir, resume)?;
    match begun.as_deref().map(|begun| begun.split_once(", ").unwrap_or((begun, ""))) {
        // The reason of a run that began so; one that began on a GPU in bf16 has none.
        Some(("bf16", reason)) if !reason.is_empty() => {
            machine::products()?;
            return Ok(Precision { dtype: DType::BF16, reason: Some(reason.to_owned()) });
        }
        Some(("f32", _)) => return Ok(Precision { dtype, reason: None }),
        _ => {}
    }
    let Err(why) = refuse_what_does_not_fit(config, inputs, dtype, device, purpose) else {
        return Ok(Precision { dtype, reason: None });
    };
    if !machine::products()?.has_units() {
        return Ok(Precision { dtype, reason: None });
    }
    Ok(Precision { dtype: DType::BF16, reason: Some(format!("since in f32 {why}")) })
}
