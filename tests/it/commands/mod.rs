//! Commands that train nothing: dry runs, `mvpbench doctor`, and every mistake that is refused.

mod doctor;
mod dry_run;
mod mistakes;
