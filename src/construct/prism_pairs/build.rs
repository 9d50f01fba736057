//! People and conversations -> a folder with the pairs of each side and `manifest.json`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::pairs::{Counts, Pair, pairs};
use super::prompt::{self, Form};
use crate::console::interrupt;
use crate::console::units::count;
use crate::construct::prism::{Person, Prism, Reply};
use crate::data::split;
use crate::disk::json_array::JsonArray;
use crate::disk::once::{MANIFEST, Streams};
use crate::error::InputError;

/// Which pairs are kept, and on which side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rule {
    /// Least difference of the two scores.
    pub min_margin: f64,
    /// Form of prompts and answers.
    pub form: Form,
    /// Share of the users that goes to the validation side; 0 for none.
    pub validation_share: f64,
    /// Share of the users that goes to the test side; 0 for none.
    pub test_share: f64,
    /// Seed of the draw.
    pub seed: u64,
}

/// A side: its file, its pairs and its users.
#[derive(Debug)]
pub struct Side {
    /// Name of the file.
    pub file: &'static str,
    /// Number of pairs.
    pub pairs: usize,
    /// The people whose pairs they are.
    pub users: BTreeSet<String>,
}

/// What a build did.
#[derive(Debug)]
pub struct Built {
    /// What was counted.
    pub counts: Counts,
    /// The sides.
    pub sides: Vec<Side>,
}

/// Builds the pairs of `prism` in the folder `output`.
///
/// Refuses a rule that leaves a side without pairs, and a folder of another build.
pub fn build(prism: &Prism, rule: &Rule, output: &Path) -> Result<Built> {
    let (pairs, counts) = pairs(&prism.rows, rule.min_margin);
    let user = |pair: &Pair| &*prism.people[prism.rows[pair.row].person].user;
    let users: BTreeSet<&str> = pairs.iter().map(user).collect();
    let shares = [rule.test_share, rule.validation_share];
    let drawn = split::draw(rule.seed, &shares, &users);
    // Test, validation, training: what is drawn for neither is the training side.
    let side_of = |pair: &Pair| {
        let user = user(pair);
        drawn.iter().position(|side| side.contains(user)).unwrap_or(drawn.len())
    };
    let files = [("train.json", 2), ("validation.json", 1), ("test.json", 0)];
    let is_wanted = |place: usize| shares.get(place).is_none_or(|share| *share > 0.0);
    let files: Vec<(&'static str, usize)> =
        files.into_iter().filter(|(_, place)| is_wanted(*place)).collect();
    for (file, place) in &files {
        if !pairs.iter().any(|pair| side_of(pair) == *place) {
            let (all, users) = (count(pairs.len()), count(users.len()));
            let message = format!("`{file}` would have no pairs, of {all} pairs of {users} users");
            return Err(InputError::new(message)
                .hint(
                    "give another `--test-share`, `--validation-share`, `--seed` or `--min-margin`",
                )
                .into());
        }
    }
    let mut sides: Vec<Side> =
        (files.iter()).map(|(file, _)| Side { file, pairs: 0, users: BTreeSet::new() }).collect();
    let names: Vec<String> = files.iter().map(|(file, _)| (*file).to_owned()).collect();
    let mut streams = Streams::begin(output, &names, "of another build")?;
    let mut arrays: Vec<JsonArray> = files.iter().map(|_| JsonArray::default()).collect();
    for pair in &pairs {
        interrupt::check()?;
        let place = side_of(pair);
        let Some(file) = files.iter().position(|(_, of)| *of == place) else { continue };
        let side = &mut sides[file];
        streams.write(file, arrays[file].add(&line_of(prism, pair, rule.form))?)?;
        side.pairs += 1;
        if !side.users.contains(user(pair)) {
            side.users.insert(user(pair).to_owned());
        }
    }
    for (file, array) in arrays.iter().enumerate() {
        streams.write(file, array.end())?;
    }
    streams.finish(MANIFEST, |sha256| {
        let outputs = sides.iter().zip(sha256).map(|(side, sha256)| {
            json!({"file": side.file, "sha256": sha256, "pairs": side.pairs, "users": side.users})
        });
        let inputs =
            prism.inputs.iter().map(|(file, sha256)| json!({"file": file, "sha256": sha256}));
        let manifest = json!({
            "mvpbench": env!("CARGO_PKG_VERSION"),
            "data": "PRISM as pairs",
            "rule": rule,
            "inputs": inputs.collect::<Vec<_>>(),
            "prism": prism.counts,
            "counts": counts,
            "unknown_fields": prism.unknown_fields,
            "broken": prism.broken,
            "outputs": outputs.collect::<Vec<_>>(),
        });
        let mut manifest = serde_json::to_vec_pretty(&manifest)?;
        manifest.push(b'\n');
        Ok(manifest)
    })?;
    Ok(Built { counts, sides })
}

/// A pair as it is written.
fn line_of(prism: &Prism, pair: &Pair, form: Form) -> Value {
    let row = &prism.rows[pair.row];
    let (person, conversation) = (&prism.people[row.person], &row.conversation);
    let turn = &conversation.turns[pair.turn];
    let [chosen, rejected] = [pair.chosen, pair.rejected].map(|place| &turn.replies[place]);
    let mut line = Map::new();
    let (low, high) = (pair.chosen.min(pair.rejected), pair.chosen.max(pair.rejected));
    let id = format!("{}:{}:{low}-{high}", conversation.id, turn.number);
    line.insert("id".to_owned(), id.into());
    line.insert("prompt".to_owned(), prompt::prompt(form, conversation, pair.turn));
    line.insert("chosen".to_owned(), prompt::answer(form, &chosen.text));
    line.insert("rejected".to_owned(), prompt::answer(form, &rejected.text));
    line.insert("profile".to_owned(), prompt::profile(&person.profile).into());
    add_person(person, &mut line);
    let score = |reply: &Reply| reply.score.map_or(Value::Null, number);
    let metadata = json!({
        "conversation_id": conversation.id,
        "conversation_type": conversation.kind,
        "turn": turn.number,
        "score_chosen": score(chosen),
        "score_rejected": score(rejected),
        "model_chosen": chosen.model,
        "model_rejected": rejected.model,
        "self_description": person.self_description,
        "system_string": person.system_string,
    });
    line.insert("metadata".to_owned(), metadata);
    Value::Object(line)
}

/// Who the person is: the fields that figures are broken down by. An empty one is left out.
fn add_person(person: &Person, line: &mut Map<String, Value>) {
    let profile = &person.profile;
    let fields = [
        ("user_id", &person.user),
        ("age", &profile.age),
        ("gender", &profile.gender),
        ("employment_status", &profile.employment_status),
        ("education", &profile.education),
        ("marital_status", &profile.marital_status),
        ("english_proficiency", &profile.english_proficiency),
        ("birth_country/region", &profile.birth_country),
    ];
    for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        line.insert(key.to_owned(), value.clone().into());
    }
    line.insert("stated_prefs".to_owned(), person.stated_prefs.clone().into());
}

/// A score as PRISM writes it: a whole number has no fraction.
fn number(score: f64) -> Value {
    match score.fract() == 0.0 {
        true => (score as u64).into(),
        false => score.into(),
    }
}
