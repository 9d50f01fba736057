//! Unknown keys, and the known keys nearest to them.

use toml::Value;

use super::elsewhere;
use super::keys::{KEYS, SECTIONS, SET_KEYS, kind, quoted};
use super::typed::{Entry, Source};
use crate::error::{InputError, shown};

/// Least likeness, up to 1, at which a known name is suggested.
const ALIKE: f64 = 0.65;

/// The longest name that is compared, in bytes: comparing takes quadratic time.
const LONGEST_COMPARED: usize = 200;

/// Most unknown keys that a message names; it counts the others.
const LISTED: usize = 20;

/// An error that names the unknown keys with the nearest known one, if there is an unknown key.
pub(super) fn refuse_unknown(entries: &[Entry<'_>]) -> anyhow::Result<()> {
    let unknown: Vec<(Source<'_>, String)> = entries
        .iter()
        .flat_map(|entry| unknown_in(entry).into_iter().map(|key| (entry.source, key)))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let more = unknown.len().saturating_sub(LISTED);
    let unknown = &unknown[..unknown.len() - more];
    let messages: Vec<_> = unknown
        .chunk_by(|a, b| a.0 == b.0)
        .map(|keys| {
            let plural = if keys.len() == 1 { "" } else { "s" };
            format!(
                "{}: unknown key{plural} {}",
                keys[0].0,
                quoted(keys.iter().map(|(_, key)| shown(key)))
            )
        })
        .collect();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let without_key = |(_, key): &(_, String)| elsewhere::find(key)?.err();
    let mut hints: Vec<_> = unknown.iter().filter_map(without_key).map(str::to_owned).collect();
    hints.dedup();
    let mut nearests: Vec<_> = unknown.iter().filter_map(|(_, key)| nearest(key)).collect();
    nearests.dedup();
    match nearests.as_slice() {
        [] if hints.is_empty() => hints.push(known_beside(&unknown[0].1)),
        [] => {}
        nearests => hints.insert(0, format!("did you mean {}?", quoted(nearests))),
    }
    let hint = hints.join("\n      ");
    Err(InputError::new(messages.join("; ") + &more).hint(hint).into())
}

/// The unknown keys of one entry: itself, or what its `[[eval.sets]]` hold.
fn unknown_in(entry: &Entry<'_>) -> Vec<String> {
    if kind(&entry.key).is_none() {
        let is_section = SECTIONS.contains(&entry.key.as_str());
        return if is_section { vec![] } else { vec![entry.key.clone()] };
    }
    // Sources, which are tables too, are checked one by one.
    let Value::Array(sets) = &entry.value else { return vec![] };
    if entry.key != "eval.sets" {
        return vec![];
    }
    let mut unknown: Vec<_> = sets
        .iter()
        .filter_map(Value::as_table)
        .flat_map(|set| set.keys())
        .filter(|key| !SET_KEYS.iter().any(|(known, _)| known == key))
        .map(|key| format!("{}.{key}", entry.key))
        .collect();
    unknown.sort();
    unknown.dedup();
    unknown
}

/// The known key nearest to an unknown one: by another trainer's name, in the same table, of the same name elsewhere, then of any
/// path.
fn nearest(unknown: &str) -> Option<String> {
    match elsewhere::find(unknown) {
        Some(Ok(key)) => return Some(key.to_owned()),
        Some(Err(_)) => return None,
        None => {}
    }
    let (table, name) = split(unknown);
    let paths = || KEYS.iter().map(|key| key.name.to_owned()).chain(in_table("eval.sets"));
    let both = |path: &str| likeness(table, split(path).0).min(likeness(name, split(path).1));
    most_alike(in_table(table), |path| likeness(name, split(path).1))
        .or_else(|| paths().find(|path| split(path).1 == name))
        .or_else(|| most_alike(paths(), both))
}

/// The table and the name of a dotted key.
fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// The full paths of a table's keys; of the root, the sections.
fn in_table(table: &str) -> Vec<String> {
    match table {
        "" => sections().map(str::to_owned).collect(),
        "eval.sets" => SET_KEYS.iter().map(|(key, _)| format!("eval.sets.{key}")).collect(),
        _ => {
            let keys = KEYS.iter().map(|key| key.name).chain(SECTIONS.iter().copied());
            keys.filter(|key| split(key).0 == table).map(str::to_owned).collect()
        }
    }
}

/// The outermost sections.
fn sections() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().copied().filter(|section| !section.contains('.'))
}

fn most_alike(
    paths: impl IntoIterator<Item = String>,
    likeness: impl Fn(&str) -> f64,
) -> Option<String> {
    paths
        .into_iter()
        .map(|path| (likeness(&path), path))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, path)| path)
}

/// The one of `words` that `typed` may have meant.
pub(crate) fn nearest_word(typed: &str, words: &[&str]) -> Option<String> {
    most_alike(words.iter().map(|word| (*word).to_owned()), |word| {
        likeness(typed, &word.to_lowercase())
    })
}

/// How alike two names are, up to 1; a name that holds the other, as `batch_size` in `per_device_batch_size`, is alike.
fn likeness(a: &str, b: &str) -> f64 {
    if a.len() > LONGEST_COMPARED {
        return 0.0;
    }
    let a = a.to_lowercase().replace('-', "_");
    let holds = a.len().min(b.len()) >= 4 && (a.contains(b) || b.contains(&a));
    strsim::normalized_damerau_levenshtein(&a, b).max(if holds { 0.7 } else { 0.0 })
}

/// The hint for an unknown key without a near one: the keys of its table.
fn known_beside(unknown: &str) -> String {
    let (table, _) = split(unknown);
    match in_table(table).as_slice() {
        keys if table.is_empty() || keys.is_empty() => {
            format!("the sections are {}", quoted(sections()))
        }
        keys => format!(
            "the keys of `[{table}]` are {}",
            quoted(keys.iter().map(|key| &key[table.len() + 1..]))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found() {
        for (unknown, expected) in [
            ("lora.rnak", "lora.rank"),
            ("lora.lora_alpha", "lora.alpha"),
            ("lora.Rank", "lora.rank"),
            ("train.batch_size", "train.per_device_batch_size"),
            ("train.warmup-steps", "train.warmup_steps"),
            ("dpo.learning_rate", "train.learning_rate"),
            ("learning_rate", "train.learning_rate"),
            ("lroa", "lora"),
            ("lroa.rank", "lora.rank"),
            ("ouput.dri", "output.dir"),
            ("eval.set", "eval.sets"),
            ("eval.sets.nmae", "eval.sets.name"),
            ("eval.sets.file", "eval.sets.files"),
            ("eval.smpr", "eval.spmr"),
            ("eval.spmr.treshold", "eval.spmr.threshold"),
            ("eval.spmr.max_tokens", "eval.spmr.max_new_tokens"),
            ("eval.embedder", "eval.spmr.embedder"),
            ("lr", "train.learning_rate"),
            ("train.lr", "train.learning_rate"),
            ("lora.r", "lora.rank"),
            ("train.num_train_epochs", "train.epochs"),
            ("dpo.loss_type", "dpo.loss"),
            ("model_name_or_path", "model.path"),
            ("train.optim", "train.optimizer"),
        ] {
            assert_eq!(nearest(unknown).as_deref(), Some(expected), "{unknown}");
        }
        for unknown in ["lora.banana", "model.temperature", "x", "", "load_in_4bit"] {
            assert_eq!(nearest(unknown), None, "{unknown}");
        }
    }
}
