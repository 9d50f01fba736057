//! `report.html` and `report.md` have the same content, but for drawings.

use roxmltree::{Document, Node, ParsingOptions};

use super::paa::report_judged;
use super::{add_answers, page, place, succeed};

/// Elements with text that the Markdown has too.
const BLOCKS: [&str; 12] =
    ["h1", "h2", "h3", "h4", "p", "li", "th", "td", "dt", "dd", "pre", "summary"];

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of rendered Markdown in one line: no backslashes of escapes, no backticks, no bars between cells.
fn rendered(markdown: &str) -> String {
    let mut text = String::new();
    let mut letters = markdown.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\\', Some(next)) if next.is_ascii_punctuation() => text.extend(letters.next()),
            ('`', _) => {}
            ('|', _) => text.push(' '),
            _ => text.push(letter),
        }
    }
    one_line(&text)
}

/// The text of an element in one line, without the backticks and bars that [`rendered`] removes from the Markdown.
fn text_of(node: Node<'_, '_>) -> String {
    let texts = node.descendants().filter(Node::is_text).filter_map(|inside| inside.text());
    one_line(&texts.collect::<String>().replace('`', "").replace('|', " "))
}

fn has_class(node: Node<'_, '_>, classes: &[&str]) -> bool {
    node.attribute("class").is_some_and(|class| classes.contains(&class))
}

/// Whether Markdown leaves `node` out, has a sample of it, or, of tiles, puts punctuation between its parts.
fn is_drawn(node: Node<'_, '_>) -> bool {
    let only_charts = |node: Node<'_, '_>| {
        let folded = node.children().find(|child| child.has_tag_name("details"));
        let mut below = folded.unwrap_or(node).children().filter(Node::is_element).skip(1);
        below.all(|part| has_class(part, &["grid", "key"]))
    };
    node.ancestors().any(|above| {
        has_class(above, &["grid", "key", "tiles", "answers"])
            || (above.has_tag_name("section") && only_charts(above))
    })
}

#[test]
fn markdown_has_every_heading_sentence_and_cell_of_the_page() {
    let place = place();
    add_answers(&place);
    succeed(&place, &["one"]);
    succeed(&place, &["one", "two", "--output", "both"]);
    report_judged(&place);
    succeed(&place, &["one", "paa", "--output", "mixed"]);
    for run in ["one", "both", "paa", "mixed"] {
        let html = page(&place, &format!("{run}/report.html"));
        let markdown = rendered(&page(&place, &format!("{run}/report.md")));
        let options = ParsingOptions { allow_dtd: true, ..Default::default() };
        let document = Document::parse_with_options(&html, options).unwrap();
        let blocks = document.descendants().filter(|node| BLOCKS.contains(&node.tag_name().name()));
        let texts: Vec<String> = blocks.filter(|node| !is_drawn(*node)).map(text_of).collect();
        assert!(texts.len() > 300, "{run}: {} texts", texts.len());
        for text in texts {
            assert!(markdown.contains(&text), "{run}: `{text}` is not in\n{markdown}");
        }
    }
}
