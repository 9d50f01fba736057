//! What each of several models looks like, in every chart and in its key: a colour and a mark.

use crate::report::svg::marks::{Shape, State};

/// Colours of the page, in the order of the models.
const COLOURS: [&str; 7] = ["blue", "orange", "green", "purple", "red", "sky", "olive"];

const SHAPES: [Shape; 4] = [Shape::Disc, Shape::Diamond, Shape::Square, Shape::Triangle];

/// Class of the elements of model `index`: colour and shape differ for 28 models.
pub fn class(index: usize) -> String {
    format!("model{}", index % COLOURS.len())
}

/// The mark of model `index` at a place; open where `is_open`.
pub fn mark(index: usize, is_open: bool, x: f64, y: f64) -> String {
    let state = if is_open { State::Before } else { State::After };
    SHAPES[index % SHAPES.len()].mark(&class(index), state, x, y)
}

/// The rules of a style sheet for the classes.
pub(super) fn css() -> String {
    let rule = |(index, colour)| format!("svg .model{index} {{ --color: var(--{colour}); }}\n");
    COLOURS.iter().enumerate().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn four_models_differ_in_mark_and_28_in_mark_or_colour() {
        let looks: BTreeSet<String> = (0..28).map(|i| mark(i, false, 7.0, 7.0)).collect();
        assert_eq!(looks.len(), 28);
        let shapes: BTreeSet<_> = SHAPES.iter().map(|shape| format!("{shape:?}")).collect();
        assert_eq!(shapes.len(), SHAPES.len());
        assert!(mark(0, true, 7.0, 7.0).contains("\"model0 before mark\""));
        assert!(css().contains("svg .model6 { --color: var(--olive); }"));
    }
}
