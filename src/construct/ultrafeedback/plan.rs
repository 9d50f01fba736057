//! Records one after another -> the pairs that are kept, and in which file; every pair that is left out is counted under its reason.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use super::pairs::{self, Label, Name, Pairing, Ties};
use super::record::{ATTRIBUTES, Completion, Record};
use crate::data::split;

/// Which pairs are kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// Which completions of a record are paired.
    pub pairs: Pairing,
    /// What becomes of equal ratings.
    pub ties: Ties,
    /// Whether only pairs are kept about which the attributes disagree.
    pub controversial: bool,
    /// Whether only pairs are kept that every attribute rates on both sides.
    pub complete: bool,
    /// Whether the files of a side have as many pairs as the smallest of them.
    pub equal_sizes: bool,
    /// Most pairs of a file; 0 for no limit.
    pub max_pairs: usize,
    /// Sources whose records are left out.
    pub without_source: Vec<String>,
    /// Share of the prompts that goes to the test side; 0 for one side.
    pub test_share: f64,
    /// Seed of every draw.
    pub seed: u64,
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Records read, broken ones aside.
    pub records: usize,
    /// Records that are left out as broken.
    pub broken_records: usize,
    /// Records of a source that is left out.
    pub records_of_other_sources: usize,
    /// Records with fewer than two completions.
    pub records_of_one_completion: usize,
    /// Records without a completion of lower mean rating than the best (`best-random` alone).
    pub records_without_lower_mean: usize,
    /// Records whose prompt an earlier record has.
    pub records_of_an_earlier_prompt: usize,
    /// Two completions of one record.
    pub pairs_considered: usize,
    /// Of these, pairs with an empty answer.
    pub pairs_with_an_empty_answer: usize,
    /// Pairs of equal answers.
    pub pairs_of_equal_answers: usize,
    /// Pairs that an earlier record has.
    pub pairs_of_an_earlier_record: usize,
    /// Pairs that lack a rating (`complete` alone).
    pub pairs_not_complete: usize,
    /// Pairs about which the attributes agree (`controversial` alone).
    pub pairs_not_controversial: usize,
    /// Pairs that the attributes compare.
    pub pairs_compared: usize,
    /// Of these, pairs about which the attributes disagree.
    pub pairs_controversial: usize,
    /// Counts of each attribute, in the order of [`ATTRIBUTES`].
    pub attributes: [AttributeCounts; 4],
}

/// What becomes of the compared pairs in the files of one attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct AttributeCounts {
    /// Name of the attribute.
    pub attribute: &'static str,
    /// Pairs that lack its rating of one answer, which are left out.
    pub not_rated: usize,
    /// Pairs with equal ratings, which are left out.
    pub ties_dropped: usize,
    /// Pairs with equal ratings that the coin decides; part of the kept ones.
    pub ties_flipped: usize,
    /// Pairs beyond the size of the file, which are left out.
    pub beyond_size: usize,
    /// Pairs of the file, of both sides.
    pub kept: usize,
}

/// A pair of completions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its record, counted from 0 over all that are not broken.
    pub record: usize,
    /// The places of both completions, the earlier first.
    pub places: (usize, usize),
    /// What each attribute prefers.
    pub labels: [Label; 4],
    /// Whether its prompt is of the test side.
    pub is_test: bool,
    /// Whether it is in the file of each attribute.
    pub kept: [bool; 4],
    name: Name,
    prompt: Name,
}

/// The pairs to write, in the order of the records.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// Those that are in some file.
    pub pairs: Vec<Planned>,
    /// What was counted.
    pub counts: Counts,
    /// Prompts of the kept pairs, and those of the test side.
    pub prompts: (usize, usize),
}

/// Takes the records.
#[derive(Debug)]
pub struct Planner<'a> {
    rule: &'a Rule,
    counts: Counts,
    pairs: Vec<Planned>,
    seen: HashSet<Name>,
    prompts: HashSet<Name>,
}

impl<'a> Planner<'a> {
    /// Without a record.
    pub fn new(rule: &'a Rule) -> Self {
        let mut counts = Counts::default();
        for (count, attribute) in counts.attributes.iter_mut().zip(ATTRIBUTES) {
            count.attribute = attribute;
        }
        Self { rule, counts, pairs: Vec::new(), seen: HashSet::new(), prompts: HashSet::new() }
    }

    /// Counts a record that is left out.
    pub fn add_broken(&mut self) {
        self.counts.broken_records += 1;
    }

    /// Adds the pairs of the next record.
    pub fn add(&mut self, record: &Record) {
        let (rule, counts) = (self.rule, &mut self.counts);
        let at = counts.records;
        counts.records += 1;
        if rule.without_source.contains(&record.source) {
            counts.records_of_other_sources += 1;
            return;
        }
        // Two prompts that differ in the blanks around them are one.
        let prompt = split::hash(rule.seed, record.instruction.trim());
        let prompt_name = pairs::name(record.instruction.trim());
        counts.records_of_an_earlier_prompt += usize::from(!self.prompts.insert(prompt_name));
        if record.completions.len() < 2 {
            counts.records_of_one_completion += 1;
            return;
        }
        let names: Vec<Name> =
            record.completions.iter().map(|one| pairs::name(&one.response)).collect();
        let places = pairs::places(rule.pairs, rule.seed, record, &prompt_name, &names);
        counts.records_without_lower_mean += usize::from(places.is_empty());
        for (first, second) in places {
            counts.pairs_considered += 1;
            let completions = [first, second].map(|place| &record.completions[place]);
            let name = pairs::pair_name(&prompt_name, &names[first], &names[second]);
            let is_incomplete = |one: &&Completion| one.ratings.contains(&None);
            if completions.iter().any(|one| one.is_empty()) {
                counts.pairs_with_an_empty_answer += 1;
            } else if names[first] == names[second] {
                counts.pairs_of_equal_answers += 1;
            } else if !self.seen.insert(name) {
                counts.pairs_of_an_earlier_record += 1;
            } else if rule.complete && completions.iter().any(is_incomplete) {
                counts.pairs_not_complete += 1;
            } else {
                let is_in_order = names[first] <= names[second];
                let labels = pairs::labels(rule.ties, rule.seed, &name, completions, is_in_order);
                let is_controversial = pairs::is_controversial(&labels);
                if rule.controversial && !is_controversial {
                    counts.pairs_not_controversial += 1;
                    continue;
                }
                counts.pairs_compared += 1;
                counts.pairs_controversial += usize::from(is_controversial);
                for (count, label) in counts.attributes.iter_mut().zip(labels) {
                    match label {
                        Label::NotRated => count.not_rated += 1,
                        Label::Tie => count.ties_dropped += 1,
                        Label::First | Label::Second | Label::CoinFirst | Label::CoinSecond => {}
                    }
                }
                self.pairs.push(Planned {
                    record: at,
                    places: (first, second),
                    labels,
                    is_test: false,
                    kept: labels.map(|label| label.is_first().is_some()),
                    name,
                    prompt,
                });
            }
        }
    }

    /// Draws the test side and cuts the files to their sizes.
    pub fn finish(self) -> Plan {
        let Self { rule, mut counts, mut pairs, .. } = self;
        let keeps = |pair: &Planned| pair.kept.contains(&true);
        pairs.retain(keeps);
        let prompts: BTreeSet<Name> = pairs.iter().map(|pair| pair.prompt).collect();
        let drawn = (rule.test_share * prompts.len() as f64).round() as usize;
        let test: HashSet<&Name> = prompts.iter().take(drawn).collect();
        pairs.iter_mut().for_each(|pair| pair.is_test = test.contains(&pair.prompt));
        for is_test in [false, true] {
            cut(&mut pairs, is_test, rule, &mut counts.attributes);
        }
        pairs.retain(keeps);
        for pair in &pairs {
            for (at, count) in counts.attributes.iter_mut().enumerate().filter(|c| pair.kept[c.0]) {
                count.kept += 1;
                let is_coin = matches!(pair.labels[at], Label::CoinFirst | Label::CoinSecond);
                count.ties_flipped += usize::from(is_coin);
            }
        }
        let of = |pairs: &mut dyn Iterator<Item = &Planned>| {
            pairs.map(|pair| pair.prompt).collect::<HashSet<_>>().len()
        };
        let all = of(&mut pairs.iter());
        let test = of(&mut pairs.iter().filter(|pair| pair.is_test));
        Plan { prompts: (all, test), pairs, counts }
    }
}

/// Cuts the files of one side: of each attribute the pairs that stand first stay.
fn cut(pairs: &mut [Planned], is_test: bool, rule: &Rule, counts: &mut [AttributeCounts; 4]) {
    let sizes: [usize; 4] = std::array::from_fn(|at| {
        pairs.iter().filter(|pair| pair.is_test == is_test && pair.kept[at]).count()
    });
    let smallest = sizes.into_iter().min().unwrap_or_default();
    let limit = if rule.max_pairs == 0 { usize::MAX } else { rule.max_pairs };
    let limit = if rule.equal_sizes { limit.min(smallest) } else { limit };
    for at in (0..4).filter(|at| sizes[*at] > limit) {
        let mut standing: Vec<(Name, usize)> = (pairs.iter().enumerate())
            .filter(|(_, pair)| pair.is_test == is_test && pair.kept[at])
            .map(|(place, pair)| (pairs::standing(rule.seed, &pair.name), place))
            .collect();
        standing.sort_unstable();
        standing.drain(..limit);
        counts[at].beyond_size += standing.len();
        standing.into_iter().for_each(|(_, place)| pairs[place].kept[at] = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule {
            pairs: Pairing::All,
            ties: Ties::Drop,
            controversial: false,
            complete: false,
            equal_sizes: false,
            max_pairs: 0,
            without_source: Vec::new(),
            test_share: 0.0,
            seed: 12,
        }
    }

    fn record(prompt: &str, completions: &[(&str, [u8; 4])]) -> Record {
        let completion = |(response, ratings): &(&str, [u8; 4])| Completion {
            model: String::new(),
            response: (*response).to_owned(),
            ratings: ratings.map(|rating| (rating > 0).then(|| f64::from(rating))),
        };
        let completions = completions.iter().map(completion).collect();
        Record { source: "flan".to_owned(), instruction: prompt.to_owned(), completions }
    }

    fn plan(rule: &Rule, records: &[Record]) -> Plan {
        let mut planner = Planner::new(rule);
        records.iter().for_each(|record| planner.add(record));
        planner.finish()
    }

    #[test]
    fn every_pair_is_kept_or_counted_under_one_reason() {
        let records = [
            record("p", &[("a", [5, 5, 1, 0]), ("b", [4, 5, 2, 1]), (" ", [1; 4]), ("a", [5; 4])]),
            record(" p ", &[("b", [4; 4]), ("a", [5; 4])]),
            record("q", &[("a", [5; 4])]),
        ];
        let Counts { attributes, .. } = plan(&rule(), &records).counts;
        let counts = plan(&rule(), &records).counts;
        assert_eq!((counts.records, counts.records_of_one_completion), (3, 1));
        assert_eq!(counts.records_of_an_earlier_prompt, 1);
        assert_eq!((counts.pairs_considered, counts.pairs_with_an_empty_answer), (7, 3));
        // The fourth answer is the first again, so that the pair of second and fourth is known too.
        assert_eq!((counts.pairs_of_equal_answers, counts.pairs_of_an_earlier_record), (1, 2));
        assert_eq!((counts.pairs_compared, counts.pairs_controversial), (1, 1));
        let kept = attributes.map(|count| (count.kept, count.ties_dropped, count.not_rated));
        assert_eq!(kept, [(1, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)]);
    }

    #[test]
    fn options_leave_out_what_they_name_and_count_it() {
        let records = [
            record("p", &[("a", [5, 5, 1, 0]), ("b", [4, 5, 2, 1])]),
            record("q", &[("a", [5; 4]), ("b", [4; 4])]),
        ];
        let complete = plan(&Rule { complete: true, ..rule() }, &records).counts;
        assert_eq!((complete.pairs_not_complete, complete.pairs_compared), (1, 1));
        let controversial = plan(&Rule { controversial: true, ..rule() }, &records).counts;
        assert_eq!((controversial.pairs_not_controversial, controversial.pairs_compared), (1, 1));
        let without = Rule { without_source: vec!["flan".to_owned()], ..rule() };
        assert_eq!(plan(&without, &records).counts.records_of_other_sources, 2);
        let flip = plan(&Rule { ties: Ties::Flip, ..rule() }, &records).counts;
        assert_eq!((flip.attributes[1].ties_flipped, flip.attributes[1].kept), (1, 2));
    }

    #[test]
    fn a_prompt_is_on_one_side_and_the_share_is_exact() {
        let records: Vec<Record> = (0..200)
            .map(|i| {
                let (a, b) = (format!("a{i}"), format!("b{i}"));
                record(&format!("p{}", i / 2), &[(&a, [5; 4]), (&b, [4; 4])])
            })
            .collect();
        let plan = plan(&Rule { test_share: 0.25, ..rule() }, &records);
        assert_eq!(plan.prompts, (100, 25));
        for two in plan.pairs.chunks(2) {
            assert_eq!(two[0].is_test, two[1].is_test);
        }
        assert_eq!(plan.pairs.iter().filter(|pair| pair.is_test).count(), 50);
    }

    #[test]
    fn equal_sizes_keep_the_same_pairs_in_any_order_of_the_records() {
        let mut records: Vec<Record> = (0..60)
            .map(|i| {
                let honesty = if i % 3 == 0 { 4 } else { 5 };
                record(&format!("p{i}"), &[("a", [5; 4]), ("b", [4, honesty, 4, 4])])
            })
            .collect();
        let equal = Rule { equal_sizes: true, ..rule() };
        let sizes = |plan: &Plan| plan.counts.attributes.map(|count| count.kept);
        let forth = plan(&equal, &records);
        assert_eq!(sizes(&forth), [20; 4]);
        assert_eq!(forth.counts.attributes[0].beyond_size, 40);
        let names = |plan: &Plan| -> BTreeSet<(Name, [bool; 4])> {
            plan.pairs.iter().map(|pair| (pair.name, pair.kept)).collect()
        };
        records.reverse();
        assert_eq!(names(&plan(&equal, &records)), names(&forth));
        assert_eq!(sizes(&plan(&Rule { max_pairs: 7, ..rule() }, &records)), [7; 4]);
    }
}
