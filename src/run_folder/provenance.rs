//! What a run began with besides its configuration, as comment lines at the head of the configuration file.

use chrono::{DateTime, Utc};

/// Begins the line of the date.
pub(super) const BEGUN: &str = "# begun: ";
/// Begins the line of the base model's digest.
const WEIGHTS: &str = "# weights: sha256 ";
/// Begins the line of the digest of all inputs.
pub(super) const INPUTS: &str = "# inputs: sha256 ";

/// The command, the machine and the inputs of a run or an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// When the process opened the folder.
    pub begun: DateTime<Utc>,
    /// The command as it was typed.
    pub command: &'a str,
    /// The device in words.
    pub device: &'a str,
    /// The dtype of weights and activations, such as `bf16`.
    pub dtype: &'a str,
    /// The commit of a base model on the hub; none for another model.
    pub commit: Option<&'a str>,
    /// SHA-256 over the base model's files.
    pub weights: &'a str,
    /// Name and SHA-256 of every data file.
    pub files: &'a [(String, String)],
    /// Digest of all inputs that a result depends on.
    pub inputs: &'a str,
}

impl Provenance<'_> {
    /// The line of the date.
    pub(super) fn begun_line(&self) -> String {
        comment(BEGUN, &self.begun.format("%Y-%m-%d %H:%M UTC").to_string())
    }

    /// Which inputs are other than the head of the configuration file `text` says, and the verb: `a.jsonl is`.
    pub(super) fn other_than(&self, text: &str) -> String {
        let is_same = |line: String| text.lines().any(|known| known == line.trim_end());
        let weights = !is_same(comment(WEIGHTS, self.weights));
        let model = weights.then(|| "the base model".to_owned());
        let files = self.files.iter().filter(|file| !is_same(data_line(file)));
        let mut other: Vec<_> =
            model.into_iter().chain(files.map(|(name, _)| format!("`{name}`"))).collect();
        match other.pop() {
            Some(last) if other.is_empty() => format!("{last} is"),
            Some(last) => format!("{} and {last} are", other.join(", ")),
            // These have no line of their own.
            None => "the tokenizer, the chat template, the start adapter, the sentence encoder or the prompts of `eval.samples` are"
                .to_owned(),
        }
    }

    /// All lines, `begun` as that of the date.
    pub(super) fn lines(&self, begun: &str) -> String {
        let version = format!("{}, commit {}", env!("CARGO_PKG_VERSION"), env!("MVPBENCH_COMMIT"));
        let model = self.commit.map(|commit| comment("# model: commit ", commit));
        let files = self.files.iter();
        let files = files.map(data_line);
        let first = [comment("# mvpbench ", &version), begun.to_owned()];
        let machine = [comment("# device: ", self.device), comment("# dtype: ", self.dtype)];
        first
            .into_iter()
            .chain([comment("# command: ", self.command)])
            .chain(machine)
            .chain(model)
            .chain([comment(WEIGHTS, self.weights)])
            .chain(files)
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
        let provenance = Provenance {
            begun: DateTime::UNIX_EPOCH,
            command: "train --config 'a\u{1b}'",
            device: "cpu, 2 threads",
            dtype: "f32",
            commit: None,
            weights: "34",
            files: &files,
            inputs: "56",
        };
        assert_eq!(provenance.begun_line(), "# begun: 1970-01-01 00:00 UTC\n");
        let lines = provenance.lines(&provenance.begun_line());
        for line in [
            "# command: train --config 'a\u{fffd}'\n# device: cpu, 2 threads\n# dtype: f32\n",
            "# weights: sha256 34\n# data: a\u{fffd}b.jsonl, sha256 12\n# inputs: sha256 56\n",
        ] {
            assert!(lines.contains(line), "{lines}");
        }
        let of = |weights, sha256: &str| {
            let files = [("a\nb.jsonl".to_owned(), sha256.to_owned())];
            Provenance { weights, files: &files, ..provenance }.other_than(&lines)
        };
        assert_eq!(of("34", "13"), "`a\nb.jsonl` is");
        assert_eq!(of("35", "13"), "the base model and `a\nb.jsonl` are");
        assert!(of("34", "12").contains("the sentence encoder"));
    }
}
