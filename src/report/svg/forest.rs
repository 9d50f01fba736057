//! Forest plots: a row for each figure, with its dot and interval on the axis of all shares and its numbers beside it.

use crate::console::units;
use crate::metrics::Figure;
use crate::report::markup::escape;
use crate::report::svg::axis::{Area, Scale};
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

/// The ends of every axis of shares, and its ticks, in percent: charts of one page can be compared by eye.
pub const SHARES: [f64; 2] = [0.0, 100.0];
const TICKS: [f64; 5] = [0.0, 25.0, 50.0, 75.0, 100.0];

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestRow {
    /// Text at the left, such as `accuracy`.
    pub label: String,
    /// Decides the look.
    pub quantity: Quantity,
    /// Decides the look.
    pub state: State,
    /// The share, in `0..=1`, with its interval.
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
    /// The drawing; none if there is no figure. A dashed line is at 50 %: the chance of OPA, and of a coin.
    pub fn draw(&self) -> Option<String> {
        let rows = || self.groups.iter().flat_map(|group| &group.rows);
        rows().next()?;
        let width = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let left = width(&mut rows().map(|row| text_width(&row.label))) + 14.0;
        let counts = text_width("n").max(width(&mut rows().map(|row| text_width(&row.count()))));
        let values = width(&mut rows().map(|row| text_width(&row.value())));
        let count_end = WIDTH - 2.0;
        let value_end = count_end - counts - 8.0;
        let right = value_end - values - 12.0;
        let height = TOP + self.groups.iter().map(ForestGroup::height).sum::<f64>() + BELOW;
        let area = Area { left, right, top: TOP - 4.0, bottom: height - BELOW };
        let x = Scale::new(SHARES[0], SHARES[1], [left, right]);
        let mut body = share_axis(&area, &x);
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
                body += &text(value_end, y + 4.0, "end", "row", &row.value());
                body += &text(count_end, y + 4.0, "end", "tick", &row.count());
                body += &row.draw(&x, y, &group.name);
            }
            top += group.height();
        }
        let description = self.groups.iter().map(ForestGroup::description).collect::<Vec<_>>();
        Some(document(WIDTH, height, &self.title, &description.join("; "), &body))
    }
}

/// Lines at the ticks, the one at 50 % dashed, and their numbers below.
pub(in crate::report) fn share_axis(area: &Area, x: &Scale) -> String {
    let mut axis = line([area.left, area.bottom], [area.right, area.bottom], "axis");
    for tick in TICKS {
        let class = if (tick - 50.0).abs() < 0.5 { "reference" } else { "grid" };
        axis += &line([x.at(tick), area.top], [x.at(tick), area.bottom], class);
        axis += &text(x.at(tick), area.bottom + 15.0, "middle", "tick", &format!("{tick:.0}"));
    }
    axis
}

impl ForestGroup {
    fn height(&self) -> f64 {
        NAME + ROW * self.rows.len() as f64 + GAP
    }

    fn description(&self) -> String {
        let rows: Vec<String> =
            self.rows.iter().map(|row| format!("{} {}", row.label, row.value())).collect();
        let figures = if rows.is_empty() { self.note.clone() } else { rows.join(", ") };
        format!("{}: {figures}", self.name)
    }
}

impl ForestRow {
    /// `75.0 [60.2, 88.1]`.
    fn value(&self) -> String {
        let percent = |share: f64| format!("{:.1}", 100.0 * share + 0.0);
        let value = percent(self.figure.value);
        match self.figure.low.zip(self.figure.high) {
            Some((low, high)) => format!("{value} [{}, {}]", percent(low), percent(high)),
            None => value,
        }
    }

    fn count(&self) -> String {
        units::count(self.figure.n)
    }

    fn draw(&self, x: &Scale, y: f64, group: &str) -> String {
        let at = |share: f64| x.at((100.0 * share).clamp(SHARES[0], SHARES[1]));
        let class = self.quantity.class_of(self.state);
        let paper = self.paper.map_or(String::new(), |p| format!(", in the paper {p:.2}"));
        let title = format!("{group}, {}: {}{paper}", self.label, self.value());
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
            TICKS.map(|tick| svg.contains(&format!("class=\"tick\">{tick:.0}</text>")))
        };
        assert_eq!((ticks(0.97), ticks(0.03)), ([true; 5], [true; 5]));
    }

    #[test]
    fn the_papers_figure_has_a_mark_of_its_own() {
        let with = ForestRow { paper: Some(99.6), ..row(0.9) };
        let svg = forest(vec![group("a", vec![with, row(0.9)], "")]).draw().unwrap();
        assert_eq!(svg.matches("paper-mark").count(), 1);
        assert!(svg.contains("in the paper 99.60"));
    }
}
