//! The lower axis of a forest plot: shares from 0 to 100 %, or differences to either side of 0.

use crate::report::svg::axis::{Area, Scale};
use crate::report::svg::shapes::{line, text};

/// The ends of every axis of shares, in percent: charts of one page can be compared by eye.
pub const SHARES: [f64; 2] = [0.0, 100.0];

/// Half the width of an axis of differences is the first of these that holds all figures, in percent.
const REACHES: [f64; 7] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// Steps between two ticks: a tick at each end, in the middle and between.
const STEPS: i32 = 4;

/// Which figures the axis has, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ForestAxis {
    /// Shares; a dashed line is at 50 %, the chance of OPA and of a coin.
    Shares,
    /// Shares of which half is nothing special.
    PlainShares,
    /// Differences of shares up to `reach` either way; the dashed line is at 0.
    Differences {
        /// Half the width.
        reach: f64,
    },
}

impl ForestAxis {
    /// The axis that holds `differences`, shares in `-1..=1`.
    pub(super) fn of_differences(differences: impl Iterator<Item = f64>) -> Self {
        let largest = differences.fold(0.0, |most: f64, one| most.max(100.0 * one.abs()));
        let reach = REACHES.into_iter().find(|reach| *reach >= largest).unwrap_or(SHARES[1]);
        Self::Differences { reach }
    }

    /// Its ends.
    pub(super) fn ends(self) -> [f64; 2] {
        match self {
            Self::Shares | Self::PlainShares => SHARES,
            Self::Differences { reach } => [-reach, reach],
        }
    }

    /// `75.0`, or a difference with its sign: `+2.5`.
    pub(super) fn print(self, share: f64) -> String {
        // `+ 0.0` makes a negative zero a zero.
        let rounded = (1000.0 * share).round() / 10.0 + 0.0;
        match self {
            Self::Shares | Self::PlainShares => format!("{rounded:.1}"),
            Self::Differences { .. } => format!("{rounded:+.1}"),
        }
    }

    /// Lines at the ticks, the one in the middle dashed, and their numbers below.
    pub(super) fn draw(self, area: &Area, x: &Scale) -> String {
        let [low, high] = self.ends();
        let mut axis = line([area.left, area.bottom], [area.right, area.bottom], "axis");
        for step in 0..=STEPS {
            let tick = low + (high - low) * f64::from(step) / f64::from(STEPS);
            let class =
                if 2 * step == STEPS && self != Self::PlainShares { "reference" } else { "grid" };
            let printed = match self {
                Self::Differences { .. } if 2 * step != STEPS => format!("{tick:+}"),
                _ => format!("{tick}"),
            };
            axis += &line([x.at(tick), area.top], [x.at(tick), area.bottom], class);
            axis += &text(x.at(tick), area.bottom + 15.0, "middle", "tick", &printed);
        }
        axis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_of_differences_has_zero_in_its_middle_and_holds_all() {
        let axis = ForestAxis::of_differences([-0.031, 0.02].into_iter());
        assert_eq!(axis, ForestAxis::Differences { reach: 5.0 });
        let area = Area { left: 0.0, right: 100.0, top: 0.0, bottom: 10.0 };
        let svg = axis.draw(&area, &Scale::new(-5.0, 5.0, [0.0, 100.0]));
        for tick in [">-5<", ">-2.5<", ">0<", ">+2.5<", ">+5<"] {
            assert!(svg.contains(tick), "`{tick}` is not in {svg}");
        }
        assert!(svg.contains("x1=\"50.0\" y1=\"0.0\" x2=\"50.0\" y2=\"10.0\" class=\"reference\""));
        assert_eq!(
            ForestAxis::of_differences([].into_iter()),
            ForestAxis::Differences { reach: 1.0 }
        );
    }

    #[test]
    fn a_difference_has_a_sign_and_no_negative_zero() {
        let axis = ForestAxis::Differences { reach: 5.0 };
        assert_eq!([0.0123, -0.5, -1e-9].map(|share| axis.print(share)), ["+1.2", "-50.0", "+0.0"]);
        assert_eq!(ForestAxis::Shares.print(0.75), "75.0");
    }
}
