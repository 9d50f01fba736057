//! Forest plots: a row for each figure, with its dot and interval on an axis of shares or differences and its numbers beside it.

use crate::console::units;
use crate::metrics::Figure;
use crate::report::markup::escape;
use crate::report::svg::axis::{Area, Scale};
use crate::report::svg::forest_axis::ForestAxis;
use crate::report::svg::marks::{State, paper_mark};
use crate::report::svg::shapes::{WIDTH, document, fitted, line, text, text_width};
use crate::report::svg::style::Quantity;

/// Height of a group's name and of a figure below it.
const NAME: f64 = 17.0;
const ROW: f64 = 16.0;
/// Room between two groups, above the first one and below the last.
const GAP: f64 = 5.0;
const TOP: f64 = 20.0;
const BELOW: f64 = 24.0;

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestRow {
    /// Text at the left, such as `accuracy`.
    pub label: String,
    /// Decides the look.
    pub quantity: Quantity,
    /// Decides the look.
    pub state: State,
    /// The share, in `0..=1`, or difference of shares, with its interval.
    pub figure: Figure,
    /// The paper's figure of the same, in percent.
    pub paper: Option<f64>,
}

/// Figures of one run, or of one group of pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestGroup {
    /// Above the rows.
    pub name: String,
    /// The figures; a group of too few pairs has none.
    pub rows: Vec<ForestRow>,
    /// Beside the name, such as `n = 4, too few`; empty where there is nothing to say.
    pub note: String,
}

/// A chart of groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    /// What it shows, read out by a screen reader.
    pub title: String,
    /// From top to bottom.
    pub groups: Vec<ForestGroup>,
}

impl Forest {
    /// The drawing of shares; none if there is no figure. A dashed line is at 50 %: the chance of OPA, and of a coin.
    pub fn draw(&self) -> Option<String> {
        self.draw_on(ForestAxis::Shares)
    }

    /// The drawing of differences of shares, with a dashed line at 0; none if there is no figure.
    pub fn draw_differences(&self) -> Option<String> {
        let figures = self.groups.iter().flat_map(|group| &group.rows).map(|row| row.figure);
        let ends = figures.flat_map(|figure| [Some(figure.value), figure.low, figure.high]);
        self.draw_on(ForestAxis::of_differences(ends.flatten()))
    }

    fn draw_on(&self, axis: ForestAxis) -> Option<String> {
        let rows = || self.groups.iter().flat_map(|group| &group.rows);
        rows().next()?;
        let width = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let left = width(&mut rows().map(|row| text_width(&row.label))) + 14.0;
        let counts = text_width("n").max(width(&mut rows().map(|row| text_width(&row.count()))));
        let values = width(&mut rows().map(|row| text_width(&row.value(axis))));
        let count_end = WIDTH - 2.0;
        let value_end = count_end - counts - 8.0;
        let right = value_end - values - 12.0;
        let height = TOP + self.groups.iter().map(ForestGroup::height).sum::<f64>() + BELOW;
        let area = Area { left, right, top: TOP - 4.0, bottom: height - BELOW };
        let x = Scale::new(axis.ends()[0], axis.ends()[1], [left, right]);
        let mut body = axis.draw(&area, &x);
        body += &text(value_end, 12.0, "end", "label", "% [95 % interval]");
        body += &text(count_end, 12.0, "end", "label", "n");
        let mut top = TOP;
        for group in &self.groups {
            let room = WIDTH - 4.0 - text_width(&group.note) - 10.0;
            let name = fitted(&group.name, room);
            body += &text(2.0, top + 12.0, "start", "group", &name);
            body += &text(count_end, top + 12.0, "end", "tick", &group.note);
            for (i, row) in group.rows.iter().enumerate() {
                let y = top + NAME + ROW * (i as f64 + 0.5);
                body += &text(left - 8.0, y + 4.0, "end", "row", &row.label);
                body += &text(value_end, y + 4.0, "end", "row", &row.value(axis));
                body += &text(count_end, y + 4.0, "end", "tick", &row.count());
                body += &row.draw(axis, &x, y, &group.name);
            }
            top += group.height();
        }
        let description = self.groups.iter().map(|group| group.description(axis));
        let description: Vec<String> = description.collect();
        Some(document(WIDTH, height, &self.title, &description.join("; "), &body))
    }
}

impl ForestGroup {
    fn height(&self) -> f64 {
        NAME + ROW * self.rows.len() as f64 + GAP
    }

    fn description(&self, axis: ForestAxis) -> String {
        let rows: Vec<String> =
            self.rows.iter().map(|row| format!("{} {}", row.label, row.value(axis))).collect();
        let figures = if rows.is_empty() { self.note.clone() } else { rows.join(", ") };
        format!("{}: {figures}", self.name)
    }
}

impl ForestRow {
    /// `75.0 [60.2, 88.1]`.
    fn value(&self, axis: ForestAxis) -> String {
        let value = axis.print(self.figure.value);
        match self.figure.low.zip(self.figure.high) {
            Some((low, high)) => format!("{value} [{}, {}]", axis.print(low), axis.print(high)),
            None => value,
        }
    }

    fn count(&self) -> String {
        units::count(self.figure.n)
    }

    fn draw(&self, axis: ForestAxis, x: &Scale, y: f64, group: &str) -> String {
        let [low, high] = axis.ends();
        let at = |share: f64| x.at((100.0 * share).clamp(low, high));
        let class = self.quantity.class_of(self.state);
        let paper = self.paper.map_or(String::new(), |p| format!(", in the paper {p:.2}"));
        let title = format!("{group}, {}: {}{paper}", self.label, self.value(axis));
        let mut drawn = format!("<g><title>{}</title>\n", escape(&title));
        if let Some((low, high)) = self.figure.low.zip(self.figure.high) {
            drawn += &line([at(low), y], [at(high), y], &format!("{class} whisker"));
        }
        drawn += &self.quantity.mark(self.state, at(self.figure.value), y);
        if let Some(percent) = self.paper {
            drawn += &paper_mark(x.at(percent), y);
        }
        drawn + "</g>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64) -> ForestRow {
        ForestRow {
            label: "accuracy".into(),
            quantity: Quantity::Accuracy,
            state: State::After,
            figure: Figure { value, low: Some(value - 0.05), high: Some(1.0), n: 89, ties: None },
            paper: None,
        }
    }

    fn forest(groups: Vec<ForestGroup>) -> Forest {
        Forest { title: "Gender".into(), groups }
    }

    fn group(name: &str, rows: Vec<ForestRow>, note: &str) -> ForestGroup {
        ForestGroup { name: name.into(), rows, note: note.into() }
    }

    #[test]
    fn every_figure_has_a_row_with_its_numbers() {
        let name = "a name that is far too long for the width of a drawing <b>";
        let few = group("Other", vec![], "n = 4, too few");
        let svg = forest(vec![
            group("Female", vec![row(0.5), row(0.7)], ""),
            group(name, vec![], ""),
            few,
        ])
        .draw()
        .unwrap();
        assert_eq!((svg.matches("<circle").count(), svg.matches(" whisker").count()), (2, 2));
        for part in [">Female<", ">70.0 [65.0, 100.0]<", ">89<", ">n = 4, too few<"] {
            assert!(svg.contains(part), "`{part}` is not in {svg}");
        }
        assert!(svg.contains(">a name that is far too long") && svg.contains("…</text>"), "{svg}");
        assert_eq!(forest(vec![group("a", vec![], "")]).draw(), None);
    }

    #[test]
    fn the_axis_is_0_to_100_whatever_the_figures_are() {
        let ticks = |value: f64| {
            let svg = forest(vec![group("a", vec![row(value)], "")]).draw().unwrap();
            [0, 25, 50, 75, 100].map(|tick| svg.contains(&format!("class=\"tick\">{tick}</text>")))
        };
        assert_eq!((ticks(0.97), ticks(0.03)), ([true; 5], [true; 5]));
    }

    #[test]
    fn differences_have_signs_and_the_line_at_zero() {
        let figure = Figure { value: -0.02, low: Some(-0.07), high: Some(0.03), n: 89, ties: None };
        let difference = ForestRow { figure, ..row(0.5) };
        let svg =
            forest(vec![group("one - two", vec![difference], "")]).draw_differences().unwrap();
        for part in [">-2.0 [-7.0, +3.0]<", ">-10<", ">0<", ">+10<"] {
            assert!(svg.contains(part), "`{part}` is not in {svg}");
        }
        assert_eq!(svg.matches("class=\"reference\"").count(), 1);
    }

    #[test]
    fn the_papers_figure_has_a_mark_of_its_own() {
        let with = ForestRow { paper: Some(99.6), ..row(0.9) };
        let svg = forest(vec![group("a", vec![with, row(0.9)], "")]).draw().unwrap();
        assert_eq!(svg.matches("paper-mark").count(), 1);
        assert!(svg.contains("in the paper 99.60"));
    }
}
