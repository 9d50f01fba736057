//! A digest as the last field of a JSON object, so that its reader notices any changed bit.
//!
//! A file of JSON lines seals each line; a file of one object seals the whole. The field is `sha256`: the first 16
//! hexadecimal digits of the SHA-256 of all that stands before it.

use std::fmt;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::disk::digest;

/// Hexadecimal digits of a seal.
const DIGITS: usize = 16;
/// What stands before and after the digits in an object on one line.
const ON_A_LINE: [&str; 2] = [",\"sha256\":\"", "\"}"];
/// The same in an indented object, which ends with a line break.
const INDENTED: [&str; 2] = [",\n  \"sha256\": \"", "\"\n}\n"];

/// Why the content of an object is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It does not end with a digest: it is cut, another program wrote it, or an earlier version did.
    Missing,
    /// Its digest is that of another content.
    Wrong,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "its digest is missing",
            Self::Wrong => "its digest does not match",
        })
    }
}

impl std::error::Error for Broken {}

/// The first digits of the SHA-256 of `bytes`.
pub fn digits(bytes: &[u8]) -> String {
    let mut digest = digest::of_bytes(bytes);
    digest.truncate(DIGITS);
    digest
}

/// `value`, which is an object with a field or more, sealed on one line without a line break.
pub fn on_a_line(value: &impl Serialize) -> Result<Vec<u8>> {
    sealed(serde_json::to_vec(value)?, ON_A_LINE)
}

/// `value`, which is an object with a field or more, sealed and indented.
pub fn indented(value: &impl Serialize) -> Result<Vec<u8>> {
    sealed(serde_json::to_vec_pretty(value)?, INDENTED)
}

fn sealed(mut object: Vec<u8>, [before, after]: [&str; 2]) -> Result<Vec<u8>> {
    ensure!(object.pop() == Some(b'}') && object.len() > 1, "only an object with fields is sealed");
    object.truncate(object.trim_ascii_end().len());
    let digits = digits(&object);
    object.extend([before, &digits, after].concat().into_bytes());
    Ok(object)
}

/// The object in `bytes` without its seal, as JSON.
pub fn open(bytes: &[u8]) -> Result<Vec<u8>, Broken> {
    let parts = |[before, after]: [&str; 2]| {
        let rest = bytes.strip_suffix(after.as_bytes())?;
        let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
        Some((rest.strip_suffix(before.as_bytes())?, digits))
    };
    let (object, found) = parts(ON_A_LINE).or_else(|| parts(INDENTED)).ok_or(Broken::Missing)?;
    if digits(object).as_bytes() != found {
        return Err(Broken::Wrong);
    }
    Ok([object, b"}"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn any_changed_bit_and_any_cut_is_noticed() {
        let value = json!({"step": 1, "loss": -0.5, "text": "é \"sha256\":\"0\"}"});
        for sealed in [on_a_line(&value).unwrap(), indented(&value).unwrap()] {
            assert_eq!(serde_json::from_slice::<Value>(&open(&sealed).unwrap()).unwrap(), value);
            let whole: Value = serde_json::from_slice(&sealed).unwrap();
            assert_eq!(
                whole["sha256"].as_str().unwrap().len(),
                DIGITS,
                "it is a field of the object"
            );
            for at in 0..sealed.len() {
                assert!(open(&sealed[..at]).is_err(), "cut to {at} bytes");
                for bit in 0..8 {
                    let mut flipped = sealed.clone();
                    flipped[at] ^= 1 << bit;
                    assert!(open(&flipped).is_err(), "bit {bit} of byte {at}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_object_is_not_sealed_and_not_opened() {
        assert!(on_a_line(&json!([1])).is_err() && indented(&json!({})).is_err());
        for text in ["", "{}", "{\"a\":1}", "\"}"] {
            assert_eq!(open(text.as_bytes()), Err(Broken::Missing), "{text}");
        }
    }
}
