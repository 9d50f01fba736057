//! A model over many pairs or prompts: log-probabilities and generations out. A killed program resumes where it
//! stopped.
//!
//! [`sums`] computes log-probabilities of pairs and [`kept_sums`] saves them; [`divergence`] compares a policy's predictions with the
//! reference's; [`generations`] answers prompts; `shared` has other ranks hold the adapter of a pass;
//! [`engine`] decides how much is computed at once.

pub mod divergence;
pub mod engine;
pub mod generations;
pub mod kept_sums;
mod shared;
pub mod sums;
