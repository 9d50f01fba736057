//! The sentence encoder of SPMR: the name in the configuration in, vectors of texts out.
//!
//! [`source`] finds and checks an encoder, on disk or on the hub ([`hub_files`]), [`layout`] reads its small files, [`embedder`] computes.

pub mod embedder;
pub mod hub_files;
pub mod layout;
pub mod source;
