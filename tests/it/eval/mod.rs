//! Figures of a model: the sentence encoder, SPMR in a run, and the `mvpbench eval` verb.

mod adapters;
mod authors;
pub(crate) mod encoder;
pub(crate) mod spmr;
mod verb;
