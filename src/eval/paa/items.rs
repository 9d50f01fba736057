//! The files of a benchmark -> its items, with the digests of the files.

use anyhow::Result;

use crate::console::progress::Verbosity;
use crate::data::benchmark::{self, Item};
use crate::disk::digest;
use crate::hub::Hub;
use crate::metrics::paa::evaluation::DataFile;
use crate::session::data_file;

/// The items of some files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Benchmark {
    /// The items, file after file.
    pub items: Vec<Item>,
    /// The files.
    pub files: Vec<DataFile>,
}

impl Benchmark {
    /// Reads `paths`: files of the disk, of the hub (`hf://`) or of the binary (`embedded:`).
    pub fn load(paths: &[String], verbosity: Verbosity) -> Result<Self> {
        let hub = Hub::new(verbosity);
        let mut notes = Vec::new();
        let files: Vec<_> = paths
            .iter()
            .map(|path| Ok((path.clone(), data_file::read(path, &hub, &mut notes)?)))
            .collect::<Result<_>>()?;
        notes.iter().for_each(|note| verbosity.note(note));
        let (items, counts) = benchmark::load_all(&files)?;
        let files = files.into_iter().zip(counts).map(|((name, bytes), n)| DataFile {
            name,
            sha256: digest::of_bytes(&bytes),
            n,
        });
        Ok(Self { items, files: files.collect() })
    }
}
