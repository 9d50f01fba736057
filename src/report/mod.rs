//! Figures in, pages out: the paper's Table 1 with our rows beside it, `report.html` and `report.md` of runs, the model card.
//!
//! - In: [`folder`], a run folder as it was read; [`RunReport`], its summary with its figures; [`judged`], a folder of verdicts.
//! - [`sections`] build a [`section::Page`] from it: every table, sentence and chart is written there, once. [`svg`] draws the charts.
//! - [`cautions`] stand above the figures wherever those are shown: page, console, model card.
//! - Out: [`html`] and [`markdown`] render the page, [`plain`] the lines of a console; [`page`] writes both files. [`Table1`] goes to the console too; [`card`] is the
//!   model card of an adapter.
//!
//! Fed by a run folder alone, so that a run can be reported again without its model. It measures groups anew, means over seeds and
//! medians over steps; every other figure comes from [`crate::metrics`]. No tensor and no candle import.

pub mod brief;
pub mod card;
pub mod cautions;
pub mod cell;
pub mod csv;
pub mod folder;
pub mod html;
pub mod judged;
pub mod labels;
pub mod markdown;
pub mod markup;
pub mod missing;
pub mod page;
pub mod paired;
pub mod paper;
pub mod plain;
pub mod printed;
pub mod run;
pub mod section;
pub mod sections;
pub mod set_files;
pub mod stated;
pub mod states;
pub mod svg;
pub mod table;
pub mod table1;
pub mod text;
pub mod world;

pub use run::RunReport;
pub use table1::Table1;
