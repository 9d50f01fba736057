//! A `.gz` or `.zst` file -> what it holds, as a stream, and how much a file may hold.

use std::io::{self, Read};

use anyhow::Result;

use crate::error::InputError;

/// Longest content of one file: bytes, and more for each byte of the file. A few kilobytes of compressed data can claim any size; real
/// files hold up to a hundred times theirs.
const MOST: [usize; 2] = [64 << 20, 256];

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// Told by the first bytes; none for a file that is not packed.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The name of a file without the ending of its packing: `a.jsonl` for `a.jsonl.gz`.
pub(super) fn inner_name(name: &str) -> &str {
    let cut = [".gz", ".zst"].into_iter().find_map(|ending| {
        let at = name.len().checked_sub(ending.len())?;
        name.get(at..).filter(|end| end.eq_ignore_ascii_case(ending)).map(|_| &name[..at])
    });
    cut.filter(|inner| !inner.is_empty() && !inner.ends_with('/')).unwrap_or(name)
}

/// Bytes that a file of `file` bytes may hold.
pub(super) fn most(file: usize) -> usize {
    file.saturating_mul(MOST[1]).saturating_add(MOST[0])
}

/// The error for a file that holds more than `most` bytes.
pub(super) fn too_much(place: &str, most: usize) -> InputError {
    InputError::new(format!("{place}: unpacks to more than {} MiB, which no data does", most >> 20))
        .hint("the file may be damaged; if it is right, write it as JSONL")
}

/// What `packed` holds, read in pieces; `bytes`: its length. Reading past [`most`] fails with [`too_much`], damaged data with an error that
/// names the file: [`reason`] has both.
pub(super) fn reader<'a>(
    packed: impl Read + 'a,
    packing: Packing,
    bytes: usize,
    name: &str,
) -> Result<Box<dyn Read + 'a>> {
    let inner: Box<dyn Read + 'a> = match packing {
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        Packing::Zstd => Box::new(
            zstd::stream::read::Decoder::new(packed)
                .map_err(|error| damaged(&error, packing, name))?,
        ),
    };
    Ok(Box::new(Unpacker { inner, packing, most: most(bytes), given: 0, name: name.to_owned() }))
}

/// What the packed bytes of the file `name` hold.
pub(super) fn all(packed: &[u8], packing: Packing, name: &str) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    reader(packed, packing, packed.len(), name)?
        .read_to_end(&mut content)
        .map_err(|error| reason(error, name))?;
    Ok(content)
}

struct Unpacker<'a> {
    inner: Box<dyn Read + 'a>,
    packing: Packing,
    most: usize,
    given: usize,
    name: String,
}

impl Read for Unpacker<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = match self.inner.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            read => {
                read.map_err(|error| io::Error::other(damaged(&error, self.packing, &self.name)))?
            }
        };
        self.given += n;
        if self.given > self.most {
            return Err(io::Error::other(too_much(&self.name, self.most)));
        }
        Ok(n)
    }
}

/// The error of a [`reader`] of the file `name`, as the user sees it.
pub(super) fn reason(error: io::Error, name: &str) -> anyhow::Error {
    match error.downcast::<InputError>() {
        Ok(error) => error.into(),
        Err(error) => anyhow::Error::from(error).context(format!("cannot read `{name}`")),
    }
}

fn damaged(error: &io::Error, packing: Packing, name: &str) -> InputError {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    };
    InputError::new(format!("{name}: not whole {} data: {why}", packing.name()))
        .hint("the file may be cut short or damaged; fetch or write it again")
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    /// `content` as a `.gz` file.
    pub(in crate::data) fn gzip(content: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(content).unwrap();
        out.finish().unwrap()
    }

    fn packed(content: &[u8]) -> [(Packing, Vec<u8>); 2] {
        let zstd = zstd::stream::encode_all(content, 3).unwrap();
        [(Packing::Gzip, gzip(content)), (Packing::Zstd, zstd)]
    }

    #[test]
    fn what_was_packed_is_unpacked_also_in_several_members() {
        for (packing, bytes) in packed(b"{\"a\": 1}\n") {
            assert_eq!(Packing::of(&bytes), Some(packing));
            assert_eq!(all(&bytes, packing, "a").unwrap(), b"{\"a\": 1}\n");
            let twice = [&bytes[..], &bytes].concat();
            assert_eq!(all(&twice, packing, "a").unwrap(), b"{\"a\": 1}\n{\"a\": 1}\n");
        }
        assert_eq!(Packing::of(b"{\"a\""), None);
    }

    #[test]
    fn a_cut_or_altered_file_is_refused_by_name() {
        let text: Vec<u8> =
            (0..5000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for (packing, bytes) in packed(&text) {
            for at in [8, bytes.len() / 2, bytes.len() - 1] {
                let error = all(&bytes[..at], packing, "a.gz").unwrap_err();
                let message = error.to_string();
                assert!(InputError::of(&error).is_some(), "{message}");
                assert!(message.starts_with("a.gz: not whole "), "{message}");
            }
        }
        let mut gzip = gzip(&text);
        let at = gzip.len() - 6; // of the checksum
        gzip[at] ^= 1;
        assert!(
            all(&gzip, Packing::Gzip, "a.gz")
                .unwrap_err()
                .to_string()
                .contains("not whole gzip data")
        );
    }

    #[test]
    fn a_small_file_that_holds_no_end_of_text_is_refused() {
        for (packing, bytes) in packed(&vec![b'x'; 130 << 20]) {
            assert!(bytes.len() < 300_000, "{}", bytes.len());
            let error = all(&bytes, packing, "a.gz").unwrap_err();
            assert!(error.to_string().starts_with("a.gz: unpacks to more than "), "{error}");
        }
    }

    #[test]
    fn the_ending_of_the_packing_is_no_part_of_the_inner_name() {
        for (name, inner) in [
            ("d/a.jsonl.gz", "d/a.jsonl"),
            ("a.csv.ZST", "a.csv"),
            ("a.json", "a.json"),
            (".gz", ".gz"),
            ("d/.gz", "d/.gz"),
            ("é", "é"),
        ] {
            assert_eq!(inner_name(name), inner);
        }
    }
}
