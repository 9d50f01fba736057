//! PRISM -> preference pairs: two answers of one turn, of which a person scored one higher.
//!
//! [`pairs`] finds the pairs and counts what is left out; [`prompt`] writes the conversation before an answer; [`build`] splits the pairs by
//! user and writes them with a manifest.

pub mod build;
pub mod pairs;
pub mod prompt;
