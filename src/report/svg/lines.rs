//! Line charts: curves over steps, each named at its end, and points with intervals.

use crate::report::svg::axis::{Area, Scale};
use crate::report::svg::marks::State;
use crate::report::svg::shapes::{WIDTH, document, line, name_width, text};
use crate::report::svg::style::Quantity;

const HEIGHT: f64 = 250.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 208.0;
const LEFT: f64 = 46.0;

/// A curve of this many points or more is drawn as its moving mean, with the points faint behind it.
const SMOOTHED_FROM: usize = 60;

/// The moving mean is over one of so many parts of the points.
const WINDOW: usize = 20;

/// Smallest distance of two names at the right.
const NAME_HEIGHT: f64 = 14.0;

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Written at its end; empty for the only curve of a chart.
    pub name: String,
    /// Decides the look.
    pub quantity: Quantity,
    /// Place and value, left to right; a missing value breaks the curve.
    pub points: Vec<(f64, Option<f64>)>,
    /// Place, low and high end of a band around the curve, left to right; empty without one.
    pub band: Vec<(f64, [f64; 2])>,
    /// Measured points with intervals on the curve, not smoothed.
    pub marks: Vec<Point>,
}

/// A measured point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Place on the lower axis.
    pub x: f64,
    /// Value.
    pub y: f64,
    /// Low and high end of its interval; none without one.
    pub interval: Option<[f64; 2]>,
}

/// A chart of curves.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// What it shows, read out by a screen reader.
    pub title: String,
    /// What the lower axis counts.
    pub x_label: String,
    /// The curves.
    pub lines: Vec<Line>,
    /// Place and name of a dashed line, such as the loss before any training.
    pub reference: Option<(f64, String)>,
    /// Ends of the values' axis; none for those of the values.
    pub range: Option<[f64; 2]>,
}

impl LineChart {
    /// The drawing; none if no curve has a point.
    pub fn draw(&self) -> Option<String> {
        let xs = || self.lines.iter().flat_map(Line::xs);
        let ys = self.lines.iter().flat_map(Line::ys).chain(self.reference.iter().map(|r| r.0));
        let found = ends(ys)?;
        let [low, high] = self.range.unwrap_or(found);
        let [first, last] = ends(xs())?;
        let names = self.lines.iter().map(|line| name_width(&line.name));
        let right = WIDTH - names.fold(0.0, f64::max) - 14.0;
        let area = Area { left: LEFT, right, top: TOP, bottom: BOTTOM };
        let y = Scale::nice(low, high, [area.bottom, area.top]);
        let x = Scale::new(first, last, [area.left, area.right]);
        let mut body = area.y_axis(&y) + &area.x_axis(&x, &self.x_label);
        if let Some((value, _)) = &self.reference {
            body += &line([area.left, y.at(*value)], [area.right, y.at(*value)], "reference");
        }
        self.lines.iter().for_each(|line| body += &line.draw(&x, &y));
        if let Some((value, name)) = &self.reference {
            let above = y.at(*value) - 5.0;
            let place = if above > area.top + 8.0 { above } else { y.at(*value) + 14.0 };
            body += &text(area.right - 4.0, place, "end", "label", name);
        }
        body += &self.names(&area, &y);
        let description = format!(
            "{} from {first:.0} to {last:.0}, values from {low:.3} to {high:.3}",
            self.x_label
        );
        Some(document(WIDTH, HEIGHT, &self.title, &description, &body))
    }

    /// The names beside the ends of their curves, moved apart where they would touch.
    fn names(&self, area: &Area, y: &Scale) -> String {
        let mut names: Vec<(f64, &Line)> =
            self.lines.iter().filter_map(|line| Some((y.at(line.end()?), line))).collect();
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut places: Vec<f64> = names.iter().map(|(y, _)| *y).collect();
        spread(&mut places, NAME_HEIGHT, area.top, area.bottom);
        let name = |(place, (_, line)): (f64, &(f64, &Line))| {
            let class = format!("name {}", line.quantity.class());
            text(area.right + 8.0, place + 4.0, "start", &class, &line.name)
        };
        places.into_iter().zip(&names).map(name).collect()
    }
}

impl Line {
    /// A curve without band and marks.
    pub fn new(name: &str, quantity: Quantity, points: Vec<(f64, Option<f64>)>) -> Self {
        Self { name: name.to_owned(), quantity, points, band: vec![], marks: vec![] }
    }

    pub(super) fn xs(&self) -> impl Iterator<Item = f64> {
        self.points.iter().map(|point| point.0).chain(self.marks.iter().map(|mark| mark.x))
    }

    pub(super) fn ys(&self) -> impl Iterator<Item = f64> {
        let marks = self.marks.iter().flat_map(|mark| {
            let [low, high] = mark.interval.unwrap_or([mark.y; 2]);
            [mark.y, low, high]
        });
        let band = self.band.iter().flat_map(|(_, ends)| *ends);
        self.points.iter().filter_map(|point| point.1).chain(band).chain(marks)
    }

    /// The points, or their moving mean if there are many.
    fn curve(&self) -> Vec<(f64, Option<f64>)> {
        smoothed(&self.points)
    }

    /// The band as one closed shape, its ends smoothed as the curve is; empty without one.
    fn draw_band(&self, x: &Scale, y: &Scale) -> String {
        let end = |which: usize| -> Vec<(f64, Option<f64>)> {
            smoothed(&self.band.iter().map(|(x, ends)| (*x, Some(ends[which]))).collect::<Vec<_>>())
        };
        let (low, high) = (end(0), end(1));
        let corners = low.iter().chain(high.iter().rev());
        let corners: Vec<String> = corners
            .filter_map(|(place, value)| {
                Some(format!("{:.1} {:.1}", x.at(*place), y.at((*value)?)))
            })
            .collect();
        match &corners[..] {
            [] => String::new(),
            _ => format!(
                "<path d=\"M{}Z\" class=\"{} band\"/>\n",
                corners.join("L"),
                self.quantity.class()
            ),
        }
    }

    fn end(&self) -> Option<f64> {
        let curve = self.curve();
        curve.iter().rev().find_map(|point| point.1).or(self.marks.last().map(|mark| mark.y))
    }

    pub(super) fn draw(&self, x: &Scale, y: &Scale) -> String {
        let class = self.quantity.class();
        let mut drawn = self.draw_band(x, y);
        if self.band.is_empty() && self.points.len() >= SMOOTHED_FROM {
            drawn += &path(&self.points, x, y, &format!("{class} raw"));
        }
        drawn += &path(&self.curve(), x, y, class);
        for mark in &self.marks {
            let x = x.at(mark.x);
            if let Some([low, high]) = mark.interval {
                drawn += &line([x, y.at(low)], [x, y.at(high)], &format!("{class} whisker"));
            }
            drawn += &self.quantity.mark(State::After, x, y.at(mark.y));
        }
        drawn
    }
}

/// The points, or their moving mean if there are many.
fn smoothed(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    if points.len() < SMOOTHED_FROM {
        return points.to_vec();
    }
    let half = points.len() / WINDOW / 2;
    let mean = |i: usize| {
        let near = &points[i.saturating_sub(half)..(i + half + 1).min(points.len())];
        let known: Vec<f64> = near.iter().filter_map(|point| point.1).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    (0..points.len()).map(|i| (points[i].0, mean(i))).collect()
}

/// A path with a gap where a value is missing; a point between two gaps is a dot.
fn path(points: &[(f64, Option<f64>)], x: &Scale, y: &Scale, class: &str) -> String {
    let mut commands = String::new();
    let mut pen = 'M';
    for (place, value) in points {
        match value {
            Some(value) => {
                commands += &format!("{pen}{:.1} {:.1}", x.at(*place), y.at(*value));
                // A line without length: round caps make it a dot if no further point follows.
                commands += if pen == 'M' { "h0" } else { "" };
                pen = 'L';
            }
            None => pen = 'M',
        }
    }
    format!("<path d=\"{commands}\" class=\"{class} curve\"/>\n")
}

/// Moves sorted places apart to at least `distance`; they stay within `low..=high` if there is room.
fn spread(places: &mut [f64], distance: f64, low: f64, high: f64) {
    let mut free = low;
    for place in places.iter_mut() {
        *place = place.max(free);
        free = *place + distance;
    }
    let mut limit = high;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - distance;
    }
}

/// The smallest and the largest value; none if there is no value.
pub(super) fn ends(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    values.fold(None, |ends, value| {
        let [low, high] = ends.unwrap_or([value; 2]);
        Some([low.min(value), high.max(value)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, Option<f64>)>) -> LineChart {
        let line = Line::new("loss", Quantity::Loss, points);
        LineChart {
            title: "Loss".into(),
            x_label: "step".into(),
            lines: vec![line],
            reference: None,
            range: None,
        }
    }

    #[test]
    fn a_missing_value_breaks_the_curve() {
        let svg = chart(vec![(1.0, Some(1.0)), (2.0, None), (3.0, Some(0.0))]).draw().unwrap();
        let path = svg.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 0), "{path}");
    }

    #[test]
    fn one_point_is_drawn_and_none_is_not() {
        assert!(chart(vec![(1.0, Some(0.5))]).draw().unwrap().contains("h0"));
        assert_eq!(chart(vec![(1.0, None)]).draw(), None);
        assert_eq!(chart(vec![]).draw(), None);
    }

    #[test]
    fn names_that_would_touch_are_moved_apart_within_the_area() {
        let mut places = [100.0, 101.0, 199.0, 200.0];
        spread(&mut places, 14.0, 0.0, 200.0);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 14.0 - 1e-9), "{places:?}");
        assert!(places[3] <= 200.0 && places[0] >= 0.0);
    }

    #[test]
    fn a_long_curve_is_drawn_as_its_moving_mean_over_the_points() {
        let points = (0..200).map(|i| (f64::from(i), Some(f64::from(i % 2)))).collect();
        let chart = chart(points);
        let curve = chart.lines[0].curve();
        assert!(curve.iter().all(|(_, y)| (y.unwrap() - 0.5).abs() < 0.2));
        assert!(chart.draw().unwrap().contains("loss raw curve"));
    }
}
