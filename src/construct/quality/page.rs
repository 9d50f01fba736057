//! `review.html`: a sample to read and mark in a browser, one file that requests nothing.
//!
//! Marks are kept in the browser's storage and saved as a CSV file by a button. The page is well-formed XML too.

use anyhow::Result;
use serde_json::json;

use super::criteria::CRITERIA;
use super::reviewed::Records;
use super::sample::Sample;
use crate::console::units::counted;
use crate::report::markup::{escape, script_json};

const STYLE: &str = include_str!("page/review.css");
const SCRIPT: &str = include_str!("page/review.js");

/// Keys for yes and for no, one of each for each criterion.
const KEYS: [[char; 2]; CRITERIA.len()] = [['1', 'q'], ['2', 'w'], ['3', 'e']];

/// The page of a sample. Refuses a record that the benchmark does not hold any more.
pub(super) fn page(sample: &Sample, records: &Records) -> Result<String> {
    let mut all = Vec::new();
    for drawn in &sample.records {
        let record = sample.record(records, drawn)?;
        all.push(json!({
            "id": drawn.id,
            "sha256": drawn.sha256,
            "for": drawn.reviewer,
            "question": record.question,
            "preference": record.preference,
            "profile": record.profile,
            "answer_w": record.answer_w,
            "answer_l": record.answer_l,
        }));
    }
    let criteria: Vec<_> = CRITERIA.iter().map(|criterion| criterion.name).collect();
    let data = json!({
        "sample": sample.sample,
        "criteria": criteria,
        "keys": KEYS,
        "reviewers": if sample.records.iter().any(|one| one.reviewer.is_some()) { sample.drawn.reviewers } else { 1 },
        "records": all,
    });
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"generator\" content=\"mvpbench\"/>\n<link rel=\"icon\" href=\"data:,\"/>\n\
         <title>Review of {count}</title>\n<style>\n{STYLE}</style>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>//<![CDATA[\n\"use strict\";\n{SCRIPT}//]]></script>\n</head>\n<body>\n{body}</body>\n</html>\n",
        count = counted(sample.records.len(), "record"),
        data = script_json(&data),
        body = body(sample),
    ))
}

fn body(sample: &Sample) -> String {
    let count = counted(sample.records.len(), "record");
    let (name, seed) = (escape(&sample.sample), sample.drawn.seed);
    let fieldsets: String = (0..CRITERIA.len()).map(fieldset).collect();
    let keys: String = CRITERIA
        .iter()
        .zip(KEYS)
        .map(|(criterion, [yes, no])| {
            format!(
                "<dt><kbd>{yes}</kbd> <kbd>{no}</kbd></dt><dd>yes, no: {}</dd>\n",
                escape(criterion.question)
            )
        })
        .collect();
    format!(
        r#"<header>
<h1>Review of {count}</h1>
<p class="lead">Sample <code>{name}</code>, seed {seed}. Read each record and mark it. Marks stay in this browser until you save them as a file;
nothing is sent anywhere.</p>
</header>
<main>
<noscript><p class="warning">This page needs its script to keep marks. Without scripts, fill in <code>sample.csv</code> beside it.</p></noscript>
<form id="start" hidden="">
<label for="name">Your name, as it shall stand in the file</label>
<input id="name" type="text" maxlength="80" autocomplete="name"/>
<span id="numbered"><label for="number">Your number</label> <select id="number"></select></span>
<button type="submit">Start</button>
<p id="refused" class="warning" role="alert"></p>
</form>
<div id="review" hidden="">
<div class="bar" role="group" aria-label="Records">
<button type="button" id="previous">Previous</button>
<label>Record <input id="place" type="number" min="1"/></label> <span id="count"></span>
<button type="button" id="next">Next</button>
<button type="button" id="unmarked">Next without all marks</button>
</div>
<p><progress id="progress" aria-label="Records with all marks"></progress> <span id="done" role="status"></span></p>
<p id="lost" class="warning" role="alert"></p>
<article aria-labelledby="title">
<h2 id="title" tabindex="-1"></h2>
<h3>Preferences</h3>
<p id="preference" class="text" dir="auto"></p>
<details id="person" open=""><summary>Person</summary>
<dl id="profile"></dl>
</details>
<h3>Question</h3>
<p id="question" class="text" dir="auto"></p>
<div class="answers">
<section aria-labelledby="preferred"><h3 id="preferred">Preferred answer</h3><p id="answer_w" class="text" dir="auto"></p></section>
<section aria-labelledby="other"><h3 id="other">Other answer</h3><p id="answer_l" class="text" dir="auto"></p></section>
</div>
</article>
<form id="marks">
{fieldsets}<label for="comment">Comment, if any</label>
<textarea id="comment" rows="2" maxlength="2000" dir="auto"></textarea>
</form>
<div class="bar">
<button type="button" id="after">Next record</button>
<button type="button" id="clear">Clear the marks of this record</button>
<button type="button" id="save" class="main">Save marks as CSV</button>
<span id="saved" role="status"></span>
</div>
<details><summary>Keys</summary>
<p><label><input id="keys" type="checkbox" checked="checked"/> Single keys mark records</label></p>
<dl>
{keys}<dt><kbd>j</kbd> <kbd>k</kbd></dt><dd>next, previous record</dd>
<dt><kbd>u</kbd></dt><dd>next record without all marks</dd>
</dl>
<p>Not while you type in a field. The same key again takes a mark back.</p>
</details>
<p><button type="button" id="leave">Another reviewer</button></p>
</div>
</main>
"#
    )
}

/// A criterion with its two answers and their keys.
fn fieldset(at: usize) -> String {
    let (criterion, [yes, no]) = (CRITERIA[at], KEYS[at]);
    let name = criterion.name;
    let choice = |value: &str, shown: &str, key: char| {
        format!(
            "<label class=\"choice\"><input type=\"radio\" name=\"{name}\" value=\"{value}\"/> {shown} <kbd aria-hidden=\"true\">{key}</kbd></label>\n"
        )
    };
    format!(
        "<fieldset>\n<legend>{}</legend>\n{}{}</fieldset>\n",
        escape(criterion.question),
        choice("yes", "Yes", yes),
        choice("no", "No", no)
    )
}
