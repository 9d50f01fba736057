//! A configuration of TRL, Axolotl or LLaMA-Factory: YAML.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mvpbench::config::RunConfig;
use mvpbench::config::import::{Program, import};
use mvpbench_fuzz::tame;

const NAME: &str = "fuzz.yaml";

fuzz_target!(|text: &str| {
    let recognised = tame(NAME, import(text, NAME, None, true));
    // One of the programs, since each takes milliseconds.
    let program = recognised.as_ref().map_or(Program::ALL[text.len() % 3], |one| one.program);
    let named =
        tame(NAME, import(text, NAME, Some(program), text.len() % 2 == 0 || recognised.is_some()));
    if let Some(named) = &named {
        RunConfig::parse(&named.toml, NAME).expect("what was written is read");
    }
    if recognised.is_some() {
        assert_eq!(named, recognised, "recognised and named, two translations");
    }
});
