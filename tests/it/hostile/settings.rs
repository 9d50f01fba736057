//! Configurations: TOML of a file and of `--set`.

use mvpbench::config::RunConfig;
use mvpbench::presets::preset;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};

use super::{config, damaged, damages, is_tame, text};

const NAME: &str = "hostile.toml";

fn read(text: &str) -> TestCaseResult {
    is_tame(NAME, text.len(), || {
        let config = RunConfig::parse(text, NAME)?;
        // An accepted configuration can be written and read again.
        RunConfig::parse(&config.to_toml()?, NAME)?.differences(&config)
    })
}

/// A TOML value.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|x| x.to_string()),
        any::<f64>().prop_map(|x| format!("{x:e}")),
        text().prop_map(|x| toml_string(&x)),
        prop_oneof![
            "nan",
            "inf",
            "-inf",
            "true",
            "\\[\\]",
            "\\{\\}",
            "1979-05-27",
            "0x7fffffffffffffff",
            "18446744073709551616",
            "1e999",
            "\\[\\[1\\]\\]",
            "\\[\"a\", 1\\]",
            "-0.0",
            "5e-324"
        ],
    ]
}

fn toml_string(text: &str) -> String {
    let escaped = text.chars().flat_map(|c| match c {
        ' '..='~' if c != '"' && c != '\\' => vec![c],
        _ => format!("\\U{:08X}", u32::from(c)).chars().collect(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[test]
fn any_value_of_any_key_is_taken_or_refused_by_name() {
    let preset = preset("tiny.toml").unwrap();
    let lines: Vec<&str> = preset.lines().collect();
    let settings: Vec<usize> = (0..lines.len())
        .filter(|&i| lines[i].split_once(" = ").is_some_and(|(key, _)| !key.starts_with('#')))
        .collect();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), value()), 1..4);
    let outcome = TestRunner::new(config(400)).run(&changes, |changes| {
        let mut lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        for (index, value) in changes {
            let line = &mut lines[*index.get(&settings)];
            let key = line.split_once(" = ").map_or("x", |(key, _)| key).to_owned();
            *line = format!("{key} = {value}");
        }
        read(&lines.join("\n"))
    });
    outcome.unwrap();
}

#[test]
fn damaged_and_arbitrary_text_is_taken_or_refused_by_name() {
    let preset = preset("tiny.toml").unwrap();
    let text = prop_oneof![
        3 => damages().prop_map(move |damages| {
            String::from_utf8_lossy(&damaged(preset.as_bytes(), &damages)).into_owned()
        }),
        1 => text(),
    ];
    TestRunner::new(config(300)).run(&text, |text| read(&text)).unwrap();
}

#[test]
fn long_and_deep_configurations_are_taken_or_refused_by_name() {
    let n = 20_000;
    for text in [
        (0..n).map(|i| format!("k{i} = 1\n")).collect::<String>(),
        (0..n).map(|i| format!("[s{i}]\n")).collect(),
        format!("x = {}{}", "[".repeat(n), "]".repeat(n)),
        format!("x = {}", "{a=".repeat(n)),
        format!("{}x = 1", "a.".repeat(n)),
        format!("[{}x]", "a.".repeat(n)),
        format!("{} = 1", "k".repeat(1 << 20)),
        format!("x = \"{}\"", "é".repeat(1 << 20)),
        "[[eval.sets]]\nname = \"a\"\n".repeat(n),
        "\0".repeat(1 << 16),
    ] {
        let begun = std::time::Instant::now();
        read(&text).unwrap();
        let start: String = text.chars().take(20).collect();
        assert!(begun.elapsed().as_secs() < 20, "{start}: {:?}", begun.elapsed());
    }
}
