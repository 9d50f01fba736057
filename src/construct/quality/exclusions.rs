//! `exclude.jsonl`: the records that reviewers reject, one JSON object a line, which the next build leaves out.
//!
//! A record is named by its id and by the digest of its texts, so that a list of one build never takes out what another build has under
//! the same id.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::disk::{atomic, digest, read};
use crate::error::{InputError, shown};

/// A record that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// Its id.
    pub id: String,
    /// [`digest_of`] its texts.
    pub sha256: String,
    /// Why it is left out, in words.
    pub why: String,
}

/// SHA-256 of a record's texts, each after its length, in hexadecimal.
pub fn digest_of(question: &str, answer_w: &str, answer_l: &str) -> String {
    digest::of_parts([question, answer_w, answer_l])
}

/// The records of a list, in its order. Refuses a line that is none, and an id that stands twice.
pub fn read(path: &Path) -> Result<Vec<Exclusion>> {
    let name = path.display();
    let Some(bytes) = read::if_there(path)? else {
        return Err(InputError::new(format!("cannot open `{name}`: no such file"))
            .hint("`mvpbench data review exclude` writes it from the marks of reviewers")
            .into());
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| InputError::new(format!("{name}: expected UTF-8 text")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let (mut all, mut seen): (Vec<Exclusion>, _) = (Vec::new(), HashSet::new());
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |why: &dyn std::fmt::Display| {
            InputError::new(format!("{name}:{}: not a record to leave out: {why}", at + 1))
                .hint("a line is `{\"id\": \"p7\", \"sha256\": \"...\", \"why\": \"...\"}`")
        };
        let one: Exclusion = serde_json::from_str(line).map_err(|error| wrong(&error))?;
        let is_digest = one.sha256.len() == 64
            && one.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if one.id.trim().is_empty() {
            return Err(wrong(&"`id` is blank").into());
        }
        if !is_digest {
            let found = shown(&one.sha256);
            return Err(wrong(&format!(
                "`sha256` must be 64 lower-case hex digits, got `{found}`"
            ))
            .into());
        }
        if !seen.insert(one.id.clone()) {
            return Err(wrong(&format!("the id `{}` stands twice", shown(&one.id))).into());
        }
        all.push(one);
    }
    Ok(all)
}

/// Writes a list. The file appears whole or not at all; one that holds the same bytes stays as it is.
pub fn write(path: &Path, all: &[Exclusion]) -> Result<()> {
    let mut bytes = Vec::new();
    for one in all {
        serde_json::to_writer(&mut bytes, one)?;
        bytes.push(b'\n');
    }
    if read::if_there(path)?.as_deref() == Some(&bytes[..]) {
        return Ok(());
    }
    atomic::write(path, |out| Ok(out.write_all(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &str) -> Exclusion {
        Exclusion { id: id.into(), sha256: digest_of("q", "a", "b"), why: "2 of 2: natural".into() }
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exclude.jsonl");
        let all = [one("p1"), one("p\"2\"")];
        write(&path, &all).unwrap();
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        write(&path, &all).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(read(&path).unwrap(), all);
        write(&path, &[]).unwrap();
        assert!(read(&path).unwrap().is_empty());
    }

    #[test]
    fn a_text_that_moves_between_question_and_answers_is_another_record() {
        assert_ne!(digest_of("ab", "c", "d"), digest_of("a", "bc", "d"));
        assert_ne!(digest_of("a", "b", "c"), digest_of("a", "c", "b"));
    }

    #[test]
    fn a_broken_line_is_refused_with_its_number_and_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exclude.jsonl");
        let good = serde_json::to_string(&one("p1")).unwrap();
        for (second, part) in [
            ("{}", "missing field `id`"),
            ("[1]", "exclude.jsonl:2: not a record to leave out"),
            (&good, "the id `p1` stands twice"),
            (&good.replace("\"p1\"", "\" \""), "`id` is blank"),
            (&good.replace("\"p1\"", "\"p2\",\"more\":1"), "unknown field `more`"),
            (r#"{"id": "p2", "sha256": "ABC", "why": ""}"#, "64 lower-case hex digits, got `ABC`"),
        ] {
            std::fs::write(&path, format!("{good}\n{second}\n")).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{second}: {error}");
        }
        assert!(read(&folder.path().join("none")).is_err());
    }
}
