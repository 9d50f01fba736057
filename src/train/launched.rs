//! A step queued on the device, with the values that its log record needs.

use crate::machine::moment::Moment;
use crate::ops::adamw::Norm;
use crate::train::plan::PlannedStep;
use crate::train::step::StepOutput;

/// A step with a queued update; the device may still be computing it.
pub(super) struct Launched {
    /// Its pairs, their weights and the epoch.
    pub(super) planned: PlannedStep,
    /// Loss, rewards and log-probabilities.
    pub(super) output: StepOutput,
    /// Norm of the gradients before clipping.
    pub(super) norm: Norm,
    /// Learning rate of A.
    pub(super) learning_rate: f64,
    /// Start and end of the step on the device.
    pub(super) during: [Moment; 2],
}
