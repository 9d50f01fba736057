//! Figures in, something to read out: the paper's Table 1 with our rows beside it, `report.html` and `report.md` of runs.
//!
//! - In: an [`crate::metrics::Evaluation`] before and after tuning, and what the training loop says of itself, as a [`RunReport`].
//! - Out: [`Table1`] for the console or as Markdown, [`RunReport::to_markdown`] and [`RunReport::to_model_card`].
//!
//! - [`page`] makes both files from what [`folder`] reads of a run, so that a run can be reported again without its model; [`html`] are
//!   the parts of the page and [`svg`] its charts.
//!
//! Nothing but groups is measured here and nothing is fed from here; no tensor and no candle import.

pub mod card;
pub mod cell;
pub mod folder;
pub mod groups;
pub mod html;
pub mod markdown;
pub mod markup;
pub mod page;
pub mod paper;
pub mod run;
pub mod spmr;
pub mod svg;
pub mod table;
pub mod table1;

pub use run::RunReport;
pub use table1::Table1;
