//! Text in lines that a terminal of 80 columns shows whole.

/// Columns of results on stdout, whatever the terminal: the same command prints the same lines everywhere.
pub const COLUMNS: usize = 80;

/// `text` in lines of at most `columns`, broken at spaces; a longer word, such as a path, has a line of its own.
///
/// Line breaks of `text` stay. Lines after a break begin with `indent` spaces.
pub fn wrap(text: &str, columns: usize, indent: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| wrap_line(line, columns, indent)).collect();
    lines.join("\n")
}

fn wrap_line(line: &str, columns: usize, indent: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let mut wrapped: String = line.chars().take_while(|c| *c == ' ').collect();
    let (mut used, mut is_first) = (wrapped.len(), true);
    let begin = wrapped.len();
    // Spaces between words stay as they are where the line goes on, so that columns stay aligned.
    for (gap, word) in words(&line[begin..]) {
        let length = word.chars().count();
        if !is_first && used + gap + length > columns {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            used = indent;
        } else {
            wrapped.push_str(&" ".repeat(gap));
            used += gap;
        }
        wrapped.push_str(word);
        used += length;
        is_first = false;
    }
    wrapped
}

/// The words of `text`, each with the number of spaces before it.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut gap = 0;
    for word in text.split(' ') {
        match word {
            "" => gap += 1,
            word => {
                words.push((gap, word));
                gap = 1;
            }
        }
    }
    words
}

/// A command in lines of at most [`COLUMNS`] less `indent`, which a shell reads as one: each but the last ends in ` \`.
pub fn command(words: &[String], indent: usize) -> String {
    let mut text = String::new();
    let mut used = indent;
    for (place, word) in words.iter().enumerate() {
        let length = word.chars().count();
        // A flag stays with its value.
        let with_value = match words.get(place + 1).filter(|next| !next.starts_with("--")) {
            Some(value) if word.starts_with("--") => length + 1 + value.chars().count(),
            _ => length,
        };
        let breaks = word.starts_with("--") && used + 1 + with_value + 2 > COLUMNS;
        if breaks {
            text.push_str(&format!(" \\\n{}", " ".repeat(indent)));
            used = indent;
        } else if place > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_text_keeps_its_words_its_breaks_and_its_columns() {
        let text = format!("  a:  {}\nshort", "word ".repeat(60).trim());
        let wrapped = wrap(&text, 80, 4);
        assert!(wrapped.lines().all(|line| line.len() <= 80), "{wrapped}");
        assert!(wrapped.starts_with("  a:  word") && wrapped.ends_with("\nshort"), "{wrapped}");
        assert!(wrapped.lines().nth(1).unwrap().starts_with("    word"), "{wrapped}");
        assert_eq!(wrapped.split_whitespace().count(), 62);
    }

    #[test]
    fn a_path_that_is_too_long_has_a_line_of_its_own() {
        let path = "p/".repeat(60);
        assert_eq!(wrap(&format!("at {path} it"), 80, 2), format!("at\n  {path}\n  it"));
    }

    #[test]
    fn a_broken_command_is_one_command_for_a_shell() {
        let words: Vec<String> =
            "train --config a --set bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb --output ccccccccccccccccc"
                .split(' ')
                .map(str::to_owned)
                .collect();
        let text = command(&words, 9);
        assert!(text.lines().all(|line| 9 + line.trim().len() <= 80) && text.contains(" \\\n"));
        assert_eq!(text.replace(" \\\n         ", " "), words.join(" "));
    }
}
