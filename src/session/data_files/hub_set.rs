//! A data set of the hub -> the names of its files.

use std::rc::Rc;

use anyhow::{Context, Result};
use glob::Pattern;

use super::{named_split, one_split};
use crate::data::listing::{self, MATCHING, Tree, Wanted, listed};
use crate::disk::read as read_file;
use crate::error::{InputError, shown};
use crate::hub::name::DataSet;
use crate::hub::{Hub, Snapshot};

/// The files of `hf://datasets/OWNER/NAME[@REVISION][/PATH][:SPLIT]`, by names that begin alike.
///
/// `PATH` is a file, a pattern, a configuration of the card or a folder, the first that there is.
pub(super) fn expand(
    source: &str,
    wanted: Wanted<'_>,
    hub: &Hub,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    let mut wanted = wanted;
    let whole = DataSet::parse(source);
    let named = |path: &str| {
        let (base, _) = source.split_at(base_length(source));
        format!("{base}/{path}")
    };
    let (source, set) = match named_split(source) {
        (_, None) => (source, whole?),
        (rest, Some(split)) => {
            // A file may have a colon in its name.
            if let Ok(DataSet { repository, path: Some(path) }) = &whole
                && hub.snapshot(repository)?.lists(path)
            {
                return Ok(vec![source.to_owned()]);
            }
            one_split(source, wanted.split)?;
            wanted.split = Some(split);
            (rest, DataSet::parse(rest)?)
        }
    };
    let snapshot = hub.snapshot(&set.repository)?;
    let title = set.repository.to_string();
    if let Some(path) = &set.path {
        let is_file = match snapshot.names() {
            Some(_) => snapshot.lists(path),
            None => listing::is_data(path) && !path.contains(['*', '?', '[']),
        };
        if is_file {
            if let Some(split) = wanted.split {
                return Err(InputError::new(format!(
                    "`{source}` is one file, which has no split `{}`",
                    shown(split)
                ))
                .hint("leave the split out, or the file")
                .into());
            }
            return Ok(vec![source.to_owned()]);
        }
    }
    let files = names(hub, &snapshot, &title)?;
    let read = |file: &str| {
        let path = hub.fetch(&snapshot, file)?;
        read_file::bytes(&path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let tree = Tree { title: title.clone(), files, read: &read };
    let Some(path) = set.path.as_deref().map(|path| path.trim_end_matches('/')) else {
        let chosen = tree.choose(wanted)?;
        hub.remember(&snapshot)?;
        notes.push(chosen.note);
        return Ok(chosen.files.iter().map(|file| named(file)).collect());
    };
    if path.contains(['*', '?', '[']) {
        if let Some(split) = wanted.split {
            return Err(InputError::new(format!(
                "`{source}` is a pattern, which has no split `{}`",
                shown(split)
            ))
            .hint("leave the split out, or the pattern")
            .into());
        }
        let pattern = Pattern::new(path).map_err(|error| {
            InputError::new(format!("`{source}`: not a pattern: {}", error.msg))
        })?;
        let matches =
            |file: &&String| pattern.matches_with(file, MATCHING) && listing::is_data(file);
        let mut found: Vec<_> = tree.files.iter().filter(matches).cloned().collect();
        found.sort();
        if found.is_empty() {
            return Err(InputError::new(format!(
                "{title}: the pattern `{}` matches no data file",
                shown(path)
            ))
            .hint(format!("it has {}", listed(&tree.files)))
            .into());
        }
        notes.push(format!("{title}: pattern `{path}`, {} files", found.len()));
        return Ok(found.iter().map(|file| named(file)).collect());
    }
    if tree.has_config(path)? {
        wanted.config = Some(path);
        let chosen = tree.choose(wanted)?;
        hub.remember(&snapshot)?;
        notes.push(format!("{}; configuration `{path}`", chosen.note));
        return Ok(chosen.files.iter().map(|file| named(file)).collect());
    }
    let inside = |file: &String| Some(file.strip_prefix(path)?.strip_prefix('/')?.to_owned());
    let inner: Vec<String> = tree.files.iter().filter_map(inside).collect();
    if inner.is_empty() {
        return Err(InputError::new(format!(
            "{title} has no file, folder or configuration `{}`",
            shown(path)
        ))
        .hint(format!("it has {}", listed(&tree.files)))
        .into());
    }
    let read_inner = |file: &str| read(&format!("{path}/{file}"));
    let title = format!("{title}: folder `{path}`");
    let chosen = Tree { title, files: inner, read: &read_inner }.choose(wanted)?;
    hub.remember(&snapshot)?;
    notes.push(chosen.note);
    Ok(chosen.files.iter().map(|file| named(&format!("{path}/{file}"))).collect())
}

/// Length of `hf://datasets/OWNER/NAME@REVISION` in the name of a data set or of what is in it.
fn base_length(source: &str) -> usize {
    let slashes = source.match_indices('/').map(|(at, _)| at).nth(4);
    let end = slashes.unwrap_or(source.len());
    named_split(&source[..end]).0.len()
}

/// All files of the commit: from the hub, or as they were listed when it was reached last.
fn names(hub: &Hub, snapshot: &Rc<Snapshot>, title: &str) -> Result<Vec<String>> {
    match snapshot.names() {
        Some(names) => {
            hub.keep_names(snapshot)?;
            Ok(names.to_vec())
        }
        None => hub.kept_names(snapshot)?.ok_or_else(|| {
            InputError::new(format!(
                "{title}: which files it has is not in the cache, and the hub is not asked"
            ))
            .hint("run once with the hub in reach, or name the files: those in the cache are read")
            .into()
        }),
    }
}
