//! Records before any model: the `mvpbench data` verbs, and the layouts of files.

mod layouts;
mod sources;
mod split;
mod templates;
mod verbs;
