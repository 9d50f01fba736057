//! A radar: an axis for each group, a polygon for each model.

use std::f64::consts::TAU;

use crate::report::markup::escape;
use crate::report::svg::models;
use crate::report::svg::shapes::{WIDTH, document, fitted, line, text};

const RADIUS: f64 = 92.0;
const TOP: f64 = 28.0;
const BELOW: f64 = 28.0;
/// Shares with a ring.
const RINGS: [f64; 4] = [0.25, 0.5, 0.75, 1.0];

/// A chart of three groups or more.
#[derive(Debug, Clone, PartialEq)]
pub struct Radar {
    /// What it shows, read out by a screen reader.
    pub title: String,
    /// The groups, clockwise from the top.
    pub axes: Vec<String>,
    /// The models, each with a share in 0..=1 for each axis.
    pub models: Vec<(String, Vec<f64>)>,
}

impl Radar {
    /// The drawing; none with fewer than three axes.
    pub fn draw(&self) -> Option<String> {
        if self.axes.len() < 3 || self.models.is_empty() {
            return None;
        }
        let centre = [WIDTH / 2.0, TOP + RADIUS];
        let at = |axis: usize, share: f64| {
            let turn = TAU * axis as f64 / self.axes.len() as f64;
            [centre[0] + RADIUS * share * turn.sin(), centre[1] - RADIUS * share * turn.cos()]
        };
        let polygon = |shares: &dyn Fn(usize) -> f64| {
            let points = (0..self.axes.len()).map(|axis| {
                let [x, y] = at(axis, shares(axis));
                format!("{x:.1},{y:.1}")
            });
            points.collect::<Vec<_>>().join(" ")
        };
        let mut body = String::new();
        for ring in RINGS {
            body += &format!("<polygon points=\"{}\" class=\"ring\"/>\n", polygon(&|_| ring));
        }
        for (axis, name) in self.axes.iter().enumerate() {
            body += &line(centre, at(axis, 1.0), "grid");
            let [x, y] = at(axis, 1.12);
            let anchor = match x - centre[0] {
                side if side > 8.0 => "start",
                side if side < -8.0 => "end",
                _ => "middle",
            };
            let room = if anchor == "middle" { WIDTH } else { WIDTH / 2.0 - (x - centre[0]).abs() };
            body += &text(x, y + 4.0, anchor, "row", &fitted(name, room - 2.0));
        }
        for (index, (name, shares)) in self.models.iter().enumerate() {
            let share = |axis: usize| shares.get(axis).map_or(0.0, |share| share.clamp(0.0, 1.0));
            body += &format!(
                "<g><title>{}</title>\n<polygon points=\"{}\" class=\"{} polygon\"/>\n",
                escape(name),
                polygon(&share),
                models::class(index)
            );
            for axis in 0..self.axes.len() {
                let [x, y] = at(axis, share(axis));
                body += &models::mark(index, false, x, y);
            }
            body += "</g>\n";
        }
        for ring in [0.5, 1.0] {
            let y = at(0, ring)[1];
            body +=
                &text(centre[0] + 5.0, y + 13.0, "start", "tick", &format!("{:.0}", 100.0 * ring));
        }
        let names: Vec<&str> = self.models.iter().map(|(name, _)| &**name).collect();
        let description = format!(
            "Axes {}; polygons {}; rings at 25, 50, 75 and 100 %. The table has the numbers",
            self.axes.join(", "),
            names.join(", ")
        );
        Some(document(WIDTH, TOP + 2.0 * RADIUS + BELOW, &self.title, &description, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_a_polygon_through_its_shares() {
        let axes: Vec<String> = ["A", "B", "C", "D"].map(String::from).into();
        let models =
            vec![("one".into(), vec![1.0, 0.5, 0.0, 0.25]), ("two <".into(), vec![1.0; 4])];
        let radar = Radar { title: "Regions".into(), axes, models };
        let svg = radar.draw().unwrap();
        let (x, y) = (WIDTH / 2.0, TOP + RADIUS);
        let points = format!("{x:.1},{TOP:.1} {:.1},{y:.1} {x:.1},{y:.1}", x + RADIUS / 2.0);
        assert!(svg.contains(&points), "{points} is not in {svg}");
        assert_eq!((svg.matches(" polygon\"").count(), svg.matches("\"ring\"").count()), (2, 4));
        assert!(svg.contains("<title>two &lt;</title>"));
        let two = Radar { axes: radar.axes[..2].to_vec(), ..radar };
        assert_eq!(two.draw(), None);
    }
}
