use std::collections::BTreeMap;

use super::*;

/// A tree of files, each with its content.
struct Made(BTreeMap<&'static str, String>);

impl Made {
    fn of(files: &[&'static str]) -> Self {
        Self(files.iter().map(|&file| (file, String::new())).collect())
    }

    fn with(mut self, file: &'static str, content: &str) -> Self {
        self.0.insert(file, content.to_owned());
        self
    }

    fn choose(&self, wanted: Wanted<'_>) -> Result<Chosen> {
        let read = |file: &str| Ok(self.0[file].clone().into_bytes());
        let files = self.0.keys().map(|&file| file.to_owned()).collect();
        Tree { title: "folder `d`".to_owned(), files, read: &read }.choose(wanted)
    }

    fn refused(&self, wanted: Wanted<'_>) -> (String, String) {
        let error = self.choose(wanted).unwrap_err();
        let error = InputError::of(&error).unwrap();
        (error.to_string(), error.remedy().unwrap_or_default().to_owned())
    }
}

fn split(name: &str) -> Wanted<'_> {
    Wanted { split: Some(name), ..Wanted::default() }
}

#[test]
fn the_only_split_is_taken_and_of_several_the_one_that_is_named() {
    let one = Made::of(&["b.jsonl", "a.jsonl", "README.md", "notes.txt", ".hidden.jsonl"])
        .choose(Wanted::default())
        .unwrap();
    assert_eq!(one.files, ["a.jsonl", "b.jsonl"]);
    assert_eq!(one.note, "folder `d`: split `train`, 2 files; not read: `notes.txt`");
    let two = Made::of(&["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"]);
    assert_eq!(two.choose(split("test")).unwrap().files, ["data/test-00000-of-00001.parquet"]);
    let (message, hint) = two.refused(Wanted::default());
    assert_eq!(message, "folder `d` has 2 splits");
    assert!(
        hint.contains("`split = \"train\"`") && hint.ends_with("it has `train`, `test`"),
        "{hint}"
    );
    let train = two.choose(Wanted { fallback: Some("train"), ..Wanted::default() }).unwrap();
    assert_eq!(train.note, "folder `d`: split `train`, 1 file; it has `test` too");
    assert_eq!(
        two.refused(split("dev")),
        ("folder `d` has no split `dev`".to_owned(), "it has `train`, `test`".to_owned())
    );
    assert!(two.refused(split("train[:10%]")).1.starts_with("a split is named alone"));
}

#[test]
fn a_folder_without_data_or_with_several_formats_is_refused() {
    assert_eq!(Made::of(&[]).refused(Wanted::default()).0, "folder `d` has no data file");
    let (_, hint) = Made::of(&["a.txt", "b.bin"]).refused(Wanted::default());
    assert!(hint.ends_with("it has `a.txt`, `b.bin`"), "{hint}");
    let (message, _) = Made::of(&["a.csv", "a.jsonl"]).refused(Wanted::default());
    assert_eq!(message, "folder `d` has files of several formats: `a.csv` and `a.jsonl`");
    let (message, _) = Made::of(&["a.jsonl", "a.jsonl.gz", "b.jsonl"]).refused(Wanted::default());
    assert_eq!(message, "folder `d` has the same file as `a.jsonl` and `a.jsonl.gz`");
}

#[test]
fn a_card_decides_and_several_configurations_are_named() {
    let card = "---\nconfigs:\n- config_name: big\n  data_files:\n  - split: train\n    path: big/*.jsonl\n  - split: test\n    path: t.jsonl\n\
                - config_name: small\n  data_files: small.jsonl\n---\n";
    let made = Made::of(&["big/b.jsonl", "big/a.jsonl", "t.jsonl", "small.jsonl", "train.jsonl"])
        .with("README.md", card);
    let of = |config, split| made.choose(Wanted { config: Some(config), split, fallback: None });
    assert_eq!(of("big", Some("train")).unwrap().files, ["big/a.jsonl", "big/b.jsonl"]);
    assert_eq!(of("small", None).unwrap().files, ["small.jsonl"]);
    let (message, hint) = made.refused(Wanted::default());
    assert_eq!(message, "folder `d` has several configurations");
    assert!(hint.ends_with("it has `big`, `small`"), "{hint}");
    let (message, hint) = made.refused(Wanted { config: Some("huge"), ..Wanted::default() });
    assert_eq!(
        (&*message, &*hint),
        ("folder `d` has no configuration `huge`", "it has `big`, `small`")
    );
    let lost = Made::of(&["a.jsonl"])
        .with("README.md", "---\nconfigs:\n- config_name: x\n  data_files: b.jsonl\n---\n");
    assert_eq!(
        lost.refused(Wanted::default()).0,
        "folder `d` has no data file `b.jsonl` of the configuration `x`"
    );
    let default = card.replace("config_name: small", "config_name: small\n  default: true");
    let made = Made::of(&["big/b.jsonl", "t.jsonl", "small.jsonl"]).with("README.md", &default);
    assert_eq!(made.choose(Wanted::default()).unwrap().files, ["small.jsonl"]);
}

#[test]
fn a_saved_data_set_has_the_files_that_its_state_names() {
    let state =
        r#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}"#;
    let one = Made::of(&["data-00000-of-00001.arrow", "old.arrow"])
        .with("state.json", state)
        .with("dataset_info.json", "{}");
    assert_eq!(one.choose(Wanted::default()).unwrap().files, ["data-00000-of-00001.arrow"]);
    assert_eq!(one.choose(split("train")).unwrap().files.len(), 1);
    assert_eq!(one.refused(split("test")).1, "it has `train`");
    // A data set that was made in memory has no split of its own.
    let unnamed = Made::of(&["data-00000-of-00001.arrow"])
        .with("state.json", &state.replace("\"train\"", "null"));
    assert_eq!(unnamed.choose(Wanted::default()).unwrap().files.len(), 1);
    assert_eq!(unnamed.choose(split("train")).unwrap().files.len(), 1);
    for other in ["test", "train[:10%]", "train+test"] {
        assert!(unnamed.refused(split(other)).1.ends_with("it has `train`"), "{other}");
    }
    let cut = Made::of(&[]).with("state.json", state);
    assert!(
        cut.refused(Wanted::default())
            .0
            .ends_with("has no `data-00000-of-00001.arrow`, which `state.json` names")
    );
    let dict = Made::of(&["train/data-00000-of-00001.arrow"])
        .with("train/state.json", state)
        .with("dataset_dict.json", r#"{"splits": ["train", "test"]}"#);
    assert_eq!(dict.choose(split("train")).unwrap().files, ["train/data-00000-of-00001.arrow"]);
    assert_eq!(
        dict.refused(Wanted::default()).1,
        "name one, as `split = \"train\"` or as `:train` behind the name: it has `train`, `test`"
    );
    assert_eq!(dict.refused(split("test")).0, "folder `d` has no `test/state.json`");
    let inner = Made::of(&["a/data-00000-of-00001.arrow"]).with("a/state.json", state);
    assert_eq!(inner.refused(Wanted::default()).1, "name one: `a`");
}

#[test]
fn a_hundred_thousand_files_are_listed_at_once() {
    let names: Vec<String> = (0..100_000).map(|n| format!("data/{n:06}.json")).collect();
    let patterns = "configs:\n- config_name: a\n  data_files: [\"data/**\", \"**/*.json\"]\n";
    for card in ["# Pairs\n".to_owned(), format!("---\n{patterns}---\n")] {
        let read = |_: &str| Ok(card.clone().into_bytes());
        let files = [&names[..], &["README.md".to_owned()]].concat();
        let begun = std::time::Instant::now();
        let tree = Tree { title: "folder `d`".to_owned(), files, read: &read };
        assert_eq!(tree.choose(Wanted::default()).unwrap().files, names);
        assert!(begun.elapsed().as_secs() < 20, "{card}: {:?}", begun.elapsed());
    }
}
