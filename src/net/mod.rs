//! HTTP: one agent, and requests that are retried while a retry may help.
//!
//! [`agent`] holds certificates and time-outs; `resolver` looks names up; [`retry`] knows which failures are temporary, how long to wait, and when
//! to give up.

pub mod agent;
mod resolver;
pub mod retry;
