//! The digest in the head of a configuration file, so that a changed setting or digest of the inputs is noticed.

use crate::disk::seal::{self, Broken};

/// Begins the line of the digest.
pub const SEAL: &str = "# sha256 of the other lines: ";

/// The text of a configuration file: the comments `head`, the digest of all other lines, an empty line, `toml`.
pub(super) fn sealed(head: &str, toml: &str) -> String {
    let digits = seal::digits(format!("{head}\n{toml}").as_bytes());
    format!("{head}{SEAL}{digits}\n\n{toml}")
}

/// Refuses the text of a configuration file that is not what `sealed` made.
pub fn check(text: &str) -> Result<(), Broken> {
    let is_seal = |line: &&str| line.starts_with(SEAL);
    let found = text.split_inclusive('\n').find(is_seal).ok_or(Broken::Missing)?;
    let rest: String = text.split_inclusive('\n').filter(|line| !is_seal(line)).collect();
    let digits = found.strip_prefix(SEAL).and_then(|rest| rest.strip_suffix('\n'));
    if digits == Some(&*seal::digits(rest.as_bytes())) { Ok(()) } else { Err(Broken::Wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_bit_is_noticed() {
        let text = sealed("# mvpbench 1\n# inputs: sha256 abc\n", "[train]\nseed = 1\n");
        assert_eq!(check(&text), Ok(()));
        assert_eq!(check("[train]\nseed = 1\n"), Err(Broken::Missing));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(flipped) = String::from_utf8(bytes) {
                assert!(check(&flipped).is_err(), "byte {at}");
            }
        }
    }
}
