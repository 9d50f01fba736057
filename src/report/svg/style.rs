//! What each quantity looks like, in every chart and in its key: a colour, a dash and a mark.
//!
//! Colour alone tells nothing apart: two quantities that share a chart differ in mark or dash too, so a chart can be read in grey
//! print and by colour-blind readers. The colours are variables of the page, which has them for light, dark and paper.

use crate::report::svg::marks::{Shape, State};
use crate::report::svg::models;

/// What a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Preference accuracy.
    Accuracy,
    /// OPA, and the reward accuracy of a step, which is OPA on its pairs.
    Opa,
    /// Accuracy by mean log-probability a token.
    Normalized,
    /// SPMR and its cosines.
    Spmr,
    /// Loss.
    Loss,
    /// Margins, of rewards or of log-probabilities.
    Margin,
    /// Log-probability of chosen answers.
    Chosen,
    /// Log-probability of rejected answers.
    Rejected,
}

/// In the order of [`Quantity`]: class, colour of the page, lengths of dash and gap (empty: a solid line), mark.
const STYLES: [(Quantity, &str, &str, &str, Shape); 8] = [
    (Quantity::Accuracy, "accuracy", "blue", "", Shape::Disc),
    (Quantity::Opa, "opa", "green", "7 3", Shape::Diamond),
    (Quantity::Normalized, "normalized", "sky", "9 3 2 3", Shape::Square),
    (Quantity::Spmr, "spmr", "purple", "2 3", Shape::Triangle),
    (Quantity::Loss, "loss", "red", "", Shape::Square),
    (Quantity::Margin, "margin", "olive", "", Shape::Disc),
    (Quantity::Chosen, "chosen", "orange", "", Shape::Square),
    (Quantity::Rejected, "rejected", "orange", "7 3", Shape::Diamond),
];

impl Quantity {
    fn style(self) -> (&'static str, &'static str, &'static str, Shape) {
        let (_, class, colour, dash, shape) = STYLES[self as usize];
        (class, colour, dash, shape)
    }

    /// Class of its elements.
    pub fn class(self) -> &'static str {
        self.style().0
    }

    /// Class of its elements in one state of the model.
    pub fn class_of(self, state: State) -> String {
        state.class_of(self.class())
    }

    /// Its mark at a place, in a chart and in a key.
    pub fn mark(self, state: State, x: f64, y: f64) -> String {
        self.style().3.mark(self.class(), state, x, y)
    }
}

/// The rules of a style sheet for every element of a drawing.
pub fn css() -> String {
    let quantity = |(_, class, colour, dash, _): &(Quantity, &str, &str, &str, Shape)| {
        let dash = match *dash {
            "" => String::new(),
            dash => format!("svg .{class}.curve {{ stroke-dasharray: {dash}; }}\n"),
        };
        format!("svg .{class} {{ --color: var(--{colour}); }}\n{dash}")
    };
    let quantities: String = STYLES.iter().map(quantity).collect();
    // The sheet comes last, so that its rules for points, for states and for dashes win.
    quantities + &models::css() + include_str!("style.css")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_quantities_of_one_chart_look_alike_in_grey() {
        let charts = [
            &[Quantity::Accuracy, Quantity::Opa, Quantity::Normalized, Quantity::Spmr][..],
            &[Quantity::Chosen, Quantity::Rejected],
        ];
        for chart in charts {
            let marks: BTreeSet<String> =
                chart.iter().map(|quantity| format!("{:?}", quantity.style().3)).collect();
            let dashes: BTreeSet<&str> = chart.iter().map(|quantity| quantity.style().2).collect();
            assert_eq!((marks.len(), dashes.len()), (chart.len(), chart.len()), "{chart:?}");
        }
    }

    #[test]
    fn every_quantity_has_one_style_and_every_style_a_rule() {
        let css = css();
        let looks: BTreeSet<_> = STYLES.iter().map(|style| (style.2, style.3)).collect();
        assert_eq!(looks.len(), STYLES.len(), "two quantities look alike");
        for (quantity, class, colour, ..) in STYLES {
            assert_eq!(quantity.class(), class, "the order of the table");
            assert!(css.contains(&format!("svg .{class} {{ --color: var(--{colour}); }}")));
        }
    }

    #[test]
    fn a_figure_before_tuning_has_an_open_mark_of_the_same_colour() {
        let [before, after] =
            [State::Before, State::After].map(|s| Quantity::Opa.mark(s, 7.0, 7.0));
        assert!(before.contains("\"opa before mark\"") && after.contains("\"opa mark\""));
    }
}
