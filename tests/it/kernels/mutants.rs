//! scripts/kernel_mutants.py on one mutant that is killed and one that survives, so that it still runs.

use std::process::{Command, Output};

use super::Kernels;
use crate::require::python;

fn mutate(arguments: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kernel_mutants.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(std::env::current_exe().unwrap()).args(arguments);
    command.output().unwrap()
}

#[test]
fn a_kernels_missing_barrier_is_noticed_though_no_value_shows_it() {
    if !python() || Kernels::of("src/ops/attention.cu").is_none() {
        return;
    }
    // A warp's __syncwarp before the vote in the gradients of keys.
    let mutant = ["--files=attention.cu", "--only=^barrier __syncwarp.*#3"];
    let tests = ["--tests", "kernels::attention::barriers_order_all_accesses_of_every_kernel"];
    let output = mutate(&[mutant, tests].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("\n| **all** | 1 | 1 | 0 | 0 | 0 |\n"), "{said}");
    // Tests that do not run the changed kernel.
    let mutant = ["--files=bias.cu", "--only=i < ", "--tests", "kernels::kl::near"];
    let output = mutate(&[&mutant[..], &["--each=1"]].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("\n| **all** | 1 | 0 | 0 | 0 | 1 |\n"), "{said}");
    assert!(said.contains("\nSurvivors\n\n- bias.cu:"), "{said}");
}
