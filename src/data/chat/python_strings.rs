//! String literals of a template: Python's escapes -> those that the engine reads.

/// Writes a literal, given with its quotes, with Python's value of it.
///
/// Escapes are those of Python's `unicode-escape`, through which Jinja2 reads its literals: `\a`, `\U0001F600` and a backslash
/// before a line end among them. An error names an escape that is refused.
pub(super) fn push_literal(literal: &str, out: &mut String) -> Result<(), String> {
    let quote = literal.chars().next().unwrap_or('"');
    let closed = literal.len() > 1 && literal.ends_with(quote);
    if !literal.contains('\\') || !closed {
        out.push_str(literal);
        return Ok(());
    }
    out.push(quote);
    let mut rest = &literal[1..literal.len() - 1];
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        rest = &rest[push_escape(rest, out)?..];
    }
    out.push_str(rest);
    out.push(quote);
    Ok(())
}

/// Writes the character of an escape, given without its backslash, and returns how long the escape is.
fn push_escape(text: &str, out: &mut String) -> Result<usize, String> {
    let Some(first) = text.chars().next() else {
        return Err("a string that ends in `\\`".to_owned());
    };
    let code = |digits: usize| {
        let found =
            text.get(1..=digits).filter(|found| found.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = found.and_then(|found| u32::from_str_radix(found, 16).ok());
        code.ok_or_else(|| format!("a string with `\\{first}` before fewer than {digits} digits"))
    };
    let (value, length) = match first {
        '\n' => return Ok(1),
        '\\' | '\'' | '"' => (u32::from(first), 1),
        'a' => (7, 1),
        'b' => (8, 1),
        't' => (9, 1),
        'n' => (10, 1),
        'v' => (11, 1),
        'f' => (12, 1),
        'r' => (13, 1),
        'x' => (code(2)?, 3),
        'u' => (code(4)?, 5),
        'U' => (code(8)?, 9),
        'N' => return Err("a string with a character's name, `\\N{...}`".to_owned()),
        '0'..='7' => {
            let digits = text.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
            (u32::from_str_radix(&text[..digits], 8).unwrap_or_default(), digits)
        }
        // Python keeps the backslash of an escape that it does not know.
        other => {
            out.push_str("\\\\");
            out.push(other);
            return Ok(other.len_utf8());
        }
    };
    let c = char::from_u32(value).ok_or("a string with one half of a surrogate pair")?;
    if matches!(c, '\\' | '\'' | '"') {
        out.push('\\');
    }
    out.push(c);
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_is_the_character_that_python_reads() {
        let read = |literal: &str| {
            let mut out = String::new();
            push_literal(literal, &mut out).map(|()| out)
        };
        // What Python evaluates the left side to, with the backslash of the right side's quotes and backslashes.
        for (literal, expected) in [
            (r"'a\n\t\x41\u00e9\U0001F600\101\7'", "'a\n\tAé😀A\u{7}'"),
            (r"'\a\b\v\f'", "'\u{7}\u{8}\u{b}\u{c}'"),
            ("'a\\\nb'", "'ab'"),
            (r"'\d\é'", r"'\\d\\é'"),
            (r#"'\'\"\\'"#, r#"'\'\"\\'"#),
            (r"'\47'", r"'\''"),
            ("'a", "'a"),
        ] {
            assert_eq!(read(literal).as_deref(), Ok(expected), "{literal}");
        }
        for literal in [r"'\N{BULLET}'", r"'\x4'", r"'\u12'", r"'\ud800'"] {
            assert!(read(literal).is_err(), "{literal}");
        }
    }
}
