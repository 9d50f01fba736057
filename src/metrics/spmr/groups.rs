//! SPMR of groups of a set's prompts.

use serde::{Deserialize, Serialize};

use crate::metrics::bootstrap;
use crate::metrics::figure::Figure;
use crate::metrics::groups::{MINIMUM_CLUSTERS, members};
use crate::metrics::spmr::answer::Answer;
use crate::metrics::spmr::rows::{CHANGES, SHARES, changes, clusters_of, column, figure, rows};

/// SPMR of one group of a set's prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpmrGroup {
    /// What the group is made by, one of [`crate::metrics::groups::ATTRIBUTES`] or another field of the answers.
    pub attribute: String,
    /// Which group of the attribute, as the records spell it.
    pub label: String,
    /// Its prompts.
    pub n: usize,
    /// Its users, and prompts without one.
    pub clusters: usize,
    /// *The* figure of [`crate::metrics::Spmr`]; none where the group is too small for a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spmr: Option<Figure>,
    /// Its paired difference to before tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Figure>,
}

/// Every group of prompts, with the change where there are answers from before.
pub(super) fn measure(
    before: Option<&[Answer]>,
    answers: &[Answer],
    threshold: f64,
    embed_prompt: bool,
    minimum_n: usize,
) -> anyhow::Result<Vec<SpmrGroup>> {
    let chosen = column(embed_prompt);
    let mut groups = Vec::new();
    for (attribute, labels) in members(answers.iter().map(|one| (&*one.source, &one.groups))) {
        for (label, members) in labels {
            let own: Vec<&Answer> = members.iter().map(|&i| &answers[i]).collect();
            let clusters = clusters_of(&own);
            let large = own.len() >= minimum_n && clusters.count() >= MINIMUM_CLUSTERS;
            let measured = |rows: Vec<[f64; 4]>, columns| {
                let intervals = bootstrap::intervals(&rows, columns, &clusters, bootstrap::SEED);
                figure(&rows, intervals.as_ref(), chosen)
            };
            let (mut spmr, mut change) = (None, None);
            if large {
                spmr = Some(measured(rows(&own, threshold)?, SHARES));
                if let Some(before) = before {
                    let earlier: Vec<_> = members.iter().map(|&i| &before[i]).collect();
                    change = Some(measured(changes(&earlier, &own, threshold)?, CHANGES));
                }
            }
            groups.push(SpmrGroup {
                attribute: attribute.to_owned(),
                label: label.to_owned(),
                n: own.len(),
                clusters: clusters.count(),
                spmr,
                change,
            });
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::spmr::answer::answer_of;

    #[test]
    fn a_group_has_a_figure_only_with_enough_prompts_of_five_users() {
        let group = |label: &str, users: &[&str]| -> Vec<Answer> {
            users
                .iter()
                .map(|user| {
                    let mut answer = answer_of("x", Some(user), [0.9, 0.1]);
                    answer.groups.insert("gender".into(), label.into());
                    answer
                })
                .collect()
        };
        let answers = [
            group("enough", &["a", "a", "b", "c", "d", "e"]),
            group("few prompts", &["f", "g", "h", "i", "j"]),
            group("four users", &["k", "k", "l", "l", "m", "n"]),
        ]
        .concat();
        let found = measure(Some(&answers), &answers, 0.5, false, 6).unwrap();
        let shown: Vec<_> = (found.iter())
            .map(|group| {
                (&*group.label, group.n, group.clusters, group.spmr.map(|figure| figure.value))
            })
            .collect();
        assert_eq!(
            shown,
            [("enough", 6, 5, Some(1.0)), ("few prompts", 5, 5, None), ("four users", 6, 4, None)]
        );
        assert_eq!(found[0].change.map(|figure| figure.value), Some(0.0));
        assert_eq!((found[1].change, found[2].change), (None, None));
    }
}
