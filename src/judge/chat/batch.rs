//! Files of OpenAI's Batch form: requests out, for its Batch endpoint or `vllm run-batch`, and results in.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use async_openai::types::batches::BatchRequestInput;

use crate::disk::{atomic, read};
use crate::error::InputError;
use crate::judge::chat::journal::Journal;
use crate::judge::chat::outcome::Outcome;
use crate::judge::chat::result_line::Line;

/// Largest file of requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    lines: usize,
    bytes: usize,
}

/// What OpenAI takes.
pub(super) const LIMITS: Limits = Limits { lines: 50_000, bytes: 200_000_000 };
/// Names of unknown requests that are kept for a message.
const NAMED: usize = 10;

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// New answers.
    pub answers: usize,
    /// New failures.
    pub failures: usize,
    /// Requests that the batch left open and that have no answer: to be asked again.
    pub left: usize,
    /// Why the first of them was left open, in words.
    pub left_why: Option<String>,
    /// Results that the journal held already.
    pub duplicates: usize,
    /// Results other than those that the journal holds, which stay.
    pub differing: usize,
    /// Results of requests that no item makes.
    pub unknown: usize,
    /// The first ten of their names.
    pub unknown_ids: Vec<String>,
    /// Lines that hold no result, as `file:line`.
    pub broken: Vec<String>,
}

/// Writes `lines` to `requests-1.jsonl` and so on in `folder`. Each file appears whole or not at all.
///
/// Refuses a folder that holds such a file: both would be sent, and paid for twice.
pub(super) fn export(
    lines: impl Iterator<Item = Result<BatchRequestInput>>,
    folder: &Path,
    limits: Limits,
) -> Result<Vec<PathBuf>> {
    let mut lines = lines.map(|line| {
        let mut text = serde_json::to_vec(&line?)?;
        text.push(b'\n');
        anyhow::Ok(text)
    });
    let mut next = lines.next().transpose()?;
    let is_ours = |name: &str| name.starts_with("requests-") && name.ends_with(".jsonl");
    for path in read::folder(folder)? {
        if path.file_name().is_some_and(|name| is_ours(&name.to_string_lossy())) {
            let what = format!("`{}` is there already", path.display());
            let hint = "give another folder, or remove the files of an earlier export: both would be paid for";
            return Err(InputError::new(what).hint(hint).into());
        }
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let mut paths = Vec::new();
    while next.is_some() {
        let path = folder.join(format!("requests-{}.jsonl", paths.len() + 1));
        atomic::write(&path, |out| {
            let (mut count, mut bytes) = (0, 0);
            while let Some(line) = &next {
                let is_full = count == limits.lines || bytes + line.len() > limits.bytes;
                if is_full && count > 0 {
                    break;
                }
                out.write_all(line)?;
                count += 1;
                bytes += line.len();
                next = lines.next().transpose()?;
            }
            Ok(())
        })?;
        paths.push(path);
    }
    Ok(paths)
}

/// Takes the results in `files` of the requests named `known` into the journal.
pub(super) fn import(
    files: &[PathBuf],
    known: &HashSet<String>,
    journal: &mut Journal,
) -> Result<Imported> {
    let mut imported = Imported::default();
    let mut open = HashSet::new();
    for path in files {
        let context = || format!("cannot read `{}`", path.display());
        let file = match read::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = format!("no results at `{}`", path.display());
                return Err(InputError::new(what)
                    .hint("give the files that the batch wrote")
                    .into());
            }
            file => file.with_context(context)?,
        };
        for (index, line) in BufReader::new(file).split(b'\n').enumerate() {
            let line = line.with_context(context)?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Line>(&line) {
                Ok(line) => imported.take(line, known, journal, &mut open)?,
                Err(_) => imported.broken.push(format!("{}:{}", path.display(), index + 1)),
            }
        }
    }
    // A later file may have answered what an earlier one left open.
    let is_answered = |id: &&String| matches!(journal.get(id), Some(Outcome::Answer(_)));
    imported.left = open.iter().filter(|id| !is_answered(id)).count();
    Ok(imported)
}

impl Imported {
    /// Books a line. What a batch left open is no outcome: it goes into `open` and not into the journal.
    fn take(
        &mut self,
        line: Line,
        known: &HashSet<String>,
        journal: &mut Journal,
        open: &mut HashSet<String>,
    ) -> Result<()> {
        let id = &line.custom_id;
        if !known.contains(id) {
            self.unknown += 1;
            if self.unknown_ids.len() < NAMED {
                self.unknown_ids.push(id.clone());
            }
            return Ok(());
        }
        let (outcome, heard) = line.outcome();
        if let (true, Outcome::Failed(failure)) = (line.is_open(), &outcome) {
            self.left_why.get_or_insert_with(|| failure.to_string());
            open.insert(line.custom_id);
            return Ok(());
        }
        match (journal.get(id), &outcome) {
            (Some(held), new) if held == new => self.duplicates += 1,
            (Some(Outcome::Answer(_)), _) => self.differing += 1,
            (_, Outcome::Answer(_)) => {
                self.answers += 1;
                journal.append(id, outcome, &heard)?;
            }
            (_, Outcome::Failed(_)) => {
                self.failures += 1;
                journal.append(id, outcome, &heard)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::progress::Verbosity;
    use crate::judge::chat::asker::Asker;
    use crate::judge::chat::endpoint::Endpoint;
    use crate::judge::chat::request::{Item, Message, Parameters, Role};
    use crate::judge::chat::settings::Settings;
    use serde_json::{Value, json};

    fn items(count: usize) -> Vec<Item> {
        let message = Message { role: Role::User, text: "Hi".into() };
        let item =
            |n: usize| Item { id: n.to_string(), repetition: 0, messages: vec![message.clone()] };
        (0..count).map(item).collect()
    }

    fn asker(folder: &Path) -> Asker {
        let parameters = Parameters { model: "m".into(), ..Parameters::default() };
        let endpoint = Endpoint::open("local", None).unwrap();
        let settings = Settings::of(parameters);
        Asker::open(endpoint, settings, &folder.join("journal.jsonl"), Verbosity::Quiet).unwrap()
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn files_of_requests_are_split_and_hold_each_request_once() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::open("local", None).unwrap();
        let items = items(7);
        let make = |limits| {
            let line = |item| {
                let request = crate::judge::chat::request::Request::new(
                    &endpoint,
                    &Parameters::default(),
                    item,
                );
                Ok(request?.batch_line())
            };
            let place = tempfile::tempdir_in(folder.path()).unwrap().keep();
            let paths = export(items.iter().map(line), &place, limits).unwrap();
            let again = export(items.iter().map(line), &place, limits).unwrap_err();
            assert!(InputError::of(&again).is_some(), "{again:#}");
            paths
        };
        let counts =
            |paths: Vec<PathBuf>| paths.iter().map(|path| lines(path).len()).collect::<Vec<_>>();
        assert_eq!(counts(make(Limits { lines: 3, bytes: 1 << 20 })), [3, 3, 1]);
        assert_eq!(counts(make(Limits { lines: 9, bytes: 300 })), [1; 7]);
        assert_eq!(counts(make(LIMITS)), [7]);
    }

    #[test]
    fn results_are_taken_once_and_strangers_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (items, results) = (items(5), folder.path().join("out.jsonl"));
        let mut asker = asker(folder.path());
        let paths = asker.export(&items, folder.path()).unwrap();
        let ids: Vec<Value> =
            lines(&paths[0]).iter().map(|line| line["custom_id"].clone()).collect();
        let answer = |id: &Value, text: &str| {
            json!({"id": "x", "custom_id": id, "response": {"status_code": 200, "request_id": "r",
                "body": {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}},
                "error": null})
        };
        let rows = [
            answer(&ids[0], "Yes"),
            answer(&ids[0], "Yes"),
            answer(&ids[0], "No"),
            answer(&json!("stranger"), "No"),
            json!({"id": "x", "custom_id": ids[1], "error": {"code": "batch_expired", "message": "too late"}}),
            json!({"id": "x", "custom_id": ids[2], "response": {"status_code": 400, "body": {"error": {"message": "no"}}}}),
            json!({"id": "x", "custom_id": ids[3], "response": {"status_code": 429, "body": {"error": {"message": "slow"}}}}),
            json!({"other": 1}),
        ];
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(&results, text).unwrap();
        let imported = asker.import(&items, std::slice::from_ref(&results)).unwrap();
        assert_eq!(
            imported,
            Imported {
                answers: 1,
                failures: 1,
                left: 2,
                left_why: Some("too late".into()),
                duplicates: 1,
                differing: 1,
                unknown: 1,
                unknown_ids: vec!["stranger".into()],
                broken: vec![format!("{}:8", results.display())],
            }
        );
        let left = asker.estimate(&items).unwrap();
        assert_eq!((left.requests, left.answered, left.failed, left.cost), (3, 1, 1, None));
        let rest = folder.path().join("rest.jsonl");
        let rows = [answer(&ids[1], "Yes"), answer(&ids[3], "Yes")];
        std::fs::write(&rest, rows.map(|row| format!("{row}\n")).concat()).unwrap();
        let again = asker.import(&items, &[results, rest]).unwrap();
        assert_eq!((again.answers, again.failures, again.duplicates), (2, 0, 3));
        assert_eq!(again.left, 0, "a later file answers what an earlier one left open");
    }
}
