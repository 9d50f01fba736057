//! How often judges are right on reference answers, whose label is known.

use std::collections::HashMap;

use crate::data::benchmark::Item;
use crate::judge::stage2::Task;
use crate::metrics::paa::{Calibration, Verdict};

/// The reference answers of `most` of `items`: each preferred answer, then its rejected one.
///
/// Items of as many users as there are come first, evenly spaced over all, because the answers of one user are alike. An item whose
/// reference answers are equal, or one of them blank, has no known label and is left out.
pub fn tasks<'a>(items: impl Iterator<Item = &'a Item>, most: usize) -> Vec<Task<'a>> {
    let mut of_user: HashMap<&str, usize> = HashMap::new();
    let mut rounds: Vec<Vec<&Item>> = Vec::new();
    for item in items {
        let texts = [&item.preferred, &item.rejected].map(|text| text.trim());
        if texts[0] == texts[1] || texts.contains(&"") {
            continue;
        }
        let earlier = item.user.as_deref().map(|user| of_user.entry(user).or_default());
        let round = earlier.map_or(0, |count| {
            *count += 1;
            *count - 1
        });
        if rounds.len() <= round {
            rounds.resize(round + 1, Vec::new());
        }
        rounds[round].push(item);
    }
    let mut left = most;
    let mut chosen = Vec::new();
    for round in rounds {
        let count = left.min(round.len());
        chosen.extend((0..count).map(|at| round[at * round.len() / count]));
        left -= count;
    }
    chosen
        .into_iter()
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
    fn items_of_different_users_come_first_and_those_without_a_label_are_left_out() {
        let json = |id: usize| {
            let rejected = if id == 4 { " w4".to_owned() } else { format!("l{id}") };
            format!(
                r#"{{"id": {id}, "question": "q", "answer_w": "w{id}", "answer_l": "{rejected}", "preference": "High safety", "user_id": "u{}"}}"#,
                id / 3
            )
        };
        let text: Vec<String> = (0..12).map(json).collect();
        let items = crate::data::benchmark::load(text.join("\n").as_bytes(), "a.jsonl").unwrap();
        let answers =
            |most| -> Vec<_> { tasks(items.iter(), most).iter().map(|task| task.answer).collect() };
        assert_eq!(answers(2), ["w0", "l0", "w6", "l6"]);
        assert_eq!(
            answers(6),
            ["w0", "l0", "w3", "l3", "w6", "l6", "w9", "l9", "w1", "l1", "w7", "l7"]
        );
        assert_eq!((answers(99).len(), answers(0).len()), (22, 0));
    }
}
