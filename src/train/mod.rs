//! Training: the plan of the steps, the reference, the DPO loss and its gradient, AdamW, checkpoints, and the loop itself.
//!
//! Fed by [`crate::data`] and [`crate::model`]; feeds [`crate::eval`] with scores and the run folder with files.

pub mod dpo;
pub mod optimizer;
pub mod plan;
pub mod schedule;
pub mod step;
