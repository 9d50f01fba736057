//! Answers to questions of people with profiles in, verdicts out: the paper's two stages (Eq. 1) and its successor's judges.
//!
//! [`protocol`] holds prompts and settings of a file such as `paa-paper.toml`; [`chat`] is the client of every endpoint that speaks
//! OpenAI's chat completions; [`reply`] reads what a judge says. [`stage2`] puts the three together; [`rule`] is a judge without a model.
//! Feeds [`crate::metrics::paa`].

pub mod chat;
pub mod protocol;
pub mod reply;
pub mod rule;
pub mod stage2;
