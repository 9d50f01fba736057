//! Axes: numbers to places in a drawing, and ticks.

use crate::report::svg::shapes::{line, text};

/// A linear map of one interval onto another; either may run downwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    from: [f64; 2],
    to: [f64; 2],
}

impl Scale {
    /// Maps `low..=high` onto `to`; an interval without width is widened by 0.5 on both sides.
    pub fn new(low: f64, high: f64, to: [f64; 2]) -> Self {
        let from = if high > low { [low, high] } else { [low - 0.5, low + 0.5] };
        Self { from, to }
    }

    /// The same, widened to the tick at or below `low` and the tick at or above `high`.
    pub fn nice(low: f64, high: f64, to: [f64; 2]) -> Self {
        let [low, high] = Self::new(low, high, to).from;
        let step = step(low, high);
        Self { from: [(low / step).floor() * step, (high / step).ceil() * step], to }
    }

    /// The place of `value`.
    pub fn at(&self, value: f64) -> f64 {
        let share = (value - self.from[0]) / (self.from[1] - self.from[0]);
        self.to[0] + share * (self.to[1] - self.to[0])
    }

    /// The ends of the mapped interval.
    pub fn domain(&self) -> [f64; 2] {
        self.from
    }

    /// Round numbers within the interval, and how they are printed.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let step = step(self.from[0], self.from[1]);
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let slack = 1e-9 * step;
        let first = ((self.from[0] - slack) / step).ceil() as i64;
        let last = ((self.from[1] + slack) / step).floor() as i64;
        // `+ 0.0` makes a negative zero a zero.
        let tick = |i: i64| (i as f64 * step, format!("{:.digits$}", i as f64 * step + 0.0));
        (first..=last).map(tick).collect()
    }
}

/// 1, 2 or 5 times a power of ten, two to six times within the interval.
fn step(low: f64, high: f64) -> f64 {
    let raw = (high - low) / 6.0;
    let power = 10f64.powf(raw.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.into_iter().find(|step| step * power >= raw * 0.999).unwrap_or(10.0) * power
}

/// The rectangle of the plot, inside the axes' labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// Left end.
    pub left: f64,
    /// Right end.
    pub right: f64,
    /// Top.
    pub top: f64,
    /// Bottom, where the axis lies.
    pub bottom: f64,
}

impl Area {
    /// The lower axis: line, ticks and `label`.
    pub fn x_axis(&self, scale: &Scale, label: &str) -> String {
        self.x_ticks(scale, true) + &text(self.right, self.bottom + 33.0, "end", "label", label)
    }

    /// The lower axis with ticks, and their numbers where `is_numbered`. A tick that would touch the one before has no number.
    pub fn x_ticks(&self, scale: &Scale, is_numbered: bool) -> String {
        let mut axis = line([self.left, self.bottom], [self.right, self.bottom], "axis");
        let mut free = f64::NEG_INFINITY;
        for (tick, printed) in scale.ticks() {
            let (x, half) =
                (scale.at(tick), crate::report::svg::shapes::text_width(&printed) / 2.0);
            axis += &line([x, self.bottom], [x, self.bottom + 4.0], "axis");
            if is_numbered && x - half > free {
                axis += &text(x, self.bottom + 17.0, "middle", "tick", &printed);
                free = x + half + 6.0;
            }
        }
        axis
    }

    /// Horizontal lines with their numbers at the left.
    pub fn y_axis(&self, scale: &Scale) -> String {
        self.y_lines(scale, true)
    }

    /// Horizontal lines, with their numbers at the left where `is_numbered`.
    pub fn y_lines(&self, scale: &Scale, is_numbered: bool) -> String {
        let mut axis = String::new();
        for (tick, printed) in scale.ticks() {
            let y = scale.at(tick);
            axis += &line([self.left, y], [self.right, y], "grid");
            if is_numbered {
                axis += &text(self.left - 6.0, y + 4.0, "end", "tick", &printed);
            }
        }
        axis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(low: f64, high: f64) -> Vec<String> {
        Scale::new(low, high, [0.0, 1.0]).ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(printed(0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(printed(-0.31, 0.7), ["-0.2", "0.0", "0.2", "0.4", "0.6"].map(String::from));
        assert_eq!(printed(1.0, 357.0), ["100", "200", "300"]);
        assert_eq!(printed(-1234.5, -1200.0), ["-1230", "-1220", "-1210", "-1200"]);
    }

    #[test]
    fn every_interval_has_a_few_ticks_however_odd_it_is() {
        for (low, high) in
            [(0.0, 0.0), (5.0, 5.0), (-1e-9, 1e-9), (0.0, 1e12), (0.3, 0.30001), (-7.0, 3.0)]
        {
            let ticks = printed(low, high);
            assert!((2..=8).contains(&ticks.len()), "{low}..{high}: {ticks:?}");
        }
    }

    #[test]
    fn a_scale_may_run_downwards_and_a_nice_one_ends_on_ticks() {
        let scale = Scale::new(0.0, 10.0, [200.0, 0.0]);
        assert!((scale.at(2.5) - 150.0).abs() <= 1e-12);
        let [low, high] = Scale::nice(0.13, 0.87, [0.0, 1.0]).domain();
        assert!(low.abs() <= 1e-12 && (high - 1.0).abs() <= 1e-12, "{low} {high}");
    }
}
