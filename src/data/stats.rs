//! Statistics of a data set: lengths in tokens, what the limits cut, duplicates and oddities.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::pair::{LoadCounts, Loaded, Pair};
use crate::console::units::{counted, s};
use crate::data::token_pair::TokenPair;
use crate::data::tokenize::TokenCounts;

/// Bars of a histogram, at most.
const BINS: usize = 12;

/// Characters of the longest bar.
const BAR: usize = 10;

/// Lengths and counts of one data set. Its display is what `data stats` prints.
#[derive(Debug, Clone)]
pub struct SetStats {
    /// Its name, for the headline.
    pub name: String,
    /// Counts from reading the files.
    loaded: Loaded,
    /// Counts of what the limits cut.
    limits: TokenCounts,
    /// Tokens of prompts, chosen and rejected answers and whole pairs as packed, before the limits.
    lengths: [Vec<usize>; 4],
    /// Pairs that occur twice, in the set or in the training pairs.
    repeats: Repeats,
}

/// The names of [`SetStats::lengths`].
const COLUMNS: [&str; 4] = ["prompt", "chosen", "rejected", "packed"];

/// Pairs that occur more than once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Repeats {
    /// Pairs with the prompt and both answers of an earlier one.
    same: usize,
    /// Pairs with the prompt of an earlier one and its answers the other way round.
    reversed: usize,
    /// Different people; 0 where no record names one.
    users: usize,
    /// Against the training pairs, where this is an evaluation set: pairs, prompts and users that are there too.
    in_training: Option<[usize; 3]>,
}

impl SetStats {
    /// The figures of a data set.
    ///
    /// - `whole`: its pairs as tokens before any limit.
    /// - `limits`: the limits to apply.
    /// - `training`: the training pairs, if this is an evaluation set.
    pub fn new(
        name: &str,
        loaded: Loaded,
        whole: &[TokenPair],
        limits: TokenCounts,
        training: Option<&[Pair]>,
    ) -> Self {
        let of = |length: fn(&TokenPair) -> usize| {
            let mut lengths: Vec<usize> = whole.iter().map(length).collect();
            lengths.sort_unstable();
            lengths
        };
        let lengths = [
            of(|pair| pair.prompt.len()),
            of(|pair| pair.chosen.len()),
            of(|pair| pair.rejected.len()),
            of(TokenPair::tokens),
        ];
        let repeats = Repeats::of(&loaded.pairs, training);
        Self { name: name.to_owned(), loaded, limits, lengths, repeats }
    }

    /// The pairs as text.
    pub fn pairs(&self) -> &[Pair] {
        &self.loaded.pairs
    }
}

impl Repeats {
    fn of(pairs: &[Pair], training: Option<&[Pair]>) -> Self {
        let users = |pairs: &[Pair]| -> HashSet<String> {
            pairs.iter().filter_map(|pair| pair.user.clone()).collect()
        };
        let mut repeats = Self { users: users(pairs).len(), ..Self::default() };
        let mut seen = HashSet::new();
        for pair in pairs {
            let (prompt, chosen, rejected) = (&pair.prompt, &pair.chosen, &pair.rejected);
            repeats.reversed +=
                usize::from(chosen != rejected && seen.contains(&(prompt, rejected, chosen)));
            repeats.same += usize::from(!seen.insert((prompt, chosen, rejected)));
        }
        repeats.in_training = training.map(|training| {
            let mut known: HashMap<&str, HashSet<(&str, &str)>> = HashMap::new();
            for pair in training {
                known.entry(&pair.prompt).or_default().insert((&pair.chosen, &pair.rejected));
            }
            let count = |is: &dyn Fn(&&Pair) -> bool| pairs.iter().filter(is).count();
            let answers = |pair: &&Pair| known.get(pair.prompt.as_str());
            [
                count(&|pair| {
                    answers(pair).is_some_and(|set| {
                        set.contains(&(pair.chosen.as_str(), pair.rejected.as_str()))
                    })
                }),
                count(&|pair| answers(pair).is_some()),
                users(pairs).intersection(&users(training)).count(),
            ]
        });
        repeats
    }
}

/// The value below which a share of sorted numbers lies (nearest rank).
fn quantile(sorted: &[usize], share: f64) -> usize {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0)
}

/// Tokens that one bar of a histogram spans: the smallest power of two with which [`BINS`] bars hold `longest`.
fn bin_width(longest: usize) -> usize {
    let mut width = 8;
    while longest / width >= BINS {
        width *= 2;
    }
    width
}

/// A part of a whole in percent; 0 if the whole is 0.
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

impl fmt::Display for SetStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.loaded.counts;
        let LoadCounts { pairs, files, .. } = *counts;
        writeln!(f, "{}: {pairs} pair{} from {files} file{}", self.name, s(pairs), s(files))?;
        self.table(f)?;
        self.histogram(f)?;

        let TokenCounts { pairs, prompts_cut, chosen_cut, rejected_cut, dropped, .. } = self.limits;
        writeln!(
            f,
            "limits      {pairs} pair{} kept, {dropped} dropped; cut: {prompts_cut} prompt{}, {chosen_cut} chosen, {rejected_cut} rejected",
            s(pairs),
            s(prompts_cut)
        )?;
        if let Some(line) = self.limits.ends_line() {
            writeln!(f, "prompt end  {line}")?;
        }
        let TokenCounts { tokens_packed, tokens_as_sequences, .. } = self.limits;
        let saved = tokens_as_sequences - tokens_packed;
        writeln!(
            f,
            "prefix      {tokens_packed} tokens packed, {tokens_as_sequences} as separate sequences: {saved} saved ({:.1} %)",
            percent(saved, tokens_as_sequences)
        )?;
        let Repeats { same, reversed, users, in_training } = self.repeats;
        writeln!(
            f,
            "duplicates  {same} pair{} again, {reversed} the other way round, {} id{} again",
            s(same),
            counts.duplicate_ids,
            s(counts.duplicate_ids)
        )?;
        writeln!(
            f,
            "answers     {} pair{} with equal answers, {} empty answer{}",
            counts.equal_answers,
            s(counts.equal_answers),
            counts.empty_answers,
            s(counts.empty_answers)
        )?;
        writeln!(f, "users       {users}")?;
        if let Some([pairs, prompts, users]) = in_training {
            writeln!(
                f,
                "training    has {pairs} of these pairs, {prompts} of their prompts, {users} of their users"
            )?;
        }
        let layouts: Vec<_> = counts
            .layouts
            .iter()
            .map(|known| format!("{} {}", known.layout.name(), counted(known.records, "record")))
            .collect();
        writeln!(f, "layouts     {}", layouts.join(", "))?;
        let LoadCounts { ties, within_margin, .. } = *counts;
        if ties + within_margin > 0 {
            writeln!(
                f,
                "left out    {ties} tie{}, {within_margin} within `ranked_margin`",
                s(ties)
            )?;
        }
        let unread = counts.unread_columns().unwrap_or_else(|| "none".to_owned());
        writeln!(f, "not read    {unread}")?;
        let missing: Vec<_> =
            counts.missed().map(|(field, count)| format!("`{field}` {count}")).collect();
        let missing = if missing.is_empty() { "none".to_owned() } else { missing.join(", ") };
        writeln!(f, "missing     {missing}")
    }
}

impl SetStats {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "tokens      {:>8}{:>8}{:>8}{:>8}{:>8}{:>10}",
            "min", "median", "mean", "p95", "max", "total"
        )?;
        for (name, lengths) in COLUMNS.iter().zip(&self.lengths) {
            let total: usize = lengths.iter().sum();
            let [min, median, p95, max] = [0.0, 0.5, 0.95, 1.0].map(|at| quantile(lengths, at));
            let mean = total as f64 / lengths.len().max(1) as f64;
            writeln!(f, "{name:<12}{min:>8}{median:>8}{mean:>8.1}{p95:>8}{max:>8}{total:>10}")?;
        }
        Ok(())
    }

    /// The lengths as bars beside each other, one row for each span of tokens.
    fn histogram(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.lengths.iter().filter_map(|lengths| lengths.last()).max();
        let longest = longest.copied().unwrap_or(0);
        let width = bin_width(longest);
        let bins = longest / width + 1;
        let counts = self.lengths.each_ref().map(|lengths| {
            let mut counts = vec![0usize; bins];
            lengths.iter().for_each(|length| counts[length / width] += 1);
            counts
        });
        let most = counts.iter().flatten().max().copied().unwrap_or(0).max(1);
        let names: String =
            COLUMNS.iter().map(|name| format!("{name:<width$}", width = BAR + 9)).collect();
        writeln!(f, "{:<12}{}", "length", names.trim_end())?;
        for bin in 0..bins {
            let span = format!("{}-{}", bin * width, (bin + 1) * width - 1);
            let mut line = format!("{span:<12}");
            for counts in &counts {
                // A span with any pair has a bar.
                let bar = "█".repeat((counts[bin] * BAR).div_ceil(most));
                let count =
                    if counts[bin] > 0 { format!(" {}", counts[bin]) } else { String::new() };
                let cell = format!("{bar}{count}");
                line.push_str(&format!("{cell:<width$}", width = BAR + 9));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;
    use crate::data::pair::LoadCounts;

    fn pairs(json: &[[&str; 3]]) -> Vec<Pair> {
        let lines: Vec<String> = json
            .iter()
            .map(|[prompt, chosen, rejected]| {
                serde_json::json!({"prompt": prompt, "chosen": chosen, "rejected": rejected, "user_id": prompt})
                    .to_string()
            })
            .collect();
        file::parse(lines.join("\n").as_bytes(), "a.jsonl").unwrap()
    }

    #[test]
    fn a_repeated_pair_and_a_reversed_one_are_told_apart() {
        let pairs = pairs(&[
            ["p", "a", "b"],
            ["p", "a", "b"],
            ["p", "b", "a"],
            ["q", "a", "b"],
            ["r", "c", "c"],
        ]);
        let repeats = Repeats::of(&pairs, Some(&pairs[3..]));
        assert_eq!((repeats.same, repeats.reversed, repeats.users), (1, 1, 3));
        assert_eq!(repeats.in_training, Some([2, 2, 2]));
        assert_eq!(Repeats::of(&pairs[4..], None).reversed, 0);
    }

    #[test]
    fn quantiles_are_numbers_of_the_list() {
        let sorted: Vec<usize> = (1..=100).collect();
        assert_eq!([0.0, 0.5, 0.95, 1.0].map(|at| quantile(&sorted, at)), [1, 50, 95, 100]);
        assert_eq!(quantile(&[], 0.5), 0);
    }

    #[test]
    fn every_length_has_a_bar_of_its_own_span() {
        assert_eq!([0, 95, 96, 1023, 1 << 20].map(bin_width), [8, 8, 16, 128, 1 << 17]);
        for longest in 0..5000 {
            assert!(longest / bin_width(longest) < BINS);
        }
    }

    #[test]
    fn the_histogram_counts_each_pair_once_in_its_span() {
        let stats = SetStats {
            name: "a".to_owned(),
            loaded: Loaded {
                pairs: Vec::new(),
                counts: LoadCounts::default(),
                digests: Vec::new(),
                by_source: Vec::new(),
                bytes: 0,
            },
            limits: TokenCounts::default(),
            lengths: [vec![0], vec![3, 9], vec![9, 15], vec![20]],
            repeats: Repeats::default(),
        };
        let text = stats.to_string();
        let counts = |span: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(&format!("{span} "))).unwrap();
            let words = line.split_whitespace().skip(1);
            words.filter(|word| !word.contains('█')).map(str::to_owned).collect()
        };
        assert_eq!(counts("0-7"), ["1", "1"]);
        assert_eq!(counts("8-15"), ["1", "2"]);
        assert_eq!(counts("16-23"), ["1"]);
    }
}
