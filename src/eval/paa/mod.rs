//! Preference alignment (the paper's Eq. 1), from the files of a benchmark to folders: stage 1 asks a model each question with the user's
//! profile, stage 2 lets judges say whether the answers fit what the users value.
//!
//! [`items`] reads the benchmark, [`local_chat`] is a local model that answers chats as an endpoint does, [`answering`] writes a folder of
//! answers by either. [`judging`] lets a [`panel`] judge several such folders, and reference answers for the [`calibration`] of the judges;
//! [`local_judge`] is a local model on it.

pub mod answering;
pub mod calibration;
mod files;
pub mod items;
mod joined;
pub mod judging;
pub mod local_chat;
pub mod local_judge;
pub mod panel;
