//! `review.html` in a browser: records are marked by buttons and keys, marks survive, and the CSV that is saved is imported.

use super::benchmark::{benchmark, succeed};
use crate::command::Place;
use crate::report::axe::assert_accessible;
use crate::report::browser::framed;
use crate::report::text_of;
use crate::require;

const PAGE: &str = "MVP/quality/sample-7/review.html";

fn place(more: &[&str]) -> (Place, String) {
    let place = Place::new();
    benchmark(&place, 20);
    let command = ["review", "sample", "MVP", "--n", "6", "--seed", "7"];
    succeed(&place, &[&command[..], more].concat());
    let html = String::from_utf8(place.bytes(PAGE)).unwrap();
    (place, html)
}

/// What the scripts of these tests begin with: a reviewer starts, and what is saved is caught.
const BEGIN: &str = r#"
const get = id => document.getElementById(id);
const press = (key, target = document.body) => target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const begin = name => { get("name").value = name; get("start").requestSubmit(); };
const files = [];
URL.createObjectURL = blob => { files.push(blob); return "data:,"; };
const names = [];
HTMLAnchorElement.prototype.click = function () { names.push(this.download); };
"#;

/// Runs `script` in the page at the width of a desk; what it reports, as JSON.
fn driven(browser: &std::path::Path, place: &Place, html: &str, script: &str) -> String {
    let script = format!(
        "<script>addEventListener(\"load\", async () => {{ try {{ {BEGIN}{script} }} catch (error) {{ report(\"failed: \" + error.stack); }} }});</script></body>"
    );
    framed(browser, place, &html.replacen("</body>", &script, 1), 1280, &[])
}

#[test]
fn the_page_is_one_file_that_requests_nothing_and_shows_texts_as_they_are() {
    let (_, html) = place(&[]);
    let shown = text_of(&html);
    assert!(shown.contains("Review of 6 records") && shown.contains("needs its script"));
    assert!(!html.contains("<17>") && html.contains("\\u003c"), "texts end no element");
}

#[test]
fn marks_by_buttons_and_keys_are_saved_as_csv_under_the_reviewers_name_and_imported() {
    let Some(browser) = require::chromium() else { return };
    let (place, html) = place(&[]);
    let reported = driven(
        &browser,
        &place,
        &html,
        r#"
begin("");
const refused = get("refused").textContent;
begin(" Zoë O'Neil ");
const hidden = get("start").hidden && !get("review").hidden;
document.querySelector("input[name=fits][value=yes]").click();
press("2"); press("e");
get("comment").value = "=1+1, \"so\"\nand on";
get("comment").dispatchEvent(new Event("input", { bubbles: true }));
press("1", get("comment"));
get("next").click();
press("q"); press("q"); press("w");
press("j"); press("1"); press("2"); press("3");
get("keys").click(); press("q"); get("keys").click();
press("k"); press("k");
const back = document.querySelector("input[name=natural][value=no]").checked && get("comment").value.startsWith("=1");
press("u");
const place = get("place").value;
get("save").click();
report({ refused, hidden, back, place, name: names[0], done: get("done").textContent, saved: get("saved").textContent, csv: await files[0].text() });
"#,
    );
    let value: serde_json::Value = serde_json::from_str(&reported).expect(&reported);
    assert_eq!(value["refused"], "Enter your name: the file of marks carries it.", "{value}");
    assert_eq!(
        (&value["hidden"], &value["back"], &value["place"]),
        (&true.into(), &true.into(), &"2".into()),
        "{value}"
    );
    assert_eq!(value["done"], "2 of 6 have all marks");
    let name = value["name"].as_str().unwrap();
    assert!(name.starts_with("marks-Zoë-O-Neil-") && name.ends_with(".csv"), "{name}");
    assert!(
        value["saved"].as_str().unwrap().starts_with("Saved the marks of 3 of 6 records"),
        "{value}"
    );
    let csv = value["csv"].as_str().unwrap();
    assert!(csv.contains("yes,yes,no,\"'=1+1, \"\"so\"\"\nand on\",Zoë O'Neil\r\n"), "{csv}");
    assert!(csv.contains(",,no,,,Zoë O'Neil\r\n") && csv.contains(",yes,yes,yes,,"), "{csv}");
    place.write("marks.csv", csv);
    let said = succeed(&place, &["review", "import", "MVP", "marks.csv"]);
    assert!(said.contains("3 records new"), "{said}");
    let kept = String::from_utf8(place.bytes("MVP/quality/marks.jsonl")).unwrap();
    assert!(kept.contains(r#""comment":"=1+1, \"so\"\nand on""#), "{kept}");
}

#[test]
fn marks_are_kept_for_each_reviewer_and_a_browser_that_keeps_none_says_so() {
    let Some(browser) = require::chromium() else { return };
    let (place, html) = place(&["--overlap", "0"]);
    let reported = driven(
        &browser,
        &place,
        &html,
        r#"
begin("a"); press("1"); const own = get("count").textContent;
get("leave").click();
get("number").value = "2"; begin("b"); const other = document.querySelector("input[name=fits][value=yes]").checked;
get("leave").click();
get("number").value = "1"; begin("a"); const again = document.querySelector("input[name=fits][value=yes]").checked;
const kept = Object.keys(localStorage).filter(key => key.startsWith("mvpbench-review ")).length;
Storage.prototype.setItem = () => { throw new Error("full"); };
press("2");
report([own, other, again, kept, get("lost").textContent]);
"#,
    );
    let lost = "This browser keeps no marks: save them as CSV before you close the page.";
    assert_eq!(reported, format!("[\"of 3\",false,true,2,\"{lost}\"]"));
}

#[test]
fn nothing_is_wider_than_the_window_and_axe_finds_no_violation_on_desk_and_phone() {
    let Some(browser) = require::chromium() else { return };
    let (place, html) = place(&["--overlap", "0"]);
    let begin = r#"addEventListener("load", () => { document.getElementById("name").value = "a"; document.getElementById("start").requestSubmit(); });"#;
    let measure = "<script>addEventListener(\"load\", () => report(document.documentElement.scrollWidth - document.documentElement.clientWidth));</script></body>";
    for width in [1280, 390, 320] {
        let html = html.replacen("</body>", &format!("<script>{begin}</script>{measure}"), 1);
        assert_eq!(framed(&browser, &place, &html, width, &[]), "0", "{width}");
    }
    assert_accessible(&place, "review.html before the start", &html, "");
    assert_accessible(&place, "review.html", &html, begin);
}
