//! Evaluation before, during and after training, and without training: runs the sets through [`crate::inference`] and
//! passes their scores and answers to [`crate::metrics`].
//!
//! [`evaluator`] serves training, `answers` generates the answers for SPMR, [`standalone`] is `mvpbench eval`,
//! [`paa`] the two stages of preference alignment.

mod answers;
pub mod evaluator;
pub mod paa;
pub mod standalone;
