//! Every verdict with its question and answer, a page at a time.

use crate::metrics::paa::evaluation::JudgedModel;
use crate::metrics::paa::{Opinion, Scores, Verdict, VerdictLine};
use crate::report::judged::JudgedFolder;
use crate::report::section::{Answers, Part, Record, Section};
use crate::report::sections::answers::spaced;
use crate::report::text::shortened;

/// Verdicts of all models in the samples.
const SAMPLES: usize = 20;

/// Characters of a text in a sample.
const LETTERS: usize = 900;

/// Bytes of questions and answers of all models that a page holds; beyond, a browser opens it slowly.
const MOST_BYTES: usize = 48_000_000;

/// The verdicts of every model whose file is there.
pub(super) fn section(judged: &JudgedFolder) -> Section {
    let bytes: usize = judged.verdicts.iter().flatten().map(bytes_of).sum();
    let share = (MOST_BYTES as f64 / bytes.max(1) as f64).min(1.0);
    let there = judged.verdicts.iter().filter(|lines| !lines.is_empty()).count();
    let mut parts = Vec::new();
    for (model, lines) in judged.evaluation.models.iter().zip(&judged.verdicts) {
        if lines.is_empty() {
            continue;
        }
        let most = (share * lines.len() as f64).ceil() as usize;
        parts.push(Part::heading(model.result.name.clone()));
        parts.push(Part::Answers(answers(model, lines, most, SAMPLES.div_ceil(there))));
    }
    if parts.is_empty() {
        parts.push(Part::missing(
            "The folder has no files of verdicts, so there is nothing to read here.",
        ));
    }
    Section::new("verdicts", "Verdicts", parts)
}

fn bytes_of(line: &VerdictLine) -> usize {
    let reasons = line.opinions.iter().filter_map(|opinion| opinion.reason.as_ref());
    let reasons: usize = reasons.chain(&line.reason).map(String::len).sum();
    line.question.len() + line.answer.len() + reasons + 100
}

/// `most`: verdicts that the page holds; `sampled`: of these in the sample.
fn answers(model: &JudgedModel, lines: &[VerdictLine], most: usize, sampled: usize) -> Answers {
    let all: Vec<&VerdictLine> = spaced(lines.len(), most).map(|place| &lines[place]).collect();
    let sample = spaced(all.len(), sampled).map(|place| (place, record(all[place], LETTERS)));
    Answers {
        set: model.result.name.clone(),
        noun: "verdicts",
        file: model.verdicts.clone(),
        sample: sample.collect(),
        total: lines.len(),
        all: all.into_iter().map(|line| record(line, usize::MAX)).collect(),
    }
}

/// `letters`: most characters of a text.
fn record(line: &VerdictLine, letters: usize) -> Record {
    let shown = |text: &str| match shortened(text, letters).trim() {
        "" => "(nothing)".to_owned(),
        text => text.to_owned(),
    };
    let mut entries = vec![
        ("question".to_owned(), shown(&line.question)),
        ("answer".to_owned(), shown(&line.answer)),
    ];
    let verdict = said(line.verdict, line.scores.as_ref(), line.reason.as_deref());
    entries.push((line.judge.clone(), shown(&verdict)));
    for Opinion { judge, repetition, verdict, scores, reason, dimensions: _ } in &line.opinions {
        let name = format!("{judge}, {}", repetition + 1);
        entries.push((name, shown(&said(*verdict, scores.as_ref(), reason.as_deref()))));
    }
    let country = line.country.as_ref().map_or_else(String::new, |name| format!(", {name}"));
    Record { title: format!("{}{country}: {}", line.id, name_of(line.verdict)), entries }
}

fn said(verdict: Verdict, scores: Option<&Scores>, reason: Option<&str>) -> String {
    let scores = scores.map_or_else(String::new, |scores| {
        let violation = if scores.hard_violation { ", hard violation" } else { "" };
        format!(
            " (model {}, preferred {}, rejected {}{violation})",
            scores.score_model, scores.score_w, scores.score_l
        )
    });
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    format!("{}{scores}{reason}", name_of(verdict))
}

fn name_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Yes => "Yes",
        Verdict::No => "No",
        Verdict::W => "W",
        Verdict::Tie => "TIE",
        Verdict::L => "L",
        Verdict::Unparsed => "unparsed",
        Verdict::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::units;
    use crate::report::html;
    use crate::report::judged::sample::judged_folder;
    use crate::report::section::Page;

    #[test]
    fn a_verdict_is_found_by_its_country_and_shows_question_answer_and_reason() {
        let mut line = judged_folder().verdicts[0][0].clone();
        line.scores =
            Some(Scores { score_w: 90.0, score_l: 20.5, score_model: 88.0, hard_violation: true });
        line.verdict = Verdict::L;
        let opinion = Opinion {
            judge: "one".into(),
            repetition: 1,
            verdict: Verdict::Unparsed,
            scores: None,
            dimensions: Vec::new(),
            reason: Some("no JSON".into()),
        };
        line.opinions = vec![opinion];
        let record = record(&line, usize::MAX);
        assert_eq!(record.title, "0-0-0, United States: L");
        let expected = [
            ("question", "What about 0 & <0>?"),
            ("answer", "An answer.\nOf two lines."),
            ("deepseek-chat", "L (model 88, preferred 90, rejected 20.5, hard violation): it fits"),
            ("one, 2", "unparsed: no JSON"),
        ];
        assert_eq!(record.entries, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn all_verdicts_are_on_the_page_and_what_is_too_much_is_said() {
        let judged = judged_folder();
        let count = judged.verdicts[0].len();
        let page =
            |parts| Page { sections: vec![Section::new("v", "V", parts)], ..Page::default() };
        let html = html::page(&page(section(&judged).parts));
        let whole = format!("All {} verdicts are in this page", units::count(count));
        assert_eq!(html.matches(&whole).count(), 3, "{whole}");
        let cut = answers(&judged.evaluation.models[0], &judged.verdicts[0], 9, 3);
        assert_eq!((cut.all.len(), cut.total, cut.sample.len()), (9, count, 3));
        let html = html::page(&page(vec![Part::Answers(cut)]));
        assert!(html.contains(&format!("9 of {count} verdicts, evenly spaced")), "{html}");
    }
}
