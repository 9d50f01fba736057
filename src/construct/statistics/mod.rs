//! What a benchmark holds: people and countries beside PRISM's, value dimensions, lengths, duplicates, leakage between its splits.
//!
//! [`Benchmark`] reads the files and checks them against their `manifest.json`; each other file measures one matter; [`Statistics`] is all
//! of them and `page` lays them out. No model and no tokenizer: lengths are characters and words.

mod benchmark;
mod dimensions;
mod duplicates;
mod leakage;
mod lengths;
mod manifest;
mod page;
mod people;

use anyhow::Result;

use crate::report::section::Page;

pub use benchmark::{Benchmark, Read};
pub use dimensions::Dimensions;
pub use duplicates::Duplicates;
pub use leakage::Leakage;
pub use lengths::Lengths;
pub use people::People;

/// Everything that is measured of a benchmark.
#[derive(Debug, Clone)]
pub struct Statistics<'a> {
    /// The files and what they hold.
    pub benchmark: &'a Benchmark,
    /// Users, countries, demographic fields.
    pub people: People,
    /// High and Low of each value dimension.
    pub dimensions: Dimensions,
    /// Lengths of texts, and which answer is longer.
    pub lengths: Lengths,
    /// Texts that occur twice.
    pub duplicates: Duplicates,
    /// What two splits share.
    pub leakage: Leakage,
}

impl<'a> Statistics<'a> {
    /// Measures a benchmark.
    pub fn of(benchmark: &'a Benchmark) -> Result<Self> {
        let records = benchmark.records();
        Ok(Self {
            benchmark,
            people: People::of(&records),
            dimensions: Dimensions::of(&records),
            lengths: Lengths::of(&records),
            duplicates: Duplicates::of(&records)?,
            leakage: Leakage::of(benchmark)?,
        })
    }

    /// All of it as a page; `title`: what the user calls the benchmark.
    pub fn page(&self, title: &str) -> Page {
        page::page(self, title)
    }
}
