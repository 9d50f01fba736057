//! Small multiples: one panel for each run, all with the same axes, so that runs are compared without a tangle of curves.

use crate::report::svg::axis::{Area, Scale};
use crate::report::svg::lines::{Line, ends};
use crate::report::svg::shapes::{WIDTH, document, fitted, line, text};

const LEFT: f64 = 46.0;
const GAP: f64 = 22.0;
/// Room for half of the last number at the right.
const RIGHT: f64 = 18.0;
/// Height of a panel's name and of its plot; room for the numbers below the last row.
const NAME: f64 = 18.0;
const PLOT: f64 = 88.0;
const BELOW: f64 = 36.0;

/// One panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Above it, such as the name of a run.
    pub name: String,
    /// Its curves.
    pub lines: Vec<Line>,
}

/// A chart of panels, two in a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Multiples {
    /// What it shows, read out by a screen reader.
    pub title: String,
    /// What the lower axis counts.
    pub x_label: String,
    /// From left to right, then down.
    pub panels: Vec<Panel>,
    /// Place of a dashed line in every panel.
    pub reference: Option<f64>,
    /// Ends of the values' axis; none for those of the values.
    pub range: Option<[f64; 2]>,
}

impl Multiples {
    /// The drawing; none if no curve has a point.
    pub fn draw(&self) -> Option<String> {
        let lines = || self.panels.iter().flat_map(|panel| &panel.lines);
        let [low, high] = match self.range {
            Some(range) => range,
            None => ends(lines().flat_map(Line::ys).chain(self.reference))?,
        };
        let [first, last] = ends(lines().flat_map(Line::xs))?;
        let width = (WIDTH - LEFT - GAP - RIGHT) / 2.0;
        let rows = self.panels.len().div_ceil(2);
        let height = rows as f64 * (NAME + PLOT + GAP) - GAP + BELOW;
        let mut body = String::new();
        for (i, panel) in self.panels.iter().enumerate() {
            let (column, row) = (i % 2, i / 2);
            let left = LEFT + column as f64 * (width + GAP);
            let top = row as f64 * (NAME + PLOT + GAP) + NAME;
            let area = Area { left, right: left + width, top, bottom: top + PLOT };
            let y = Scale::nice(low, high, [area.bottom, area.top]);
            let x = Scale::new(first, last, [area.left, area.right]);
            body += &area.y_lines(&y, column == 0);
            let is_lowest = i + 2 >= self.panels.len();
            body += &area.x_ticks(&x, is_lowest);
            if let Some(value) = self.reference {
                body += &line([area.left, y.at(value)], [area.right, y.at(value)], "reference");
            }
            panel.lines.iter().for_each(|line| body += &line.draw(&x, &y));
            body += &text(left, top - 5.0, "start", "group", &fitted(&panel.name, width));
        }
        body += &text(WIDTH - 8.0, height - 6.0, "end", "label", &self.x_label);
        let description = format!(
            "{} panels, {} from {first:.0} to {last:.0}, values from {low:.3} to {high:.3}",
            self.panels.len(),
            self.x_label
        );
        Some(document(WIDTH, height, &self.title, &description, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::svg::style::Quantity;

    fn panel(name: &str, values: &[f64]) -> Panel {
        let points = values.iter().enumerate().map(|(i, y)| (i as f64, Some(*y))).collect();
        Panel { name: name.into(), lines: vec![Line::new("", Quantity::Loss, points)] }
    }

    fn chart(panels: Vec<Panel>) -> Multiples {
        let (title, x_label) = ("Loss".to_owned(), "step".to_owned());
        Multiples { title, x_label, panels, reference: None, range: None }
    }

    #[test]
    fn every_run_has_a_panel_and_all_have_the_same_axes() {
        let svg = chart(vec![
            panel("one", &[0.0, 1.0]),
            panel("two", &[0.0, 2.0]),
            panel("three", &[1.0]),
        ])
        .draw()
        .unwrap();
        assert_eq!(svg.matches(" curve\"").count(), 3);
        let heights: Vec<&str> = svg.split("<path d=\"").skip(1).take(2).collect();
        let end = |path: &str| -> f64 {
            let path = path.split('"').next().unwrap();
            path.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!((end(heights[0]) - (end(heights[1]) + PLOT / 2.0)).abs() < 0.2, "{svg}");
        assert_eq!(chart(vec![panel("none", &[])]).draw(), None);
    }

    #[test]
    fn a_long_name_stays_above_its_panel() {
        let svg = chart(vec![panel(&"long name ".repeat(9), &[1.0, 2.0])]).draw().unwrap();
        assert!(svg.contains("…</text>"), "{svg}");
    }
}
