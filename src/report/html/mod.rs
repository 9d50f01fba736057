//! Sections as one HTML file that requests nothing. It is well-formed XML too.
//!
//! Without its script the file shows everything. The script sorts and filters tables, pages answers and unfolds what a link leads to.

mod answers;
mod parts;
mod table;
mod words;

use crate::report::labels::Labels;
use crate::report::markup::escape;
use crate::report::section::{Page, Section};
use crate::report::svg::style;

use parts::parts;
use words::heading;

/// The style sheet of the page; that of its drawings is [`style::css`].
const STYLE: &str = include_str!("style.css");

/// What the page does where scripts run, in the order of the files.
const SCRIPTS: [&str; 3] =
    [include_str!("folds.js"), include_str!("tables.js"), include_str!("answers.js")];

/// A whole page.
pub fn page(page: &Page) -> String {
    let mut labels = Labels::new(&page.heading);
    let intro = parts(&page.intro, 1, &mut labels);
    let sections: String = page.sections.iter().map(|one| section(one, 2, &mut labels)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"generator\" content=\"mvpbench {version}\"/>\n<link rel=\"icon\" href=\"data:,\"/>\n\
         <title>{title}</title>\n<style>\n{drawings}{STYLE}</style>\n{script}</head>\n<body>\n\
         <header>\n{heading}{contents}{intro}</header>\n<main>\n{sections}</main>\n</body>\n</html>\n",
        drawings = style::css(),
        version = env!("CARGO_PKG_VERSION"),
        title = escape(&page.title),
        script = script(),
        heading = heading(1, &page.heading),
        contents = contents(&page.sections),
    )
}

/// The scripts as one element. The marks of CDATA are comments to a browser and let XML hold `<` and `&`.
fn script() -> String {
    format!("<script>//<![CDATA[\n\"use strict\";\n{}//]]></script>\n", SCRIPTS.concat())
}

/// A line of links to the sections; empty where there are fewer than two.
fn contents(sections: &[Section]) -> String {
    let shown: Vec<&Section> = sections.iter().filter(|section| !section.is_empty()).collect();
    let link = |section: &&Section| {
        format!("<a href=\"#{}\">{}</a>\n", escape(&section.id), escape(&section.title))
    };
    match &shown[..] {
        [] | [_] => String::new(),
        several => format!(
            "<nav aria-label=\"Contents\">\n{}</nav>\n",
            several.iter().map(link).collect::<String>()
        ),
    }
}

/// A section with a heading of rank `rank`; empty where there is nothing to show.
fn section(shown: &Section, rank: usize, labels: &mut Labels) -> String {
    if shown.is_empty() {
        return String::new();
    }
    let outer = labels.enter(&shown.title, !shown.inner.is_empty());
    let parts = parts(&shown.parts, rank, labels);
    let inner: String = shown.inner.iter().map(|inner| section(inner, rank + 1, labels)).collect();
    labels.leave(outer);
    let (id, heading) = (escape(&shown.id), heading(rank, &shown.title));
    if shown.is_folded {
        return format!(
            "<section id=\"{id}\">\n<details><summary>{}</summary>\n{parts}{inner}</details>\n</section>\n",
            heading.trim_end()
        );
    }
    format!("<section id=\"{id}\">\n{heading}{parts}{inner}</section>\n")
}
