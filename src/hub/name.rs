//! Names of repositories on the hub and of files in them, and how they differ from paths.

use std::fmt;

use anyhow::Result;

use crate::error::InputError;

/// Beginning of the name of a data file on the hub.
pub const SCHEME: &str = "hf://";

/// Longest owner or name that the hub accepts.
const LONGEST_PART: usize = 96;

/// Kind of a repository: a model and a dataset may have the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A model.
    Model,
    /// Data files.
    Dataset,
}

/// A repository at a revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository {
    /// Model or dataset.
    pub kind: Kind,
    /// `OWNER/NAME`.
    pub id: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl Repository {
    /// Refuses a malformed id or revision.
    pub fn new(kind: Kind, id: &str, revision: &str) -> Result<Self> {
        if !is_id(id) {
            return Err(InputError::new(format!("`{id}` is not the name of a hub repository"))
                .hint("such a name is `OWNER/NAME`, of letters, digits, `-`, `_` and `.`")
                .into());
        }
        let word = |word: &str| {
            !word.is_empty()
                && !word.starts_with('.')
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
        };
        if !revision.split('/').all(word) {
            let message = format!("`{revision}` is not a revision of the hub repository `{id}`");
            return Err(InputError::new(message)
                .hint("a revision is a branch, a tag or a commit hash, such as `main`")
                .into());
        }
        Ok(Self { kind, id: id.into(), revision: revision.into() })
    }

    /// The repository as the hf-hub library takes it, to make addresses and folder names.
    pub(super) fn library(&self) -> hf_hub::Repo {
        self.library_at(&self.revision)
    }

    /// The same at another revision.
    pub(super) fn library_at(&self, revision: &str) -> hf_hub::Repo {
        let kind = match self.kind {
            Kind::Model => hf_hub::RepoType::Model,
            Kind::Dataset => hf_hub::RepoType::Dataset,
        };
        hf_hub::Repo::with_revision(self.id.clone(), kind, revision.to_owned())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Model => "hub model",
            Kind::Dataset => "hub dataset",
        };
        write!(f, "{kind} `{}` at `{}`", self.id, self.revision)
    }
}

/// Whether `text` has the form of a hub id, `OWNER/NAME`.
pub fn is_id(text: &str) -> bool {
    let part = |part: &str| {
        (1..=LONGEST_PART).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    matches!(text.split_once('/'), Some((owner, name)) if part(owner) && part(name))
}

/// A file of a dataset repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Its repository.
    pub repository: Repository,
    /// Path within the repository.
    pub path: String,
}

/// A dataset repository, or something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// The repository.
    pub repository: Repository,
    /// What stands behind its name: a file, a folder, a pattern or a configuration.
    pub path: Option<String>,
}

impl DataSet {
    /// Reads `hf://datasets/OWNER/NAME` or `hf://datasets/OWNER/NAME@REVISION`, with or without `/PATH`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            InputError::new(format!("`{text}`: expected `hf://datasets/OWNER/NAME`, or `NAME@REVISION` for a revision other than `main`"))
                .hint("behind it may stand a file, a folder, a pattern or a configuration, as in `NAME/FILE`, and a split, as in `NAME:train`")
        };
        let rest = text.strip_prefix("hf://datasets/").ok_or_else(wrong)?;
        let mut parts = rest.splitn(3, '/');
        let (Some(owner), Some(name)) = (parts.next(), parts.next()) else {
            return Err(wrong().into());
        };
        let path =
            parts.next().map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty());
        let plain =
            |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', '#', '%']);
        if path.is_some_and(|path| !path.split('/').all(plain)) {
            return Err(wrong().into());
        }
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let repository = Repository::new(Kind::Dataset, &format!("{owner}/{name}"), revision)?;
        Ok(Self { repository, path: path.map(str::to_owned) })
    }
}

impl DataFile {
    /// Reads `hf://datasets/OWNER/NAME/FILE` or `hf://datasets/OWNER/NAME@REVISION/FILE`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            InputError::new(format!(
                "`{text}`: expected `hf://datasets/OWNER/NAME/FILE`, or `NAME@REVISION` for a \
                 revision other than `main`"
            ))
        };
        let mut parts = text.strip_prefix("hf://datasets/").ok_or_else(wrong)?.splitn(3, '/');
        let (Some(owner), Some(name), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong().into());
        };
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let plain = |part: &str| {
            !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', '?', '#', '%'])
        };
        if !path.split('/').all(plain) {
            return Err(wrong().into());
        }
        let repository = Repository::new(Kind::Dataset, &format!("{owner}/{name}"), revision)?;
        Ok(Self { repository, path: path.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_not_taken_for_a_hub_id() {
        for id in ["meta-llama/Llama-2-7b-hf", "a/b", "HuggingFaceH4/zephyr_7b.v1", "1/2"] {
            assert!(is_id(id), "{id}");
        }
        for path in [
            "llama",
            "./a/b",
            "../a",
            "/a/b",
            "a/b/c",
            "a/",
            "/b",
            "a//b",
            "~/b",
            "a b/c",
            "a/.b",
            "a/b.",
            "a/b--c",
            "a/b..c",
            "-a/b",
            "é/b",
            "embedded:tiny/model",
            "",
        ] {
            assert!(!is_id(path), "{path}");
        }
        assert!(!is_id(&format!("a/{}", "b".repeat(LONGEST_PART + 1))));
    }

    #[test]
    fn a_revision_cannot_leave_its_folder() {
        let of = |revision| Repository::new(Kind::Model, "a/b", revision);
        for revision in ["main", "refs/pr/1", "v1.0", "0123456789abcdef0123456789abcdef01234567"] {
            assert_eq!(of(revision).unwrap().revision, revision);
        }
        for revision in ["", "..", "../x", "/x", "x/", "a b", "x?y", "a//b"] {
            assert!(InputError::of(&of(revision).unwrap_err()).is_some(), "{revision}");
        }
    }

    #[test]
    fn a_data_set_is_named_with_or_without_what_is_in_it() {
        for (text, id, revision, path) in [
            ("hf://datasets/org/set", "org/set", "main", None),
            ("hf://datasets/org/set@v2/", "org/set", "v2", None),
            ("hf://datasets/org/set/data/train-*", "org/set", "main", Some("data/train-*")),
        ] {
            let set = DataSet::parse(text).unwrap();
            assert_eq!(
                (&*set.repository.id, &*set.repository.revision, set.path.as_deref()),
                (id, revision, path)
            );
        }
        for wrong in [
            "hf://org/set",
            "hf://datasets/org",
            "hf://datasets/org/set/../a",
            "hf://datasets/org/a b",
        ] {
            assert!(InputError::of(&DataSet::parse(wrong).unwrap_err()).is_some(), "{wrong}");
        }
    }

    #[test]
    fn a_data_file_is_named_with_or_without_its_revision() {
        let file = DataFile::parse("hf://datasets/org/set/data/a b.json").unwrap();
        assert_eq!((file.repository.id.as_str(), file.path.as_str()), ("org/set", "data/a b.json"));
        assert_eq!(file.repository.revision, "main");
        let file = DataFile::parse("hf://datasets/org/set@v2/a.json").unwrap();
        assert_eq!((file.repository.revision.as_str(), file.path.as_str()), ("v2", "a.json"));
        for wrong in [
            "hf://org/set/a.json",
            "hf://datasets/org/set",
            "hf://datasets/org/set/",
            "hf://datasets/org/set/../a.json",
            "hf://datasets/org/set@/a.json",
            "hf://datasets//set/a.json",
        ] {
            assert!(InputError::of(&DataFile::parse(wrong).unwrap_err()).is_some(), "{wrong}");
        }
    }
}
