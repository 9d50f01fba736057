//! How often judges are right on reference answers, whose label is known.

use crate::data::benchmark::Item;
use crate::judge::stage2::Task;
use crate::metrics::paa::{Calibration, Verdict};

/// The reference answers of `most` items, evenly spaced over all: each preferred answer, then its rejected one.
pub fn tasks(items: &[Item], most: usize) -> Vec<Task<'_>> {
    let count = most.min(items.len());
    let chosen = (0..count).map(|at| &items[at * items.len() / count]);
    chosen
        .flat_map(|item| [&item.preferred, &item.rejected].map(|answer| Task { item, answer }))
        .collect()
}

/// The counts of right verdicts on [`tasks`]; none without a task. An answer without a verdict does not count.
pub fn of(verdicts: &[Verdict]) -> Option<Calibration> {
    let said = |first: usize| {
        let own = verdicts.iter().skip(first).step_by(2);
        own.filter_map(|verdict| verdict.is_aligned()).collect::<Vec<_>>()
    };
    let (preferred, rejected) = (said(0), said(1));
    (!verdicts.is_empty()).then(|| Calibration {
        accepted: preferred.iter().filter(|&&aligned| aligned).count(),
        preferred: preferred.len(),
        refused: rejected.iter().filter(|&&aligned| !aligned).count(),
        rejected: rejected.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_verdicts_are_counted_on_both_kinds_of_answers() {
        use Verdict::{No, Unparsed, Yes};
        let verdicts = [Yes, No, No, No, Yes, Yes, Unparsed, No];
        let calibration = of(&verdicts).unwrap();
        assert_eq!((calibration.accepted, calibration.preferred), (2, 3));
        assert_eq!((calibration.refused, calibration.rejected), (3, 4));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_items_are_spread_over_all() {
        let json = |id: usize| {
            format!(
                r#"{{"id": {id}, "question": "q", "answer_w": "w{id}", "answer_l": "l", "preference": "High safety"}}"#
            )
        };
        let text: Vec<String> = (0..10).map(json).collect();
        let items = crate::data::benchmark::load(text.join("\n").as_bytes(), "a.jsonl").unwrap();
        let answers: Vec<_> = tasks(&items, 3).iter().map(|task| task.answer).collect();
        assert_eq!(answers, ["w0", "l", "w3", "l", "w6", "l"]);
        assert_eq!((tasks(&items, 99).len(), tasks(&items, 0).len()), (20, 0));
    }
}
