//! PRISM and a model that replies in; the files of a benchmark out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use serde::Serialize;

use super::checks::Encode;
use super::mapping::{self, Checked, Disagreement};
use super::prompt::Subject;
use super::recipe::{MappedBy, Recipe};
use super::record::Record;
use super::split::{self, Side};
use super::writing::{self, All, Written};
use crate::console::interrupt;
use crate::construct::prism::{Prism, Row};
use crate::construct::quality::exclusions::{self, Exclusion};
use crate::disk::json_array::JsonArray;
use crate::judge::stage2::Replies;

/// Who replies in each stage.
pub struct Models<'a> {
    /// Stage 1, where a model labels.
    pub mapping: Option<&'a mut dyn Replies>,
    /// Stage 2.
    pub writing: &'a mut dyn Replies,
    /// Compares the questions of a user; none: by their normalised texts alone.
    pub encoder: Option<&'a dyn Encode>,
}

/// What was counted at every stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Conversations of people of whom no rating is High or Low, which are dropped.
    pub rows_without_preference: usize,
    /// Those people.
    pub users_without_preference: usize,
    /// Stage 1 of a model; none by the rule alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Checked>,
    /// Stage 2.
    pub writing: writing::Counts,
    /// Items that a list of exclusions names, which are left out.
    pub excluded: usize,
    /// Exclusions of an item whose texts are others now, which leave out nothing.
    pub exclusions_of_other_texts: usize,
    /// Exclusions of an id that no item has.
    pub exclusions_of_no_item: usize,
    /// Records that are written.
    pub records: usize,
    /// People who have records.
    pub users: usize,
    /// Countries of birth of those people.
    pub birth_countries: usize,
}

/// What a build gives.
#[derive(Debug, Default)]
pub struct Built {
    /// Name and bytes of each file but the manifest, in the order in which they are written.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// Records of each file of records.
    pub records: BTreeMap<&'static str, usize>,
    /// Users of each side.
    pub users: BTreeMap<&'static str, usize>,
    /// What was counted.
    pub counts: Counts,
}

/// What the models said, checked.
#[derive(Debug)]
pub struct Gathered {
    /// Preference of each person; none where no rating has a label.
    preferences: Vec<Option<String>>,
    checked: Option<Checked>,
    disagreements: Vec<Disagreement>,
    all: All,
}

/// Asks the models, stage after stage.
pub fn gather(recipe: &Recipe, prism: &Prism, models: &mut Models<'_>) -> Result<Gathered> {
    let (mut checked, mut disagreements) = (None, Vec::new());
    if let (MappedBy::Model, Some(model)) = (recipe.mapping.by, models.mapping.as_deref_mut()) {
        let (counts, found) = mapping::checked(&recipe.mapping, &prism.people, model)?;
        (checked, disagreements) = (Some(counts), found);
    }
    let preferences: Vec<_> = prism.people.iter().map(mapping::by_rule).collect();
    let subject = |(row, of): (usize, &Row)| {
        let preference = preferences[of.person].as_deref()?;
        Some(Subject { row, preference })
    };
    let subjects: Vec<_> = prism.rows.iter().enumerate().filter_map(subject).collect();
    let (writer, encoder) = (&mut *models.writing, models.encoder);
    let all =
        writing::write(&recipe.generation, &recipe.checks, prism, &subjects, writer, encoder)?;
    Ok(Gathered { preferences, checked, disagreements, all })
}

impl Gathered {
    /// The files of the benchmark without the records that `excluded` names. Refuses one without a record.
    pub fn build(self, recipe: &Recipe, prism: &Prism, excluded: &[Exclusion]) -> Result<Built> {
        let Self { preferences, checked, disagreements, mut all } = self;
        let mut built = Built::default();
        let counts = &mut built.counts;
        counts.rows_without_preference = prism.rows.len() - all.counts.rows;
        counts.users_without_preference =
            preferences.iter().filter(|preference| preference.is_none()).count();
        counts.mapping = checked;
        exclude(&mut all.written, excluded, counts);
        let person = |row: usize| &prism.people[prism.rows[row].person];
        let users: BTreeSet<&str> =
            all.written.iter().map(|written| &*person(written.row).user).collect();
        let countries: BTreeSet<&str> = (all.written.iter())
            .filter_map(|written| person(written.row).profile.country())
            .collect();
        counts.writing = all.counts;
        (counts.records, counts.users) = (all.written.len(), users.len());
        counts.birth_countries = countries.len();
        if counts.records == 0 {
            let first = all.failures.first();
            let why =
                first.map_or_else(String::new, |first| format!("; `{}`: {}", first.id, first.why));
            anyhow::bail!("no item can be used{why}");
        }
        let sides = split::sides(&recipe.split, &users)?;
        for side in sides.values() {
            *built.users.entry(side.file()).or_default() += 1;
        }
        let mut whole = File::default();
        let mut parts: BTreeMap<Side, File> = BTreeMap::new();
        for written in &all.written {
            interrupt::check()?;
            let (row, person) = (&prism.rows[written.row], person(written.row));
            let preference = preferences[row.person].as_deref().unwrap_or_default();
            let record = Record::of(written.id.clone(), person, preference, &written.item);
            whole.push(&record)?;
            parts.entry(sides[&*person.user]).or_default().push(&record)?;
        }
        built.add("MVPBench.json", whole);
        for (side, part) in parts {
            built.add(side.file(), part);
        }
        built.files.push(("failures.jsonl", lines(&all.failures)?));
        if recipe.mapping.by == MappedBy::Model {
            built.files.push(("disagreements.jsonl", lines(&disagreements)?));
        }
        Ok(built)
    }
}

/// Takes out the items that `excluded` names by id and texts.
fn exclude(written: &mut Vec<Written>, excluded: &[Exclusion], counts: &mut Counts) {
    let mut by_id: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for one in excluded {
        by_id.entry(&one.id).or_default().insert(&one.sha256);
    }
    written.retain(|written| {
        let item = &written.item;
        let Some(digests) = by_id.remove(&*written.id) else { return true };
        let own = exclusions::digest_of(&item.question, &item.preferred, &item.rejected);
        let is_excluded = digests.contains(&*own);
        counts.excluded += usize::from(is_excluded);
        counts.exclusions_of_other_texts += digests.len() - usize::from(is_excluded);
        !is_excluded
    });
    counts.exclusions_of_no_item = by_id.values().map(BTreeSet::len).sum();
}

impl Built {
    fn add(&mut self, name: &'static str, mut file: File) {
        self.records.insert(name, file.array.records());
        file.text.extend_from_slice(file.array.end());
        self.files.push((name, file.text));
    }
}

/// A file of records that grows.
#[derive(Default)]
struct File {
    array: JsonArray,
    text: Vec<u8>,
}

impl File {
    fn push(&mut self, record: &Record<'_>) -> Result<()> {
        self.text.extend_from_slice(self.array.add(record)?);
        Ok(())
    }
}

/// One JSON object a line.
fn lines<T: Serialize>(all: &[T]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for one in all {
        serde_json::to_writer(&mut text, one)?;
        text.push(b'\n');
    }
    Ok(text)
}
