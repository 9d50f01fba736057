//! YAML by the rules of PyYAML, of which configurations and the cards of data sets are made.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use mvpbench::disk::yaml::{self, Node, Yaml};
use mvpbench_fuzz::tame;

const NAME: &str = "fuzz.yaml";

/// No key stands twice, and every line is one of the text.
fn check(node: &Node, lines: usize) {
    assert!(node.line <= lines, "line {} of {lines}", node.line);
    match &node.value {
        Yaml::List(list) => list.iter().for_each(|node| check(node, lines)),
        Yaml::Table(table) => {
            let keys: BTreeSet<_> = table.iter().map(|(key, _)| key).collect();
            assert_eq!(keys.len(), table.len(), "a key stands twice");
            table.iter().for_each(|(_, node)| check(node, lines));
        }
        _ => {}
    }
}

fuzz_target!(|text: &str| {
    let Some(table) = tame(NAME, yaml::table(text, NAME)) else { return };
    let lines = 1 + text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
    check(&Node { line: 1, value: Yaml::Table(table.clone()) }, lines);
    // A comment changes nothing.
    if !text.starts_with('\u{feff}')
        && !text.starts_with('%')
        && !text.trim_start().starts_with('{')
    {
        let again = yaml::table(&format!("{text}\n# a comment\n"), NAME);
        if let Ok(again) = again {
            assert_eq!(again.len(), table.len());
        }
    }
});
