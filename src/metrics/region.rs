//! The region of a country of birth, by the table `regions.csv` next to this file, whose head names its source.

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("regions.csv");

/// The region of a country that the table does not have.
pub const NO_REGION: &str = "not in the table of regions";

/// Region of each country.
static REGIONS: LazyLock<HashMap<&str, &str>> =
    LazyLock::new(|| rows().map(|[region, _, country]| (country, region)).collect());

/// Region, origin and country of each line.
fn rows() -> impl Iterator<Item = [&'static str; 3]> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut cells = line.splitn(3, ',');
        Some([cells.next()?, cells.next()?, cells.next()?])
    })
}

/// The region of a country as PRISM spells it; [`NO_REGION`] for any other text.
pub fn region_of(country: &str) -> &'static str {
    REGIONS.get(country.trim()).copied().unwrap_or(NO_REGION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_no_country_stands_twice() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!((rows().count(), REGIONS.len()), (lines, lines));
        for [region, origin, country] in rows() {
            assert!(["published", "completed", "spelling"].contains(&origin), "{country}");
            assert!(!region.is_empty() && region != "Other" && country == country.trim());
        }
        // PRISM's 74 countries and `Prefer not to say`.
        assert_eq!(rows().filter(|[_, origin, _]| *origin != "spelling").count(), 75);
    }

    #[test]
    fn published_completed_and_unknown_countries_have_their_region() {
        for (country, region) in [
            ("Korea, Republic of", "East Asia"),
            ("South Korea", "East Asia"),
            ("Côte d'Ivoire", "Africa"),
            ("New Zealand", "Oceania"),
            ("Australia", "Western"),
            (" Norway ", "Western"),
            ("Kazakhstan", "Central Asia"),
            ("Prefer not to say", "Unspecified"),
            ("Atlantis", NO_REGION),
            ("", NO_REGION),
        ] {
            assert_eq!(region_of(country), region, "{country}");
        }
    }
}
