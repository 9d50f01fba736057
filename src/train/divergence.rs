//! What is said where an update has taken the policy beyond the range of its numbers: the update, not the pair that showed it.

use anyhow::{Result, anyhow};

use crate::error::InputError;
use crate::eval::evaluator::NotFinite;
use crate::model::lora::LoraTensors;
use crate::run_folder::train_log::StepRecord;

/// `error` as it is, or, if it is a score that is not finite, with the last update of the steps `records`.
pub(super) fn explained(error: anyhow::Error, records: &[StepRecord]) -> anyhow::Error {
    match error.downcast_ref::<NotFinite>() {
        Some(found) => told(&found.to_string(), records),
        None => error,
    }
}

/// The error `what` after the steps `records`, with the last of them that changed the adapter.
pub(super) fn told(what: &str, records: &[StepRecord]) -> anyhow::Error {
    let update = records.iter().rev().find(|record| !record.skipped && record.learning_rate > 0.0);
    let Some(update) = update else { return anyhow!("{what}") };
    let norm = update.grad_norm.map_or_else(|| "unknown".to_owned(), |norm| format!("{norm:.3e}"));
    InputError::new(format!(
        "{what}; the last update is that of step {}, with a learning rate of {:e} and a gradient norm of {norm}",
        update.step, update.learning_rate
    ))
    .hint("lower `train.learning_rate`, and begin in another folder with `--output` or from an earlier checkpoint")
    .into()
}

/// Refuses to export tensors that are not finite.
pub(super) fn refuse_to_export(tensors: &LoraTensors, records: &[StepRecord]) -> Result<()> {
    for (layer, projection, letter, tensor) in tensors.iter() {
        // Infinite or NaN where an element is: a magnitude of f32 squared is finite in f64.
        let sum = tensor.to_dtype(candle_core::DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        if !sum.is_finite() {
            let name = projection.name();
            let what =
                format!("{letter} of `{name}` in layer {layer} of the adapter is not finite");
            return Err(told(&what, records));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_update_is_named_and_a_skipped_step_is_none() {
        let record = |step, skipped| StepRecord {
            step,
            skipped,
            learning_rate: 1e30,
            grad_norm: Some(2.5),
            ..StepRecord::default()
        };
        let error = told("no loss is finite", &[record(1, false), record(2, true)]);
        assert_eq!(
            error.to_string(),
            "no loss is finite; the last update is that of step 1, with a learning rate of 1e30 and a gradient norm of 2.500e0"
        );
        let hint = InputError::of(&error).unwrap().remedy().unwrap();
        assert!(hint.contains("lower `train.learning_rate`"), "{hint}");
        let error = told("x", &[record(1, true)]);
        assert!(InputError::of(&error).is_none(), "no update is to blame: {error}");
    }
}
