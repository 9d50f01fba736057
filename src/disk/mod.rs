//! What outlives a process: files that appear whole, digests, journals that a killed program resumes from, cache folders.

pub mod atomic;
pub mod cache;
pub mod digest;
pub mod journal;
pub mod json_lines;
pub mod writable;
