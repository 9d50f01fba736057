//! PAA of groups: by country, region, age and the other attributes, and of each attribute within each region.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metrics::axes::Outcome;
use crate::metrics::axes::outcome::clusters_of;
use crate::metrics::figure::Figure;
use crate::metrics::groups::{MINIMUM_CLUSTERS, members};
use crate::metrics::paa::share;

/// Groups by attribute, then by label.
pub type Breakdown = BTreeMap<String, BTreeMap<String, PaaGroup>>;

/// The attributes that the paper's Figures 3 and 4 show within each region.
pub const WITHIN_REGIONS: [&str; 4] = ["age", "gender", "education", "marital_status"];

/// PAA of one group.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PaaGroup {
    /// Its answers with a verdict.
    pub n: usize,
    /// Its users, an answer without one counting as one.
    pub users: usize,
    /// Its answers that are aligned, so that a group without a figure still shows `1 of 18`.
    #[serde(default)]
    pub aligned: usize,
    /// The share of aligned answers; none where the group is too small for a number.
    pub paa: Option<Figure>,
}

/// The groups of every attribute; `minimum_n`: fewest answers of a group with a figure, which needs [`MINIMUM_CLUSTERS`] users too.
pub(super) fn by_attribute(outcomes: &[Outcome<'_>], minimum_n: usize) -> Breakdown {
    let mut all = Breakdown::new();
    for (attribute, labels) in members(outcomes.iter().map(|one| (one.source, one.groups))) {
        let groups = labels.into_iter().map(|(label, own)| {
            let own: Vec<_> = own.into_iter().map(|i| outcomes[i]).collect();
            let users = clusters_of(&own).count();
            let large = own.len() >= minimum_n && users >= MINIMUM_CLUSTERS;
            let paa = large.then(|| share(&own)).flatten();
            let aligned = own.iter().filter(|one| one.won).count();
            (label.to_owned(), PaaGroup { n: own.len(), users, aligned, paa })
        });
        all.insert(attribute.to_owned(), groups.collect());
    }
    all
}

/// The groups of each of [`WITHIN_REGIONS`] in each region: attribute, region, label.
pub(super) fn by_region(outcomes: &[Outcome<'_>], minimum_n: usize) -> BTreeMap<String, Breakdown> {
    let mut all: BTreeMap<String, Breakdown> = BTreeMap::new();
    let attributes = members(outcomes.iter().map(|one| (one.source, one.groups)));
    let Some((_, regions)) = attributes.iter().find(|(name, _)| *name == "region") else {
        return all;
    };
    for (region, own) in regions {
        let own: Vec<_> = own.iter().map(|&i| outcomes[i]).collect();
        let mut groups = by_attribute(&own, minimum_n);
        for attribute in WITHIN_REGIONS {
            let Some(labels) = groups.remove(attribute) else { continue };
            all.entry(attribute.to_owned()).or_default().insert((*region).to_owned(), labels);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use crate::metrics::paa::{ModelResult, Verdict, judged};

    #[test]
    fn countries_regions_and_attributes_within_regions_have_their_own_shares() {
        let mut items = Vec::new();
        for (country, age, yes) in
            [("Brazil", "18-24", 1), ("Brazil", "65+", 3), ("Kenya", "18-24", 4)]
        {
            for i in 0..20 {
                let id = items.len();
                let verdict = if i % 5 < yes { Verdict::Yes } else { Verdict::No };
                let groups = [("country", country), ("age", age)];
                items.push(judged(id, &format!("u{}", id / 2), &groups, verdict));
            }
        }
        items.push(judged(60, "one", &[("country", "Tonga")], Verdict::Yes));
        let result = ModelResult::measure("m", &items, None, 10);
        let value =
            |attribute: &str, label: &str| result.groups[attribute][label].paa.map(|f| f.value);
        assert_eq!(value("country", "Brazil"), Some(0.4));
        assert_eq!(value("country", "Kenya"), Some(0.8));
        assert_eq!(value("country", "Tonga"), None);
        let tonga = result.groups["country"]["Tonga"];
        assert_eq!((tonga.n, tonga.users, tonga.aligned), (1, 1, 1));
        assert_eq!(result.groups["country"]["Kenya"].aligned, 16);
        assert_eq!(value("region", "Latin America"), Some(0.4));
        assert_eq!(value("age", "18-24"), Some(0.5));
        let within = &result.groups_by_region["age"]["Latin America"];
        assert_eq!(within["18-24"].paa.map(|f| f.value), Some(0.2));
        assert_eq!(within["65+"].paa.map(|f| f.value), Some(0.6));
        assert_eq!((within["65+"].n, within["65+"].users), (20, 10));
    }
}
