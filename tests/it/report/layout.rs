//! No column is cut off: at the width of a desk, of a phone, and on paper.

use std::path::Path;
use std::process::Command;

use super::browser::{browse, framed};
use super::paa::report_judged;
use super::{add_answers, page, place, succeed};
use crate::command::Place;
use crate::require;

/// Reports what is wider than the window outside of a box that scrolls, boxes without a name, and boxes that hide a column.
const MEASURE: &str = r#"<script>
addEventListener("load", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const found = [];
  const width = document.documentElement.clientWidth;
  const hidden = document.documentElement.scrollWidth - width;
  if (hidden > 0) found.push("the page is wider than its window by " + hidden);
  for (const element of document.body.querySelectorAll("*")) {
    if (element.parentElement.closest(".scroll, pre, svg")) continue;
    const right = element.getBoundingClientRect().right;
    if (right > width + 0.5) found.push(element.localName + "." + element.className + " ends at " + right + ": " + element.textContent.slice(0, 60));
  }
  const boxes = [...document.querySelectorAll(".scroll, pre")];
  for (const box of boxes) {
    const name = box.getAttribute("aria-label");
    if (box.tabIndex !== 0 || box.getAttribute("role") !== "region" || !name) found.push("a box without a name");
    if (width >= 1200 && box.className === "scroll" && box.scrollWidth > box.clientWidth) found.push("a column is hidden: " + name);
  }
  if (new Set(boxes.map(box => box.getAttribute("aria-label"))).size !== boxes.length) found.push("two boxes of one name");
  if (!(boxes.length > 5)) found.push("only " + boxes.length + " boxes");
  report(found);
});
</script></body>"#;

#[test]
fn nothing_is_wider_than_the_window_at_the_width_of_a_desk_or_of_a_phone() {
    let Some(browser) = require::chromium() else { return };
    let place = place();
    add_answers(&place);
    succeed(&place, &["one"]);
    succeed(&place, &["one", "two", "--output", "both"]);
    report_judged(&place);
    for name in ["one/report.html", "both/report.html", "paa/report.html"] {
        let html = page(&place, name).replacen("</body>", MEASURE, 1);
        for width in [1280, 390] {
            let measured = framed(&browser, &place, &html, width, &[]);
            assert_eq!(measured, "[]", "{name} at {width}");
        }
    }
}

/// Reports the words of tables that a line break cuts in two. A name may break where the page puts a joint, which is an element,
/// and a digest anywhere.
const BROKEN_WORDS: &str = r#"<script>
addEventListener("load", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const found = [];
  let count = 0;
  for (const cell of document.querySelectorAll("th, td:not(.long)")) {
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      for (const { 0: word, index } of texts.currentNode.data.matchAll(/[\p{L}\p{N}]+/gu)) {
        const range = document.createRange();
        range.setStart(texts.currentNode, index);
        range.setEnd(texts.currentNode, index + word.length);
        count += 1;
        if (range.getClientRects().length > 1) found.push(word);
      }
    }
  }
  if (!(count > 300)) found.push("only " + count + " words");
  report(found);
});
</script></body>"#;

#[test]
fn a_cell_breaks_between_words_and_never_inside_one() {
    let Some(browser) = require::chromium() else { return };
    let place = place();
    add_answers(&place);
    succeed(&place, &["one"]);
    succeed(&place, &["one", "two", "--output", "both"]);
    for name in ["one/report.html", "both/report.html"] {
        let html = page(&place, name).replacen("</body>", BROKEN_WORDS, 1);
        for width in [1280, 500, 390] {
            let broken = framed(&browser, &place, &html, width, &[]);
            assert_eq!(broken, "[]", "{name} at {width}");
        }
    }
}

/// Sorts, filters, pages and follows a link, and reports what is not as it should be.
const USE: &str = r##"<script>
addEventListener("load", async () => {
  const found = [];
  const expect = (what, got, wanted) => { if (got !== wanted) found.push(what + ": " + got + ", expected " + wanted); };
  const all = selector => [...document.querySelectorAll(selector)];
  const box = all(".scroll").find(box => box.getAttribute("aria-label").includes("Every group"));
  const [first, second] = box.querySelectorAll("th");
  const values = () => all("tbody tr").filter(row => box.contains(row)).map(row => Number(row.cells[1].dataset.value));
  const given = String(values());
  second.querySelector("button").click();
  expect("sorted", second.getAttribute("aria-sort"), "ascending");
  expect("ascending", String(values()), String(values().sort((a, b) => a - b)));
  second.querySelector("button").click();
  expect("descending", String(values()), String(values().sort((a, b) => b - a)));
  second.querySelector("button").click();
  expect("as given", String(values()), given);
  const details = box.closest("details");
  expect("folded", details.open, false);
  location.hash = details.parentElement.id;
  await new Promise(done => setTimeout(done, 50));
  expect("unfolded by a link", details.open, true);
  const shown = () => all(".shown .sample").length;
  const [before, after] = all(".pager button");
  expect("a page", shown(), 20);
  after.click();
  expect("the last page", shown(), 16);
  const words = document.querySelector(".pager input[type=search]");
  words.value = "PROMPT 7";
  words.dispatchEvent(new Event("input"));
  await new Promise(done => setTimeout(done, 400));
  expect("found", shown(), 1);
  report(found);
});
</script></body>"##;

#[test]
fn tables_are_sorted_answers_are_paged_and_a_link_unfolds_what_it_leads_to() {
    let Some(browser) = require::chromium() else { return };
    let place = place();
    add_answers(&place);
    succeed(&place, &["one"]);
    let html = page(&place, "one/report.html").replacen("</body>", USE, 1);
    assert_eq!(framed(&browser, &place, &html, 1280, &[]), "[]");
}

/// A page of paper: its width and its words with their right ends, in points, in reading order.
struct Sheet {
    width: f64,
    words: Vec<(String, f64)>,
}

/// The pages of `html` printed by `browser`.
fn printed(browser: &Path, pdftotext: &Path, place: &Place, html: &str) -> Vec<Sheet> {
    place.write("paper.html", html);
    let pdf = place.path("paper.pdf");
    let print = format!("--print-to-pdf={}", pdf.display());
    browse(browser, place, "paper.html", &["--no-pdf-header-footer", &print]);
    let output = Command::new(pdftotext).arg("-bbox").arg(&pdf).arg("-").output().unwrap();
    let boxes = String::from_utf8_lossy(&output.stdout);
    let number = |line: &str, name: &str| -> f64 {
        let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    let mut sheets: Vec<Sheet> = Vec::new();
    for line in boxes.lines().map(str::trim) {
        if line.starts_with("<page ") {
            sheets.push(Sheet { width: number(line, "width"), words: Vec::new() });
        } else if let Some((word, _)) =
            line.strip_prefix("<word ").and_then(|line| line.split_once('>')?.1.split_once('<'))
        {
            assert!(number(line, "xMin") >= 0.0, "cut off: {line}");
            sheets.last_mut().unwrap().words.push((word.to_owned(), number(line, "xMax")));
        }
    }
    sheets
}

#[test]
fn paper_holds_every_column_and_what_is_folded_on_the_screen() {
    let Some(browser) = require::chromium() else { return };
    let Some(pdftotext) = require::pdftotext() else { return };
    let place = place();
    add_answers(&place);
    succeed(&place, &["one"]);
    succeed(&place, &["one", "two", "--output", "both"]);
    report_judged(&place);
    for name in ["one/report.html", "both/report.html", "paa/report.html"] {
        let html = page(&place, name).replacen("</style>", "@page { size: A4; }</style>", 1);
        // A word that the last column of each table has once a page.
        let tables = html.matches("</th></tr></thead>").count();
        let html = html.replace("</th></tr></thead>", " LAST</th></tr></thead>");
        let sheets = printed(&browser, &pdftotext, &place, &html);
        for Sheet { width, words } in &sheets {
            assert!((590.0..600.0).contains(width), "A4 is 595 points wide, got {width}");
            let cut = words.iter().find(|(_, right)| right > width);
            assert_eq!(cut, None, "{name}: cut off");
        }
        let words = sheets.iter().flat_map(|sheet| &sheet.words);
        let text = words.map(|(word, _)| &**word).collect::<Vec<_>>().join(" ");
        let last = text.matches("LAST").count();
        assert!(last >= tables, "{name}: {tables} tables and {last} last columns:\n{text}");
        // The text of closed details.
        let parts = match name {
            "paa/report.html" => ["Eastern Europe: age", "Vocational"],
            _ => ["learning_rate = 0.001", "PeftModel.from_pretrained"],
        };
        for part in parts {
            assert!(text.contains(part), "{name}: `{part}` is not on paper:\n{text}");
        }
    }
}

#[test]
fn no_heading_stands_alone_at_the_end_of_a_sheet() {
    let Some(browser) = require::chromium() else { return };
    let Some(pdftotext) = require::pdftotext() else { return };
    let place = place();
    add_answers(&place);
    succeed(&place, &["one", "two", "--output", "both"]);
    let html = page(&place, "both/report.html");
    // A word at the end of every heading and caption.
    let mut html = ["h2", "h3", "h4", "h5", "figcaption"]
        .iter()
        .fold(html, |html, tag| html.replace(&format!("</{tag}>"), &format!(" HEADING</{tag}>")));
    html = html.replace("</summary>", " HEADING</summary>");
    for height in ["297mm", "250mm", "210mm", "185mm"] {
        let size = format!("@page {{ size: 210mm {height}; }}</style>");
        let sheets = printed(&browser, &pdftotext, &place, &html.replacen("</style>", &size, 1));
        assert!(sheets.len() > 8, "{} sheets of {height}", sheets.len());
        for (i, Sheet { words, .. }) in sheets.iter().enumerate() {
            let last: Vec<&str> = words.iter().map(|(word, _)| &**word).collect();
            assert_ne!(last.last(), Some(&"HEADING"), "sheet {i} of {height}: {last:?}");
        }
    }
}
