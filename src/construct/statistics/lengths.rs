//! Lengths of questions and answers, and whether the preferred answer is the longer one.

use crate::data::entries::Entry;
use crate::metrics::agreement::accepted;
use crate::metrics::figure::Figure;

/// What is measured of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Characters, not bytes.
    Characters,
    /// Words between whitespace.
    Words,
}

/// The lengths of a benchmark's texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Lengths {
    /// Of questions, preferred and other answers, in characters.
    pub characters: [Spread; 3],
    /// The same in words.
    pub words: [Spread; 3],
    /// Which answer has more characters, and which more words.
    pub longer: [Longer; 2],
    /// Questions and answers that are blank.
    pub blank: [usize; 3],
}

/// Names of the three texts.
pub(super) const TEXTS: [&str; 3] = ["question", "answer_w", "answer_l"];

/// Quantiles of lengths, by nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    /// The shortest.
    pub shortest: usize,
    /// 5 % are at most as long.
    pub p5: usize,
    /// The middle one.
    pub median: usize,
    /// 95 % are at most as long.
    pub p95: usize,
    /// The longest.
    pub longest: usize,
    /// The mean.
    pub mean: f64,
}

/// Whether preferred answers are longer than the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Longer {
    /// In which unit.
    pub unit: Unit,
    /// Share of the pairs of different lengths whose preferred answer is the longer one; the null is one half. None without such a pair.
    pub share: Option<Figure>,
    /// Pairs of equal length.
    pub ties: usize,
    /// Mean of the preferred length less the other.
    pub mean_difference: f64,
}

impl Unit {
    fn of(self, text: &str) -> usize {
        match self {
            Self::Characters => text.chars().count(),
            Self::Words => text.split_whitespace().count(),
        }
    }

    /// `characters` or `words`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Characters => "characters",
            Self::Words => "words",
        }
    }
}

impl Lengths {
    /// Measures the texts of `records`.
    pub fn of(records: &[&Entry]) -> Self {
        let texts: [fn(&Entry) -> &str; 3] =
            [|one| &one.question, |one| &one.answer_w, |one| &one.answer_l];
        let users: Vec<Option<&str>> =
            records.iter().map(|record| record.user.as_deref()).collect();
        let measured = [Unit::Characters, Unit::Words].map(|unit| {
            texts.map(|text| -> Vec<usize> {
                records.iter().map(|one| unit.of(text(one))).collect()
            })
        });
        let longer = |unit: Unit, [_, preferred, other]: &[Vec<usize>; 3]| {
            let pairs = || preferred.iter().zip(other);
            let marks: Vec<Option<bool>> =
                pairs().map(|(w, l)| (w != l).then_some(w > l)).collect();
            let total: f64 = pairs().map(|(w, l)| *w as f64 - *l as f64).sum();
            Longer {
                unit,
                share: accepted(&marks, &users),
                ties: marks.iter().filter(|mark| mark.is_none()).count(),
                mean_difference: total / records.len().max(1) as f64,
            }
        };
        let [characters, words] = &measured;
        Self {
            longer: [longer(Unit::Characters, characters), longer(Unit::Words, words)],
            characters: characters.clone().map(spread),
            words: words.clone().map(spread),
            blank: texts
                .map(|text| records.iter().filter(|record| text(record).trim().is_empty()).count()),
        }
    }
}

fn spread(mut lengths: Vec<usize>) -> Spread {
    lengths.sort_unstable();
    let rank = |share: f64| {
        let rank = (share * lengths.len() as f64).ceil() as usize;
        lengths.get(rank.max(1) - 1).copied().unwrap_or(0)
    };
    Spread {
        shortest: rank(0.0),
        p5: rank(0.05),
        median: rank(0.5),
        p95: rank(0.95),
        longest: rank(1.0),
        mean: lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(user: usize, answer_w: &str, answer_l: &str) -> Entry {
        Entry {
            line: 1,
            id: None,
            user: Some(format!("u{user}")),
            question: "é b".into(),
            answer_w: answer_w.into(),
            answer_l: answer_l.into(),
            preference: None,
            stated: None,
            profile: Vec::new(),
        }
    }

    #[test]
    fn a_tie_is_neither_longer_nor_shorter_and_characters_are_not_bytes() {
        let all =
            [entry(0, "ab cd", "abc"), entry(1, "é", "e"), entry(2, "a", "b c"), entry(3, "", " ")];
        let lengths = Lengths::of(&all.iter().collect::<Vec<_>>());
        let [characters, words] = lengths.longer;
        let share = characters.share.unwrap();
        assert_eq!((share.n, characters.ties), (3, 1));
        assert!((share.value - 1.0 / 3.0).abs() < 1e-12, "{share:?}");
        assert_eq!((words.share.unwrap().value, words.ties), (0.5, 2));
        assert_eq!((lengths.characters[0].median, lengths.words[0].median), (3, 2));
        assert_eq!(lengths.blank, [0, 1, 1]);
    }

    #[test]
    fn quantiles_are_lengths_of_the_list() {
        let found = spread((1..=100).rev().collect());
        assert_eq!(
            [found.shortest, found.p5, found.median, found.p95, found.longest],
            [1, 5, 50, 95, 100]
        );
        assert_eq!(spread(Vec::new()), Spread::default());
    }
}
