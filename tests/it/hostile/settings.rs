//! Configurations: TOML of a file and of `--set`.

use mvpbench::config::RunConfig;
use mvpbench::config::import::{Program, import};
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

/// A value of YAML.
fn yaml_value() -> impl Strategy<Value = String> {
    prop_oneof![
        value(),
        text().prop_map(|x| toml_string(&x)),
        "[a-z5e.:&*!<|>{}\\[\\],#% -]{0,12}",
        prop_oneof![
            "1e999",
            "5e-6",
            "\\[\\[\\[",
            "&a \\[\\*a\\]",
            "!!python/x",
            "\\{<<: 1\\}",
            "---",
            "-9223372036854775808",
            "0x",
            "1:99"
        ],
    ]
}

#[test]
fn a_configuration_of_another_trainer_is_translated_or_refused_by_name() {
    let files = [
        "model_name_or_path: a/b\nuse_peft: true\nlora_r: 8\nloss_type: [sigmoid, sft]\nloss_weights: [1, 2]\ndatasets:\n- path: a/b\n  split: train\n  columns: [x]\nwarmup_ratio: 0.1\neval_strategy: steps\neval_steps: 5\nload_best_model_at_end: true\n",
        "base_model: a/b\nrl: dpo\nadapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_modules: [q_proj]\nlearning_rate: 1e-5\ndatasets:\n- path: a/b\n  type: chatml.intel\n  roles: {user: [human]}\nspecial_tokens: {eos_token: x}\nlora_rank_pattern: {a: 1}\n",
        "model_name_or_path: a/b\nstage: dpo\ndataset: x, y\ndataset_dir: no/such\nlora_target: all\npref_loss: simpo\nwarmup_steps: 3\ncutoff_len: 10\n",
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), yaml_value()), 1..4);
    let strategy = (0..files.len(), changes, any::<bool>());
    TestRunner::new(config(1200))
        .run(&strategy, |(file, changes, allow_unknown)| {
            let mut lines: Vec<String> = files[file].lines().map(str::to_owned).collect();
            for (index, value) in changes {
                let line = index.get(&lines).clone();
                let at = lines.iter().position(|other| *other == line).unwrap();
                let key = line.split_once(':').map_or(&*line, |(key, _)| key);
                lines[at] = format!("{key}: {value}");
            }
            let text = lines.join("\n");
            is_tame(NAME, text.len(), || {
                import(&text, NAME, Some(Program::ALL[file]), allow_unknown)
            })
        })
        .unwrap();
    let whole = files.map(str::as_bytes);
    TestRunner::new(config(600))
        .run(&(0..files.len(), damages()), |(file, damages)| {
            let bytes = damaged(whole[file], &damages);
            let text = String::from_utf8_lossy(&bytes);
            is_tame(NAME, text.len(), || import(&text, NAME, None, true))
        })
        .unwrap();
}
