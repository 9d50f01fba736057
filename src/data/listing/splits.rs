//! The names of the files of a folder -> its splits, by the rules of `datasets.load_dataset`.

use std::collections::HashSet;

use crate::data::csv;
use crate::data::unpacked::inner_name;

/// The files of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) name: String,
    /// In the order of their names.
    pub(super) files: Vec<String>,
}

/// Names that stand for a split.
const KEYWORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// Characters that end such a word.
const SEPARATORS: &str = "-._ 0123456789";

/// Files beside the data that hold no records.
const BESIDE: [&str; 5] =
    ["config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];

/// The form of records that a file has by its ending; none for another file.
pub(super) fn form(path: &str) -> Option<&'static str> {
    let name = file_name(path);
    if name.starts_with('.') || BESIDE.contains(&name) {
        return None;
    }
    let (_, ending) = inner_name(name).rsplit_once('.')?;
    match &*ending.to_ascii_lowercase() {
        "json" | "jsonl" | "ndjson" => Some("JSON"),
        "parquet" => Some("Parquet"),
        "arrow" => Some("Arrow"),
        _ => csv::delimiter(name).map(|_| "CSV"),
    }
}

/// Whether a file may stand beside data without being named: it holds no records of its nature.
pub(super) fn is_no_surprise(path: &str) -> bool {
    let name = file_name(path);
    let is_text = ["md", "py", "yaml", "yml"].into_iter().any(|ending| {
        name.rsplit_once('.').is_some_and(|(_, own)| own.eq_ignore_ascii_case(ending))
    });
    BESIDE.contains(&name) || is_text || name.starts_with("LICENSE")
}

/// Whether `datasets` passes over a file: it or a folder of it is hidden, or a folder begins with `__`.
pub(super) fn is_hidden(path: &str) -> bool {
    let mut parts = path.split('/').rev();
    let is_hidden = |part: &str| part.starts_with('.');
    parts.next().is_some_and(is_hidden)
        || parts.any(|part| is_hidden(part) || part.starts_with("__"))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The splits of the data files `files`, by their paths in the folder, and the files that are in none.
///
/// The first rule that some file follows decides: `data/SPLIT-00000-of-00001.ENDING`; a folder named after a split; a file named after
/// one; all files are `train`. A word such as `dev` counts where characters that are no letters stand around it.
pub(super) fn splits(files: &[String]) -> (Vec<Split>, Vec<String>) {
    let mut files = files.to_vec();
    files.sort();
    let sharded: Vec<_> = files.iter().filter_map(|file| Some((sharded(file)?, file))).collect();
    let by = |is_of: &dyn Fn(&str, &[&str]) -> bool| -> Vec<Split> {
        let of = |(name, words): &(&str, &[&str])| {
            let files: Vec<_> = files.iter().filter(|file| is_of(file, words)).cloned().collect();
            (!files.is_empty()).then(|| Split { name: (*name).to_owned(), files })
        };
        KEYWORDS.iter().filter_map(of).collect()
    };
    let found = if sharded.is_empty() {
        let in_folder = |file: &str, words: &[&str]| {
            file.rsplit('/').skip(1).any(|folder| words.iter().any(|word| has(folder, word, true)))
        };
        let in_name =
            |file: &str, words: &[&str]| words.iter().any(|word| has(file_name(file), word, false));
        [by(&in_folder), by(&in_name)].into_iter().find(|splits| !splits.is_empty())
    } else {
        let mut splits: Vec<Split> = Vec::new();
        for (name, file) in sharded {
            match splits.iter_mut().find(|split| split.name == name) {
                Some(split) => split.files.push(file.clone()),
                None => splits.push(Split { name: name.to_owned(), files: vec![file.clone()] }),
            }
        }
        let place = |split: &Split| {
            KEYWORDS.iter().position(|(name, _)| *name == split.name).unwrap_or(KEYWORDS.len())
        };
        splits.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.name.cmp(&b.name)));
        Some(splits)
    };
    let found =
        found.unwrap_or_else(|| vec![Split { name: "train".to_owned(), files: files.clone() }]);
    let taken: HashSet<&String> = found.iter().flat_map(|split| &split.files).collect();
    let left = files.iter().filter(|file| !taken.contains(file)).cloned().collect();
    (found, left)
}

/// The split of `data/SPLIT-00000-of-00001*.*`.
fn sharded(path: &str) -> Option<&str> {
    let name = path.strip_prefix("data/").filter(|name| !name.contains('/'))?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|c| c.is_ascii_digit());
    // The last place that fits, as in a regular expression that takes as much as it can.
    let at = name.rmatch_indices("-of-").map(|(at, _)| at).find(|&at| {
        let before = at.checked_sub(6).and_then(|from| name.get(from..at));
        let after = name.get(at + 4..at + 9);
        let rest = name.get(at + 9..).unwrap_or_default();
        before.is_some_and(|text| text.starts_with('-') && digits(&text[1..]))
            && after.is_some_and(digits)
            && rest.contains('.')
    })?;
    name.get(..at - 6).filter(|split| is_name(split))
}

/// Whether `text` has the form of a split's name.
pub(super) fn is_name(text: &str) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_');
    text.split('.').all(word)
}

/// Whether `word` stands in `name` with separators around it; at its end only in the name of a folder.
fn has(name: &str, word: &str, is_folder: bool) -> bool {
    name.match_indices(word).any(|(at, _)| {
        let is_begin = name[..at].chars().next_back().is_none_or(|c| SEPARATORS.contains(c));
        let next = name[at + word.len()..].chars().next();
        is_begin && next.map_or(is_folder, |c| SEPARATORS.contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[&str]) -> (Vec<(String, Vec<String>)>, Vec<String>) {
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        let (found, left) = splits(&files);
        (found.into_iter().map(|split| (split.name, split.files)).collect(), left)
    }

    fn split(name: &str, files: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), files.iter().map(|&file| file.to_owned()).collect())
    }

    #[test]
    fn splits_are_those_of_load_dataset() {
        for (files, want) in [
            (&["a.jsonl", "b.jsonl"][..], vec![split("train", &["a.jsonl", "b.jsonl"])]),
            (
                &[
                    "data/train-00001-of-00002.parquet",
                    "data/train-00000-of-00002.parquet",
                    "data/test_prefs-00000-of-00001-ab12.parquet",
                ],
                vec![
                    split(
                        "train",
                        &["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
                    ),
                    split("test_prefs", &["data/test_prefs-00000-of-00001-ab12.parquet"]),
                ],
            ),
            (
                &["train/a.json", "eval/b.json", "test.json"],
                vec![split("train", &["train/a.json"]), split("test", &["eval/b.json"])],
            ),
            (
                &["my-train_0.csv", "x.dev.csv", "testing.csv"],
                vec![
                    split("train", &["my-train_0.csv"]),
                    split("validation", &["x.dev.csv"]),
                    split("test", &["testing.csv"]),
                ],
            ),
            (
                &["trained.json", "latest.json"],
                vec![split("train", &["latest.json", "trained.json"])],
            ),
            (
                &["helpful-base/train.jsonl.gz"],
                vec![split("train", &["helpful-base/train.jsonl.gz"])],
            ),
        ] {
            assert_eq!(of(files).0, want, "{files:?}");
        }
        assert_eq!(of(&["train.json", "more.json"]).1, ["more.json"]);
    }

    #[test]
    fn a_file_is_data_by_its_ending_and_not_when_hidden() {
        for (name, want) in [
            ("a.jsonl", Some("JSON")),
            ("d/a.JSON.gz", Some("JSON")),
            ("a.csv.zst", Some("CSV")),
            ("a.parquet", Some("Parquet")),
            ("a.arrow", Some("Arrow")),
            ("README.md", None),
            ("dataset_info.json", None),
            (".a.json", None),
            ("a", None),
            ("a.txt", None),
        ] {
            assert_eq!(form(name), want, "{name}");
        }
        assert!(
            is_hidden(".cache/a.json")
                && is_hidden("a/__pycache__/b.json")
                && is_hidden("a/.b.json")
        );
        assert!(!is_hidden("a/b.json") && !is_hidden("__a.json"));
    }
}
