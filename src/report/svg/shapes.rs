//! Elements of every chart: the frame, lines, text and its width.

use crate::report::markup::escape;

/// Width of every drawing, in its own units: on a page of 390 pixels a letter of 12 is drawn with 10.
pub const WIDTH: f64 = 420.0;

/// Estimated width of a letter, in units of the drawing; the font's size is 12.
pub const LETTER: f64 = 6.8;

/// Estimated width of `text`.
pub fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

/// Estimated width of semi-bold `text`.
pub(in crate::report) fn name_width(text: &str) -> f64 {
    1.12 * text_width(text)
}

/// As much of a semi-bold `name` as fits into `width`, with `…` where some is left out.
pub(in crate::report) fn fitted(name: &str, width: f64) -> String {
    if name_width(name) <= width {
        return name.to_owned();
    }
    let letters = (width / name_width("n")) as usize;
    name.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

/// The element `svg` around `body`, with a title and a description for a screen reader.
pub(in crate::report) fn document(
    width: f64,
    height: f64,
    title: &str,
    description: &str,
    body: &str,
) -> String {
    format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\">\n<title>{title}</title>\n{body}</svg>\n",
        label = escape(&format!("{title}. {description}")),
        title = escape(title),
    )
}

/// Text at a place; `anchor` is `start`, `middle` or `end`.
pub(in crate::report) fn text(x: f64, y: f64, anchor: &str, class: &str, content: &str) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>\n",
        escape(content)
    )
}

/// A straight line.
pub(in crate::report) fn line([x1, y1]: [f64; 2], [x2, y2]: [f64; 2], class: &str) -> String {
    format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_legible_on_a_page_of_390_pixels() {
        let page = 390.0 - 40.0; // less its margins
        assert!(12.0 * page / WIDTH >= 10.0);
    }

    #[test]
    fn a_name_that_does_not_fit_says_so() {
        assert_eq!(fitted("short", 100.0), "short");
        let cut = fitted(&"long name ".repeat(9), 100.0);
        assert!(cut.ends_with('…') && name_width(&cut) <= 100.0, "{cut}");
    }
}
