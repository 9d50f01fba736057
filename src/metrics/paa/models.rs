//! Several models on the same items: paired differences, and the mean over models of each country.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::metrics::bootstrap::{Clusters, Column};
use crate::metrics::figure::Figure;
use crate::metrics::paa::{Judged, ModelResult, mean};

/// How far one model is ahead of another on the items that both were judged on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaaDifference {
    /// The model ahead where the difference is positive.
    pub model: String,
    /// The model that it is compared with.
    pub other: String,
    /// PAA of the one less that of the other, paired by item; `n` is these items.
    pub difference: Figure,
    /// Items on which `model` alone is aligned.
    pub wins: usize,
    /// Items on which `other` alone is aligned.
    pub losses: usize,
}

/// The paired difference; none where no item has a verdict of both. Items are the same where file and id are.
pub fn difference(one: (&str, &[Judged]), other: (&str, &[Judged])) -> Option<PaaDifference> {
    let known: HashMap<_, _> = other
        .1
        .iter()
        .filter_map(|item| Some(((&item.source, &item.id), item.verdict.is_aligned()?)))
        .collect();
    let (mut rows, mut users, mut wins, mut losses) = (Vec::new(), Vec::new(), 0, 0);
    for item in one.1 {
        let both = (item.verdict.is_aligned(), known.get(&(&item.source, &item.id)));
        let (Some(ours), Some(&theirs)) = both else { continue };
        rows.push([f64::from(u8::from(ours)) - f64::from(u8::from(theirs))]);
        users.push(item.user.as_deref());
        wins += usize::from(ours && !theirs);
        losses += usize::from(theirs && !ours);
    }
    Some(PaaDifference {
        model: one.0.to_owned(),
        other: other.0.to_owned(),
        difference: mean(&rows, Column::Change, &Clusters::by_user(users))?,
        wins,
        losses,
    })
}

/// A country over all models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountryMean {
    /// The country, as the records spell it.
    pub country: String,
    /// Mean of the models' shares, each weighing the same.
    pub mean: f64,
    /// Models with a figure for it.
    pub models: usize,
    /// Answers behind it, all models together.
    pub n: usize,
}

/// The mean over models of each country that has a figure, the largest first.
pub fn countries(models: &[ModelResult]) -> Vec<CountryMean> {
    let mut all: BTreeMap<&str, Vec<Figure>> = BTreeMap::new();
    for groups in models.iter().filter_map(|model| model.groups.get("country")) {
        for (country, group) in groups {
            if let Some(figure) = group.paa {
                all.entry(country).or_default().push(figure);
            }
        }
    }
    let mut means: Vec<_> = all
        .into_iter()
        .map(|(country, figures)| CountryMean {
            country: country.to_owned(),
            mean: figures.iter().map(|figure| figure.value).sum::<f64>() / figures.len() as f64,
            models: figures.len(),
            n: figures.iter().map(|figure| figure.n).sum(),
        })
        .collect();
    means.sort_by(|a, b| b.mean.total_cmp(&a.mean).then_with(|| a.country.cmp(&b.country)));
    means
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::paa::{Verdict, judged};

    fn model(yes: &[usize]) -> Vec<Judged> {
        let verdict = |i| if yes.contains(&i) { Verdict::Yes } else { Verdict::No };
        (0..20).map(|i| judged(i, &format!("u{i}"), &[("country", "Kenya")], verdict(i))).collect()
    }

    #[test]
    fn a_difference_is_paired_by_item_and_skips_items_without_both_verdicts() {
        let (mut one, mut other) = (model(&[0, 1, 2, 3, 4]), model(&[0, 1, 9]));
        one[0].verdict = Verdict::Unparsed;
        other.reverse();
        let found = difference(("a", &one), ("b", &other)).unwrap();
        assert_eq!((found.wins, found.losses, found.difference.n), (3, 1, 19));
        assert!((found.difference.value - 2.0 / 19.0).abs() < 1e-12);
        assert!(found.difference.low.unwrap() < found.difference.value);
        assert_eq!(difference(("a", &one), ("b", &[])), None);
    }

    #[test]
    fn a_countrys_mean_weighs_each_model_the_same() {
        let measured = |name, items: &[Judged]| ModelResult::measure(name, items, None, 10);
        let all =
            countries(&[measured("a", &model(&[0, 1])), measured("b", &model(&[1, 2, 3, 4]))]);
        let [kenya] = &all[..] else { panic!("{all:?}") };
        assert!((kenya.mean - 0.15).abs() < 1e-12, "{kenya:?}");
        assert_eq!((kenya.models, kenya.n), (2, 40));
    }
}
