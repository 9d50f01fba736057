//! High and Low of each value dimension: what `preference` says, and whether `stated_prefs` says the same.

use std::collections::BTreeMap;

use crate::data::entries::Entry;
use crate::data::groups::DIMENSIONS;

/// Records that are named, at most.
const NAMED: usize = 5;

/// The dimensions of a benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimensions {
    /// One for each of [`DIMENSIONS`].
    pub each: Vec<Dimension>,
    /// Records that have both fields, so that they can be compared.
    pub compared: usize,
    /// Records in which they disagree on a dimension or more.
    pub disagreeing: usize,
    /// The first of those: id, and what differs.
    pub examples: Vec<(String, String)>,
    /// Parts of `preference` that are no `High` or `Low` of a dimension, with their number of records.
    pub unknown: BTreeMap<String, usize>,
}

/// One dimension; numbers of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dimension {
    /// `High` in `preference`.
    pub high: usize,
    /// `Low` in `preference`.
    pub low: usize,
    /// Neither.
    pub unlabelled: usize,
    /// 80 or more in `stated_prefs`.
    pub stated_high: usize,
    /// 60 or less in `stated_prefs`.
    pub stated_low: usize,
    /// Records that have both fields and disagree.
    pub disagreeing: usize,
}

impl Dimensions {
    /// Measures the dimensions of `records`.
    pub fn of(records: &[&Entry]) -> Self {
        let mut all = Self {
            each: vec![Dimension::default(); DIMENSIONS.len()],
            compared: 0,
            disagreeing: 0,
            examples: Vec::new(),
            unknown: BTreeMap::new(),
        };
        for record in records {
            all.add(record);
        }
        all
    }

    fn add(&mut self, record: &Entry) {
        let said = record.preference.as_deref().map(|text| labels(text, &mut self.unknown));
        let stated = record.stated.as_ref();
        self.compared += usize::from(said.is_some() && stated.is_some());
        let mut differing = Vec::new();
        for (dimension, name) in self.each.iter_mut().zip(DIMENSIONS) {
            let level = stated.map(|levels| match levels.get(name).map(String::as_str) {
                Some("high") => Some("High"),
                Some("low") => Some("Low"),
                _ => None,
            });
            dimension.stated_high += usize::from(level == Some(Some("High")));
            dimension.stated_low += usize::from(level == Some(Some("Low")));
            let Some(said) = &said else { continue };
            let label = said.get(name).copied();
            match label {
                Some("High") => dimension.high += 1,
                Some(_) => dimension.low += 1,
                None => dimension.unlabelled += 1,
            }
            if let Some(level) = level.filter(|level| *level != label) {
                dimension.disagreeing += 1;
                let word = |label: Option<&str>| label.unwrap_or("no label").to_owned();
                differing.push(format!("{name}: {}, rated {}", word(label), word(level)));
            }
        }
        if !differing.is_empty() {
            self.disagreeing += 1;
            if self.examples.len() < NAMED {
                let id = record.id.clone().unwrap_or_else(|| format!("line {}", record.line));
                self.examples.push((id, differing.join("; ")));
            }
        }
    }
}

/// The dimension and level of each part of `preference`; what is none is counted in `unknown`.
fn labels(
    preference: &str,
    unknown: &mut BTreeMap<String, usize>,
) -> BTreeMap<&'static str, &'static str> {
    let mut labels = BTreeMap::new();
    for part in preference.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let label = part.split_once(' ').and_then(|(level, name)| {
            let level =
                ["High", "Low"].into_iter().find(|known| level.eq_ignore_ascii_case(known))?;
            let name =
                DIMENSIONS.into_iter().find(|known| name.trim().eq_ignore_ascii_case(known))?;
            Some((name, level))
        });
        match label {
            // A dimension that is labelled twice with two levels contradicts itself.
            Some((name, level)) if labels.get(name).is_none_or(|known| *known == level) => {
                labels.insert(name, level);
            }
            _ => *unknown.entry(part.to_owned()).or_default() += 1,
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::super::people::tests::records;
    use super::*;

    #[test]
    fn a_label_that_the_rating_does_not_give_is_a_disagreement() {
        let all = records(&[
            (
                "a",
                r#", "preference": "High safety, Low creativity", "stated_prefs": {"safety": 80, "creativity": 60, "fluency": 70}"#,
            ),
            (
                "a",
                r#", "preference": "High safety, High fluency", "stated_prefs": {"safety": 79, "fluency": 100, "values": 100}"#,
            ),
            ("a", r#", "preference": "Medium safety, Low safety, high safety, High values""#),
            ("a", r#", "stated_prefs": {"safety": 0}"#),
        ]);
        let found = Dimensions::of(&all.iter().collect::<Vec<_>>());
        assert_eq!((found.compared, found.disagreeing), (2, 1));
        assert_eq!(found.examples, [("r1".to_owned(), "safety: High, rated no label".to_owned())]);
        let of =
            |name: &str| found.each[DIMENSIONS.iter().position(|known| *known == name).unwrap()];
        let safety = of("safety");
        assert_eq!((safety.high, safety.low, safety.stated_high, safety.stated_low), (2, 1, 1, 1));
        assert_eq!((of("fluency").high, of("fluency").unlabelled), (1, 2));
        let unknown: Vec<&str> = found.unknown.keys().map(String::as_str).collect();
        assert_eq!(unknown, ["High values", "Medium safety", "high safety"]);
    }
}
