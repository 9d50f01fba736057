//! How many of the people of PRISM's survey gave each answer, from `marginals.toml` next to this file, whose head names its source.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The counts of the survey.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marginals {
    /// People of the survey.
    pub people: usize,
    /// Field of the profile, answer, people who gave it.
    pub answers: BTreeMap<String, BTreeMap<String, usize>>,
}

static MARGINALS: LazyLock<Marginals> =
    LazyLock::new(|| toml::from_str(include_str!("marginals.toml")).unwrap_or_default());

/// The counts of the survey.
pub fn marginals() -> &'static Marginals {
    &MARGINALS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::entries::PROFILE;

    #[test]
    fn every_field_of_the_profile_has_counts_that_add_up_to_everybody() {
        let Marginals { people, answers } = marginals();
        assert_eq!(*people, 1_500);
        assert!(answers.keys().all(|field| PROFILE.iter().any(|(name, _)| name == field)));
        for (field, _) in PROFILE {
            assert_eq!(answers[field].values().sum::<usize>(), *people, "{field}");
        }
        assert_eq!(answers["birth_country"].len(), 75);
    }
}
