//! The data sets of the paper from the original downloads: PRISM in, MVPBench and preference pairs out; UltraFeedback in, UF-P-4 out.
//!
//! [`prism`] reads the survey and the conversations. Everything that is written is a folder of data files and a `manifest.json` that counts
//! what came in, what was left out and why; the same command again changes no byte. [`quality`] is the review of what was built.

pub mod mvpbench;
pub mod prism;
pub mod quality;
