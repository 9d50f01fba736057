//! Token ids as the text of each one.

use anyhow::Result;

use super::tokenizer::Tokenizer;

impl Tokenizer {
    /// The text that each id adds to those before it; joined, they are the text of them all, special tokens written out.
    ///
    /// A character made of several byte tokens belongs to the last of them; the others are empty.
    pub fn pieces(&self, ids: &[u32]) -> Result<Vec<String>> {
        let mut pieces = Vec::with_capacity(ids.len());
        // The ids `from..read` are decoded again, as context of the next one.
        let (mut from, mut read) = (0, 0);
        for end in 1..=ids.len() {
            let before = self.decode(&ids[from..read], false)?;
            let after = self.decode(&ids[from..end], false)?;
            if after.ends_with('\u{fffd}') && end < ids.len() {
                pieces.push(String::new());
                continue;
            }
            pieces.push(match after.strip_prefix(before.as_str()) {
                Some(piece) => piece.to_owned(),
                None => self.decode(&ids[read..end], false)?,
            });
            (from, read) = (read, end);
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn pieces_joined_are_the_text() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/models/tiny");
        let tokenizer = Tokenizer::load(&folder).unwrap();
        for text in ["One  two\nthree.", "é 日本 😀!", "a</s> b", " leading", "\n\n", ""] {
            let ids = tokenizer.encode(text, true).unwrap();
            let pieces = tokenizer.pieces(&ids).unwrap();
            assert_eq!(pieces.len(), ids.len());
            assert_eq!(pieces.concat(), tokenizer.decode(&ids, false).unwrap(), "{text:?}");
            assert_eq!(pieces[0], "<s>");
        }
    }

    #[test]
    fn a_character_cut_in_the_middle_is_shown_all_the_same() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/models/tiny");
        let tokenizer = Tokenizer::load(&folder).unwrap();
        let ids = tokenizer.encode("😀", true).unwrap();
        let pieces = tokenizer.pieces(&ids[..ids.len() - 1]).unwrap();
        assert!(pieces.concat().contains('\u{fffd}'), "{pieces:?}");
    }
}
