//! Names of tables and other boxes for those who do not see the page: the heading above, unique on the page.

use std::collections::BTreeMap;

/// The names given so far, and the headings that the next one is below.
#[derive(Debug, Default)]
pub(in crate::report) struct Labels {
    outer: String,
    heading: String,
    given: BTreeMap<String, usize>,
}

impl Labels {
    /// Below the heading of the page.
    pub(in crate::report) fn new(heading: &str) -> Self {
        Self { heading: heading.to_owned(), ..Self::default() }
    }

    /// Enters a section; returns the headings that [`Self::leave`] takes. `is_outer`: whether names inside begin with its heading.
    pub(in crate::report) fn enter(&mut self, heading: &str, is_outer: bool) -> String {
        let before = self.outer.clone();
        if is_outer {
            self.outer = format!("{before}{heading}, ");
        }
        self.below(heading);
        before
    }

    /// Leaves the section.
    pub(in crate::report) fn leave(&mut self, outer: String) {
        self.outer = outer;
    }

    /// Takes note of a heading.
    pub(in crate::report) fn below(&mut self, heading: &str) {
        self.heading = heading.to_owned();
    }

    /// The name of the next box: `Run one, MVP_test: figures`, with a number where the name was given before.
    pub(in crate::report) fn next(&mut self) -> String {
        let outer =
            if self.outer.trim_end_matches(", ") == self.heading { "" } else { &*self.outer };
        let name = format!("{outer}{}", self.heading);
        let count = self.given.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name} ({count})") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_boxes_have_one_name() {
        let mut labels = Labels::new("page");
        let outer = labels.enter("Run a", true);
        assert_eq!(labels.next(), "Run a");
        let inner = labels.enter("figures", false);
        assert_eq!([labels.next(), labels.next()], ["Run a, figures", "Run a, figures (2)"]);
        labels.leave(inner);
        labels.leave(outer);
        labels.below("end");
        assert_eq!(labels.next(), "end");
    }
}
