//! A list of answers with scores or ranks: the best against the worst, or every two whose scores differ.

use anyhow::Result;
use serde_json::Value;

use crate::config::{LayoutName, RankedPairs};
use crate::data::format::fields::{Record, kind};
use crate::data::format::messages::Said;
use crate::data::format::parts::{Notes, Part};
use crate::data::format::{Layout, Shape, field};
use crate::error::InputError;

/// Most answers of a record of which all pairs are made: 496 pairs.
const MOST_ANSWERS: usize = 32;

pub(super) const RANKED: Layout = Layout {
    name: LayoutName::Ranked,
    prompt: &[field("prompt", Shape::Said)],
    answers: &[field("responses", Shape::List), field("scores", Shape::List)],
    optional: &["system"],
    fits: has_no_pair,
    read_prompt: |record, _| Said::read(record, "prompt"),
    read: |layout, record, notes| {
        let (texts, scores) = (list(record, "responses")?, list(record, "scores")?);
        if texts.len() != scores.len() {
            return Err(InputError::new(format!(
                "{}: `{}` has {} answers and `{}` {} scores",
                record.place,
                record.named("responses"),
                texts.len(),
                record.named("scores"),
                scores.len()
            ))
            .into());
        }
        let of = |at: usize| {
            let score = number(record, &format!("{}[{at}]", record.named("scores")), &scores[at])?;
            Ok((text(record, &format!("{}[{at}]", record.named("responses")), &texts[at])?, score))
        };
        pairs(layout, record, notes, (0..texts.len()).map(of).collect::<Result<_>>()?)
    },
    sample: r#"{"prompt": "Name a tree.", "responses": ["A tree.", "An oak.", "An otter."], "scores": [5, 9.5, 1]}"#,
};

pub(super) const ULTRAFEEDBACK: Layout = Layout {
    name: LayoutName::Ultrafeedback,
    prompt: &[field("instruction", Shape::Text)],
    answers: &[field("completions", Shape::List)],
    optional: &[],
    fits: has_no_pair,
    read_prompt: |record, _| Ok(Said::Text(record.text("instruction")?.to_owned())),
    read: |layout, record, notes| {
        let answers = objects(record, "completions", ["response", "overall_score"])?;
        pairs(layout, record, notes, answers)
    },
    sample: r#"{"instruction": "Name a tree.", "completions": [{"response": "An otter.", "overall_score": 1.0}, {"response": "An oak.", "overall_score": 8.5}]}"#,
};

pub(super) const NECTAR: Layout = Layout {
    name: LayoutName::Nectar,
    prompt: &[field("prompt", Shape::Said)],
    answers: &[field("answers", Shape::List)],
    optional: &[],
    fits: has_no_pair,
    read_prompt: |record, _| Said::read(record, "prompt"),
    read: |layout, record, notes| {
        let mut answers = objects(record, "answers", ["answer", "rank"])?;
        // The first rank is the best.
        answers.iter_mut().for_each(|(_, rank)| *rank = -*rank);
        pairs(layout, record, notes, answers)
    },
    sample: r#"{"prompt": "Name a tree.", "answers": [{"answer": "An oak.", "rank": 1.0}, {"answer": "An otter.", "rank": 2.0}]}"#,
};

/// Whether a record has no pair ready: a list beside one is where the pair comes from.
fn has_no_pair(record: &Record<'_>) -> bool {
    ["chosen", "rejected"].iter().all(|key| record.peek(key).is_none())
}

fn list<'r>(record: &'r Record<'_>, key: &str) -> Result<&'r [Value]> {
    match record.get(key) {
        Some(Value::Array(list)) => Ok(list),
        Some(other) => Err(record.wrong(key, "a list", other).into()),
        None => Err(record.missing(key, "list").into()),
    }
}

fn text(record: &Record<'_>, at: &str, found: &Value) -> Result<String> {
    let wrong = || {
        let found = kind(found);
        InputError::new(format!("{}: `{at}` must be a string, got {found}", record.place)).into()
    };
    found.as_str().map(str::to_owned).ok_or_else(wrong)
}

fn number(record: &Record<'_>, at: &str, found: &Value) -> Result<f64> {
    let number = match found {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| {
        let found = kind(found);
        InputError::new(format!("{}: `{at}` must be a number, got {found}", record.place)).into()
    })
}

/// Text and number of each object of a list, from the fields `names`.
fn objects(record: &Record<'_>, key: &str, names: [&str; 2]) -> Result<Vec<(String, f64)>> {
    let one = |(at, object): (usize, &Value)| {
        let place = |name: &str| format!("{}[{at}].{name}", record.named(key));
        let [answer, score] = names;
        let found = |name: &str| object.get(name).unwrap_or(&Value::Null);
        let score = number(record, &place(score), found(score))?;
        Ok((text(record, &place(answer), found(answer))?, score))
    };
    list(record, key)?.iter().enumerate().map(one).collect()
}

/// The pairs of answers and their scores; those that tie or lie within the margin are counted and left out.
fn pairs(
    layout: &Layout,
    record: &Record<'_>,
    notes: &mut Notes<'_>,
    answers: Vec<(String, f64)>,
) -> Result<Vec<Part>> {
    let place = record.place;
    if answers.len() < 2 {
        let what = format!("{place}: expected two answers or more, got {}", answers.len());
        return Err(InputError::new(what).hint("remove the record").into());
    }
    let prompt = (layout.read_prompt)(record, notes)?;
    let candidates: Vec<(Option<usize>, usize, usize)> = match notes.ranked_pairs {
        RankedPairs::BestWorst => {
            let of = |a: &usize, b: &usize| answers[*a].1.total_cmp(&answers[*b].1);
            // Of several best or worst the first.
            let best = (0..answers.len()).rev().max_by(of).unwrap_or(0);
            let worst = (0..answers.len()).min_by(of).unwrap_or(0);
            let shared = |at: usize| {
                answers.iter().filter(|(_, score)| score.total_cmp(&answers[at].1).is_eq()).count()
            };
            let is_tie = answers[best].1.total_cmp(&answers[worst].1).is_eq();
            notes.counts.several_best +=
                usize::from(!is_tie && (shared(best) > 1 || shared(worst) > 1));
            vec![(None, best, worst)]
        }
        RankedPairs::All if answers.len() > MOST_ANSWERS => {
            let found = answers.len();
            let what =
                format!("{place}: all pairs of {found} answers, expected at most {MOST_ANSWERS}");
            let hint = "`data.ranked_pairs = \"best-worst\"` makes one pair of them";
            return Err(InputError::new(what).hint(hint).into());
        }
        RankedPairs::All => {
            let two = (0..answers.len()).flat_map(|a| (a + 1..answers.len()).map(move |b| (a, b)));
            let ordered = |(a, b): (usize, usize)| {
                if answers[a].1 < answers[b].1 { (b, a) } else { (a, b) }
            };
            two.enumerate()
                .map(|(at, two)| (at, ordered(two)))
                .map(|(at, (a, b))| (Some(at + 1), a, b))
                .collect()
        }
    };
    let mut parts = Vec::new();
    for (number, better, worse) in candidates {
        let margin = answers[better].1 - answers[worse].1;
        if margin > notes.ranked_margin {
            let [chosen, rejected] = [better, worse].map(|at| Said::Text(answers[at].0.clone()));
            parts.push(Part { texts: notes.texts(prompt.clone(), chosen, rejected), number });
        } else if margin > 0.0 {
            notes.counts.within_margin += 1;
        } else {
            notes.counts.ties += 1;
        }
    }
    Ok(parts)
}
