//! A step that was given to the device, with what only it knows until then.

use crate::machine::moment::Moment;
use crate::ops::adamw::Norm;
use crate::train::plan::PlannedStep;
use crate::train::step::StepOutput;

/// A step whose update is queued; the device may still be computing it.
pub(super) struct Launched {
    /// Its pairs.
    pub(super) planned: PlannedStep,
    /// Its loss, rewards and log-probabilities.
    pub(super) output: StepOutput,
    /// Norm of its gradients, before clipping.
    pub(super) norm: Norm,
    /// Learning rate of A.
    pub(super) learning_rate: f64,
    /// Before its first work and after its last.
    pub(super) during: [Moment; 2],
}
