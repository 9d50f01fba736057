//! Texts padded to a width, as Python's methods of strings do it.

use minijinja::Error;
use minijinja::value::{Value, from_args};

use super::python_values::refused;

/// Widest text that is padded, in characters.
const WIDEST: usize = 100_000;

/// `center`, `ljust`, `rjust` and `zfill`.
pub(super) fn padded(text: &str, name: &str, args: &[Value]) -> Result<String, Error> {
    let (width, fill): (i64, Option<&str>) = from_args(args)?;
    let width = usize::try_from(width).unwrap_or(0);
    let mut fill = fill.unwrap_or(" ").chars();
    let (Some(fill), None) = (fill.next(), fill.next()) else {
        return Err(refused(format!("`{name}` with what is not one character")));
    };
    let padding = width.saturating_sub(text.chars().count());
    if name == "center" || width > WIDEST {
        return centered(text, width, fill);
    }
    let pad = |fill: char| fill.to_string().repeat(padding);
    Ok(match name {
        "ljust" => text.to_owned() + &pad(fill),
        "rjust" => pad(fill) + text,
        _ if args.len() > 1 => return Err(refused("`zfill` with two arguments")),
        _ => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            [sign, &pad('0'), digits].concat()
        }
    })
}

/// Python's `str.center`.
pub(super) fn centered(text: &str, width: usize, fill: char) -> Result<String, Error> {
    if width > WIDEST {
        return Err(refused(format!("a text of the width {width}")));
    }
    let padding = width.saturating_sub(text.chars().count());
    let left = padding / 2 + (padding & width & 1);
    let pad = |count: usize| fill.to_string().repeat(count);
    Ok(pad(left) + text + &pad(padding - left))
}
