//! A configuration of a run: TOML.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mvpbench::config::RunConfig;
use mvpbench_fuzz::tame;

const NAME: &str = "fuzz.toml";

fuzz_target!(|text: &str| {
    let Some(config) = tame(NAME, RunConfig::parse(text, NAME)) else { return };
    let written = config.to_toml().expect("a configuration is written");
    let again = RunConfig::parse(&written, NAME).expect("what was written is read");
    assert_eq!(again, config);
    assert!(again.differences(&config).expect("both are written").is_empty());
    let evaluation = config.to_evaluation_toml().expect("a configuration is written");
    RunConfig::parse_evaluation(&evaluation, NAME).expect("what was written is read");
});
