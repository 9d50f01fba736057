//! Running a model over many pairs or prompts: log-probabilities and generations out, resumed where a killed program stopped.
//!
//! [`sums`] are log-probabilities of pairs, [`kept_sums`] their files; [`generations`] are answers to prompts; [`engine`] is how much is
//! computed at once.

pub mod engine;
pub mod generations;
pub mod kept_sums;
pub mod sums;
