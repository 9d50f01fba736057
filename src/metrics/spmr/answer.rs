//! One generated answer with its cosines, and the JSONL file that holds a set's.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bail_input;
use crate::disk::json_lines::{self, Line};

/// One line of `eval/generations-<set>-{before,after}.jsonl`: a prompt, the model's answer and how near it is to the preferred one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The pair's id.
    pub id: String,
    /// Who stated the preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Stem of the file the pair came from.
    pub source: String,
    /// Demographic fields of the record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, String>,
    /// The prompt as the model reads it.
    pub prompt: String,
    /// The model's answer.
    pub generation: String,
    /// The preferred answer, `answer_w` in MVPBench.
    pub reference: String,
    /// Cosine of the answer and the preferred answer.
    pub cosine: f64,
    /// Cosine of prompt and answer together and the preferred answer.
    pub cosine_with_prompt: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub generated_tokens: usize,
    /// Whether the model ended the answer; otherwise `max_new_tokens` cut it.
    pub ended: bool,
}

impl Line for Answer {
    const NOUN: &'static str = "a generated answer";
    const SKIPS_BLANK_LINES: bool = false;

    fn check(&self) -> anyhow::Result<()> {
        for (field, value) in
            [("cosine", self.cosine), ("cosine_with_prompt", self.cosine_with_prompt)]
        {
            if !value.is_finite() {
                bail_input!("pair `{}`: `{field}` must be finite, got `{value}`", self.id);
            }
        }
        Ok(())
    }
}

/// Writes one JSON line per answer, in order. The file appears whole or not at all; a cosine that is not finite is an error.
pub fn write_answers(path: &Path, answers: &[Answer]) -> anyhow::Result<()> {
    json_lines::write_checked(path, answers)
}

/// Reads what [`write_answers`] wrote, as [`json_lines::read`] does.
pub fn read_answers(path: &Path) -> anyhow::Result<Vec<Answer>> {
    json_lines::read(path)
}

/// An answer for tests.
#[cfg(test)]
pub(crate) fn answer_of(id: &str, user: Option<&str>, cosines: [f64; 2]) -> Answer {
    Answer {
        id: id.into(),
        user: user.map(Into::into),
        source: "test".into(),
        groups: BTreeMap::new(),
        prompt: "why".into(),
        generation: "so".into(),
        reference: "because".into(),
        cosine: cosines[0],
        cosine_with_prompt: cosines[1],
        prompt_tokens: 2,
        generated_tokens: 3,
        ended: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_their_file_and_a_broken_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval/generations-a-before.jsonl");
        let mut all: Vec<_> =
            ["a", "b", "c", "d"].map(|id| answer_of(id, Some("user"), [0.9, -0.1])).to_vec();
        all[1].generation = "a \"quoted\"\nline\u{2028}".into();
        write_answers(&path, &all).unwrap();
        assert_eq!(read_answers(&path).unwrap(), all);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 20]).unwrap();
        let error = read_answers(&path).unwrap_err();
        assert!(error.to_string().contains("before.jsonl:4: not a generated answer"), "{error}");
    }
}
