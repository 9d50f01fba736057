//! Dot plots: rows of values with their intervals, on one axis in percent.

use crate::report::markup::escape;
use crate::report::svg::axis::{Area, Scale};
use crate::report::svg::lines::ends;
use crate::report::svg::shapes::{document, line, text, text_width};
use crate::report::text::shortened;

const WIDTH: f64 = 520.0;
const TOP: f64 = 26.0;
const BELOW: f64 = 44.0;

/// Height of a row's first mark and of each further one.
const ROW: [f64; 2] = [18.0, 7.0];

/// Most letters of a row's name.
const NAME_LETTERS: usize = 30;

/// Shape of a mark, so that series differ by more than colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// An open circle.
    Ring,
    /// A full circle.
    Disc,
    /// A full square on its corner.
    Diamond,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Class in the style sheet.
    pub class: String,
    /// Shape.
    pub shape: Shape,
    /// The value, in percent.
    pub value: f64,
    /// Low and high end of its interval, in percent; none without one.
    pub interval: Option<[f64; 2]>,
    /// Shown when pointed at, and read out by a screen reader.
    pub description: String,
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct DotRow {
    /// Text at the left.
    pub name: String,
    /// Text at the right, such as the number of pairs.
    pub count: String,
    /// The marks, from top to bottom.
    pub marks: Vec<Mark>,
}

/// A chart of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct DotChart {
    /// What it shows, read out by a screen reader.
    pub title: String,
    /// What the lower axis measures.
    pub x_label: String,
    /// Heading of the counts.
    pub count_label: String,
    /// The rows, from top to bottom.
    pub rows: Vec<DotRow>,
    /// Place of a dashed line, such as a coin's 50 %; none without one.
    pub reference: Option<f64>,
}

impl DotChart {
    /// The drawing; none if there is no value.
    pub fn draw(&self) -> Option<String> {
        let marks = || self.rows.iter().flat_map(|row| &row.marks);
        let reached = marks().flat_map(|mark| {
            let [low, high] = mark.interval.unwrap_or([mark.value; 2]);
            [mark.value, low, high]
        });
        let [low, high] = ends(reached.chain(self.reference))?;
        let names: Vec<String> = self.rows.iter().map(|row| shorten(&row.name)).collect();
        let left = names.iter().map(|name| text_width(name)).fold(60.0, f64::max) + 12.0;
        let counts = self.rows.iter().map(|row| &row.count).chain([&self.count_label]);
        let right = WIDTH - counts.map(|count| text_width(count)).fold(0.0, f64::max) - 14.0;
        let height = TOP + self.rows.iter().map(DotRow::height).sum::<f64>() + BELOW;
        let area = Area { left, right, top: TOP - 6.0, bottom: height - BELOW + 4.0 };
        let x = Scale::nice(low, high, [area.left, area.right]);
        let mut body = area.x_axis(&x, &self.x_label);
        for (tick, _) in x.ticks() {
            body += &line([x.at(tick), area.top], [x.at(tick), area.bottom], "grid");
        }
        if let Some(reference) = self.reference {
            body += &line([x.at(reference), area.top], [x.at(reference), area.bottom], "reference");
        }
        body += &text(WIDTH - 2.0, 12.0, "end", "label", &self.count_label);
        let mut top = TOP;
        for (row, name) in self.rows.iter().zip(&names) {
            let middle = top + row.height() / 2.0 + 3.0;
            body += &text(area.left - 10.0, middle, "end", "row", name);
            body += &text(WIDTH - 2.0, middle, "end", "tick", &row.count);
            for (i, mark) in row.marks.iter().enumerate() {
                let y = top + ROW[0] / 2.0 + ROW[1] * i as f64;
                body += &mark.draw(&x, y);
            }
            top += row.height();
        }
        let description = format!("{} rows, {low:.1} to {high:.1} percent", self.rows.len());
        Some(document(WIDTH, height, &self.title, &description, &body))
    }
}

impl DotRow {
    fn height(&self) -> f64 {
        ROW[0] + ROW[1] * self.marks.len().saturating_sub(1) as f64 + 4.0
    }
}

impl Mark {
    fn draw(&self, x: &Scale, y: f64) -> String {
        let mut drawn =
            format!("<g class=\"{}\"><title>{}</title>\n", self.class, escape(&self.description));
        if let Some([low, high]) = self.interval {
            drawn += &line([x.at(low), y], [x.at(high), y], &format!("{} whisker", self.class));
        }
        drawn += &symbol(self.shape, x.at(self.value), y, &self.class);
        drawn + "</g>\n"
    }
}

/// The symbol of a series, in a chart and in its key.
pub fn symbol(shape: Shape, x: f64, y: f64, class: &str) -> String {
    match shape {
        Shape::Ring => {
            format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" class=\"{class} ring\"/>\n")
        }
        Shape::Disc => {
            format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" class=\"{class} dot\"/>\n")
        }
        Shape::Diamond => format!(
            "<path d=\"M{x:.1} {:.1}l4.5 4.5l-4.5 4.5l-4.5 -4.5Z\" class=\"{class} dot\"/>\n",
            y - 4.5
        ),
    }
}

fn shorten(name: &str) -> String {
    let short = shortened(name, NAME_LETTERS);
    short.split_once(" … (").map_or(short.clone(), |(kept, _)| format!("{kept}…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(value: f64) -> Mark {
        Mark {
            class: "after".into(),
            shape: Shape::Disc,
            value,
            interval: Some([value - 5.0, value + 5.0]),
            description: "after".into(),
        }
    }

    #[test]
    fn every_row_has_its_name_its_count_and_its_marks() {
        let row = |name: &str| DotRow {
            name: name.into(),
            count: "12".into(),
            marks: vec![mark(50.0), mark(70.0)],
        };
        let chart = DotChart {
            title: "Gender".into(),
            x_label: "%".into(),
            count_label: "pairs".into(),
            rows: vec![row("Female"), row("a name that is far too long for the left side <b>")],
            reference: Some(50.0),
        };
        let svg = chart.draw().unwrap();
        assert_eq!(svg.matches("<circle").count(), 4);
        assert_eq!(svg.matches(" whisker").count(), 4);
        assert!(svg.contains(">Female<") && svg.contains(">a name that is far too long fo…<"));
        assert_eq!(DotChart { rows: vec![], reference: None, ..chart }.draw(), None);
    }
}
