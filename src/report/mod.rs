//! Figures in, something to read out: the paper's Table 1 with our rows beside it, and `report.md` of a run.
//!
//! - In: an [`crate::eval::Evaluation`] before and after tuning, and what the training loop says of itself, as a [`RunReport`].
//! - Out: [`Table1`] for the console or as Markdown, [`RunReport::to_markdown`] and [`RunReport::to_model_card`].
//!
//! Nothing is measured here and nothing is fed from here; no tensor and no candle import.

pub mod card;
pub mod cell;
pub mod markdown;
pub mod paper;
pub mod run;
pub mod table;
pub mod table1;

pub use run::{RunReport, TrainingSummary};
pub use table1::Table1;
