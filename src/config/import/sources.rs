//! Sources of pairs: what a program names -> entries of `data.train`.

use std::path::Path;

use anyhow::Result;
use toml::{Table, Value};

use super::Fate::{Differs, Harmless, Missing, Translated};
use super::draft::Draft;
use crate::disk::yaml::{Node, Yaml};
use crate::error::{InputError, shown};

/// Words that `datasets` takes for a format of files, whose names stand elsewhere.
const FORMATS: &[&str] = &["json", "csv", "parquet", "arrow"];

/// Roles of columns that TRL does not read: it has `prompt`, `chosen`, `rejected`, `tools` and `chat_template_kwargs`.
pub(super) const NOT_TRLS: &[&str] = &["profile", "system"];

/// One source.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    /// Its keys, as `data.train` has them.
    pub(super) table: Table,
}

impl Source {
    /// Of one name of a file or a data set.
    pub(super) fn of(name: &str) -> Self {
        let mut source = Self::default();
        source.put("files", vec![Value::from(name)]);
        source
    }

    /// Sets one of its keys.
    pub(super) fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.table.insert(key.to_owned(), value.into());
    }

    /// Names a column by its role, unless it has that name already.
    pub(super) fn column(&mut self, role: &str, column: &str) {
        if role != column {
            let columns = self.table.entry("columns").or_insert_with(|| Table::new().into());
            if let Value::Table(columns) = columns {
                columns.insert(role.to_owned(), column.into());
            }
        }
    }

    /// Says that no column has a role, whatever the file's are called, unless one is named.
    pub(super) fn no_column(&mut self, roles: &[&str]) {
        let columns = self.table.entry("columns").or_insert_with(|| Table::new().into());
        if let Value::Table(columns) = columns {
            for role in roles {
                columns.entry(*role).or_insert_with(|| "".into());
            }
        }
    }

    /// As `data.train` has it: a lone name as a text.
    fn into_value(self) -> Value {
        match (
            self.table.len(),
            self.table.get("files").and_then(Value::as_array).map(Vec::as_slice),
        ) {
            (1, Some([name])) => name.clone(),
            _ => self.table.into(),
        }
    }
}

/// What `datasets.load_dataset` is given to name a data set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'n> {
    /// The place of the key in the file, such as `datasets[0].path`.
    pub(super) at: &'n str,
    /// A path, the name of a data set, or a format.
    pub(super) path: &'n Node,
    /// Files of it.
    pub(super) files: Option<&'n Node>,
    /// A revision of a data set on the hub.
    pub(super) revision: Option<&'n str>,
    /// Key and value of its configuration.
    pub(super) configuration: Option<(&'n str, &'n Node)>,
    /// Key and value of a folder in it.
    pub(super) folder: Option<(&'n str, &'n Node)>,
}

/// A data set whose splits are sources.
#[derive(Debug, Clone)]
pub(super) struct DataSet {
    /// Its name here; empty for files without a folder.
    base: String,
    /// Its files, where they are named.
    files: Files,
}

#[derive(Debug, Clone)]
enum Files {
    /// Those of the splits that the data set has.
    Own,
    /// All of them are the split `train`.
    Train(Vec<String>),
    /// Those of each split.
    BySplit(Vec<(String, Vec<String>)>),
}

/// The name of a data set and of what is chosen of it, translated.
///
/// A path is a file or folder if there is one, else the name of a data set on the hub, as `datasets` decides.
pub(super) fn loaded(draft: &mut Draft<'_>, named: Named<'_>) -> Result<DataSet> {
    let Named { at, path, files, revision, configuration, folder } = named;
    let Some(name) = path.value.text().filter(|name| !name.trim().is_empty()) else {
        return Err(draft.wrong(at, path, "the name of a data set").into());
    };
    let mut files = match files {
        None => Files::Own,
        Some(node) => named_files(node)
            .ok_or_else(|| draft.wrong(&format!("{at}, `data_files`"), node, "names of files"))?,
    };
    let is_format = FORMATS.contains(&name);
    if is_format && matches!(files, Files::Own) {
        let message = format!(
            "{}: `{at}: {name}` is a format, and no files are named",
            draft.place(path.line)
        );
        return Err(InputError::new(message).hint("add `data_files`").into());
    }
    let here = Path::new(name);
    let is_here = !is_format && here.exists();
    let mut base = match (is_format, is_here, hub_name(name)) {
        (true, ..) => String::new(),
        (false, true, _) => name.trim_end_matches('/').to_owned(),
        (false, false, Some(hub)) => match revision {
            Some(revision) => format!("{hub}@{revision}"),
            None => hub,
        },
        (false, false, None) => {
            let said = "no such file, and not the name `OWNER/NAME` of a data set on the hub: put a name that is in its place";
            draft.note_inside(at.to_owned(), path, Missing, said);
            name.to_owned()
        }
    };
    let is_one = matches!(files, Files::Own)
        && if is_here { here.is_file() } else { !base.starts_with("hf://") && is_data_file(name) };
    if is_one {
        files = Files::Train(vec![std::mem::take(&mut base)]);
    }
    if let Some((at, node)) = folder.filter(|_| is_one) {
        draft.note_inside(at.to_owned(), node, Harmless, "one file is named");
    } else if let Some((at, node)) = folder {
        let Some(folder) = node.value.text() else {
            return Err(draft.wrong(at, node, "the name of a folder").into());
        };
        let folder = folder.trim_matches('/');
        base = if base.is_empty() { folder.to_owned() } else { format!("{base}/{folder}") };
        let said = format!("`{}`", shown(&base));
        draft.note_inside(at.to_owned(), node, Translated, said);
    }
    if let Some((at, node)) = configuration {
        let Some(name) = node.value.text() else {
            return Err(draft.wrong(at, node, "the name of a configuration").into());
        };
        let (fate, said) = match (name, &files) {
            ("default", _) => (Harmless, "the default of a data set".to_owned()),
            (_, Files::Train(_) | Files::BySplit(_)) => (Harmless, "the files are named".into()),
            _ if folder.is_some() => {
                (Differs, "the folder is named, and its configuration is not".into())
            }
            _ => {
                base = format!("{base}/{name}");
                (Translated, format!("`{}`", shown(&base)))
            }
        };
        draft.note_inside(at.to_owned(), node, fate, said);
    }
    let inside = |files: Vec<String>| {
        let one =
            |file: String| match base.is_empty() || file.contains("://") || file.starts_with('/') {
                true => file,
                false => format!("{base}/{file}"),
            };
        files.into_iter().map(one).collect()
    };
    let files = match files {
        Files::Own => Files::Own,
        Files::Train(files) => Files::Train(inside(files)),
        Files::BySplit(splits) => Files::BySplit(
            splits.into_iter().map(|(split, files)| (split, inside(files))).collect(),
        ),
    };
    Ok(DataSet { base, files })
}

/// `data_files`: a name, a list of names, or a table of them by split. None for anything else.
fn named_files(node: &Node) -> Option<Files> {
    let names = |value: &Yaml| match value {
        Yaml::Text(name) => Some(vec![name.clone()]),
        Yaml::List(list) => {
            let all = list.iter().map(|node| node.value.text().map(str::to_owned));
            all.collect::<Option<Vec<_>>>().filter(|names| !names.is_empty())
        }
        _ => None,
    };
    match &node.value {
        Yaml::Table(table) => {
            let one = |(split, node): &(String, Node)| Some((split.clone(), names(&node.value)?));
            Some(Files::BySplit(table.iter().map(one).collect::<Option<Vec<_>>>()?))
        }
        value => names(value).map(Files::Train),
    }
}

impl DataSet {
    /// One file, or files by a pattern.
    pub(super) fn of_file(name: String) -> Self {
        Self { base: String::new(), files: Files::Train(vec![name]) }
    }

    /// Whether its splits are those of a data set on the hub.
    pub(super) fn is_of_hub(&self) -> bool {
        self.base.starts_with("hf://") && matches!(self.files, Files::Own)
    }

    /// The sources of a split as `datasets` spells it: `train`, `train+test`, `train[:10%]`. A slice is noted.
    ///
    /// - `at`: the place of the key in the file.
    /// - `split`: its value; none for `default`, and a default of none leaves the split open.
    pub(super) fn of_split(
        &self,
        draft: &mut Draft<'_>,
        at: &str,
        split: Option<&Node>,
        default: Option<&str>,
    ) -> Result<Vec<Source>> {
        let Some(node) = split else { return Ok(vec![self.source(draft, at, default)?]) };
        let expected = "the name of a split, or a sum of such names";
        let Some(text) = node.value.text() else {
            return Err(draft.wrong(at, node, expected).into());
        };
        let mut all = Vec::new();
        for part in text.split('+') {
            let part = part.trim();
            let (name, slice) = part.split_at(part.find(['[', '(']).unwrap_or(part.len()));
            let is_name = |word: &str| {
                !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_')
            };
            if name == "all" || !name.split('.').all(is_name) {
                return Err(draft.wrong(at, node, expected).into());
            }
            if !slice.is_empty() {
                let said = "a part of the split is trained on there, all of it here; `weight` takes a share, drawn by the seed";
                draft.note_inside(at.to_owned(), node, Differs, said);
            }
            all.push(self.source(draft, at, Some(name))?);
        }
        Ok(all)
    }

    fn source(&self, draft: &Draft<'_>, at: &str, split: Option<&str>) -> Result<Source> {
        let absent = |split: &str, why: &str| {
            InputError::new(format!(
                "{}: `{at}` names the split `{}`, and {why}",
                draft.name,
                shown(&split)
            ))
        };
        let mut source = Source::of(&self.base);
        let files = match &self.files {
            Files::Own => {
                if let Some(split) = split {
                    source.put("split", split);
                }
                return Ok(source);
            }
            Files::Train(files) => match split {
                None | Some("train") => files,
                Some(other) => {
                    return Err(absent(other, "files that are named are the split `train`").into());
                }
            },
            Files::BySplit(splits) => {
                let split = split.unwrap_or("train");
                let found = splits.iter().find(|(name, _)| name == split);
                let Some((_, files)) = found else {
                    return Err(absent(split, "`data_files` has no files of it").into());
                };
                files
            }
        };
        source.put("files", files.iter().cloned().map(Value::from).collect::<Vec<_>>());
        Ok(source)
    }
}

/// Whether a name ends as a file of data does.
fn is_data_file(name: &str) -> bool {
    [".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst", ".zip", ".txt"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// The name here of a data set on the hub; none for what is no such name.
pub(super) fn hub_name(name: &str) -> Option<String> {
    let word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let (owner, data_set) = name.split_once('/')?;
    (word(owner) && word(data_set) && !is_data_file(name)).then(|| format!("hf://datasets/{name}"))
}

/// Writes the sources of training; `from`: the keys of the file that name them.
pub(super) fn set(draft: &mut Draft<'_>, sources: Vec<Source>, from: &[&str]) {
    let comments: Vec<_> = from.iter().map(|key| draft.shown(key)).collect();
    let sources: Vec<Value> = sources.into_iter().map(Source::into_value).collect();
    let written = Value::from(sources);
    draft.set("data.train", written.clone(), comments.join(", "));
    // A part of it may have no counterpart, which is noted.
    for key in from.iter().filter(|key| !draft.has_row(key)).copied().collect::<Vec<_>>() {
        draft.note(key, Translated, format!("`data.train = {}`", shown(&written)));
    }
}

/// Writes one set to evaluate, and what evaluates it during training; `from`: the keys that name it.
pub(super) fn set_evaluation(
    draft: &mut Draft<'_>,
    name: &str,
    sources: Vec<Source>,
    from: &[&str],
) {
    let comments: Vec<_> = from.iter().map(|key| draft.shown(key)).collect();
    let mut set = Table::new();
    set.insert("name".into(), name.into());
    set.insert(
        "files".into(),
        sources.into_iter().map(Source::into_value).collect::<Vec<_>>().into(),
    );
    let sets = vec![Value::Table(set)];
    draft.set("eval.sets", sets, comments.join(", "));
    let is_new = |key: &&&str| draft.given(key).is_some() && !draft.has_row(key);
    for key in from.iter().filter(is_new).copied().collect::<Vec<_>>() {
        draft.note(key, Translated, format!("the set `{name}` of `eval.sets`"));
    }
}
