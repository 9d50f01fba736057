//! The PAA values that the paper states in its text, with what is known of the answers behind each.

/// Answers of one user at most: PRISM asked for six conversations, and the paper made three questions of each.
pub const PER_USER: usize = 18;

/// A value of a country, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StatedCountry {
    /// The country as PRISM spells it.
    pub country: &'static str,
    /// The model as the paper prints it.
    pub model: &'static str,
    /// The value.
    pub percent: f64,
    /// Users of PRISM born there.
    pub users: usize,
}

/// A value of a group within a region, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StatedGroup {
    /// The region as the table of regions names it.
    pub region: &'static str,
    /// The attribute, such as `age`.
    pub attribute: &'static str,
    /// The group as PRISM spells it.
    pub label: &'static str,
    /// The model as the paper prints it.
    pub model: &'static str,
    /// The value.
    pub percent: f64,
}

const GPT: &str = "GPT-4o";
const DOUBAO: &str = "Doubao-1.5-Pro";
const DEEPSEEK: &str = "DeepSeek-v3";

/// "Overall Alignment Analysis" of arXiv 2509.08022; users by country of birth from PRISM's tables.
pub const COUNTRIES: [StatedCountry; 21] = [
    country("Brazil", GPT, 5.6, 1),
    country("Honduras", GPT, 0.0, 1),
    country("Türkiye", GPT, 97.2, 2),
    country("Russian Federation", GPT, 90.5, 6),
    country("India", GPT, 87.2, 9),
    country("Viet Nam", GPT, 100.0, 2),
    country("Lithuania", GPT, 100.0, 1),
    country("Argentina", GPT, 69.4, 2),
    country("Ireland", DOUBAO, 94.2, 17),
    country("Romania", DOUBAO, 96.2, 7),
    country("Korea, Republic of", DOUBAO, 94.7, 9),
    country("Argentina", DOUBAO, 97.2, 2),
    country("Romania", DEEPSEEK, 98.1, 7),
    country("China", DEEPSEEK, 96.8, 4),
    country("Indonesia", DEEPSEEK, 100.0, 3),
    country("Argentina", DEEPSEEK, 91.7, 2),
    country("Viet Nam", DEEPSEEK, 66.7, 2),
    country("Lithuania", DEEPSEEK, 66.7, 1),
    country("Netherlands", DEEPSEEK, 35.8, 9),
    country("Kenya", DEEPSEEK, 11.1, 1),
    country("Brazil", DEEPSEEK, 0.0, 1),
];

const fn country(
    country: &'static str,
    model: &'static str,
    percent: f64,
    users: usize,
) -> StatedCountry {
    StatedCountry { country, model, percent, users }
}

const WESTERN: &str = "Western";
const EAST_ASIA: &str = "East Asia";

/// "Alignment Analysis for Western Regions" and "for East Asia"; values of one group alone.
pub const GROUPS: [StatedGroup; 36] = [
    group(WESTERN, "age", "25-34 years old", DOUBAO, 87.2),
    group(WESTERN, "age", "45-54 years old", DOUBAO, 86.89),
    group(WESTERN, "age", "18-24 years old", GPT, 74.4),
    group(WESTERN, "age", "25-34 years old", DEEPSEEK, 68.61),
    group(WESTERN, "gender", "Non-binary / third gender", DOUBAO, 91.01),
    group(WESTERN, "gender", "Prefer not to say", GPT, 50.0),
    group(WESTERN, "gender", "Non-binary / third gender", DEEPSEEK, 57.68),
    group(WESTERN, "gender", "Prefer not to say", DEEPSEEK, 33.33),
    group(WESTERN, "education", "Completed Primary School", DEEPSEEK, 97.22),
    group(WESTERN, "education", "University Bachelors Degree", DEEPSEEK, 69.51),
    group(WESTERN, "education", "Graduate / Professional degree", DEEPSEEK, 71.43),
    group(WESTERN, "marital_status", "Widowed", DOUBAO, 89.13),
    group(WESTERN, "marital_status", "Never been married", DOUBAO, 87.12),
    group(WESTERN, "marital_status", "Divorced / Separated", DEEPSEEK, 73.14),
    group(WESTERN, "marital_status", "Prefer not to say", GPT, 84.62),
    group(EAST_ASIA, "age", "25-34 years old", DOUBAO, 93.22),
    group(EAST_ASIA, "age", "35-44 years old", GPT, 85.0),
    group(EAST_ASIA, "age", "55-64 years old", GPT, 100.0),
    group(EAST_ASIA, "age", "65+ years old", GPT, 0.0),
    group(EAST_ASIA, "age", "55-64 years old", DEEPSEEK, 100.0),
    group(EAST_ASIA, "gender", "Female", DOUBAO, 88.12),
    group(EAST_ASIA, "gender", "Male", DOUBAO, 85.06),
    group(EAST_ASIA, "gender", "Non-binary / third gender", DOUBAO, 88.89),
    group(EAST_ASIA, "gender", "Non-binary / third gender", GPT, 72.22),
    group(EAST_ASIA, "gender", "Prefer not to say", GPT, 0.0),
    group(EAST_ASIA, "gender", "Non-binary / third gender", DEEPSEEK, 50.0),
    group(EAST_ASIA, "education", "Completed Secondary School", DOUBAO, 100.0),
    group(EAST_ASIA, "education", "Graduate / Professional degree", DOUBAO, 98.61),
    group(EAST_ASIA, "education", "Vocational", GPT, 88.89),
    group(EAST_ASIA, "education", "Graduate / Professional degree", GPT, 87.5),
    group(EAST_ASIA, "education", "Vocational", DEEPSEEK, 100.0),
    group(EAST_ASIA, "education", "Some University but no degree", DEEPSEEK, 22.22),
    group(EAST_ASIA, "marital_status", "Married", DOUBAO, 89.86),
    group(EAST_ASIA, "marital_status", "Prefer not to say", DOUBAO, 83.33),
    group(EAST_ASIA, "marital_status", "Married", GPT, 88.41),
    group(EAST_ASIA, "marital_status", "Married", DEEPSEEK, 88.41),
];

const fn group(
    region: &'static str,
    attribute: &'static str,
    label: &'static str,
    model: &'static str,
    percent: f64,
) -> StatedGroup {
    StatedGroup { region, attribute, label, model, percent }
}

/// The smallest number of answers, with the aligned ones among them, whose share rounds to `percent` at `decimals` places.
pub fn fewest(percent: f64, decimals: i32) -> [usize; 2] {
    let unit = 10f64.powi(-decimals);
    let fits =
        |aligned: f64, n: usize| (100.0 * aligned / n as f64 - percent).abs() <= unit / 2.0 + 1e-9;
    let found = (1..10_000).find_map(|n| {
        let aligned = (percent * n as f64 / 100.0).round();
        fits(aligned, n).then_some([aligned as usize, n])
    });
    found.unwrap_or([0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::region::region_of;
    use crate::report::world;

    #[test]
    fn five_point_six_percent_is_one_of_eighteen() {
        for (percent, decimals, expected) in [
            (5.6, 1, [1, 18]),
            (97.2, 1, [35, 36]),
            (66.7, 1, [2, 3]),
            (11.1, 1, [1, 9]),
            (0.0, 1, [0, 1]),
            (100.0, 1, [1, 1]),
            (33.33, 2, [1, 3]),
            (98.61, 2, [71, 72]),
        ] {
            assert_eq!(fewest(percent, decimals), expected, "{percent}");
        }
    }

    #[test]
    fn every_value_has_a_country_of_the_map_and_enough_users_behind_it() {
        for stated in COUNTRIES {
            assert!(world::find(stated.country).is_some(), "{stated:?}");
            let [_, n] = fewest(stated.percent, 1);
            assert!((1..=PER_USER * stated.users).contains(&n), "{stated:?}: {n}");
        }
        let regions = [region_of("Germany"), region_of("Japan")];
        assert!(GROUPS.iter().all(|stated| regions.contains(&stated.region)));
    }
}
