//! New tokens as text, up to the first of some strings.

use anyhow::Result;

use super::settings::Generation;
use crate::data::tokenizer::Tokenizer;

/// Strings that end a sequence; its text is what comes before the first of them.
#[derive(Debug)]
pub struct StopStrings<'a> {
    tokenizer: &'a Tokenizer,
    strings: Vec<String>,
}

impl<'a> StopStrings<'a> {
    /// Ends a sequence when its text contains one of `strings`; empty ones are skipped.
    pub fn new(tokenizer: &'a Tokenizer, strings: &[String]) -> Self {
        let strings = strings.iter().filter(|string| !string.is_empty()).cloned().collect();
        Self { tokenizer, strings }
    }

    /// No strings: texts are whole.
    pub fn none(tokenizer: &'a Tokenizer) -> Self {
        Self::new(tokenizer, &[])
    }

    /// The strings.
    pub fn strings(&self) -> &[String] {
        &self.strings
    }

    /// Whether the text of `ids` contains one of the strings.
    pub(super) fn found(&self, ids: &[u32]) -> Result<bool> {
        if self.strings.is_empty() {
            return Ok(false);
        }
        Ok(self.place(&self.tokenizer.decode(ids, true)?).is_some())
    }

    /// The new tokens decoded alone, without special tokens, cut before the first of the strings.
    pub fn text(&self, generation: &Generation) -> Result<String> {
        let mut text = self.tokenizer.decode(&generation.ids, true)?;
        if let Some(place) = self.place(&text) {
            text.truncate(place);
        }
        Ok(text)
    }

    fn place(&self, text: &str) -> Option<usize> {
        self.strings.iter().filter_map(|string| text.find(string.as_str())).min()
    }
}
