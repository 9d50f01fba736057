//! Commands of one kind: dry runs, `mvpbench doctor`, every mistake that is refused, and what each prints where.

mod doctor;
mod dry_run;
mod first_card;
mod import_config;
mod machine;
mod mistakes;
mod pipes;
mod terminal;
