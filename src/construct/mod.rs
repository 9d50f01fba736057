//! The data sets of the paper from the original downloads: PRISM in, MVPBench and preference pairs out; UltraFeedback in, UF-P-4 out.
//!
//! [`prism`] reads the survey and the conversations; [`mvpbench`] has questions written for them, and [`prism_pairs`] makes pairs of their
//! scores. [`ultrafeedback`] makes UF-P-4. [`statistics`] says what a benchmark holds, [`quality`] is its review by people. Everything that is
//! written is a folder of data files and a `manifest.json` that counts what came in, what was left out and why; the same command again changes
//! no byte.

pub mod mvpbench;
pub mod prism;
pub mod prism_pairs;
pub mod quality;
pub mod statistics;
pub mod ultrafeedback;
