//! PRISM's `survey.jsonl` and `conversations.jsonl` -> people and their conversations, by the schema of its codebook.
//!
//! PRISM: Kirk et al. 2024, `HannahRoseKirk/prism-alignment`. A row that does not keep to the schema is left out, named by file and line,
//! and counted; it never ends a build.

mod conversation;
mod joined;
mod marginals;
mod person;
mod row;

pub use conversation::{Conversation, Reply, Turn};
pub use joined::{Counts, Prism, Row};
pub use marginals::{Marginals, marginals};
pub use person::{NOT_SAID, Person, Profile};
pub use row::Broken;
