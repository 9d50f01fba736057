//! SPMR and sample answers, where the run generated any.

use crate::metrics::SetResult;
use crate::metrics::spmr::Answer;
use crate::report::cell;
use crate::report::folder::{Run, SetFiles};
use crate::report::html::{figure, table};
use crate::report::markup::{escape, paragraph, shortened};
use crate::report::spmr::Pages;
use crate::report::svg::{Histogram, Series};

/// Samples shown of a run.
const SAMPLES: usize = 20;

/// Characters shown of a prompt and of an answer.
const SHOWN: [usize; 2] = [500, 900];

/// SPMR of a set, before and after, with the distribution of its cosines and its groups; empty where it was not measured.
pub fn spmr(before: Option<&SetResult>, after: Option<&SetResult>, files: &SetFiles) -> String {
    let Some(pages) = Pages::new(before, after) else { return String::new() };
    let mut html = paragraph("note", &pages.sentence()) + &table(&pages.table(), |_| "");
    html += &cosines(before, after, files);
    if let Some(groups) = pages.groups() {
        html += &format!("<h3>SPMR of groups, in percent</h3>\n{}", table(&groups, |_| ""));
    }
    html
}

fn cosines(before: Option<&SetResult>, after: Option<&SetResult>, files: &SetFiles) -> String {
    let figures = [before, after].map(|set| set?.spmr.as_ref());
    let Some(spmr) = figures[1].or(figures[0]) else { return String::new() };
    let of = |answer: &Answer| {
        if spmr.embed_prompt { answer.cosine_with_prompt } else { answer.cosine }
    };
    let series: Vec<Series> = ["before", "after"]
        .into_iter()
        .zip(&files.answers)
        .map(|(name, answers)| Series {
            name: name.to_owned(),
            class: name.to_owned(),
            values: answers.iter().map(of).collect(),
        })
        .filter(|series| !series.values.is_empty())
        .collect();
    let caption = "SPMR: how near answers are to the preferred ones";
    let what = if spmr.embed_prompt { "prompt with answer" } else { "answer" };
    let chart = Histogram {
        title: caption.to_owned(),
        x_label: format!("cosine of {what} and preferred answer"),
        y_label: "prompts".to_owned(),
        series,
        marker: Some(spmr.threshold),
    };
    let Some(drawn) = chart.draw() else { return String::new() };
    let said: Vec<String> = ["before", "after"]
        .into_iter()
        .zip(figures)
        .filter_map(|(name, spmr)| Some(format!("{} % {name}", cell::share(spmr?.figure()))))
        .collect();
    let reading = format!(
        "SPMR is the share of answers right of the dashed line at {}: {}.",
        spmr.threshold,
        said.join(", ")
    );
    figure(caption, "", &drawn.svg, &reading)
}

/// Up to twenty prompts with the preferred answer and what the model wrote before and after; a sentence where there is none.
pub fn samples(run: &Run) -> String {
    let with_answers: Vec<&SetFiles> =
        run.sets.iter().filter(|files| files.answers.iter().any(|a| !a.is_empty())).collect();
    if with_answers.is_empty() {
        return paragraph(
            "missing",
            "This run generated no answers, so there is no SPMR and nothing to read here.",
        );
    }
    let mut html = String::new();
    let each = SAMPLES.div_ceil(with_answers.len());
    let mut left = SAMPLES;
    for files in with_answers {
        let [before, after] = &files.answers;
        let leading = if after.is_empty() { before } else { after };
        for answer in spaced(leading, each.min(left)) {
            left -= 1;
            let other = |answers: &[Answer]| answers.iter().find(|a| a.id == answer.id).cloned();
            html += &sample(&files.name, answer, other(before), other(after));
        }
    }
    html
}

/// `limit` of the answers, evenly spaced, so that the choice is nobody's.
fn spaced(answers: &[Answer], limit: usize) -> Vec<&Answer> {
    let count = limit.min(answers.len());
    (0..count).map(|i| &answers[i * answers.len() / count]).collect()
}

fn sample(set: &str, answer: &Answer, before: Option<Answer>, after: Option<Answer>) -> String {
    let mut terms = term("prompt", &shortened(&answer.prompt, SHOWN[0]));
    terms += &term("preferred answer", &shortened(&answer.reference, SHOWN[1]));
    for (name, answer) in [("before", before), ("after", after)] {
        let Some(answer) = answer else { continue };
        let name = format!("{name}, cosine {:.3}", answer.cosine);
        let text = answer.generation.trim();
        terms += &term(
            &name,
            &if text.is_empty() { "(nothing)".to_owned() } else { shortened(text, SHOWN[1]) },
        );
    }
    format!(
        "<div class=\"sample\"><h4>{}</h4><dl>{terms}</dl></div>\n",
        escape(&format!("{set}, {}", answer.id))
    )
}

fn term(name: &str, text: &str) -> String {
    format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(text.trim()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn samples_are_spread_over_the_whole_list() {
        let answer = |id: usize| Answer {
            id: id.to_string(),
            user: None,
            source: "s".into(),
            groups: BTreeMap::new(),
            prompt: "p".into(),
            generation: "g".into(),
            reference: "r".into(),
            cosine: 0.5,
            cosine_with_prompt: 0.5,
            prompt_tokens: 1,
            generated_tokens: 1,
            ended: true,
        };
        let answers: Vec<Answer> = (0..10).map(answer).collect();
        let ids = |limit| spaced(&answers, limit).iter().map(|a| a.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(3), ["0", "3", "6"]);
        assert_eq!(ids(20).len(), 10);
        assert!(spaced(&[], 5).is_empty());
    }
}
