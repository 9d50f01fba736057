//! A key of an endpoint, which is sent in one header and shown nowhere.

use std::ffi::OsString;

use anyhow::Result;

use crate::error::InputError;

/// Shorter keys are placeholders, such as `EMPTY` for vLLM: no provider has such, and redacting them would change ordinary words.
const SHORTEST: usize = 8;

/// Longest name of a variable.
const LONGEST_NAME: usize = 64;

/// Letters from which on a name of small letters and digits looks like a key, such as `hf_...`.
const KEY_LIKE: usize = 16;

/// Refuses what cannot be the name of an environment variable, without showing it: it may be a key that was typed in its place.
pub fn check_name(name: &str) -> Result<()> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let has = |is: fn(&char) -> bool| name.chars().any(|letter| is(&letter));
    let looks_like_a_key =
        name.len() >= KEY_LIKE && has(char::is_ascii_lowercase) && has(char::is_ascii_digit);
    if begins && is_plain && name.len() <= LONGEST_NAME && !looks_like_a_key {
        return Ok(());
    }
    let what = format!(
        "`--key-env` takes the name of an environment variable: letters, digits and `_`, at most {LONGEST_NAME}, and no key; got something else, \
         which is not shown"
    );
    let hint = "set a variable to the key and give the variable's name, as in `--key-env OPENAI_API_KEY`; if it was the key, the \
                shell's history holds it: revoke it";
    Err(InputError::new(what).hint(hint).into())
}

/// A key. It has no `Debug`, `Display` or `Serialize`, so that no message or file can hold it.
pub struct Secret(String);

impl Secret {
    /// The key in the value of the environment variable `name`.
    ///
    /// Refuses, by the variable's name alone, one with a space, a control character or a character outside ASCII, and one so short that it
    /// cannot be told from ordinary words where a server echoes it.
    pub fn read(name: &str, value: OsString) -> Result<Self> {
        let key = value.into_string().unwrap_or_default();
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_graphic()) {
            let what = format!(
                "the key in {name} must be visible ASCII characters, got none or others, such as a line break"
            );
            return Err(InputError::new(what).hint(format!("set {name} to the key alone")).into());
        }
        if key.len() < SHORTEST {
            let what = format!("the key in {name} must have at least {SHORTEST} characters");
            let hint = format!(
                "set {name} to the whole key; a server that needs none is given by its URL, without `--key-env`"
            );
            return Err(InputError::new(what).hint(hint).into());
        }
        Ok(Self(key))
    }

    /// The value of the Authorization header.
    pub(super) fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether `bytes` hold the key.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        bytes.windows(self.0.len()).any(|window| window == self.0.as_bytes())
    }

    /// `text` without the key, wherever a server echoes it.
    pub(super) fn redacted(&self, text: String) -> String {
        if text.contains(&self.0) { text.replace(&self.0, "[key]") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_no_header_is_refused_by_the_variables_name_alone() {
        for value in ["sk-1234567\n", "sk 1234567", "", "sk-\u{7}1234567", "sk-é1234567", "1234567"]
        {
            let error = Secret::read("A_KEY", value.into()).err().unwrap();
            let said = format!("{error:#}");
            assert!(said.contains("A_KEY") && !said.contains("1234567"), "{said}");
            assert!(InputError::of(&error).is_some());
        }
    }

    #[test]
    fn a_key_in_place_of_a_variables_name_is_refused_without_showing_it() {
        for name in ["OPENAI_API_KEY", "_k1", &"K".repeat(64)] {
            check_name(name).unwrap();
        }
        for name in [
            "sk-live-123",
            "",
            "1KEY",
            "MY KEY",
            "K\u{e9}Y",
            "A=sk-1",
            "hf_abcdefghij1234",
            &"K".repeat(65),
        ] {
            let error = check_name(name).unwrap_err();
            let input = InputError::of(&error).unwrap();
            let said = format!("{error:#} {}", input.remedy().unwrap());
            assert!(name.is_empty() || !said.contains(name), "{said}");
        }
    }

    #[test]
    fn an_echoed_key_is_redacted() {
        let secret = |key: &str| Secret::read("A_KEY", key.into()).unwrap();
        let redacted = secret("sk-12345678").redacted("no key `sk-12345678` here".into());
        assert_eq!(redacted, "no key `[key]` here");
        assert!(secret("sk-12345678").is_in(b"x sk-12345678"));
    }
}
