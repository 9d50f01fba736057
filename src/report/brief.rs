//! The notes of a run on a console: three lines, the most important first; the report has them all.

use crate::console::wrap::{COLUMNS, wrap};
use crate::report::text::Text;

/// Lines of notes that a command prints after its work.
const LINES: usize = 3;

/// What a command prints of the results: text with a few notes, and how many notes only the report has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Notes and table.
    pub text: String,
    /// Notes that are not in `text`.
    pub left_out: usize,
}

impl Shown {
    /// A line that says where the other notes are; empty where there are none.
    pub fn more(&self) -> String {
        match self.left_out {
            0 => String::new(),
            left_out => format!("notes:   {left_out} more in report.html\n"),
        }
    }
}

/// The first sentence of each of `notes`, in order, until `LINES` are full; and how many notes that were.
pub fn brief(notes: &[&Text]) -> (Vec<String>, usize) {
    let mut lines: Vec<String> = Vec::new();
    let mut shown = 0;
    for note in notes {
        let sentence = wrap(first_sentence(&note.to_string()), COLUMNS, 2);
        if lines.len() + sentence.lines().count() > LINES {
            break;
        }
        lines.extend(sentence.lines().map(str::to_owned));
        shown += 1;
    }
    (lines, shown)
}

/// `text` up to the full stop before the first capital letter: `Eq. 3` is no end.
fn first_sentence(text: &str) -> &str {
    let ends = text.match_indices(". ").map(|(at, _)| at + 1);
    let end = ends.into_iter().find(|&end| {
        let next = text[end..].trim_start_matches([' ', '`']).chars().next();
        next.is_some_and(|c| c.is_uppercase()) || text[end..].starts_with(" `")
    });
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_ends_before_a_capital_letter_or_a_name() {
        assert_eq!(first_sentence("the paper's Eq. 3. Ties are"), "the paper's Eq. 3.");
        assert_eq!(first_sentence("a: chosen. `eval.best` took"), "a: chosen.");
        assert_eq!(first_sentence("one without an end"), "one without an end");
    }

    #[test]
    fn three_lines_are_printed_however_many_notes_there_are() {
        let notes: Vec<Text> =
            (0..9).map(|i| Text::from(format!("note {i} {}. More.", "word ".repeat(20)))).collect();
        let (lines, shown) = brief(&notes.iter().collect::<Vec<_>>());
        assert_eq!((lines.len(), shown), (2, 1), "{lines:?}");
        assert!(lines[0].starts_with("note 0") && !lines[1].contains("More"), "{lines:?}");
    }
}
