//! Charts as inline SVG: numbers in, markup out.
//!
//! No plotting crate, because a chart must follow the page into dark mode and print: every mark has a class that the page's style
//! sheet colours. `plotters` writes fixed colours and needs a font to measure text; `charming` draws with a
//! JavaScript engine. That leaves a scale, ticks and three kinds of chart to write.
//!
//! Widths of text are estimated at [`shapes::LETTER`] a character, a little more than a sans-serif of 12 takes.

pub mod axis;
pub mod dots;
pub mod histogram;
pub mod lines;
pub mod shapes;

pub use dots::{DotChart, DotRow, Mark, Shape};
pub use histogram::{Histogram, Series};
pub use lines::{Line, LineChart, Point};
