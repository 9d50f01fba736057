//! The figures of groups of pairs: who the person is, what they value, which file the pair is from.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::metrics::difference::difference;
use crate::metrics::figure::{self, Metrics};
use crate::metrics::region::region_of;
use crate::metrics::score::PairScore;

/// Fewest pairs of a group with figures, unless the user sets another number.
pub const MINIMUM_N: usize = 10;

/// Fewest users of a group with figures, a pair without a user counting as one: the pairs of a few people show those people, not a
/// group.
pub const MINIMUM_CLUSTERS: usize = 5;

/// Attributes of groups, in the order of reports; any other field of a score follows these.
///
/// `region` is that of the country (see [`crate::metrics::region`]), `value_*` whether the person's stated preference is `high`, `middle` or
/// `low`, `file` the stem of the file, such as UF-P-4's `honesty`.
pub const ATTRIBUTES: [&str; 17] = [
    "file",
    "region",
    "country",
    "age",
    "gender",
    "education",
    "employment_status",
    "marital_status",
    "english_proficiency",
    "value_values",
    "value_creativity",
    "value_fluency",
    "value_factuality",
    "value_diversity",
    "value_safety",
    "value_personalisation",
    "value_helpfulness",
];

/// One group of a set's pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// One of [`ATTRIBUTES`] or another field of the scores.
    pub attribute: String,
    /// Value of the attribute, as the records spell it.
    pub label: String,
    /// Its pairs.
    pub n: usize,
    /// Its users, and pairs without one.
    pub clusters: usize,
    /// Its figures; none if the group is too small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Their paired differences to before tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Metrics>,
}

/// Every group of every attribute that a pair of the set has, in the order of [`ATTRIBUTES`], then of labels.
///
/// - `before`: the same pairs before tuning, for the differences.
/// - `minimum_n`: fewest pairs of a group with figures; it needs [`MINIMUM_CLUSTERS`] too.
///
/// A set of one file has no attribute `file`.
pub fn measure(
    before: Option<&[PairScore]>,
    scores: &[PairScore],
    beta: f64,
    minimum_n: usize,
) -> anyhow::Result<Vec<Group>> {
    let mut groups = Vec::new();
    for (attribute, labels) in members(scores.iter().map(|one| (&*one.source, &one.groups))) {
        for (label, members) in labels {
            let own: Vec<&PairScore> = members.iter().map(|&i| &scores[i]).collect();
            let clusters = figure::clusters_of(&own).count();
            let large = own.len() >= minimum_n && clusters >= MINIMUM_CLUSTERS;
            let (mut figures, mut change) = (None, None);
            if large {
                figures = Some(figure::measure(&own, beta)?);
                if let Some(before) = before {
                    let earlier: Vec<_> = members.iter().map(|&i| &before[i]).collect();
                    change = Some(difference(&earlier, &own, beta)?);
                }
            }
            groups.push(Group {
                attribute: attribute.to_owned(),
                label: label.to_owned(),
                n: own.len(),
                clusters,
                metrics: figures,
                change,
            });
        }
    }
    Ok(groups)
}

/// The indices of each group's pairs, by attribute and label; `pairs`: file and demographic fields of each.
pub(super) fn members<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a BTreeMap<String, String>)> + Clone,
) -> Vec<(&'a str, BTreeMap<&'a str, Vec<usize>>)> {
    let mut all: BTreeMap<&str, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    let files: BTreeSet<&str> = pairs.clone().map(|(file, _)| file).collect();
    for (index, (file, groups)) in pairs.enumerate() {
        let mut put = |attribute, label| {
            all.entry(attribute).or_default().entry(label).or_default().push(index);
        };
        // A column of the set's own that is called `file` or `region` is the one that the user named.
        if files.len() > 1 && !groups.contains_key("file") {
            put("file", file);
        }
        for (attribute, label) in groups {
            put(attribute, label);
        }
        if let Some(country) = groups.get("country").filter(|_| !groups.contains_key("region")) {
            put("region", region_of(country));
        }
    }
    let mut ordered: Vec<_> = all.into_iter().collect();
    let place = |attribute: &str| ATTRIBUTES.iter().position(|known| *known == attribute);
    ordered.sort_by_key(|(attribute, _)| place(attribute).unwrap_or(ATTRIBUTES.len()));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::score::pair_of;

    /// Thirty pairs of fifteen people, ten of five in each country; the policy has moved by `gain` on the pairs of the first two
    /// countries.
    fn scores(gain: f64) -> Vec<PairScore> {
        let people = [("a", "Chile", "high"), ("b", "Peru", "low"), ("c", "Norway", "high")];
        let one = |i: usize| {
            let (user, country, safety) = people[i / 10];
            let gain = if i < 20 { gain } else { 0.0 };
            let user = format!("{user}{}", i % 5);
            let mut score =
                pair_of(&i.to_string(), Some(&user), [-20.0 + gain, -18.0, -20.0, -18.0]);
            score.groups.insert("country".into(), country.into());
            score.groups.insert("value_safety".into(), safety.into());
            score
        };
        (0..30).map(one).collect()
    }

    fn group<'a>(groups: &'a [Group], attribute: &str, label: &str) -> &'a Group {
        let found = groups.iter().find(|g| g.attribute == attribute && g.label == label);
        found.unwrap_or_else(|| panic!("no {attribute} {label}"))
    }

    #[test]
    fn groups_are_counted_measured_and_compared_with_before() {
        let groups = measure(Some(&scores(0.0)), &scores(4.0), 0.1, 20).unwrap();
        let high = group(&groups, "value_safety", "high");
        assert_eq!((high.n, high.clusters), (20, 10));
        let opa = high.metrics.as_ref().unwrap().opa;
        assert!((opa.value - 0.5).abs() <= 0.0 && opa.ties == Some(10));
        let change = high.change.as_ref().unwrap();
        assert!((change.preference_accuracy.value - 0.5).abs() <= 0.0);
        // Peru is in no table of PRISM; Chile and Norway are.
        for region in ["Latin America", "Western", crate::metrics::region::NO_REGION] {
            assert_eq!(group(&groups, "region", region).n, 10);
        }
        let order: Vec<_> = groups.iter().map(|group| &*group.attribute).collect();
        assert!(order.iter().all(|attribute| *attribute != "file"));
        assert!(order[0] == "region" && order.ends_with(&["value_safety"]), "{order:?}");
    }

    #[test]
    fn a_small_group_is_there_without_a_number() {
        let scores = scores(4.0);
        let groups = measure(None, &scores, 0.1, 20).unwrap();
        let low = group(&groups, "value_safety", "low");
        assert_eq!((low.n, low.clusters, &low.metrics, &low.change), (10, 5, &None, &None));
        let metrics = |scores: &[PairScore]| {
            let groups = measure(None, scores, 0.1, 1).unwrap();
            group(&groups, "value_safety", "low").metrics.clone()
        };
        assert!(metrics(&scores).is_some());
        // Four users are too few however many pairs there are.
        let four: Vec<_> =
            scores.into_iter().filter(|score| score.user.as_deref() != Some("b0")).collect();
        assert_eq!(metrics(&four), None);
    }

    #[test]
    fn files_are_groups_where_there_are_several() {
        let mut scores = scores(4.0);
        scores[5].source = "honesty".into();
        scores[0].groups.insert("shoe_size".into(), "43".into());
        let groups = measure(None, &scores, 0.1, 20).unwrap();
        assert_eq!(groups[0].attribute, "file");
        assert_eq!(group(&groups, "file", "honesty").n, 1);
        assert_eq!(groups.last().unwrap().attribute, "shoe_size");
    }
}
