//! What a run began with besides its configuration, as comment lines at the head of the configuration file.

use chrono::{DateTime, Utc};

/// Begins the line of the date.
pub(super) const BEGUN: &str = "# begun: ";
/// Begins the line of the base model's digest.
/// Begin of the line of the dtype.
pub(super) const DTYPE: &str = "# dtype: ";

const WEIGHTS: &str = "# weights: sha256 ";
/// Begins the line of the digest of all inputs.
const INPUTS: &str = "# inputs: sha256 ";

/// What a file was read for, apart from data and weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// How text becomes token ids.
    Tokenizer,
    /// How a conversation becomes text.
    ChatTemplate,
    /// The tokens that end an answer.
    GenerationConfig,
    /// The adapter that training starts from, or that is evaluated.
    Adapter,
    /// The sentence encoder of SPMR.
    Encoder,
}

impl InputKind {
    const ALL: [Self; 5] =
        [Self::Tokenizer, Self::ChatTemplate, Self::GenerationConfig, Self::Adapter, Self::Encoder];

    fn name(self) -> &'static str {
        match self {
            Self::Tokenizer => "tokenizer",
            Self::ChatTemplate => "chat template",
            Self::GenerationConfig => "generation config",
            Self::Adapter => "adapter",
            Self::Encoder => "sentence encoder",
        }
    }

    /// Begins the lines of its files.
    fn begin(self) -> String {
        format!("# {}: ", self.name())
    }

    /// Whether `line`, without the sign of a comment, is that of a kind's file.
    pub fn has_line(line: &str) -> bool {
        Self::ALL
            .iter()
            .any(|kind| line.strip_prefix(kind.name()).is_some_and(|rest| rest.starts_with(": ")))
    }
}

/// A file of a kind, as the configuration or a folder calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// What it was read for.
    pub kind: InputKind,
    /// Its path.
    pub path: String,
    /// SHA-256 of its content.
    pub sha256: String,
}

impl InputFile {
    fn line(&self) -> String {
        comment(&self.kind.begin(), &format!("{}, sha256 {}", self.path, self.sha256))
    }

    /// The file and its kind, for messages.
    fn named(kind: InputKind, path: &str) -> String {
        format!("`{path}` ({})", kind.name())
    }
}

/// The command, the machine and the inputs of a run or an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// When the process opened the folder.
    pub begun: DateTime<Utc>,
    /// The command as it was typed.
    pub command: &'a str,
    /// The device in words.
    pub device: &'a str,
    /// The dtype of weights and activations, such as `bf16`, with its reason where the program chose it.
    pub dtype: &'a str,
    /// The commit of a base model on the hub; none for another model.
    pub commit: Option<&'a str>,
    /// SHA-256 over the base model's files.
    pub weights: &'a str,
    /// Name and SHA-256 of every data file.
    pub files: &'a [(String, String)],
    /// Every file of the other inputs.
    pub input_files: &'a [InputFile],
    /// Digest of all inputs that a result depends on.
    pub inputs: &'a str,
}

impl Provenance<'_> {
    /// The line of the date.
    pub(super) fn begun_line(&self) -> String {
        comment(BEGUN, &self.begun.format("%Y-%m-%d %H:%M UTC").to_string())
    }

    /// Which inputs are other than the head of the configuration file `text` says, and the verb: `a.jsonl is`; none if all are the same.
    ///
    /// A head with the files of every kind tells each that is another. One of an earlier version has the digest of all inputs alone.
    pub(super) fn other_than(&self, text: &str) -> Option<String> {
        let earlier = text.lines().find_map(|line| line.strip_prefix(INPUTS))?;
        let begin = InputKind::Tokenizer.begin(); // no model is without one
        let names_files = text.lines().any(|line| line.starts_with(&begin));
        if earlier == self.inputs && !names_files {
            return None;
        }
        let is_same = |line: String| text.lines().any(|known| known == line.trim_end());
        let weights = !is_same(comment(WEIGHTS, self.weights));
        let model = weights.then(|| "the base model".to_owned());
        let files = self.files.iter().filter(|file| !is_same(data_line(file)));
        let files = files.map(|(name, _)| format!("`{name}`"));
        let input_files = if names_files { self.other_input_files(text) } else { Vec::new() };
        let mut other: Vec<_> = model.into_iter().chain(files).chain(input_files).collect();
        match other.pop() {
            Some(last) if other.is_empty() => Some(format!("{last} is")),
            Some(last) => Some(format!("{} and {last} are", other.join(", "))),
            None if earlier == self.inputs => None,
            // The day of the chat template, or another version of the program.
            None if names_files => Some("what is read from the same files is".to_owned()),
            None => Some(
                "the tokenizer, the chat template, the start adapter, the sentence encoder or the prompts of `eval.samples` are"
                    .to_owned(),
            ),
        }
    }

    /// Files of inputs that are new, changed or gone since the head `text` was written.
    fn other_input_files(&self, text: &str) -> Vec<String> {
        let is_known = |file: &&InputFile| text.lines().any(|line| line == file.line().trim_end());
        let changed = self.input_files.iter().filter(|file| !is_known(file));
        let changed = changed.map(|file| InputFile::named(file.kind, &file.path));
        let gone = InputKind::ALL.into_iter().flat_map(|kind| {
            let paths = text.lines().filter_map(move |line| {
                let (path, _) = line.strip_prefix(&kind.begin())?.rsplit_once(", sha256 ")?;
                Some((kind, path))
            });
            paths.filter(|(kind, path)| {
                let begin = format!("{}{path}, ", kind.begin());
                !self.input_files.iter().any(|file| file.line().starts_with(&begin))
            })
        });
        changed.chain(gone.map(|(kind, path)| InputFile::named(kind, path))).collect()
    }

    /// All lines, `begun` as that of the date.
    pub(super) fn lines(&self, begun: &str) -> String {
        let version = format!("{}, commit {}", env!("CARGO_PKG_VERSION"), env!("MVPBENCH_COMMIT"));
        let model = self.commit.map(|commit| comment("# model: commit ", commit));
        let files = self.files.iter();
        let files = files.map(data_line);
        let first = [comment("# mvpbench ", &version), begun.to_owned()];
        let machine = [comment("# device: ", self.device), comment(DTYPE, self.dtype)];
        first
            .into_iter()
            .chain([comment("# command: ", self.command)])
            .chain(machine)
            .chain(model)
            .chain([comment(WEIGHTS, self.weights)])
            .chain(files)
            .chain(self.input_files.iter().map(InputFile::line))
            .chain([comment(INPUTS, self.inputs)])
            .collect()
    }
}

fn data_line((name, sha256): &(String, String)) -> String {
    comment("# data: ", &format!("{name}, sha256 {sha256}"))
}

/// One comment line of TOML, which allows no control character.
fn comment(begin: &str, value: &str) -> String {
    let clean = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    format!("{begin}{}\n", value.chars().map(clean).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_a_line_of_its_own_and_no_value_ends_one() {
        let files = [("a\nb.jsonl".to_owned(), "12".to_owned())];
        let file = |kind, path: &str, sha256: &str| InputFile {
            kind,
            path: path.to_owned(),
            sha256: sha256.to_owned(),
        };
        let input_files = [
            file(InputKind::Tokenizer, "m/tokenizer.json", "78"),
            file(InputKind::Encoder, "e/modules.json", "90"),
        ];
        let provenance = Provenance {
            begun: DateTime::UNIX_EPOCH,
            command: "train --config 'a\u{1b}'",
            device: "cpu, 2 threads",
            dtype: "f32",
            commit: None,
            weights: "34",
            files: &files,
            input_files: &input_files,
            inputs: "56",
        };
        assert_eq!(provenance.begun_line(), "# begun: 1970-01-01 00:00 UTC\n");
        let lines = provenance.lines(&provenance.begun_line());
        for line in [
            "# command: train --config 'a\u{fffd}'\n# device: cpu, 2 threads\n# dtype: f32\n",
            "# weights: sha256 34\n# data: a\u{fffd}b.jsonl, sha256 12\n# tokenizer: m/tokenizer.json, sha256 78\n",
            "# sentence encoder: e/modules.json, sha256 90\n# inputs: sha256 56\n",
        ] {
            assert!(lines.contains(line), "{lines}");
        }
        let same = provenance;
        assert_eq!(same.other_than(&lines), None);
        let of = |weights, sha256: &str, input_files: &[InputFile], inputs, text: &str| {
            let files = [("a\nb.jsonl".to_owned(), sha256.to_owned())];
            Provenance { weights, files: &files, input_files, inputs, ..same }.other_than(text)
        };
        let said = |what: &str| Some(what.to_owned());
        assert_eq!(of("34", "13", &input_files, "57", &lines), said("`a\nb.jsonl` is"));
        assert_eq!(
            of("35", "13", &input_files, "57", &lines),
            said("the base model and `a\nb.jsonl` are")
        );
        assert_eq!(
            of("34", "12", &input_files, "57", &lines),
            said("what is read from the same files is")
        );
        let tokenizer = || input_files[0].clone();
        for (now, what) in [
            (vec![tokenizer(), file(InputKind::Encoder, "e/modules.json", "91")], "changed"),
            (vec![tokenizer()], "gone"),
        ] {
            let what = (what, of("34", "12", &now, "56", &lines));
            assert_eq!(what.1, said("`e/modules.json` (sentence encoder) is"), "{}", what.0);
        }
        let more =
            [&input_files[..], &[file(InputKind::Adapter, "a/adapter_config.json", "1")]].concat();
        assert_eq!(
            of("34", "12", &more, "56", &lines),
            said("`a/adapter_config.json` (adapter) is")
        );

        // A head of an earlier version has the digest of all inputs alone.
        let is_of_a_file = |line: &&str| line.strip_prefix("# ").is_some_and(InputKind::has_line);
        let earlier: String =
            lines.split_inclusive('\n').filter(|line| !is_of_a_file(line)).collect();
        assert!(earlier.len() < lines.len());
        assert_eq!(of("34", "12", &more, "56", &earlier), None);
        assert_eq!(of("34", "13", &more, "56", &earlier), None);
        assert_eq!(of("34", "13", &input_files, "57", &earlier), said("`a\nb.jsonl` is"));
        let joint = of("34", "12", &input_files, "57", &earlier).unwrap();
        assert!(joint.contains("the sentence encoder"), "{joint}");
    }
}
