//! Scores of pairs in, figures with intervals out: OPA and its relatives (DESIGN of the metrics: the paper's Eq. 3).
//!
//! Fed by [`crate::train`] and feeds [`crate::report`]. No tensor here: scores can be re-evaluated without a model.

pub mod score;
