//! Charts as inline SVG: numbers in, markup out.
//!
//! Own code and no plotting crate, because a chart must follow the page into dark mode and into print: every mark carries a class
//! that the page's style sheet colours. `plotters` writes fixed colours and needs a font to measure text; `charming` draws with a
//! JavaScript engine. What is left to write is a scale, ticks and four kinds of chart.
//!
//! Widths of text are estimated at [`shapes::LETTER`] a character, which is on the wide side for a sans-serif of 12.

pub mod axis;
pub mod dots;
pub mod histogram;
pub mod lines;
pub mod shapes;

pub use dots::{DotChart, DotRow, Mark, Shape};
pub use histogram::{Histogram, Series};
pub use lines::{Line, LineChart, Point};
