//! Marks of charts: a shape at a place, full or open.

/// State of the model that a figure is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Before tuning: open marks, dashed intervals.
    Before,
    /// After tuning, or during it: full marks.
    After,
}

/// Shape of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A circle.
    Disc,
    /// A square on its corner.
    Diamond,
    /// A square.
    Square,
    /// A triangle.
    Triangle,
}

impl State {
    /// `class` with the class of the state.
    pub fn class_of(self, class: &str) -> String {
        match self {
            Self::Before => format!("{class} before"),
            Self::After => class.to_owned(),
        }
    }
}

impl Shape {
    /// The mark at a place, with the classes `class` and that of `state`.
    pub fn mark(self, class: &str, state: State, x: f64, y: f64) -> String {
        let class = format!("{} mark", state.class_of(class));
        match self {
            Self::Disc => {
                format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.6\" class=\"{class}\"/>\n")
            }
            Self::Diamond => polygon(x, y - 4.6, "l4.6 4.6l-4.6 4.6l-4.6 -4.6Z", &class),
            Self::Square => polygon(x - 3.3, y - 3.3, "h6.6v6.6h-6.6Z", &class),
            Self::Triangle => polygon(x, y - 4.4, "l4.4 7.8h-8.8Z", &class),
        }
    }
}

fn polygon(x: f64, y: f64, path: &str, class: &str) -> String {
    format!("<path d=\"M{x:.1} {y:.1}{path}\" class=\"{class}\"/>\n")
}

/// The mark of a figure that the paper has, beside a run's.
pub fn paper_mark(x: f64, y: f64) -> String {
    polygon(x - 3.6, y - 3.6, "l7.2 7.2m0 -7.2l-7.2 7.2", "paper-mark")
}
