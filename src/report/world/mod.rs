//! A country's name in, its shape on the world map out. `world.txt` next to this file has the shapes; its head names their source.

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("world.txt");

/// The box of the drawing that `world.txt` is in: left, top, width, height.
pub const BOX: [f64; 4] = [20.0, -14.0, 1960.0, 890.0];

/// One country of the map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Country {
    /// Its place among [`countries`].
    pub place: usize,
    /// Its usual English name, some long ones abbreviated.
    pub name: &'static str,
    /// Where its dot is, for a country that is too small to be seen.
    pub dot: Option<[f64; 2]>,
    /// Its outline as the path of an SVG; empty for one that is a dot alone.
    pub path: &'static str,
}

/// Spellings of PRISM and other usual ones, where the map has another name.
const SPELLINGS: [(&str, &str); 16] = [
    ("United States", "United States of America"),
    ("USA", "United States of America"),
    ("UK", "United Kingdom"),
    ("Korea, Republic of", "South Korea"),
    ("Republic of Korea", "South Korea"),
    ("Russian Federation", "Russia"),
    ("Viet Nam", "Vietnam"),
    ("Venezuela, Bolivarian Republic of", "Venezuela"),
    ("Türkiye", "Turkey"),
    ("Czech Republic", "Czechia"),
    ("Ivory Coast", "Côte d'Ivoire"),
    ("Dominican Republic", "Dominican Rep."),
    ("Bosnia and Herzegovina", "Bosnia and Herz."),
    ("Iran, Islamic Republic of", "Iran"),
    ("Taiwan, Province of China", "Taiwan"),
    ("North Macedonia", "Macedonia"),
];

static COUNTRIES: LazyLock<Vec<Country>> = LazyLock::new(|| {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.enumerate().filter_map(|(place, line)| country(place, line)).collect()
});

static PLACES: LazyLock<HashMap<&str, usize>> =
    LazyLock::new(|| COUNTRIES.iter().map(|country| (country.name, country.place)).collect());

fn country(place: usize, line: &'static str) -> Option<Country> {
    let mut cells = line.split(';');
    let (name, _, dot, path) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
    let dot =
        dot.split_once(' ').and_then(|(x, y)| Some([x.parse::<f64>().ok()?, y.parse().ok()?]));
    Some(Country { place, name, dot, path })
}

/// Every country, in the order of the table.
pub fn countries() -> &'static [Country] {
    &COUNTRIES
}

/// The country of a name as PRISM spells it, or in another usual spelling; none for any other text.
pub fn find(name: &str) -> Option<&'static Country> {
    let name = name.trim();
    let other = SPELLINGS.iter().find(|(spelling, _)| *spelling == name);
    let place = PLACES.get(other.map_or(name, |(_, known)| known))?;
    COUNTRIES.get(*place)
}

/// A short name for a label: the map's, or `name` itself.
pub fn short(name: &str) -> &str {
    match find(name) {
        Some(country) if country.name.chars().count() < name.trim().chars().count() => country.name,
        _ => name.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_of_prism_and_every_other_spelling_is_on_the_map() {
        let table = include_str!("../../metrics/regions.csv");
        let mut found = 0;
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let name = line.splitn(3, ',').nth(2).unwrap();
            if name == "Prefer not to say" {
                assert_eq!(find(name), None);
                continue;
            }
            let country = find(name).unwrap_or_else(|| panic!("`{name}` is not on the map"));
            assert!(country.dot.is_some() || !country.path.is_empty(), "{country:?}");
            found += 1;
        }
        // PRISM's 74 and the other spellings.
        assert_eq!(found, 85);
        assert_eq!(find("Hong Kong").unwrap().name, "Hong Kong");
        assert!(find("Tonga").unwrap().dot.is_some());
        assert_eq!((find("Atlantis"), find("")), (None, None));
    }

    #[test]
    fn every_line_is_a_country_within_the_box_and_its_path_is_numbers() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!((countries().len(), PLACES.len()), (lines, lines));
        let [left, top, width, height] = BOX;
        let is_inside = |[x, y]: [f64; 2]| {
            (left..=left + width).contains(&x) && (top..=top + height).contains(&y)
        };
        for country in countries() {
            assert!(country.dot.is_none_or(is_inside), "{country:?}");
            let is_part = |letter: char| {
                letter.is_ascii_digit() || matches!(letter, 'M' | 'l' | 'z' | ' ' | '-')
            };
            assert!(country.path.chars().all(is_part), "{country:?}");
        }
        assert!(TABLE.len() < 120_000, "{} bytes in every page with a map", TABLE.len());
    }

    #[test]
    fn a_label_is_the_shorter_of_two_names() {
        assert_eq!(short("Venezuela, Bolivarian Republic of"), "Venezuela");
        assert_eq!(short("United States"), "United States");
        assert_eq!(short(" Atlantis "), "Atlantis");
    }
}
