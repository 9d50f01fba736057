//! Commands of one kind: dry runs, the dtype of `auto`, `mvpbench doctor`, every mistake that is refused, and what each prints where.

mod doctor;
mod dry_run;
mod dtype;
mod first_card;
mod import_config;
mod machine;
mod mistakes;
mod pipes;
mod terminal;
