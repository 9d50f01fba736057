//! Records before any model: the `mvpbench data` verbs.

mod split;
mod verbs;
