//! Four numbers of every answer: whether its cosine is above the threshold and the cosine, alone and with the prompt.

use crate::bail_input;
use crate::disk::json_lines::Line;
use crate::metrics::bootstrap::{Clusters, Column};
use crate::metrics::figure::Figure;
use crate::metrics::interval::Interval;
use crate::metrics::spmr::answer::Answer;

/// What the columns of [`rows`] are.
pub(super) const SHARES: [Column; 4] =
    [Column::Share, Column::Number, Column::Share, Column::Number];
/// What the columns of [`changes`] are.
pub(super) const CHANGES: [Column; 4] =
    [Column::Change, Column::Number, Column::Change, Column::Number];

/// [`rows`] of `after` less those of `before`, the same prompts in order.
pub(super) fn changes(
    before: &[&Answer],
    after: &[&Answer],
    threshold: f64,
) -> anyhow::Result<Vec<[f64; 4]>> {
    let mut all = rows(after, threshold)?;
    for (row, before) in all.iter_mut().zip(rows(before, threshold)?) {
        row.iter_mut().zip(before).for_each(|(after, before)| *after -= before);
    }
    Ok(all)
}

pub(super) fn clusters_of(answers: &[&Answer]) -> Clusters {
    Clusters::by_user(answers.iter().map(|one| one.user.as_deref()))
}

/// Of each answer: whether its cosine is above the threshold and the cosine, alone and with the prompt.
pub(super) fn rows(answers: &[&Answer], threshold: f64) -> anyhow::Result<Vec<[f64; 4]>> {
    if answers.is_empty() {
        bail_input!("no prompt was answered, so there is no SPMR to measure");
    }
    let row = |one: &&Answer| {
        one.check()?;
        let above = |cosine: f64| f64::from(u8::from(cosine > threshold));
        let (alone, with) = (one.cosine, one.cosine_with_prompt);
        Ok([above(alone), alone, above(with), with])
    };
    answers.iter().map(row).collect()
}

pub(super) fn figure(
    rows: &[[f64; 4]],
    intervals: Option<&[Interval; 4]>,
    column: usize,
) -> Figure {
    Figure {
        value: rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64,
        low: intervals.map(|intervals| intervals[column].low),
        high: intervals.map(|intervals| intervals[column].high),
        n: rows.len(),
        ties: None,
    }
}

/// Which of [`rows`] is *the* figure.
pub(super) fn column(embed_prompt: bool) -> usize {
    if embed_prompt { 2 } else { 0 }
}
