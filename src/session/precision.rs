//! The dtype of a run or an evaluation, and why.
//!
//! `model.dtype = "auto"` on a CPU is f32. It is bf16 where the processor multiplies bf16 and the model does not fit in f32 into the memory
//! that is free. A resumed run keeps what it began with, so that no run is of two dtypes.

use anyhow::Result;
use candle_core::{DType, Device};

use crate::config::{Dtype, RunConfig};
use crate::error::InputError;
use crate::machine;
use crate::run_folder::begun_dtype;
use crate::run_folder::guard::Resume;
use crate::run_folder::purpose::Purpose;
use crate::session::inputs::Inputs;
use crate::session::refuse_what_does_not_fit;

/// What stands around the name of products.
const BY: &str = " by ";
const PRODUCTS: &str = " products";

/// A dtype with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precision {
    /// Of weights and activations.
    pub dtype: DType,
    /// How the CPU multiplies in bf16; none in f32 and on a GPU.
    pub products: Option<&'static str>,
    /// Why the program chose it; none where that is the rule.
    pub reason: Option<String>,
}

impl Precision {
    /// As the head of the configuration has it: `f32`, `bf16 by widened products`, or `bf16 by amx products, since ...`.
    pub fn recorded(&self) -> String {
        let mut recorded = self.dtype.as_str().to_owned();
        if let Some(products) = self.products {
            recorded += &format!("{BY}{products}{PRODUCTS}");
        }
        if let Some(reason) = &self.reason {
            recorded += &format!(", {reason}");
        }
        recorded
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

/// The dtype for `config` on `device`. Refuses a `MVPBENCH_CPU_PRODUCT` that is none or that this processor lacks, where it is read, and
/// a run that began with other products than this process would go on with: its bytes would be of neither.
pub fn choose(
    config: &RunConfig,
    inputs: &Inputs,
    device: &Device,
    purpose: Purpose,
    resume: &Resume,
) -> Result<Precision> {
    let of =
        |dtype, reason| Precision { dtype, products: machine::products_of(device, dtype), reason };
    let dtype = machine::dtype(config.model.dtype, device)?;
    if !device.is_cpu() {
        return Ok(of(dtype, None));
    }
    let begun = begun_dtype::find(purpose, &config.output.dir, resume)?.map(Begun::parse);
    let chosen = match (&begun, config.model.dtype) {
        (_, Dtype::F32 | Dtype::Bf16) => of(dtype, None),
        // The reason of a run that began so; one that began on a GPU in bf16 has none.
        (Some(Begun { dtype, reason, .. }), _) if dtype == "bf16" && !reason.is_empty() => {
            machine::products()?;
            of(DType::BF16, Some(reason.clone()))
        }
        (Some(begun), _) if begun.dtype == "f32" => of(dtype, None),
        _ => match refuse_what_does_not_fit(config, inputs, dtype, device, purpose) {
            Err(why) if machine::products()?.has_units() => {
                of(DType::BF16, Some(format!("since in f32 {why}")))
            }
            _ => of(dtype, None),
        },
    };
    if let (Some(began), Some(now)) = (begun.and_then(|begun| begun.products), chosen.products)
        && began != now
    {
        let message = format!(
            "what is resumed began with {began} products of bf16, and this process has {now}: the result would be of neither"
        );
        let hint = format!(
            "go on with `MVPBENCH_CPU_PRODUCT={began}` on a processor that has it, or begin anew in another folder"
        );
        return Err(InputError::new(message).hint(hint).into());
    }
    Ok(chosen)
}

/// What a head says of the dtype.
struct Begun {
    dtype: String,
    /// None in f32, on a GPU, and in heads of earlier versions.
    products: Option<String>,
    /// Empty without one.
    reason: String,
}

impl Begun {
    fn parse(recorded: String) -> Self {
        let (what, reason) = recorded.split_once(", ").unwrap_or((&recorded, ""));
        let (dtype, by) = what.split_once(BY).unwrap_or((what, ""));
        Self {
            dtype: dtype.to_owned(),
            products: by.strip_suffix(PRODUCTS).map(str::to_owned),
            reason: reason.to_owned(),
        }
    }
}
