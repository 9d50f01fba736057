//! Scores of pairs in, figures with intervals out: OPA and its relatives (the paper's Eq. 3).
//!
//! - In: a [`score::PairScore`] per pair, from the model or from a JSONL file written earlier.
//! - Each [`Metric`] is a mean over pairs; [`bootstrap`] gives it an interval, clustered by user.
//! - [`groups`] are the same figures of some of the pairs; [`axes`] are the paper's consistency and fairness.
//! - Out: one [`SetResult`] per evaluation set, together an [`Evaluation`], the content of `eval/{before,after}.json`.
//!
//! Fed by [`crate::train`] and feeds [`crate::report`]. No tensor here: scores can be re-evaluated without a model.

pub mod axes;
pub mod bootstrap;
pub mod difference;
pub mod groups;
pub mod metric;
pub mod metrics;
pub mod region;
pub mod result;
pub mod score;

pub use axes::Axes;
pub use difference::difference;
pub use groups::Group;
pub use metric::Metric;
pub use metrics::{Figure, Metrics};
pub use result::{Change, Evaluation, SetResult};
pub use score::PairScore;
