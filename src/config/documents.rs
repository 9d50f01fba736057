//! Tests only: the words of the table of keys stand in every list of the presets, of README.md and of docs/.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::keys::{KEYS, Kind, SET_KEYS};
use super::{BestMetric, LossType};
use crate::presets;

const COMMAND: &str = "UPDATE_DOCS=1 cargo test --release --lib config::documents";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The words of a key that takes some of a few; of a key that only some losses read, those losses.
fn words(key: &str) -> Option<Vec<&'static str>> {
    let of_kind = |kind: &Kind| match kind {
        Kind::Choice(words) | Kind::Choices(words) => Some(words.to_vec()),
        _ => None,
    };
    if key == "eval.sets" {
        return SET_KEYS.iter().find_map(|(_, kind)| of_kind(kind));
    }
    let key = KEYS.iter().find(|known| known.name == key)?;
    let readers = key.readers.map(|losses| losses.iter().map(|loss| loss.name()).collect());
    readers.or_else(|| of_kind(&key.kind))
}

/// Which of `expected` are not in `found`, and which others are.
fn difference(place: &str, expected: &[&str], found: &BTreeSet<String>) -> Option<String> {
    let missing: Vec<_> = expected.iter().filter(|word| !found.contains(**word)).collect();
    let extra: Vec<_> = found.iter().filter(|word| !expected.contains(&word.as_str())).collect();
    let differs = !missing.is_empty() || !extra.is_empty();
    differs.then(|| format!("{place}: missing {missing:?}, extra {extra:?}"))
}

/// A preset's keys, such as `dpo.beta` and `eval.sets[1].name`, each with its comment and its lines.
fn settings(text: &str) -> Vec<(String, String, String)> {
    let (mut found, mut section, mut comment) = (Vec::new(), String::new(), String::new());
    let mut sets = 0;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("[[").and_then(|line| line.strip_suffix("]]")) {
            section = format!("{name}[{sets}]");
            found.push((name.to_owned(), std::mem::take(&mut comment), line.to_owned()));
            sets += 1;
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
            comment.clear();
        } else if let Some(more) = line.strip_prefix('#') {
            comment += more;
        } else if let Some((key, value)) = line.split_once(" = ") {
            let mut whole = line.to_owned();
            while value.starts_with('[') && !whole.ends_with(']') {
                whole += &format!("\n{}", lines.next().unwrap());
            }
            found.push((format!("{section}.{key}"), std::mem::take(&mut comment), whole));
        } else {
            comment.clear();
        }
    }
    found
}

/// The words in double quotes.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_comments_of_the_presets_list_the_words_of_the_table() {
    let mut wrong = Vec::new();
    for name in presets::NAMES {
        let mut checked = BTreeSet::new();
        for (key, comment, _) in settings(presets::preset(name).unwrap()) {
            if let Some(words) = words(&key)
                && checked.insert(key.clone())
            {
                let place = format!("configs/{name}, `{key}`");
                wrong.extend(difference(&place, &words, &quoted(&comment)));
            }
        }
        let listed = KEYS.iter().map(|key| key.name).filter(|key| words(key).is_some());
        assert!(listed.chain(["eval.sets"]).all(|key| checked.contains(key)), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `first` with the heading and the values of `other`.
fn rewritten(first: &str, other: &str) -> String {
    let heading = |text: &str| text.find("\n[").unwrap();
    let values: BTreeMap<_, _> =
        settings(other).into_iter().map(|(key, _, lines)| (key, lines)).collect();
    let mut text = first[heading(first)..].to_owned();
    let mut from = 0;
    for (key, _, lines) in settings(first).iter().filter(|(_, _, lines)| !lines.starts_with('[')) {
        let at = from + text[from..].find(&format!("\n{lines}\n")).unwrap() + 1;
        let lines_there = values.get(key).unwrap_or(lines);
        text.replace_range(at..at + lines.len(), lines_there);
        from = at + lines_there.len();
    }
    other[..heading(other)].to_owned() + &text
}

/// One preset explains the keys; a new key or word is written there and copied into the others by `COMMAND`.
#[test]
fn the_other_presets_have_the_comments_and_the_order_of_the_first() {
    let first = presets::preset(presets::NAMES[0]).unwrap();
    for name in &presets::NAMES[1..] {
        let other = presets::preset(name).unwrap();
        let expected = rewritten(first, other);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(root().join("configs").join(name), &expected).unwrap();
            continue;
        }
        let lines = || other.lines().zip(expected.lines());
        let differs = lines().find(|(got, want)| got != want);
        assert!(other == expected, "configs/{name}: {differs:?}\nrun `{COMMAND}`");
    }
}

/// README.md and the other documents, name and text.
fn documents() -> Vec<(String, String)> {
    let folders = ["", "docs", "configs/tiny"].map(|folder| root().join(folder));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    // The changelog tells what once was.
    paths.retain(|path| {
        path.extension().is_some_and(|ending| ending == "md") && !path.ends_with("CHANGELOG.md")
    });
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

/// The lists of a text: three or more words in backticks or quotes with nothing but a comma, `and` or `or` between two of them;
/// what stands in parentheses is read by itself.
fn lists(text: &str) -> Vec<BTreeSet<String>> {
    let text = text.replace("`\"", "`").replace("\"`", "`");
    let (mut found, mut outside, mut inside) = (Vec::new(), String::new(), String::new());
    let mut depth = 0;
    for character in text.chars() {
        depth += i32::from(character == '(');
        if depth > 0 {
            inside.push(character)
        } else {
            outside.push(character)
        };
        if character == ')' && depth > 0 {
            depth -= 1;
            if depth == 0 {
                inside += "; ";
            }
        }
    }
    for text in [outside, inside] {
        let mut list = BTreeSet::new();
        let mut parts = text.split(['`', '"']);
        let mut between = parts.next().unwrap_or_default().to_owned();
        while let (Some(word), Some(after)) = (parts.next(), parts.next()) {
            if !["", "and", "or"].contains(&between.trim_matches([' ', '\n', ',', '#'])) {
                found.push(std::mem::take(&mut list));
            }
            list.insert(word.to_owned());
            after.clone_into(&mut between);
        }
        found.push(list);
    }
    found.retain(|list| list.len() >= 3);
    found
}

/// What is wrong with the lists of one document: a list that is mostly of a key's words, and has most of them, has all of them.
fn wrong_lists(name: &str, text: &str) -> (usize, Vec<String>) {
    let none = BestMetric::None.name();
    let metrics = BestMetric::NAMES.iter().copied().filter(|word| *word != none).collect();
    let choices = KEYS.iter().filter(|key| key.readers.is_none()).map(|key| key.name);
    let choices: Vec<_> = choices.filter_map(words).chain([metrics]).collect();
    let (mut seen, mut wrong) = (0, Vec::new());
    for paragraph in text.split("\n\n").flat_map(|block| block.split('|')) {
        for list in lists(paragraph) {
            let of = |words: &&Vec<&str>| {
                let known = words.iter().filter(|word| list.contains(**word)).count();
                2 * known > list.len() && 2 * known > words.len()
            };
            let differences: Vec<_> =
                choices.iter().filter(of).map(|words| difference(name, words, &list)).collect();
            seen += usize::from(!differences.is_empty());
            if differences.iter().all(Option::is_some) {
                wrong.extend(differences.into_iter().flatten().next());
            }
        }
    }
    (seen, wrong)
}

#[test]
fn the_lists_of_the_documents_have_the_words_of_the_table() {
    let documents = documents();
    let read = documents.iter().map(|(name, text)| wrong_lists(name, text));
    let (seen, wrong): (Vec<_>, Vec<_>) = read.unzip();
    assert!(seen.iter().sum::<usize>() > 0, "no document lists the losses or the metrics");
    assert!(wrong.concat().is_empty(), "{}", wrong.concat().join("\n"));
}

#[test]
fn a_list_with_a_word_too_few_or_too_many_is_named() {
    let losses = LossType::NAMES.iter().map(|loss| loss.replace("hinge", "aot"));
    let losses = losses.map(|loss| format!("`{loss}`")).collect::<Vec<_>>().join(",\n");
    let losses = losses.replace("`sigmoid`", "`sigmoid` (with `label_smoothing` it is DPO)");
    let text = format!(
        "The schedule is `linear`, `cosine`, or\n`constant`.\n\n`keep` or `recompute`: both.\n\n\
         `dpo.reference` and losses: {losses}."
    );
    let (seen, wrong) = wrong_lists("a.md", &text);
    assert_eq!((seen, wrong), (2, vec![r#"a.md: missing ["hinge"], extra ["aot"]"#.to_owned()]));
    let cell = "| `dtype` | `\"auto\"` | one of `\"auto\"`, `\"bf16\"`, `\"fp32\"` | the type |";
    let wrong = wrong_lists("b.md", cell).1;
    assert_eq!(wrong, [r#"b.md: missing ["f32"], extra ["fp32"]"#]);
}
