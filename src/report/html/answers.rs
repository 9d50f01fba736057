//! SPMR and sample answers, where the run generated any.

use crate::eval::{Figure, Metric};
use crate::report::answers::Answer;
use crate::report::cell;
use crate::report::folder::{Run, SetFiles};
use crate::report::html::figure;
use crate::report::markup::{escape, paragraph, shortened};
use crate::report::svg::{Histogram, Series};

/// Samples shown of a run.
const SAMPLES: usize = 20;

/// Characters shown of a prompt and of an answer.
const SHOWN: [usize; 2] = [500, 900];

/// The distribution of cosines of each set, before and after.
pub fn cosines(run: &Run, files: &SetFiles) -> String {
    let threshold = run.spmr_threshold();
    let [before, after] = &files.answers;
    let series: Vec<Series> = [("before", before), ("after", after)]
        .into_iter()
        .map(|(name, answers)| Series {
            name: name.to_owned(),
            class: name.to_owned(),
            values: answers.cosines().into_iter().map(|(_, cosine)| cosine).collect(),
        })
        .filter(|series| !series.values.is_empty())
        .collect();
    let caption = "SPMR: how near answers are to the preferred ones";
    let chart = Histogram {
        title: caption.to_owned(),
        x_label: "cosine of answer and preferred answer".to_owned(),
        series,
        marker: Some(threshold),
    };
    let Some(drawn) = chart.draw() else { return String::new() };
    let said = |name: &str, spmr: Option<Figure>| {
        spmr.map(|spmr| format!("{} % {name}", cell::figure(Metric::Opa, &spmr)))
    };
    let said: Vec<String> = [
        said("before", before.spmr(threshold, run.seed())),
        said("after", after.spmr(threshold, run.seed())),
    ]
    .into_iter()
    .flatten()
    .collect();
    let reading = format!(
        "SPMR is the share of answers right of the dashed line at {threshold}: {}.",
        said.join(", ")
    );
    figure(caption, "", &drawn.svg, &reading)
}

/// Up to twenty prompts with the preferred answer and what the model wrote before and after; a sentence where there is none.
pub fn samples(run: &Run) -> String {
    let with_answers: Vec<&SetFiles> = run
        .sets
        .iter()
        .filter(|files| files.answers.iter().any(|a| !a.answers.is_empty()))
        .collect();
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
        let leading = if after.answers.is_empty() { before } else { after };
        for answer in spaced(&leading.answers, each.min(left)) {
            left -= 1;
            let other = |answers: &[Answer]| answers.iter().find(|a| a.id == answer.id).cloned();
            html += &sample(&files.name, answer, other(&before.answers), other(&after.answers));
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
    if let Some(reference) = &answer.reference {
        terms += &term("preferred answer", &shortened(reference, SHOWN[1]));
    }
    for (name, answer) in [("before", before), ("after", after)] {
        let Some(answer) = answer else { continue };
        let name = match answer.cosine {
            Some(cosine) => format!("{name}, cosine {cosine:.3}"),
            None => name.to_owned(),
        };
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
    use super::*;

    #[test]
    fn samples_are_spread_over_the_whole_list() {
        let answer = |id: usize| Answer {
            id: id.to_string(),
            user: None,
            prompt: "p".into(),
            generation: "g".into(),
            reference: None,
            cosine: None,
        };
        let answers: Vec<Answer> = (0..10).map(answer).collect();
        let ids = |limit| spaced(&answers, limit).iter().map(|a| a.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(3), ["0", "3", "6"]);
        assert_eq!(ids(20).len(), 10);
        assert!(spaced(&[], 5).is_empty());
    }
}
