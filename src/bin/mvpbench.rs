//! The `mvpbench` command.
fn main() {}
