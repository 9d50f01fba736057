//! HTTP as this program speaks it: one agent, and requests that are retried while a retry may help.
//!
//! [`agent`] holds certificates and time-outs; [`retry`] knows which failures pass, how long a peer asks to be left alone, and when to
//! give up.

pub mod agent;
pub mod retry;
