//! A report as data: what a page shows, in order, before it is HTML or Markdown.
//!
//! [`crate::report::sections`] builds it from runs, [`crate::report::html`] and [`crate::report::markdown`] render it. Both show
//! every part, but Markdown has no place for drawings.

use crate::report::table::Table;
use crate::report::text::Text;

/// A whole page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// Title of the document, such as a browser's tab shows.
    pub title: String,
    /// The one heading of the first rank.
    pub heading: String,
    /// Parts between the heading and the first section.
    pub intro: Vec<Part>,
    /// The sections in order.
    pub sections: Vec<Section>,
}

/// Parts under a heading that a link can lead to, and further sections inside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// Name for links, unique on the page: `set0`, or `run1-set0` inside `run1`.
    pub id: String,
    /// The heading.
    pub title: String,
    /// The parts in order; a section without parts and inner sections is not shown.
    pub parts: Vec<Part>,
    /// Sections one rank below.
    pub inner: Vec<Section>,
    /// Whether a reader unfolds it; its heading stays visible.
    pub is_folded: bool,
}

/// One block of a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A heading one rank below that of the section.
    Heading(String),
    /// A paragraph.
    Sentence(Kind, Text),
    /// A table.
    Table(Table),
    /// Items, each a sentence.
    List(Vec<Text>),
    /// Headline figures.
    Tiles(Vec<Tile>),
    /// What the symbols of the charts below stand for; drawings only.
    Key(Vec<Symbol>),
    /// Drawings side by side where there is room; HTML only.
    Charts(Vec<Chart>),
    /// Texts as they are, each under its name, with a heading.
    Record(Record),
    /// Every answer of a set or verdict of a model: HTML has all of them, Markdown the sample.
    Answers(Answers),
    /// A file or a program.
    Code(Code),
    /// Parts that a reader unfolds.
    Details {
        /// The line that stays visible.
        summary: String,
        /// The parts that it hides.
        parts: Vec<Part>,
    },
}

/// Purpose of a sentence; decides its style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Names model and device, or the runs, below a heading.
    Lead,
    /// Explains a table.
    Note,
    /// Points out what to see in figures.
    Reading,
    /// Explains why something is not shown.
    Missing,
}

/// A headline figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// What the figure is.
    pub name: String,
    /// The figure with its unit.
    pub value: String,
    /// Smaller lines below: interval and count, the figure before tuning.
    pub lines: Vec<String>,
}

/// A symbol of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Elements of SVG in a box of 14 by 14.
    pub svg: String,
    /// What it stands for.
    pub name: String,
}

/// A drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// What it shows.
    pub caption: String,
    /// Unit of its values; empty where the axis names it.
    pub unit: String,
    /// The element `svg`.
    pub svg: String,
    /// What to see in it.
    pub reading: Text,
}

/// Texts of one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The heading.
    pub title: String,
    /// Name and text.
    pub entries: Vec<(String, String)>,
}

/// The generated answers of a set, one record a prompt; or the verdicts on a model's answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The name of the set, or of the model.
    pub set: String,
    /// What one record is: `prompts`, `verdicts`.
    pub noun: &'static str,
    /// The file that holds them, in the run folder.
    pub file: String,
    /// Records of that file.
    pub total: usize,
    /// Every record, texts in full; evenly spaced ones where all are too much for a page.
    pub all: Vec<Record>,
    /// Evenly spaced prompts with their places in `all`, long texts cut; for a page that cannot hold all.
    pub sample: Vec<(usize, Record)>,
}

/// Text of a language, line breaks included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// As Markdown names it, such as `toml`.
    pub language: &'static str,
    /// The text.
    pub text: String,
}

impl Section {
    /// A section without inner ones.
    pub fn new(id: impl Into<String>, title: impl Into<String>, parts: Vec<Part>) -> Self {
        Self { id: id.into(), title: title.into(), parts, ..Self::default() }
    }

    /// The same, folded.
    pub fn folded(self) -> Self {
        Self { is_folded: true, ..self }
    }

    /// Adds `section` inside, with this section's id before its own.
    pub fn add(&mut self, section: Section) {
        let id = format!("{}-{}", self.id, section.id);
        self.inner.push(Section { id, ..section });
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.inner.iter().all(Section::is_empty)
    }
}

impl Part {
    /// A sentence of [`Kind::Lead`].
    pub fn lead(text: impl Into<Text>) -> Self {
        Self::Sentence(Kind::Lead, text.into())
    }

    /// A sentence of [`Kind::Note`].
    pub fn note(text: impl Into<Text>) -> Self {
        Self::Sentence(Kind::Note, text.into())
    }

    /// A sentence of [`Kind::Reading`].
    pub fn reading(text: impl Into<Text>) -> Self {
        Self::Sentence(Kind::Reading, text.into())
    }

    /// A sentence of [`Kind::Missing`].
    pub fn missing(text: impl Into<Text>) -> Self {
        Self::Sentence(Kind::Missing, text.into())
    }

    /// A heading.
    pub fn heading(text: impl Into<String>) -> Self {
        Self::Heading(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{html, markdown};

    /// One part of every kind; every text on it has a word of its own.
    fn parts() -> Vec<Part> {
        let mut table = Table::new(["header-a", "header|b"]);
        table.push([Text::from("cell *c*"), Text::code("cell-d")]);
        table.push(["<cell>", "12.5"]);
        let kinds = [Part::lead("lead"), Part::note("note"), Part::reading("reading")];
        let tile = Tile { name: "tile".into(), value: "1 %".into(), lines: vec!["range".into()] };
        let entries = vec![("who".to_owned(), "first\n```\nlast".to_owned())];
        let code = Code { language: "toml", text: "a = \"<b>\"\n".into() };
        let hidden = vec![Part::missing("missing"), Part::Code(code)];
        let mut parts = vec![
            Part::heading("heading #"),
            Part::Table(table),
            Part::List(vec!["- item".into(), Text::marked("an `item`")]),
            Part::Tiles(vec![tile]),
            Part::Record(Record { title: "record".into(), entries }),
            Part::Details { summary: "summary".into(), parts: hidden },
        ];
        parts.extend(kinds);
        parts
    }

    fn page() -> Page {
        let mut outer = Section::new("outer", "Outer & title", parts());
        outer.add(Section::new("inner", "Inner_title", parts()));
        outer.add(Section::new("empty", "nothing here", vec![]));
        Page { title: "t".into(), heading: "page".into(), intro: parts(), sections: vec![outer] }
    }

    #[test]
    fn both_renderers_show_every_table_and_every_sentence() {
        let (html, markdown) = (html::page(&page()), markdown::page(&page()));
        for (in_html, in_markdown) in [
            (
                "<th scope=\"col\">header-a</th><th scope=\"col\">header|b</th>",
                "| header-a | header\\|b |\n|---|---|\n",
            ),
            ("<td>cell *c*</td><td><code>cell-d</code></td>", "| cell \\*c\\* | `cell-d` |\n"),
            ("<td>&lt;cell&gt;</td><td data-value=\"12.5\">12.5</td>", "| \\<cell> | 12.5 |\n"),
            ("<li>- item</li>", "- \\- item\n"),
            ("<li>an <code>item</code></li>", "- an `item`\n"),
            ("<span class=\"value\">1 %</span>", "- tile: 1 %, range\n"),
            ("<dt>who</dt><dd>first\n```\nlast</dd>", "who:\n\n````text\nfirst\n```\nlast\n````\n"),
            (">a = &quot;&lt;b&gt;&quot;</pre>", "```toml\na = \"<b>\"\n```\n"),
            ("<p class=\"lead\">lead</p>", "\nlead\n"),
            ("<p class=\"note\">note</p>", "\nnote\n"),
            ("<p class=\"reading\">reading</p>", "\nreading\n"),
            ("<p class=\"missing\">missing</p>", "\nmissing\n"),
        ] {
            assert_eq!(html.matches(in_html).count(), 3, "{in_html}\n{html}");
            assert_eq!(markdown.matches(in_markdown).count(), 3, "{in_markdown}\n{markdown}");
        }
    }

    #[test]
    fn headings_have_the_rank_of_their_depth_and_links_lead_to_sections() {
        let (html, markdown) = (html::page(&page()), markdown::page(&page()));
        for (in_html, in_markdown) in [
            ("<h1>page</h1>", "# page\n"),
            ("<h2>heading #</h2>", "\n## heading \\#\n"),
            ("<section id=\"outer\">\n<h2>Outer &amp; title</h2>", "\n## Outer \\& title\n"),
            ("<h3>record</h3>", "\n### record\n"),
            ("<section id=\"outer-inner\">\n<h3>Inner_title</h3>", "\n### Inner_title\n"),
            ("<h4>heading #</h4>", "\n#### heading \\#\n"),
        ] {
            assert_eq!(html.matches(in_html).count(), 1, "{in_html}\n{html}");
            assert_eq!(markdown.matches(in_markdown).count(), 1, "{in_markdown}\n{markdown}");
        }
        assert!(!html.contains("nothing here") && !markdown.contains("nothing here"));
    }

    #[test]
    fn drawings_are_left_out_of_markdown_with_a_section_of_nothing_else() {
        let chart = Chart {
            caption: "caption".into(),
            unit: "nats".into(),
            svg: "<svg/>".into(),
            reading: "reading".into(),
        };
        let key = Symbol { svg: "<path/>".into(), name: "key".into() };
        let parts = vec![Part::Key(vec![key]), Part::Charts(vec![chart]), Part::Charts(vec![])];
        let page = Page { sections: vec![Section::new("a", "Curves", parts)], ..page() };
        let html = html::page(&page);
        for part in ["Curves", "<svg/>", "<path/></svg>key", ">caption <", ">nats<", ">reading<"] {
            assert!(html.contains(part), "{part}\n{html}");
        }
        assert_eq!(html.matches("class=\"grid\"").count(), 1);
        assert!(!markdown::page(&page).contains("Curves"));
    }

    #[test]
    fn a_line_of_links_leads_to_the_sections_and_a_folded_one_keeps_its_heading_visible() {
        let parts = || vec![Part::note("a note")];
        let empty = Section::new("c", "Not shown", vec![]);
        let sections = vec![
            Section::new("a", "First <one>", parts()),
            Section::new("b", "B", parts()).folded(),
            empty,
        ];
        let html = html::page(&Page { sections, ..Page::default() });
        for part in [
            "<nav aria-label=\"Contents\">\n<a href=\"#a\">First &lt;one&gt;</a>\n<a href=\"#b\">B</a>\n</nav>",
            "<section id=\"b\">\n<details><summary><h2>B</h2></summary>\n<p class=\"note\">a note</p>\n</details>",
        ] {
            assert!(html.contains(part), "`{part}` is not in\n{html}");
        }
    }

    #[test]
    fn html_has_all_answers_and_markdown_a_sample_and_where_the_rest_is() {
        let record = |place: usize| {
            let entries = vec![("prompt".to_owned(), format!("text of {place}."))];
            Record { title: format!("S, {place}"), entries }
        };
        let answers = Answers {
            set: "S".into(),
            noun: "prompts",
            file: "eval/generations-S-after.jsonl".into(),
            total: 40,
            all: (0..40).map(record).collect(),
            sample: vec![(0, record(0)), (20, record(20))],
        };
        let sections = vec![Section::new("a", "Answers", vec![Part::Answers(answers)])];
        let page = Page { sections, ..Page::default() };
        let (html, markdown) = (html::page(&page), markdown::page(&page));
        assert_eq!([html.matches("text of").count(), markdown.matches("text of").count()], [40, 2]);
        let said = "2 of 40 prompts, evenly spaced; `eval/generations-S-after.jsonl` in the run folder has all.";
        assert!(markdown.contains(said), "{markdown}");
    }
}
