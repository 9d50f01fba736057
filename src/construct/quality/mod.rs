//! Review of a benchmark by people: a seeded sample to read and mark, the marks, how far reviewers agree, and the records that they reject.
//!
//! In: a benchmark's [`Records`]. [`sample`] draws, and [`sample_files`] are what is read, as CSV and as a page; [`import`] takes the marks, [`opinion`]
//! those of a model at an endpoint; [`figures`] measures them. Out: [`exclusions`], which the next build leaves out.
//!
//! Everything is in the folder `quality` of the benchmark's.

pub mod criteria;
mod csv;
pub mod draw;
pub mod exclude;
pub mod exclusions;
pub mod figures;
pub mod import;
pub mod marks;
pub mod opinion;
mod page;
mod reviewed;
pub mod sample;
pub mod sample_files;
pub mod votes;

pub use marks::{Mark, Marks};
pub use reviewed::Records;
pub use sample::Sample;
