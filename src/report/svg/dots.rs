//! Dot plots: a row for each group, in it a mark and an interval for each model on the axis of all shares.

use crate::report::markup::escape;
use crate::report::svg::axis::{Area, Scale};
use crate::report::svg::forest_axis::{ForestAxis, SHARES};
use crate::report::svg::models;
use crate::report::svg::shapes::{WIDTH, document, fitted, line, name_width, text, text_width};

/// Height of a model's mark, of a label that has a line of its own, and the room between two rows.
const MARK: f64 = 7.0;
const NAME: f64 = 15.0;
const GAP: f64 = 6.0;
/// Room above the first row and below the last.
const TOP: f64 = 20.0;
const BELOW: f64 = 24.0;
/// The widest label beside its row; a chart with a wider one has all labels above their rows.
const LABEL: f64 = 140.0;
/// A row is at least as high as its label.
const LEAST: f64 = 16.0;

/// One model's figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Dot {
    /// The share, in 0..=1.
    pub value: f64,
    /// The ends of its interval.
    pub ends: Option<[f64; 2]>,
    /// Whether there are too few answers for a figure, so that the mark is open.
    pub is_small: bool,
    /// Shown where the pointer rests: model, group, value, n.
    pub title: String,
}

/// One group.
#[derive(Debug, Clone, PartialEq)]
pub struct DotRow {
    /// At the left.
    pub label: String,
    /// At the right: the number of answers.
    pub n: String,
    /// In the order of the models; none without an answer.
    pub dots: Vec<Option<Dot>>,
}

/// A chart of groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Dots {
    /// What it shows, read out by a screen reader.
    pub title: String,
    /// From top to bottom.
    pub rows: Vec<DotRow>,
    /// Place of a dashed line, in 0..=1: what an answer that does not fit gets.
    pub null: Option<f64>,
}

impl Dots {
    /// The drawing; none without a row.
    pub fn draw(&self) -> Option<String> {
        let models = self.rows.iter().map(|row| row.dots.len()).max()?;
        let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let label = widest(&mut self.rows.iter().map(|row| text_width(&row.label)));
        let counts = widest(&mut self.rows.iter().map(|row| text_width(&row.n))).max(10.0);
        let is_above = label > LABEL;
        let (name, left) = if is_above { (NAME, 14.0) } else { (0.0, label + 14.0) };
        let marks = (MARK * models as f64).max(if is_above { 0.0 } else { LEAST });
        let height = name + marks + GAP;
        let bottom = TOP + height * self.rows.len() as f64;
        let right = WIDTH - counts - 14.0;
        let x = Scale::new(SHARES[0], SHARES[1], [left, right]);
        let mut body =
            ForestAxis::PlainShares.draw(&Area { left, right, top: TOP - 4.0, bottom }, &x);
        if let Some(null) = self.null {
            let place = x.at(100.0 * null);
            body += &line([place, TOP - 4.0], [place, bottom], "null");
        }
        body += &text(WIDTH - 2.0, 12.0, "end", "label", "n");
        for (i, row) in self.rows.iter().enumerate() {
            let top = TOP + height * i as f64;
            let middle = top + name + marks / 2.0;
            if is_above {
                let label = fitted(&row.label, WIDTH - name_width(&row.n) - 36.0);
                body += &text(left + 4.0, top + 12.0, "start", "row", &label);
                body += &text(WIDTH - 2.0, top + 12.0, "end", "tick", &row.n);
            } else {
                body += &text(left - 8.0, middle + 4.0, "end", "row", &row.label);
                body += &text(WIDTH - 2.0, middle + 4.0, "end", "tick", &row.n);
            }
            let first = middle - MARK * (row.dots.len() as f64 - 1.0) / 2.0;
            for (model, dot) in row.dots.iter().enumerate() {
                let y = first + MARK * model as f64;
                dot.iter().for_each(|dot| body += &dot.draw(model, &x, y));
            }
        }
        let labels: Vec<&str> = self.rows.iter().map(|row| &*row.label).collect();
        let description = format!(
            "{} rows, {} marks each, 0 to 100 %: {}. The table has the numbers",
            self.rows.len(),
            models,
            labels.join(", ")
        );
        Some(document(WIDTH, bottom + BELOW, &self.title, &description, &body))
    }
}

impl Dot {
    fn draw(&self, model: usize, x: &Scale, y: f64) -> String {
        let at = |share: f64| x.at((100.0 * share).clamp(SHARES[0], SHARES[1]));
        let mut drawn = format!("<g><title>{}</title>\n", escape(&self.title));
        if let Some([low, high]) = self.ends {
            let class = format!("{} whisker", models::class(model));
            drawn += &line([at(low), y], [at(high), y], &class);
        }
        drawn + &models::mark(model, self.is_small, at(self.value), y) + "</g>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, values: &[Option<f64>]) -> DotRow {
        let dot = |value: f64| Dot {
            value,
            ends: (value < 0.9).then_some([value - 0.1, value + 0.1]),
            is_small: value >= 0.9,
            title: format!("{label} <{value}>"),
        };
        let dots = values.iter().map(|value| value.map(dot)).collect();
        DotRow { label: label.into(), n: "1,234".into(), dots }
    }

    #[test]
    fn every_model_has_a_mark_and_a_small_group_an_open_one_without_interval() {
        let rows = vec![row("Kenya", &[Some(0.5), None, Some(1.0)]), row("Chile", &[Some(0.25)])];
        let svg = Dots { title: "Countries".into(), rows, null: Some(0.1) }.draw().unwrap();
        assert_eq!((svg.matches(" mark\"").count(), svg.matches(" whisker\"").count()), (3, 2));
        assert_eq!(svg.matches("model2 before mark").count(), 1);
        assert_eq!(svg.matches("class=\"null\"").count(), 1);
        assert!(!svg.contains("\"reference\""), "half is nothing special: {svg}");
        for part in [">Kenya<", ">1,234<", "<title>Kenya &lt;0.5&gt;</title>", ">n<"] {
            assert!(svg.contains(part), "`{part}` is not in {svg}");
        }
        assert_eq!(Dots { title: "none".into(), rows: vec![], null: None }.draw(), None);
    }

    #[test]
    fn a_long_label_moves_all_labels_above_their_rows() {
        let long = "a label that is far too long for the room beside the row of its marks";
        let rows = vec![row(long, &[Some(0.5)]), row("x", &[Some(0.5)])];
        let svg = Dots { title: "t".into(), rows, null: None }.draw().unwrap();
        assert_eq!(svg.matches("x=\"18.0\"").count(), 2, "{svg}");
        assert!(svg.contains("…</text>"), "{svg}");
    }
}
