//! The sentence encoder of SPMR: takes the name in the configuration, returns vectors of texts.
//!
//! [`source`] finds and checks an encoder, on disk or on the hub ([`hub_files`]), [`layout`] reads its small files, [`embedder`] computes.

pub mod embedder;
pub mod hub_files;
mod known;
pub mod layout;
pub mod source;
