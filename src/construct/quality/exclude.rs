//! Marks of reviewers -> the records that the next build leaves out.

use std::collections::BTreeMap;

use super::criteria::CRITERIA;
use super::exclusions::Exclusion;
use super::marks::{Mark, Marks};
use super::votes::Votes;

/// The records of which more than half of the people who marked a criterion reject it, any of them. A model's opinion does not count.
pub fn rejected(marks: &Marks) -> Vec<Exclusion> {
    let mut of_record: BTreeMap<(&str, &str), Vec<&Mark>> = BTreeMap::new();
    for mark in marks.all().filter(|mark| !mark.is_judges()) {
        of_record.entry((&mark.id, &mark.sha256_of_texts)).or_default().push(mark);
    }
    let exclusion = |((id, sha256), marks): ((&str, &str), Vec<&Mark>)| {
        let mut why = Vec::new();
        for (at, criterion) in CRITERIA.iter().enumerate() {
            let votes = Votes::of(marks.iter().map(|mark| mark.marks[at]));
            if votes.majority() == Some(false) {
                let all = votes.yes + votes.no;
                why.push(format!("{} of {all}: {}", votes.no, criterion.rejected));
            }
        }
        (!why.is_empty()).then(|| Exclusion {
            id: id.to_owned(),
            sha256: sha256.to_owned(),
            why: why.join("; "),
        })
    };
    of_record.into_iter().filter_map(exclusion).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::construct::quality::marks::{Added, JUDGE};

    fn marks(all: &[(&str, &str, [Option<bool>; 3])]) -> Marks {
        let mut marks = Marks::default();
        for (id, reviewer, given) in all {
            let mark = Mark {
                id: (*id).into(),
                sha256_of_texts: "d".into(),
                sample: "s".into(),
                reviewer: (*reviewer).into(),
                user: None,
                marks: *given,
                comment: String::new(),
            };
            marks.add(mark, &mut Added::default());
        }
        marks
    }

    #[test]
    fn a_majority_rejects_a_tie_does_not_and_a_judge_has_no_vote() {
        let (yes, no) = (Some(true), Some(false));
        let judge = format!("{JUDGE}m");
        let all = marks(&[
            ("tie", "a", [yes, no, yes]),
            ("tie", "b", [yes, yes, yes]),
            ("tie", &judge, [no, no, no]),
            ("most", "a", [no, yes, no]),
            ("most", "b", [no, yes, None]),
            ("most", "c", [yes, yes, None]),
            ("judged", &judge, [no, no, no]),
            ("unmarked", "a", [None, None, None]),
        ]);
        let found = rejected(&all);
        let [one] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*one.id, &*one.sha256), ("most", "d"));
        assert_eq!(
            one.why,
            "2 of 3: the preferred answer does not fit the preferences better; 1 of 1: the question is not natural"
        );
    }
}
