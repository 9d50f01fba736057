//! What a user names as data -> the names of its files, each of which [`data_file::read`](super::data_file::read) takes: a file, a folder, a
//! pattern, or a data set of the hub.

mod folder;
mod hub_set;

use std::path::Path;

use anyhow::{Context, Result};
use glob::glob_with;

use crate::data::listing::card::CARD;
use crate::data::listing::{self, MATCHING, Wanted, listed};
use crate::disk::read as read_file;
use crate::error::{InputError, shown};
use crate::hub::{Hub, name};
use crate::presets;

/// The files of `source`, at least one. `split`: the split that is wanted, empty for none; `fallback`: the one that is taken of several. Adds a
/// line to `notes` for a source of several files.
///
/// A split may stand behind the name of a folder or of a data set of the hub, as in `NAME:SPLIT`, and a configuration of its card between them, as
/// in `NAME/CONFIGURATION:SPLIT`.
pub fn expand(
    source: &str,
    split: &str,
    fallback: Option<&str>,
    hub: &Hub,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    let wanted = |split| Wanted { config: None, split, fallback };
    let split = Some(split).filter(|split| !split.is_empty());
    if source.starts_with(name::SCHEME) {
        return hub_set::expand(source, wanted(split), hub, notes);
    }
    if let Some(files) = presets::embedded_folder(source) {
        let names: Vec<_> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
        let prefix = format!("{}/", source.trim_end_matches('/'));
        let read = |name: &str| Ok(presets::read(&format!("{prefix}{name}"))?.into_owned());
        return choose(source, &prefix, names, &read, wanted(split), notes);
    }
    if Path::new(source).is_dir() {
        return of_folder(source, wanted(split), notes);
    }
    if !Path::new(source).exists() {
        let (path, own) = named_split(source);
        let configured = path.rsplit_once('/').filter(|(folder, config)| {
            Path::new(folder).join(CARD).is_file() && !config.contains(['*', '?', '['])
        });
        if own.is_some() && (Path::new(path).is_dir() || configured.is_some()) {
            one_split(source, split)?;
        }
        let split = own.or(split);
        if Path::new(path).is_dir() {
            return of_folder(path, wanted(split), notes);
        }
        if let Some((folder, config)) = configured {
            return of_folder(folder, Wanted { config: Some(config), ..wanted(split) }, notes);
        }
        if source.contains(['*', '?', '[']) {
            return of_pattern(source, split, notes);
        }
        if name::is_id(source) && !listing::is_data(source) {
            return Err(InputError::new(format!("`{source}`: no such file or folder"))
                .hint(format!("a data set of the hub is `hf://datasets/{source}`"))
                .into());
        }
    }
    match split {
        // What is not there is refused where it is read.
        Some(split) if Path::new(source).is_file() => Err(InputError::new(format!(
            "`{source}` is one file, which has no split `{}`",
            shown(split)
        ))
        .hint("leave `split` out, or name the file of that split")
        .into()),
        _ => Ok(vec![source.to_owned()]),
    }
}

/// What stands before the colon behind the last `/`, and the split behind it.
fn named_split(source: &str) -> (&str, Option<&str>) {
    let tail = source.rfind('/').map_or(0, |at| at + 1);
    match source[tail..].find(':') {
        Some(at) if at > 0 => (&source[..tail + at], Some(&source[tail + at + 1..])),
        _ => (source, None),
    }
}

/// Refuses a split that is named twice.
fn one_split(source: &str, split: Option<&str>) -> Result<()> {
    match split {
        Some(split) => Err(InputError::new(format!(
            "`{source}` names a split, and `split` is `{}`",
            shown(split)
        ))
        .hint("name it once")
        .into()),
        None => Ok(()),
    }
}

fn of_folder(folder: &str, wanted: Wanted<'_>, notes: &mut Vec<String>) -> Result<Vec<String>> {
    let files = folder::files(Path::new(folder))?;
    let base = folder.trim_end_matches('/');
    let prefix = format!("{base}/");
    let read = |name: &str| {
        let path = format!("{prefix}{name}");
        read_file::bytes(Path::new(&path)).with_context(|| format!("cannot read `{path}`"))
    };
    choose(folder, &prefix, files, &read, wanted, notes)
}

fn choose(
    folder: &str,
    prefix: &str,
    files: Vec<String>,
    read: &dyn Fn(&str) -> Result<Vec<u8>>,
    wanted: Wanted<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    let tree = listing::Tree { title: format!("folder `{folder}`"), files, read };
    let chosen = tree.choose(wanted)?;
    notes.push(chosen.note);
    Ok(chosen.files.into_iter().map(|file| format!("{prefix}{file}")).collect())
}

/// The files that a pattern matches, in the order of their names: those that end as data files do, or all where none does.
fn of_pattern(pattern: &str, split: Option<&str>, notes: &mut Vec<String>) -> Result<Vec<String>> {
    if let Some(split) = split {
        return Err(InputError::new(format!(
            "`{pattern}` is a pattern, which has no split `{}`",
            shown(split)
        ))
        .hint("leave `split` out, or name the folder")
        .into());
    }
    let paths = glob_with(pattern, MATCHING).map_err(|error| {
        InputError::new(format!("`{pattern}`: not a pattern: {}", error.msg))
            .hint("`*` and `?` match within a name, `**` any folders, `[ab]` one of two characters")
    })?;
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for path in paths {
        let path = path.map_err(|error| {
            let what = format!("`{pattern}`: cannot read `{}`", error.path().display());
            InputError::of_path(what, error.into(), |error| error)
        })?;
        let kept = if path.is_dir() { &mut folders } else { &mut files };
        kept.push(path.display().to_string());
    }
    let (data, other): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| listing::is_data(file));
    let (mut data, other) = if data.is_empty() { (other, data) } else { (data, other) };
    data.sort();
    if data.is_empty() {
        let hint = match &folders[..] {
            [] => where_it_looked(pattern),
            folders => format!(
                "it matches folders alone: name one of {}, or write `{pattern}/*`",
                listed(folders)
            ),
        };
        return Err(InputError::new(format!("`{pattern}`: the pattern matches no file"))
            .hint(hint)
            .into());
    }
    let plural = if data.len() == 1 { "" } else { "s" };
    let mut note = format!("pattern `{pattern}`: {} file{plural}", data.len());
    if !other.is_empty() {
        note.push_str(&format!("; not read: {}", listed(&other)));
    }
    notes.push(note);
    Ok(data)
}

/// What stands in the deepest folder of the pattern that has no pattern in its name.
fn where_it_looked(pattern: &str) -> String {
    let folder = match pattern[..pattern.find(['*', '?', '[']).unwrap_or(0)].rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() => folder,
        Some(_) => "/",
        None => ".",
    };
    let Ok(found) = read_file::folder(Path::new(folder)) else {
        return "check the path".to_owned();
    };
    if !Path::new(folder).is_dir() {
        return format!("there is no folder `{folder}`");
    }
    let name = |path: &std::path::PathBuf| {
        path.file_name().map(|name| name.to_string_lossy().into_owned())
    };
    let mut names: Vec<_> = found.iter().filter_map(name).collect();
    names.sort();
    match names.is_empty() {
        true => format!("the folder `{folder}` is empty"),
        false => format!("the folder `{folder}` has {}", listed(&names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::progress::Verbosity;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new(files: &[&str]) -> Self {
            let place = tempfile::tempdir().unwrap();
            for file in files {
                let path = place.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "{}").unwrap();
            }
            Self(place)
        }

        fn expand(&self, source: &str, split: &str) -> Result<(Vec<String>, Vec<String>)> {
            let root = format!("{}/", self.0.path().display());
            let mut notes = Vec::new();
            let files = expand(
                &format!("{root}{source}"),
                split,
                None,
                &Hub::new(Verbosity::Quiet),
                &mut notes,
            )?;
            let cut = |text: String| text.replace(&root, "");
            Ok((
                files.into_iter().map(cut).collect(),
                notes.into_iter().map(|note| note.replace(&root, "")).collect(),
            ))
        }

        fn refused(&self, source: &str, split: &str) -> (String, String) {
            let root = format!("{}/", self.0.path().display());
            let error = self.expand(source, split).unwrap_err();
            let error = InputError::of(&error).unwrap();
            (
                error.to_string().replace(&root, ""),
                error.remedy().unwrap_or_default().replace(&root, ""),
            )
        }
    }

    #[test]
    fn a_folder_and_a_pattern_stand_for_their_files_in_order() {
        let place = Place::new(&[
            "data/train-2.jsonl",
            "data/train-1.jsonl",
            "data/README.md",
            "data/.x.jsonl",
            "data/checkpoints/step/state.jsonl",
        ]);
        let want = ["data/train-1.jsonl", "data/train-2.jsonl"];
        let (files, notes) = place.expand("data", "").unwrap();
        assert_eq!(
            (&files[..], &*notes[0]),
            (
                &want.map(str::to_owned)[..],
                "folder `data`: split `train`, 2 files; not read: `checkpoints`"
            )
        );
        assert_eq!(place.expand("data/", "train").unwrap().0, want);
        assert_eq!(place.expand("data:train", "").unwrap().0, want);
        for pattern in ["data/train-*.jsonl", "data/*", "**/train-?.jsonl", "data/train-[12].jsonl"]
        {
            assert_eq!(place.expand(pattern, "").unwrap().0, want, "{pattern}");
        }
        assert_eq!(
            place.expand("data/*", "").unwrap().1,
            ["pattern `data/*`: 2 files; not read: `data/README.md`"]
        );
        assert_eq!(
            place.expand("data/train-1.jsonl", "").unwrap(),
            (vec!["data/train-1.jsonl".to_owned()], vec![])
        );
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_there_is() {
        let place = Place::new(&["data/train.jsonl", "data/test.jsonl"]);
        std::fs::create_dir(place.0.path().join("empty")).unwrap();
        assert_eq!(
            place.refused("empty", ""),
            ("folder `empty` has no data file".into(), "it is empty".into())
        );
        assert_eq!(place.refused("data", "").0, "folder `data` has 2 splits");
        assert_eq!(place.refused("data", "dev").1, "it has `train`, `test`");
        assert_eq!(place.refused("data:dev", "").1, "it has `train`, `test`");
        assert_eq!(place.refused("data:dev", "dev").1, "name it once");
        assert_eq!(
            place.refused("data/*.csv", ""),
            (
                "`data/*.csv`: the pattern matches no file".into(),
                "the folder `data` has `test.jsonl`, `train.jsonl`".into()
            )
        );
        assert!(
            place.refused("dat*", "").1.starts_with("it matches folders alone: name one of `data`")
        );
        assert_eq!(place.refused("none/*.csv", "").1, "there is no folder `none`");
        assert_eq!(
            place.refused("data/*", "train").0,
            "`data/*` is a pattern, which has no split `train`"
        );
        assert_eq!(
            place.refused("data/test.jsonl", "test").0,
            "`data/test.jsonl` is one file, which has no split `test`"
        );
        let error =
            expand("org/set", "", None, &Hub::new(Verbosity::Quiet), &mut Vec::new()).unwrap_err();
        assert_eq!(
            InputError::of(&error).unwrap().remedy(),
            Some("a data set of the hub is `hf://datasets/org/set`")
        );
        // A file that is not there is no data set; it is refused where it is read.
        let hub = Hub::new(Verbosity::Quiet);
        let files = expand("data/no.json", "", None, &hub, &mut Vec::new()).unwrap();
        assert_eq!(files, ["data/no.json"]);
    }

    #[test]
    fn a_configuration_of_a_card_stands_behind_its_folder() {
        let place = Place::new(&["d/a.jsonl", "d/b.jsonl"]);
        let card = "---\nconfigs:\n- config_name: first\n  data_files: a.jsonl\n- config_name: second\n  data_files:\n  - split: test\n    path: b.jsonl\n---\n";
        std::fs::write(place.0.path().join("d/README.md"), card).unwrap();
        assert_eq!(place.expand("d/first", "").unwrap().0, ["d/a.jsonl"]);
        assert_eq!(place.expand("d/second:test", "").unwrap().0, ["d/b.jsonl"]);
        assert_eq!(place.refused("d/second", "train").1, "it has `test`");
        let (message, hint) = place.refused("d", "");
        assert_eq!(message, "folder `d` has several configurations");
        assert_eq!(hint, "name one behind it, as in `NAME/first`: it has `first`, `second`");
        assert_eq!(place.refused("d/third", "").1, "it has `first`, `second`");
    }

    #[test]
    fn a_folder_of_the_binary_stands_for_its_files() {
        let mut notes = Vec::new();
        let files =
            expand("embedded:tiny/data/uf-p-4", "", None, &Hub::new(Verbosity::Quiet), &mut notes)
                .unwrap();
        assert_eq!((files.len(), &*files[0]), (4, "embedded:tiny/data/uf-p-4/helpfulness.json"));
    }
}
