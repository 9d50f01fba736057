//! Scores of pairs and generated answers in, figures with intervals out: OPA and its relatives (the paper's Eq. 3), SPMR (Eq. 4).
//!
//! - In: a [`score::PairScore`] per pair and a [`spmr::Answer`] per prompt, from the model or from a JSONL file written earlier.
//! - Each [`Metric`] is a mean over pairs; [`bootstrap`] gives it an interval, clustered by user.
//! - [`kl`] is the mean divergence from the reference, with its standard error.
//! - [`groups`] are the same figures of some of the pairs; [`axes`] are the paper's consistency and fairness.
//! - Out: one [`SetResult`] per evaluation set, together an [`Evaluation`], the content of `eval/{before,after}.json`.
//!
//! [`harness`] writes them as lm-evaluation-harness does.
//!
//! Fed by [`crate::eval`], feeds [`crate::report`]. Arithmetic on numbers alone, no tensor and no model: scores and answers that a
//! file holds can be measured again without a GPU. The loss of a pair is [`crate::dpo`]'s.

pub mod agreement;
pub mod axes;
pub mod bootstrap;
pub mod difference;
pub mod draw;
pub mod figure;
pub mod groups;
pub mod harness;
pub mod interval;
pub mod kl;
pub mod metric;
pub mod paa;

pub mod region;
pub mod result;
pub mod score;
pub mod spmr;

pub use axes::Axes;
pub use difference::difference;
pub use figure::{Figure, Metrics};
pub use groups::Group;
pub use kl::Kl;
pub use metric::Metric;
pub use result::{Change, Evaluation, SetResult};
pub use score::PairScore;
pub use spmr::Spmr;
