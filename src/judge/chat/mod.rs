//! Chat endpoints: items in, an answer or a failure for each out, kept in a journal so that nothing is paid for twice.
//!
//! [`endpoint`] is whom to ask, with the [`secret`] key; [`request`] what is asked; `client` sends one try; `pool`
//! many at once, as many as `concurrency` allows; `journal` keeps each [`outcome`]; [`cost`] counts tokens and
//! dollars; [`batch`] writes and reads files of OpenAI's Batch form instead. [`asker`] is the door, [`settings`] say how far to go, and
//! [`stopped`] that a limit was reached.

pub mod asker;
pub mod batch;
mod client;
mod concurrency;
pub mod cost;
mod dispatch;
pub mod endpoint;
pub mod journal;
pub mod outcome;
mod pool;
pub mod request;
pub mod response;
mod result_line;
pub mod secret;
pub mod settings;
pub mod stopped;

pub use asker::Asker;
pub use outcome::Outcome;
pub use request::Item;
pub use settings::Settings;
