//! Scores of pairs and generated answers in, figures with intervals out: OPA and its relatives (the paper's Eq. 3), SPMR (Eq. 4).
//!
//! - In: a [`score::PairScore`] per pair and a [`spmr::Answer`] per prompt, from the model or from a JSONL file written earlier.
//! - Each [`Metric`] is a mean over pairs; [`bootstrap`] gives it an interval, clustered by user.
//! - [`groups`] are the same figures of some of the pairs; [`axes`] are the paper's consistency and fairness.
//! - Out: one [`SetResult`] per evaluation set, together an [`Evaluation`], the content of `eval/{before,after}.json`.
//!
//! [`harness`] says the same as lm-evaluation-harness does.
//!
//! Fed by [`crate::train`] and feeds [`crate::report`]. No tensor here but in [`embedder`], the sentence encoder that gives answers
//! their cosines ([`sentence_transformer`] reads its small files): scores and answers can be re-evaluated without a model.

pub mod axes;
pub mod bootstrap;
pub mod difference;
pub mod embedder;
pub mod groups;
pub mod harness;
pub mod metric;
pub mod metrics;
pub mod region;
pub mod result;
pub mod score;
pub mod sentence_transformer;
pub mod spmr;

pub use axes::Axes;
pub use difference::difference;
pub use groups::Group;
pub use metric::Metric;
pub use metrics::{Figure, Metrics};
pub use result::{Change, Evaluation, SetResult};
pub use score::PairScore;
pub use spmr::Spmr;
