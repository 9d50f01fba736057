//! Training: pairs and a model in, a run folder out: adapter, scores, figures, report.
//!
//! [`run`] is the recipe, top to bottom. It reads [`inputs`] from disk or the [`hub`], lays the steps out ([`plan`], [`schedule`]), computes the frozen
//! [`mod@reference`], takes each [`step`] under the [`dpo`] loss with the [`optimizer`], saves [`checkpoint`]s and the [`log`], and
//! scores the evaluation sets ([`evaluate`]; by itself in [`standalone`]), with answers of [`generations`] that an [`encoder`] compares.
//! Fed by [`crate::data`] and [`crate::model`]; feeds [`crate::eval`] and [`crate::report`].

mod answers;
pub mod best;
mod cache;
pub mod checkpoint;
pub mod digest;
pub mod doctor;
pub mod dpo;
pub mod dry_run;
pub mod encoder;
pub mod estimate;
pub mod eval_log;
pub mod evaluate;
pub mod folder;
pub mod generations;
#[cfg(feature = "cuda")]
mod gpu;
pub mod hub;
pub mod inputs;
pub mod kept_sums;
mod launched;
pub mod log;
mod losses;
pub mod machine;
pub mod memory;
mod moment;
pub mod optimizer;
pub mod plan;
pub mod progress;
pub mod reference;
pub mod run;
pub mod schedule;
pub mod scores;
pub mod seeds;
pub mod standalone;
pub mod step;
pub mod tensorboard;
mod token_cache;
mod writable;

pub use crate::interrupt;
