//! A printed figure as plain numbers: what a table sorts by and what a CSV file holds.

use crate::report::table::Table;
use crate::report::text::Text;

/// The numbers of a cell such as `48.21 [46.10, 50.30]`, `60.00 ± 10.00` or `1,234`, as digits that any program reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::report) enum Figure {
    /// A number alone.
    Value(String),
    /// A number with the ends of its interval.
    Interval([String; 3]),
    /// A mean with the standard deviation.
    Deviation([String; 2]),
}

impl Figure {
    /// The numbers of `cell`; none of any other text.
    pub(in crate::report) fn of(cell: &str) -> Option<Self> {
        if let Some((value, ends)) = cell.strip_suffix(']').and_then(|cell| cell.split_once(" [")) {
            let (low, high) = ends.split_once(", ")?;
            return Some(Self::Interval([plain(value)?, plain(low)?, plain(high)?]));
        }
        if let Some((mean, deviation)) = cell.split_once(" ± ") {
            return Some(Self::Deviation([plain(mean)?, plain(deviation)?]));
        }
        plain(cell).map(Self::Value)
    }

    /// The first number.
    pub(in crate::report) fn value(&self) -> &str {
        self.numbers()[0].as_str()
    }

    /// All numbers.
    pub(in crate::report) fn numbers(&self) -> &[String] {
        match self {
            Self::Value(value) => std::slice::from_ref(value),
            Self::Interval(numbers) => numbers,
            Self::Deviation(numbers) => numbers,
        }
    }

    /// What the numbers after the first are.
    pub(in crate::report) fn suffixes(&self) -> &'static [&'static str] {
        match self {
            Self::Value(_) => &[],
            Self::Interval(_) => &["low", "high"],
            Self::Deviation(_) => &["sd"],
        }
    }
}

/// For each column of `table`, whether it holds numbers alone, with their intervals or without, or nothing.
pub(in crate::report) fn numeric(table: &Table) -> Vec<bool> {
    let is_number = |column: usize| table.rows().iter().all(|row| is_number(&row.cells[column]));
    (0..table.header().len()).map(is_number).collect()
}

/// Whether a cell is a number, with its interval or without, or empty.
fn is_number(cell: &Text) -> bool {
    let is_part = |letter: char| letter.is_ascii_digit() || " +-.,/[]±%".contains(letter);
    cell.to_string().chars().all(is_part)
}

/// `+1,234.50 %` as `1234.50`; none of what is no number.
fn plain(printed: &str) -> Option<String> {
    let number = printed.trim().trim_end_matches(" %").replace(',', "");
    let number = number.strip_prefix('+').unwrap_or(&number);
    let is_digits = number.chars().all(|letter| letter.is_ascii_digit() || "-.".contains(letter));
    (is_digits && number.parse::<f64>().is_ok()).then(|| number.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_are_printed_and_nothing_else_is() {
        for (cell, numbers) in [
            ("48.21 [46.10, 50.30]", &["48.21", "46.10", "50.30"][..]),
            ("+3.21 [-1.10, +5.40]", &["3.21", "-1.10", "5.40"]),
            ("60.00 ± 10.00", &["60.00", "10.00"]),
            ("24,020", &["24020"]),
            ("87.50 %", &["87.50"]),
        ] {
            assert_eq!(Figure::of(cell).unwrap().numbers(), numbers, "{cell}");
        }
        for text in ["", "-", "0.1 / 0.2", "12 GiB", "nan", "inf", "1e5", "=1"] {
            assert_eq!(Figure::of(text), None, "{text}");
        }
    }
}
