//! Review of a benchmark by people: a seeded sample to read and mark, the marks, how far reviewers agree, and the records that they reject.
//!
//! [`exclusions`] is what the next build leaves out.

pub mod exclusions;
