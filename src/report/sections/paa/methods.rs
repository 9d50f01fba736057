//! How the answers were judged, so that they can be judged again.

use crate::console::units;
use crate::metrics::paa::PaaEvaluation;
use crate::metrics::paa::evaluation::AnsweredBy;
use crate::report::section::{Part, Section};
use crate::report::sections::methods::{DIGITS, shortened};
use crate::report::table::Table;
use crate::report::text::Text;

/// The table; a fact that `paa.json` does not have is left out.
pub(super) fn section(evaluation: &PaaEvaluation) -> Section {
    let mut rows = Table::new(["fact", "value"]);
    let mut push = |name: &str, value: Text| rows.push([Text::from(name), value]);
    let protocol = &evaluation.protocol;
    push("date", (&evaluation.date).into());
    push("command", Text::code(&evaluation.command));
    push("mvpbench", (&evaluation.version).into());
    push("protocol", Text::code(&protocol.name).and(digest(&protocol.sha256)));
    push(
        "judged by",
        match &*protocol.kind {
            "yes_no" => "Yes or No".into(),
            "scores" => "scores of three answers".into(),
            other => other.into(),
        },
    );
    if protocol.kind != "yes_no" {
        let blind = match protocol.blind {
            true => "yes: the judge is not told which reference answer is the preferred one",
            false => "no: the judge knows the preferred reference answer",
        };
        push("blind", blind.into());
    }
    if let Some(thresholds) = &protocol.thresholds {
        push(
            "thresholds",
            format!(
                "W at {} above the rejected answer and no more than {} below the preferred one, else L at {} below it",
                thresholds.above_rejected, thresholds.below_preferred, thresholds.far_below_preferred
            )
            .into(),
        );
    }
    push("temperature of the judges", protocol.temperature.to_string().into());
    push("repetitions", protocol.repetitions.to_string().into());
    push("fewest answers of a group with a figure", units::count(evaluation.minimum_n).into());
    for file in &evaluation.data {
        let items = format!(", {} items", units::count(file.n));
        push("items", Text::code(&file.name).and(items).and(digest(&file.sha256)));
    }
    for model in &evaluation.models {
        if let Some(by) = &model.answered_by {
            push(&format!("answers of {}", model.result.name), answered(by));
        }
    }
    if let Some(cost) = evaluation.cost_usd {
        push("cost of the judges", units::dollars(cost).into());
    }
    let note = format!("A digest ends after {DIGITS} digits; `paa.json` has all.");
    Section::new(
        "methods",
        "Methods and provenance",
        vec![Part::Table(rows), Part::note(Text::marked(&note))],
    )
}

/// `, sha256 0123…`; nothing without a digest.
fn digest(sha256: &str) -> String {
    match sha256 {
        "" => String::new(),
        sha256 => shortened(&format!(", sha256 {sha256}")),
    }
}

fn answered(by: &AnsweredBy) -> Text {
    let mut text = Text::code(&by.model);
    if !by.endpoint.is_empty() {
        text = text.and(" at ").and(Text::code(&by.endpoint));
    }
    if !by.served.is_empty() {
        text = text.and(format!(", served as {}", by.served.join(", ")));
    }
    if !by.adapter.is_empty() {
        text = text.and(" with the adapter ").and(Text::code(&by.adapter));
    }
    text.and(digest(&by.sha256))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::paa::Thresholds;
    use crate::report::judged::sample::judged_folder;
    use crate::report::markdown;
    use crate::report::section::Page;

    #[test]
    fn whatever_judges_the_answers_again_is_in_the_table() {
        let mut evaluation = judged_folder().evaluation;
        evaluation.protocol.kind = "scores".into();
        evaluation.protocol.blind = true;
        evaluation.protocol.thresholds = Some(Thresholds::default());
        let sections = vec![section(&evaluation)];
        let page = markdown::page(&Page { sections, ..Page::default() });
        for row in [
            "| date | 2026-11-26 12:00 UTC |",
            "| command | `mvpbench judge --endpoint deepseek` |",
            "| protocol | `paa-paper.toml`, sha256 0123456789abcdef… |",
            "| blind | yes: the judge is not told",
            "| thresholds | W at 20 above",
            "| items | `MVP_test.json`, 675 items, sha256 99 |",
            "| answers of gpt-4o | `gpt-4o` at `openai`, served as gpt-4o-2024 |",
            "| cost of the judges | USD 1.25 |",
        ] {
            assert!(page.contains(row), "`{row}` is not in\n{page}");
        }
    }
}
