//! Several runs on the same pairs: a set whose pairs differ from run to run is cut to those that all runs have, or left out.

use std::collections::{HashMap, HashSet};

use crate::config::RunConfig;
use crate::console::units;
use crate::metrics::{PairScore, SetResult};
use crate::report::folder::Run;
use crate::report::set_files::SetFiles;
use crate::report::states::set_names;
use crate::report::text::Text;

/// Runs that can be laid side by side.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Paired {
    /// The runs in their order. All runs that have a set have the same pairs of it, in the same order.
    pub runs: Vec<Run>,
    /// What was cut or left out, one sentence for each set.
    pub sentences: Vec<String>,
}

/// What makes two scored pairs the same: id, user, source, how often these came before, and the scored tokens where all runs have
/// the same tokens. The last tells pairs of files apart whose ids are places in a file.
type Key<'a> = (&'a str, Option<&'a str>, &'a str, usize, [usize; 2]);

impl Paired {
    /// `runs` on the pairs that all of them scored; a set with fewer than `minimum_n` of those is left out.
    pub fn of(runs: &[&Run], minimum_n: usize) -> Self {
        let mut paired: Vec<Run> = runs.iter().map(|run| (*run).clone()).collect();
        let mut sentences = Vec::new();
        for name in all_set_names(runs) {
            let owners: Vec<usize> =
                (0..runs.len()).filter(|&i| files(runs[i], name).is_some()).collect();
            if owners.len() < 2 {
                continue;
            }
            let owned: Vec<&Run> = owners.iter().map(|&i| runs[i]).collect();
            let kept = match Kept::of(&owned, name, minimum_n) {
                Kept::All => continue,
                Kept::Some { places, sentence } => {
                    sentences.push(sentence);
                    places
                }
                Kept::None { sentence } => {
                    sentences.push(sentence);
                    Vec::new()
                }
            };
            for (at, &owner) in owners.iter().enumerate() {
                let run = &mut paired[owner];
                let cut = kept.get(at).is_some_and(|places| cut(run, name, places).is_ok());
                if !cut {
                    remove(run, name);
                }
            }
        }
        Self { runs: paired, sentences }
    }

    /// What must be read before the figures of any of the runs, each sentence once.
    pub fn cautions(&self) -> Vec<Text> {
        let mut all: Vec<Text> = Vec::new();
        for caution in self.runs.iter().flat_map(Run::cautions_about_sets) {
            if !all.contains(&caution) {
                all.push(caution);
            }
        }
        all
    }

    /// The runs, as the sections take them.
    pub fn all(&self) -> Vec<&Run> {
        self.runs.iter().collect()
    }
}

/// Which pairs of a set all runs have.
enum Kept {
    All,
    /// For each run, the places of the common pairs in its scores, in the order of the first run.
    Some {
        places: Vec<Vec<usize>>,
        sentence: String,
    },
    None {
        sentence: String,
    },
}

impl Kept {
    fn of(runs: &[&Run], name: &str, minimum_n: usize) -> Self {
        let scores: Vec<&[PairScore]> = runs.iter().map(|run| newest(run, name)).collect();
        let counts: Vec<String> = runs
            .iter()
            .zip(&scores)
            .map(|(run, scores)| format!("{} in {}", units::count(scores.len()), run.name))
            .collect();
        let counts = counts.join(", ");
        if scores.iter().any(|scores| scores.is_empty()) {
            let sentence = format!(
                "{name} is left out of the comparison: without the scores of every run it is not known whether the runs have the same pairs ({counts})"
            );
            return Self::None { sentence };
        }
        let tokens = same_tokens(runs);
        let keys: Vec<Vec<Key<'_>>> = scores.iter().map(|scores| keys(scores, tokens)).collect();
        if keys.iter().all(|other| *other == keys[0]) {
            return Self::All;
        }
        let places: Vec<HashMap<&Key<'_>, usize>> = keys
            .iter()
            .map(|keys| keys.iter().enumerate().map(|(i, key)| (key, i)).collect())
            .collect();
        let mut common: HashSet<&Key<'_>> = keys[0].iter().collect();
        common.retain(|key| places.iter().all(|places| places.contains_key(key)));
        let shared: Vec<&Key<'_>> = keys[0].iter().filter(|key| common.contains(key)).collect();
        let n = units::count(shared.len());
        if shared.len() < minimum_n.max(1) {
            let sentence = format!(
                "{name} is left out of the comparison: the runs have other pairs under this name ({counts}), and {n} of them in common"
            );
            return Self::None { sentence };
        }
        let places = places.iter().map(|at| shared.iter().map(|key| at[*key]).collect()).collect();
        let sentence = format!(
            "{name} is compared on the {n} pairs that all runs have ({counts}), without SPMR; figures of all pairs of a run stand in its own report"
        );
        Self::Some { places, sentence }
    }
}

/// The sets of all runs, in the order of their first appearance.
pub fn all_set_names<'a>(runs: &[&'a Run]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        for name in set_names(run.before.as_ref(), run.after.as_ref()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The files of the set `name` of `run`.
fn files<'a>(run: &'a Run, name: &str) -> Option<&'a SetFiles> {
    run.sets.iter().find(|files| files.name == name)
}

/// The scores of the newest state of the set `name`; empty where the folder has none.
pub fn newest<'a>(run: &'a Run, name: &str) -> &'a [PairScore] {
    let Some(SetFiles { scores: [before, after], .. }) = files(run, name) else { return &[] };
    if run.after.is_some() { after } else { before }
}

/// Whether all runs cut the same text into the same tokens.
fn same_tokens(runs: &[&Run]) -> bool {
    const KEYS: [&str; 9] = [
        "data.chat_template",
        "data.template_date",
        "data.max_length",
        "data.max_prompt_tokens",
        "data.prompt_format",
        "data.tokenization",
        "data.truncation",
        "eval.tokenization",
        "eval.score_eos",
    ];
    // A run of an older version lacks a newer key, and did what its default does.
    let defaults = toml::Table::try_from(RunConfig::default()).unwrap_or_default();
    let default = |key: &str| {
        let (section, key) = key.split_once('.')?;
        defaults.get(section)?.get(key).cloned()
    };
    let of = |run: &&Run| KEYS.map(|key| run.setting(key).cloned().or_else(|| default(key)));
    runs.iter().all(|run| run.model() == runs[0].model() && of(run) == of(&runs[0]))
}

fn keys<'a>(scores: &'a [PairScore], tokens: bool) -> Vec<Key<'a>> {
    let mut seen: HashMap<Key<'a>, usize> = HashMap::new();
    let key = |score: &'a PairScore| {
        let PairScore { id, user, source, chosen_tokens, rejected_tokens, .. } = score;
        let tokens = if tokens { [*chosen_tokens, *rejected_tokens] } else { [0; 2] };
        let mut key: Key<'a> = (id, user.as_deref(), source, 0, tokens);
        let before = seen.entry(key).or_default();
        key.3 = *before;
        *before += 1;
        key
    };
    scores.iter().map(key).collect()
}

/// Cuts the set `name` of `run` to the pairs at `places` and measures it anew, without SPMR.
fn cut(run: &mut Run, name: &str, places: &[usize]) -> anyhow::Result<()> {
    let own = |files: &&mut SetFiles| files.name == name;
    let Some(files) = run.sets.iter_mut().find(own) else { return Ok(()) };
    files.answers = Default::default();
    for scores in files.scores.iter_mut().filter(|scores| !scores.is_empty()) {
        anyhow::ensure!(places.iter().all(|&i| i < scores.len()), "scores of other pairs");
        *scores = places.iter().map(|&i| scores[i].clone()).collect();
    }
    let [before, after] = &files.scores;
    for (evaluation, scores, earlier) in
        [(&mut run.before, before, None), (&mut run.after, after, Some(before))]
    {
        let Some(evaluation) = evaluation else { continue };
        let beta = evaluation.beta;
        let Some(set) = evaluation.sets.iter_mut().find(|set| set.name == name) else { continue };
        *set = match earlier.filter(|earlier| !earlier.is_empty()) {
            Some(earlier) => SetResult::measure_change(name, earlier, scores, beta)?,
            None => SetResult::measure(name, scores, beta)?,
        };
    }
    Ok(())
}

fn remove(run: &mut Run, name: &str) {
    run.sets.retain(|files| files.name != name);
    for evaluation in [&mut run.before, &mut run.after].into_iter().flatten() {
        evaluation.sets.retain(|set| set.name != name);
    }
}

/// Made-up runs for the tests of this folder.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::metrics::score::pair_of;
    use crate::report::folder::sample::run;

    /// A run called `name` on one pair of each of these people, which moves towards the preferred answer of the first `won`.
    pub(crate) fn run_of(name: &str, people: std::ops::Range<usize>, won: usize) -> Run {
        let mut run = Run { name: name.into(), ..run() };
        let scores = |gain: f64| -> Vec<PairScore> {
            let score = |i: usize| {
                let gain = if i < won { gain } else { -gain };
                let user = format!("u{i}");
                pair_of(&i.to_string(), Some(&user), [-20.0 + gain, -20.0, -20.0, -20.0])
            };
            people.clone().map(score).collect()
        };
        let [before, after] = [scores(0.0), scores(4.0)];
        let measured = SetResult::measure("UF-P-4", &before, 0.1).unwrap();
        run.before.as_mut().unwrap().sets = vec![measured];
        let measured = SetResult::measure_change("UF-P-4", &before, &after, 0.1).unwrap();
        run.after.as_mut().unwrap().sets = vec![measured];
        run.sets[0].scores = [before, after];
        run
    }
}

#[cfg(test)]
mod tests {
    use super::sample::run_of;
    use super::*;

    fn accuracy(run: &Run) -> Option<(usize, f64)> {
        let set = run.after.as_ref()?.set("UF-P-4")?;
        Some((set.n, set.overall.preference_accuracy.value))
    }

    #[test]
    fn what_must_be_read_first_is_said_once_for_all_runs() {
        let mut run = run_of("one", 0..30, 20);
        let sets = "[[eval.sets]]\nname = \"UF-P-4\"\nfiles = [\"embedded:a\"]\n";
        run.config = sets.parse().unwrap();
        let paired = Paired::of(&[&run, &Run { name: "two".into(), ..run.clone() }], 10);
        let [caution] = &paired.cautions()[..] else { panic!("{:?}", paired.cautions()) };
        assert!(caution.to_string().contains("says nothing about alignment"), "{caution}");
    }

    #[test]
    fn runs_on_the_same_pairs_stay_as_they_are() {
        let (one, two) = (run_of("one", 0..30, 20), run_of("two", 0..30, 10));
        let paired = Paired::of(&[&one, &two], 10);
        assert_eq!((paired.runs, paired.sentences), (vec![one, two], vec![]));
    }

    #[test]
    fn other_pairs_of_a_set_of_the_same_name_are_never_in_one_column() {
        // People 20..30 are in both, and only `one` wins some of them.
        let (one, two) = (run_of("one", 0..30, 25), run_of("two", 20..60, 0));
        let paired = Paired::of(&[&one, &two], 10);
        assert_eq!(accuracy(&paired.runs[0]), Some((10, 0.5)));
        assert_eq!(accuracy(&paired.runs[1]), Some((10, 0.0)));
        assert!(
            paired.sentences[0].contains("the 10 pairs that all runs have (30 in one, 40 in two)")
        );
        let apart = Paired::of(&[&one, &two], 11);
        assert!(apart.runs.iter().all(|run| accuracy(run).is_none() && run.sets.is_empty()));
        assert!(apart.sentences[0].contains("left out"), "{:?}", apart.sentences);
        assert!(apart.sentences[0].ends_with("and 10 of them in common"), "{:?}", apart.sentences);
    }

    #[test]
    fn the_same_places_of_another_file_are_other_pairs() {
        let (one, mut two) = (run_of("one", 0..30, 20), run_of("two", 0..30, 20));
        two.sets[0].scores.iter_mut().flatten().for_each(|score| score.rejected_tokens = 11);
        assert!(Paired::of(&[&one, &two], 10).sentences[0].contains("and 0 of them in common"));
        two.config.insert(
            "model".into(),
            "[a]\npath = \"other\"".parse::<toml::Table>().unwrap()["a"].clone(),
        );
        assert!(
            Paired::of(&[&one, &two], 10).sentences.is_empty(),
            "another model has other tokens"
        );
    }

    #[test]
    fn another_order_is_the_order_of_the_first_run() {
        let (one, mut two) = (run_of("one", 0..30, 20), run_of("two", 0..30, 20));
        two.sets[0].scores.iter_mut().for_each(|scores| scores.reverse());
        let paired = Paired::of(&[&one, &two], 10);
        assert_eq!(newest(&paired.runs[1], "UF-P-4"), newest(&one, "UF-P-4"));
        two.sets[0].scores = Default::default();
        let unknown = Paired::of(&[&one, &two], 10).sentences;
        assert!(unknown[0].contains("without the scores of every run"), "{unknown:?}");
    }
}
