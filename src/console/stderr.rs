//! Lines on stderr. A stderr that is closed or full loses them and never ends the program.

use std::fmt::Display;
use std::io::{self, Write};

use terminal_size::{Width, terminal_size_of};

use crate::console::colour;
use crate::console::wrap::wrap;

/// What a line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// `error: `, in red on a terminal.
    Error,
    /// `warning: `, in yellow.
    Warning,
    /// `hint: `, in cyan.
    Hint,
}

impl Mark {
    const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Hint];

    fn word(self) -> &'static str {
        match self {
            Self::Error => "error:",
            Self::Warning => "warning:",
            Self::Hint => "hint:",
        }
    }

    /// Parameters of the escape sequence: bold in a colour.
    fn style(self) -> &'static str {
        match self {
            Self::Error => "1;31",
            Self::Warning => "1;33",
            Self::Hint => "1;36",
        }
    }
}

/// Prints `text` and a line break.
pub fn say(text: impl Display) {
    write(&text.to_string());
}

/// Prints `text` behind `mark`.
pub fn say_as(mark: Mark, text: impl Display) {
    write(&format!("{} {text}", mark.word()));
}

/// Columns of a line: `COLUMNS`, or the terminal's; none in a file or a pipe, where a message stays in one line.
pub fn columns() -> Option<usize> {
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let seen = || terminal_size_of(io::stderr()).map(|(Width(columns), _)| usize::from(columns));
    set.or_else(seen).filter(|columns| *columns >= 20)
}

fn write(text: &str) {
    let text = match columns() {
        Some(columns) => {
            let lines = text.lines().map(|line| {
                let begin = line.chars().take_while(|c| *c == ' ').count();
                wrap(line, columns, begin + 2)
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        None => text.to_owned(),
    };
    let has_colours = colour::is_taken_by(&io::stderr());
    let text = if has_colours { coloured(&text) } else { text };
    // Nobody is left to be told.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// `text` with the marks that begin its lines in their colours.
fn coloured(text: &str) -> String {
    let line = |line: &str| {
        let mark = Mark::ALL.into_iter().find(|mark| line.starts_with(mark.word()));
        mark.map_or_else(
            || line.to_owned(),
            |mark| {
                let word = mark.word();
                format!("\x1b[{}m{word}\x1b[0m{}", mark.style(), &line[word.len()..])
            },
        )
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_coloured_at_the_beginning_of_a_line_and_nowhere_else() {
        assert_eq!(
            coloured("error: a warning: b\n\nhint: c"),
            "\x1b[1;31merror:\x1b[0m a warning: b\n\n\x1b[1;36mhint:\x1b[0m c"
        );
    }
}
