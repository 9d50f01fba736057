//! Charts as inline SVG: numbers in, markup out.
//!
//! No plotting crate, because a chart must follow the page into dark mode and print: every mark has a class that the page's style
//! sheet colours. `plotters` writes fixed colours and needs a font to measure text; `charming` draws with a
//! JavaScript engine. That leaves a scale, ticks and four kinds of chart to write. [`style`] has the look of
//! every quantity.
//!
//! Widths of text are estimated at [`shapes::LETTER`] a character, a little more than a sans-serif of 12 takes.

pub mod axis;
pub mod forest;
pub mod histogram;
pub mod lines;
pub mod multiples;
pub mod shapes;
pub mod style;

pub use forest::{Forest, ForestGroup, ForestRow};
pub use histogram::{Histogram, Series};
pub use lines::{Line, LineChart, Point};
pub use multiples::{Multiples, Panel};
pub use style::{Quantity, State};
