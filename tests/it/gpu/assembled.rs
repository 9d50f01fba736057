//! What the assembler makes of every kernel, for each generation of cards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::toolkit;

/// Ampere, its consumer cards, Ada, Hopper, and Blackwell's two.
const CARDS: [&str; 6] = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"];

/// Registers of a processor.
const REGISTERS: usize = 65_536;

/// Threads of a block, by how a kernel's name begins; 256 for the others.
const THREADS: [(&str, usize); 4] =
    [("adamw_norm", 1024), ("logps_forward", 1024), ("most_probable", 1024), ("attention_", 128)];

fn modules() -> Vec<PathBuf> {
    let modules = std::fs::read_dir(env!("OUT_DIR")).unwrap().map(|entry| entry.unwrap().path());
    modules.filter(|path| path.extension().is_some_and(|extension| extension == "ptx")).collect()
}

/// Registers of each kernel of `module` on `card`; fails where one spills or does not assemble.
fn registers(card: &str, module: &Path) -> BTreeMap<String, usize> {
    let mut assembler = Command::new(toolkit().join("bin/ptxas"));
    assembler.args(["-v", "-arch", card, "-o", "/dev/null"]).arg(module);
    let output = assembler.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let mut stacks = said.lines().filter(|line| line.contains("spill stores"));
    assert!(
        said.contains("spill stores")
            && stacks.all(|line| line.contains(" 0 bytes spill stores, 0 bytes spill loads")),
        "{card}: {said}"
    );
    let mut found = BTreeMap::new();
    let mut kernel = String::new();
    for line in said.lines() {
        if let Some((_, name)) = line.split_once("Compiling entry function '") {
            kernel = name.split('\'').next().unwrap().to_owned();
        } else if let Some((_, used)) = line.split_once("Used ") {
            found.insert(kernel.clone(), used.split(' ').next().unwrap().parse().unwrap());
        }
    }
    found
}

#[test]
fn every_kernel_assembles_for_every_card_without_spilling_and_its_block_has_registers() {
    let modules = modules();
    assert!(modules.len() > 8, "{modules:?}");
    let of_card = |card: &'static str| {
        let mut kernels = 0;
        for module in &modules {
            for (kernel, registers) in registers(card, module) {
                let threads = THREADS.iter().find(|(name, _)| kernel.starts_with(name));
                let threads = threads.map_or(256, |(_, threads)| *threads);
                // A warp is given them eight at a time for each of its threads.
                let taken = registers.next_multiple_of(8) * threads;
                assert!(taken <= REGISTERS, "{card}: {kernel} takes {registers} x {threads}");
                kernels += 1;
            }
        }
        kernels
    };
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let running: Vec<_> = CARDS.map(|card| scope.spawn(move || of_card(card))).into();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(counts[0] > 40 && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

/// Names of the kernels in PTX.
fn entries(ptx: &str) -> Vec<&str> {
    let after = ptx.split(".entry ").skip(1);
    after.filter_map(|rest| rest.split(['(', '\n']).next().map(str::trim)).collect()
}

#[test]
fn every_module_has_code_for_every_card_with_all_of_its_kernels() {
    let modules = modules();
    for module in &modules {
        let ptx = std::fs::read_to_string(module).unwrap();
        let listed = std::fs::read_to_string(module.with_extension("cubins.rs")).unwrap();
        for card in CARDS {
            let file = module.with_extension(format!("{card}.cubin"));
            assert!(listed.contains(&format!("{file:?}")), "{listed}");
            let code = std::fs::read(&file).unwrap();
            for kernel in entries(&ptx) {
                let section = format!("\0.text.{kernel}\0").into_bytes();
                let is_there = code.windows(section.len()).any(|part| part == section);
                assert!(is_there, "{kernel} is not in {file:?}");
            }
        }
        assert_eq!(listed.matches("include_bytes!").count(), CARDS.len(), "{listed}");
        assert!(!entries(&ptx).is_empty());
    }
}
