//! Elements of every chart: the frame, lines, text and its width.

use crate::report::markup::escape;

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
