//! Files on disk: atomic writes, digests, journals to resume from, cache folders.

pub mod atomic;
pub mod cache;
pub mod digest;
pub mod fields;
pub mod journal;
pub mod json_lines;
pub mod writable;
