//! Charts as inline SVG: numbers in, markup out.
//!
//! No plotting crate, because a chart must follow the page into dark mode and print: every mark has a class that the page's style
//! sheet colours. `plotters` writes fixed colours and needs a font to measure text; `charming` draws with a
//! JavaScript engine. That leaves a scale, ticks and the kinds of chart here to write. [`style`] has the look of
//! every quantity, [`models`] that of every model.
//!
//! Widths of text are estimated at [`shapes::LETTER`] a character, a little more than a sans-serif of 12 takes.

pub mod axis;
pub mod dots;
pub mod forest;
mod forest_axis;
pub mod histogram;
pub mod lines;
pub mod map;
pub mod marks;
pub mod models;
pub mod multiples;
pub mod radar;
pub mod shapes;
pub mod style;

pub use dots::{Dot, DotRow, Dots};
pub use forest::{Forest, ForestGroup, ForestRow};
pub use forest_axis::SHARES;
pub use histogram::{Histogram, Series};
pub use lines::{Line, LineChart, Point};
pub use map::{Coloured, WorldMap};
pub use marks::State;
pub use multiples::{Multiples, Panel};
pub use radar::Radar;
pub use style::Quantity;
