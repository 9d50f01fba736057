//! Evaluation before, during and after training, and by itself: runs the sets through [`crate::inference`] and gives their scores and
//! answers to [`crate::metrics`].
//!
//! [`evaluator`] is what training calls, `answers` are the generations that SPMR measures, [`standalone`] is `mvpbench eval`.

mod answers;
pub mod evaluator;
pub mod standalone;
