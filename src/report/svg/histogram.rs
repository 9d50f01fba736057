//! Distributions: up to two series over the same bins, the second in front.

use crate::metrics::bootstrap::percentile;
use crate::report::svg::axis::{Area, Scale};
use crate::report::svg::lines::ends;
use crate::report::svg::marks::State;
use crate::report::svg::shapes::{WIDTH, document, line, name_width, text};
use crate::report::svg::style::Quantity;

const HEIGHT: f64 = 270.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 228.0;
const LEFT: f64 = 54.0;
const BINS: usize = 40;

/// Share of the values that may lie beyond each end of the axis, so that one outlier does not flatten the rest.
const BEYOND: f64 = 0.005;

/// Values of one state of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Written above its median.
    pub name: String,
    /// Decides the look.
    pub quantity: Quantity,
    /// Decides the look.
    pub state: State,
    /// Finite values.
    pub values: Vec<f64>,
}

/// A chart of one or two distributions.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// What it shows, read out by a screen reader.
    pub title: String,
    /// What the lower axis measures, with its unit.
    pub x_label: String,
    /// What is counted.
    pub y_label: String,
    /// Drawn in this order.
    pub series: Vec<Series>,
    /// Place of a dashed line, such as 0 or a threshold.
    pub marker: Option<f64>,
}

/// A drawing with the number of values beyond its axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The element `svg`.
    pub svg: String,
    /// Values outside the axis; the outermost bins count them.
    pub beyond: usize,
}

impl Histogram {
    /// The drawing; none if there is no value.
    pub fn draw(&self) -> Option<Drawn> {
        let mut all: Vec<f64> = self.series.iter().flat_map(|s| s.values.iter().copied()).collect();
        all.sort_by(f64::total_cmp);
        ends(all.iter().copied())?;
        let inner = [percentile(&all, BEYOND), percentile(&all, 1.0 - BEYOND)];
        let [low, high] = ends(inner.into_iter().chain(self.marker))?;
        let area = Area { left: LEFT, right: WIDTH - 12.0, top: TOP, bottom: BOTTOM };
        let x = Scale::nice(low, high, [area.left, area.right]);
        let [low, high] = x.domain();
        let beyond = all.iter().filter(|value| !(low..=high).contains(*value)).count();
        let counts: Vec<Vec<usize>> =
            self.series.iter().map(|series| counts(&series.values, low, high)).collect();
        let most = counts.iter().flatten().copied().max().unwrap_or(1);
        let y = Scale::nice(0.0, most as f64, [area.bottom, area.top]);
        let mut body = area.y_axis(&y) + &area.x_axis(&x, &self.x_label);
        body += &text(4.0, 14.0, "start", "label", &self.y_label);
        for (series, counts) in self.series.iter().zip(&counts) {
            body += &steps(counts, [low, high], &x, &y, &series.class());
        }
        if let Some(marker) = self.marker {
            body += &line([x.at(marker), area.top], [x.at(marker), area.bottom], "reference");
        }
        for (row, series) in self.series.iter().enumerate() {
            body += &series.median_mark(row, &x, &area);
        }
        let description = format!("{} values in {BINS} bins", all.len());
        Some(Drawn { svg: document(WIDTH, HEIGHT, &self.title, &description, &body), beyond })
    }
}

impl Series {
    fn class(&self) -> String {
        self.quantity.class_of(self.state)
    }

    /// The median; none if there is no value.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then(|| percentile(&sorted, 0.5))
    }

    /// A line at the median and the name above it, in row number `row`.
    fn median_mark(&self, row: usize, x: &Scale, area: &Area) -> String {
        let Some(median) = self.median() else { return String::new() };
        let [low, high] = x.domain();
        let (place, y) = (x.at(median.clamp(low, high)), 14.0 + 15.0 * row as f64);
        let name = format!("{}, median {median:.2}", self.name);
        let half = name_width(&name) / 2.0;
        let middle = place.clamp(area.left + half, area.right - half);
        line([place, y + 4.0], [place, area.bottom], &format!("{} median", self.class()))
            + &text(middle, y, "middle", &format!("name {}", self.class()), &name)
    }
}

/// Values in each of [`BINS`] bins over `low..=high`; the outermost bins count those beyond too.
fn counts(values: &[f64], low: f64, high: f64) -> Vec<usize> {
    let mut counts = vec![0; BINS];
    for value in values {
        let place = (value - low) / (high - low) * BINS as f64;
        counts[(place.max(0.0) as usize).min(BINS - 1)] += 1;
    }
    counts
}

/// The outline of the bins, filled down to the axis.
fn steps(counts: &[usize], [low, high]: [f64; 2], x: &Scale, y: &Scale, class: &str) -> String {
    let edge = |bin: usize| x.at(low + (high - low) * bin as f64 / counts.len() as f64);
    let mut commands = format!("M{:.1} {:.1}", edge(0), y.at(0.0));
    for (bin, &count) in counts.iter().enumerate() {
        commands += &format!("V{:.1}H{:.1}", y.at(count as f64), edge(bin + 1));
    }
    format!("<path d=\"{commands}V{:.1}Z\" class=\"{class} area\"/>\n", y.at(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bin_and_those_beyond_are_counted() {
        assert_eq!(counts(&[-5.0, 0.0, 0.999, 1.0, 7.0], 0.0, 1.0).iter().sum::<usize>(), 5);
        assert_eq!(counts(&[-5.0, 0.0], 0.0, 1.0)[0], 2);
        let mut values: Vec<f64> = (0..1000).map(|i| f64::from(i) / 1000.0).collect();
        values.push(1e6);
        let series = Series {
            name: "after".into(),
            quantity: Quantity::Margin,
            state: State::After,
            values,
        };
        let chart = Histogram {
            title: "t".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            series: vec![series],
            marker: None,
        };
        assert_eq!(chart.draw().unwrap().beyond, 1);
    }

    #[test]
    fn equal_values_and_no_values_do_not_divide_by_zero() {
        let chart = |values: Vec<f64>| Histogram {
            title: "t".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            series: vec![Series {
                name: "a".into(),
                quantity: Quantity::Margin,
                state: State::After,
                values,
            }],
            marker: Some(0.0),
        };
        let drawn = chart(vec![0.0; 9]).draw().unwrap();
        assert!(!drawn.svg.contains("NaN") && drawn.beyond == 0);
        assert_eq!(chart(vec![]).draw(), None);
    }
}
