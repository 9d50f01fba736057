//! Files compiled into the binary: the presets of `configs/`, and a sample model with data that runs on a plain CPU.

use std::borrow::Cow;
use std::io::ErrorKind;

use anyhow::Context;

use crate::error::InputError;

/// Beginning of the path of a file inside the binary.
const EMBEDDED: &str = "embedded:";

/// The model inside the binary.
pub const MODEL: &str = "embedded:tiny/model";

/// The names of the presets.
pub const NAMES: &[&str] = &[
    "llama2-7b.toml",
    "llama2-13b.toml",
    "llama2-7b-chat.toml",
    "llama2-13b-chat.toml",
    "paper-llama2-7b.toml",
    "paper-llama2-13b.toml",
    "paper-llama2-7b-chat.toml",
    "paper-llama2-13b-chat.toml",
    "tiny.toml",
];

/// The texts of the presets, in the order of [`NAMES`].
const TEXTS: [&str; NAMES.len()] = [
    include_str!("../configs/llama2-7b.toml"),
    include_str!("../configs/llama2-13b.toml"),
    include_str!("../configs/llama2-7b-chat.toml"),
    include_str!("../configs/llama2-13b-chat.toml"),
    include_str!("../configs/paper-llama2-7b.toml"),
    include_str!("../configs/paper-llama2-13b.toml"),
    include_str!("../configs/paper-llama2-7b-chat.toml"),
    include_str!("../configs/paper-llama2-13b-chat.toml"),
    include_str!("../configs/tiny.toml"),
];

/// Paths below `configs/`, each with its file.
macro_rules! embedded {
    ($($path:literal),+ $(,)?) => { &[$(($path, include_bytes!(concat!("../configs/", $path)))),+] };
}

const FILES: &[(&str, &[u8])] = embedded![
    "tiny/model/config.json",
    "tiny/model/generation_config.json",
    "tiny/model/model.safetensors",
    "tiny/model/special_tokens_map.json",
    "tiny/model/tokenizer.json",
    "tiny/model/tokenizer_config.json",
    "tiny/data/MVP_test.json",
    "tiny/data/MVP_train.json",
    "tiny/data/uf-p-4/helpfulness.json",
    "tiny/data/uf-p-4/honesty.json",
    "tiny/data/uf-p-4/instruction_following.json",
    "tiny/data/uf-p-4/truthfulness.json",
];

/// The text of the preset of that name; none if there is none.
pub fn preset(name: &str) -> Option<&'static str> {
    find(name).map(|(_, text)| text)
}

/// The binary's name and text of the preset of that name; none if there is none.
pub(crate) fn find(name: &str) -> Option<(&'static str, &'static str)> {
    NAMES.iter().copied().zip(TEXTS).find(|(known, _)| *known == name)
}

/// The bytes of a file: inside the binary if `path` begins with `embedded:`, otherwise of the file system. Refuses a device, a pipe
/// and a socket, which may have no end, and cannot be read a second time.
pub fn read(path: &str) -> anyhow::Result<Cow<'static, [u8]>> {
    if let Some(name) = path.strip_prefix(EMBEDDED) {
        return match FILES.iter().find(|(known, _)| *known == name) {
            Some((_, bytes)) => Ok(Cow::Borrowed(bytes)),
            None => Err(nothing_embedded(path).into()),
        };
    }
    if path.is_empty() {
        return Err(InputError::new("expected the name of a file, got an empty one").into());
    }
    if let Some(kind) = special(path) {
        return Err(InputError::new(format!("`{path}`: expected a file, found a {kind}"))
            .hint("write what it gives to a file and name that: it is read more than once")
            .into());
    }
    match std::fs::read(path) {
        Ok(bytes) => Ok(Cow::Owned(bytes)),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                let error = InputError::new(format!("`{path}`: no such file"));
                let pattern = path.contains(['*', '?', '[']).then(|| matching(path));
                Err(error.hint(pattern.unwrap_or_else(|| where_paths_start(path).into())).into())
            }
            ErrorKind::IsADirectory => {
                Err(InputError::new(format!("`{path}`: expected a file, found a folder")).into())
            }
            ErrorKind::PermissionDenied => {
                Err(InputError::new(format!("`{path}`: permission denied")).into())
            }
            ErrorKind::InvalidInput | ErrorKind::InvalidFilename => {
                Err(InputError::new(format!("`{}`: not the name of a file", path.escape_debug()))
                    .into())
            }
            _ => Err(error).with_context(|| format!("cannot read `{path}`")),
        },
    }
}

/// What `path` is if it is neither a file nor a folder; none where it is one or is not there.
fn special(path: &str) -> Option<&'static str> {
    let kind = std::fs::metadata(path).ok()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("pipe");
        }
        if kind.is_socket() {
            return Some("socket");
        }
    }
    Some("device")
}

/// The files of a folder inside the binary, such as `embedded:tiny/model`, by name; none if there is no such folder.
pub fn embedded_folder(path: &str) -> Option<Vec<(&'static str, &'static [u8])>> {
    let folder = path.strip_prefix(EMBEDDED)?.trim_end_matches('/');
    let files: Vec<_> = FILES
        .iter()
        .filter_map(|(name, bytes)| Some((name.strip_prefix(folder)?.strip_prefix('/')?, *bytes)))
        .filter(|(name, _)| !name.contains('/'))
        .collect();
    if files.is_empty() { None } else { Some(files) }
}

fn nothing_embedded(path: &str) -> InputError {
    let folder = format!("{}/", path.trim_end_matches('/'));
    let names = || FILES.iter().map(|(name, _)| format!("{EMBEDDED}{name}"));
    if names().any(|name| name.starts_with(&folder)) {
        return InputError::new(format!("`{path}`: expected a file, found a folder"));
    }
    let names: Vec<_> = names().map(|name| format!("`{name}`")).collect();
    InputError::new(format!("`{path}`: no such file in this binary"))
        .hint(format!("it has {}", names.join(", ")))
}

/// The hint for a pattern: the files to list in its place.
fn matching(pattern: &str) -> String {
    const SHOWN: usize = 12;
    let found = glob::glob(pattern).into_iter().flatten().filter_map(Result::ok);
    let files: Vec<_> = found.filter(|path| path.is_file()).collect();
    let names: Vec<_> =
        files.iter().take(SHOWN).map(|path| format!("`{}`", path.display())).collect();
    match (&names[..], files.len().saturating_sub(SHOWN)) {
        ([], _) => "patterns are not read: list the files; this one matches no file".to_owned(),
        (names, 0) => format!("patterns are not read: list the files: {}", names.join(", ")),
        (names, more) => {
            format!("patterns are not read: list the files: {} and {more} more", names.join(", "))
        }
    }
}

fn where_paths_start(path: &str) -> &'static str {
    match path.starts_with('/') {
        true => "check the path",
        false => "a path without a leading `/` starts at the folder the command is run in",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;

    fn message(path: &str) -> String {
        InputError::of(&read(path).unwrap_err()).unwrap().to_string()
    }

    #[test]
    fn every_preset_is_a_valid_configuration() {
        for name in NAMES {
            RunConfig::parse(preset(name).unwrap(), name).unwrap();
        }
        assert_eq!(preset("llama3.toml"), None);
    }

    #[test]
    fn a_preset_writes_out_every_key() {
        let every_key = |text: &str| -> Vec<String> {
            let table: toml::Table = toml::from_str(text).unwrap();
            let keys = |(section, table): (&String, &toml::Value)| -> Vec<String> {
                table.as_table().unwrap().keys().map(|key| format!("{section}.{key}")).collect()
            };
            table.iter().flat_map(keys).collect()
        };
        let expected = every_key(&RunConfig::default().to_toml().unwrap());
        for name in NAMES {
            assert_eq!(every_key(preset(name).unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn the_llama_presets_differ_only_in_model_and_run_folder() {
        let of = |name: &str| RunConfig::parse(preset(name).unwrap(), name).unwrap();
        let first = of(NAMES[0]);
        for name in &NAMES[1..4] {
            let mut other = of(name);
            assert_ne!(other.model.path, first.model.path);
            assert_ne!(other.output.dir, first.output.dir);
            other.model.path.clone_from(&first.model.path);
            other.output.dir.clone_from(&first.output.dir);
            assert_eq!(other, first, "{name}");
        }
    }

    #[test]
    fn the_papers_presets_differ_by_what_the_authors_software_did() {
        for name in &NAMES[..4] {
            let paper = format!("paper-{name}");
            let of = |name: &str| RunConfig::parse(preset(name).unwrap(), name).unwrap();
            let (ours, theirs) = (of(name), of(&paper));
            let differences = theirs.differences(&ours).unwrap();
            let keys: Vec<_> = differences.iter().map(|difference| &*difference.key).collect();
            let expected = [
                "data.order",
                "data.tokenization",
                "data.truncation",
                "dpo.reference",
                "eval.score_eos",
                "eval.spmr.embed_prompt",
                "eval.tokenization",
                "lora.dropout",
                "train.leftover_batches",
                "train.optimizer",
            ];
            assert_eq!(keys, expected, "{paper}");
            assert_ne!(theirs.output.dir, ours.output.dir);
            assert_eq!(theirs.model, ours.model, "{paper}");
        }
    }

    #[test]
    fn the_tiny_preset_needs_nothing_but_the_binary() {
        let config = RunConfig::parse(preset("tiny.toml").unwrap(), "tiny.toml").unwrap();
        let model = embedded_folder(&config.model.path).unwrap();
        assert!(
            model.iter().any(|(name, bytes)| *name == "model.safetensors" && !bytes.is_empty())
        );
        let sets = config.eval.sets.iter().flat_map(|set| &set.files);
        for file in config.data.train.iter().chain(sets).flat_map(|source| &source.files) {
            assert!(file.starts_with(EMBEDDED) && !read(file).unwrap().is_empty(), "{file}");
        }
    }

    #[test]
    fn an_embedded_folder_has_its_files_but_not_its_folders() {
        let names: Vec<_> =
            embedded_folder("embedded:tiny/data/").unwrap().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["MVP_test.json", "MVP_train.json"]);
        for path in ["embedded:tiny", "embedded:tiny/mod", "embedded:", "tiny/model"] {
            assert_eq!(embedded_folder(path), None, "{path}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_the_reason() {
        assert_eq!(message("no/such.json"), "`no/such.json`: no such file");
        assert_eq!(message("Cargo.toml/x"), "`Cargo.toml/x`: no such file");
        assert_eq!(message("src"), "`src`: expected a file, found a folder");
        assert_eq!(message(""), "expected the name of a file, got an empty one");
        assert_eq!(message("a\0b"), "`a\\0b`: not the name of a file");
        assert_eq!(
            message("embedded:tiny/data/x.json"),
            "`embedded:tiny/data/x.json`: no such file in this binary"
        );
        assert_eq!(
            message("embedded:tiny/data"),
            "`embedded:tiny/data`: expected a file, found a folder"
        );
        let hint = |path: &str| {
            InputError::of(&read(path).unwrap_err()).unwrap().remedy().unwrap().to_owned()
        };
        let listed = "patterns are not read: list the files: `configs/llama2-13b-chat.toml`, `configs/llama2-13b.toml`";
        assert_eq!(hint("configs/llama2-13b*.toml"), listed);
        assert!(hint("configs/*.jsonl").ends_with("this one matches no file"));
        assert!(read("Cargo.toml").unwrap().starts_with(b"[package]"));
    }
}
