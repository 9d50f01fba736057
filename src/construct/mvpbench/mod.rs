//! PRISM -> MVPBench in the paper's three stages: ratings become labels ([`mapping`]), conversations become questions with two answers each
//! ([`writing`]), and records in the released layout come out ([`record`], [`built`]).
//!
//! Nothing here knows an endpoint: who replies is given as [`crate::judge::stage2::Replies`].

pub mod built;
mod checker;
pub mod checks;
pub mod manifest;
pub mod mapping;
pub mod prompt;
pub mod recipe;
pub mod record;
mod reply;
pub mod split;
pub mod writing;

/// Names of the files and folders that a build may leave in its folder.
pub const FILES: &[&str] = &[
    "MVPBench.json",
    "train.json",
    "validation.json",
    "test.json",
    "failures.jsonl",
    "disagreements.jsonl",
    "manifest.json",
    "journal.jsonl",
    "mapping-journal.jsonl",
    "quality",
    "stats.html",
    "stats.md",
];
