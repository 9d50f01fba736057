//! Preference alignment, from the files of a benchmark to folders: stage 1 asks a model each question with the user's profile.
//!
//! [`items`] reads the benchmark, [`local_chat`] is a local model that answers chats as an endpoint does, [`answering`] writes a folder of
//! answers by either.

pub mod answering;
pub mod items;
pub mod local_chat;
