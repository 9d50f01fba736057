//! Files on disk: atomic writes, digests and seals, journals to resume from, cache folders.

pub mod atomic;
pub mod cache;
pub mod digest;
pub mod fields;
pub mod journal;
pub mod json;
pub mod json_array;
pub mod json_lines;
pub mod lock;
pub mod once;
pub mod pipe;
pub mod read;
pub mod seal;
pub mod writable;
pub mod yaml;
