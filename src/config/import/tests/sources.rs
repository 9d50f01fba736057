//! Sources of pairs, their splits and columns.

use std::collections::BTreeMap;

use super::*;
use crate::config::ColumnRole;

#[test]
fn splits_slices_and_configurations_are_those_of_datasets() {
    let files = |sources: &[crate::config::Source]| -> Vec<(String, String)> {
        sources.iter().map(|source| (source.files.join(" "), source.split.clone())).collect()
    };
    let trl = |data: &str| format!("model_name_or_path: owner/model\nuse_peft: true\n{data}");
    let axolotl =
        |data: &str| AXOLOTL.split_once("datasets:").unwrap().0.to_owned() + "datasets:\n" + data;
    let hub = "hf://datasets/owner/pairs";
    for (text, expected) in [
        (trl("datasets:\n- {path: json, data_files: [x.jsonl]}\n"), vec![("x.jsonl", "")]),
        (
            trl("datasets:\n- {path: json, data_files: {train: [a.json, b.json], test: c.json}}\n"),
            vec![("a.json b.json", "")],
        ),
        (
            trl(
                "datasets:\n- {path: json, data_files: {train: a.json, test: c.json}, split: test}\n",
            ),
            vec![("c.json", "")],
        ),
        (
            trl("datasets:\n- {path: owner/pairs, data_files: p/*.json}\n"),
            vec![("hf://datasets/owner/pairs/p/*.json", "")],
        ),
        (
            trl("datasets:\n- {path: owner/pairs, data_dir: p}\n"),
            vec![("hf://datasets/owner/pairs/p", "train")],
        ),
        (
            trl("dataset_name: owner/pairs\ndataset_config: small\n"),
            vec![("hf://datasets/owner/pairs/small", "train")],
        ),
        (
            trl("dataset_name: owner/pairs\ndataset_train_split: train_prefs+test_prefs\n"),
            vec![(hub, "train_prefs"), (hub, "test_prefs")],
        ),
        (
            axolotl("  - {path: json, data_files: [x.jsonl], ds_type: json, split: train}\n"),
            vec![("x.jsonl", "")],
        ),
        (axolotl("  - {path: ./x.jsonl, split: train}\n"), vec![("./x.jsonl", "")]),
        (
            axolotl("  - {path: owner/pairs, name: small, revision: main}\n"),
            vec![("hf://datasets/owner/pairs@main/small", "train")],
        ),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        assert_eq!(files(&config(&text).data.train), expected, "{text}");
    }
    let sliced = imported(&trl(
        "dataset_name: owner/pairs\ndataset_config: small\ndataset_train_split: train[:10%]\n",
    ));
    let fates = |key: &str| -> Vec<Fate> {
        sliced.rows.iter().filter(|row| row.key == key).map(|row| row.fate).collect()
    };
    assert_eq!(fates("dataset_train_split"), [Fate::Differs], "each key is told once");
    assert_eq!(fates("dataset_config"), [Fate::Translated]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.jsonl");
    std::fs::write(&file, "").unwrap();
    let one = imported(&axolotl(&format!("  - {{path: {}, name: small}}\n", file.display())));
    assert_eq!(row(&one, "datasets[0].name").fate, Fate::Harmless, "no key is passed over");
    assert!(sliced.toml.contains("split = \"train\""), "{}", sliced.toml);
    refused(
        &trl("datasets:\n- {path: json, data_files: [x.jsonl], split: test}\n"),
        "`datasets[0].split` names the split `test`, and files that are named are the split `train`",
    );
    refused(
        &trl("dataset_name: owner/pairs\ndataset_train_split: all\n"),
        "`dataset_train_split` must be the name of a split",
    );
}

#[test]
fn a_column_that_the_program_does_not_read_is_not_read_here() {
    let columns = |text: &str| -> BTreeMap<ColumnRole, String> {
        config(text).data.train[0].reading.clone().unwrap().columns
    };
    let none = |found: &BTreeMap<ColumnRole, String>| -> Vec<&str> {
        found.iter().filter(|(_, column)| column.is_empty()).map(|(role, _)| role.name()).collect()
    };
    assert_eq!(none(&columns(TRL)), ["system", "profile"]);
    assert_eq!(none(&columns(AXOLOTL)), ["system", "tools"]);
    let user =
        AXOLOTL.replace("type: chat_template.default", "type: {field_prompt: q, field_system: s}");
    assert_eq!(none(&columns(&user)), ["system", "tools", "profile"]);
    let folder = tempfile::tempdir().unwrap();
    let info = r#"{"pairs": {"file_name": "a.json", "ranking": true, "split": "train[:5]", "columns": {"prompt": "instruction", "query": "input", "history": "turns", "system": "persona", "chosen": "chosen", "rejected": "rejected"}}}"#;
    std::fs::write(folder.path().join("dataset_info.json"), info).unwrap();
    let text = LLAMA_FACTORY.replace("no/such/folder", &folder.path().display().to_string());
    let found = columns(&text);
    assert_eq!(none(&found), ["tools", "profile"]);
    let of = |role: &str| found.iter().find(|(known, _)| known.name() == role).map(|(_, c)| &**c);
    assert_eq!((of("history"), of("system")), (Some("turns"), Some("persona")));
    assert_eq!(row(&imported(&text), "pairs.split").fate, Fate::Differs);
}

#[test]
fn data_sets_of_axolotl_have_their_columns() {
    let of = |data: &str| {
        let text = AXOLOTL.split_once("datasets:").unwrap().0.to_owned() + "datasets:\n" + data;
        imported(&text)
    };
    let found = of(
        "  - path: owner/pairs\n    split: train\n    type: chatml.intel\n  - path: json\n    data_files: [a.jsonl]\n    type: chat_template.default\n    field_messages: conversation\n",
    );
    let config = RunConfig::parse(&found.toml, "a").unwrap();
    let columns = |i: usize| {
        format!(
            "{:?}",
            config.data.train[i].reading.as_ref().map(|reading| reading.columns.clone())
        )
    };
    let layout = |i: usize| config.data.train[i].reading.as_ref().unwrap().layout.name();
    assert_eq!((layout(0), layout(1)), ("orca", "messages"));
    assert!(columns(1).contains("conversation"), "{}", columns(1));
    assert_eq!(config.data.train[1].files, ["a.jsonl"]);
    assert_eq!(row(&found, "datasets[0].type").fate, Fate::Differs);
    let found = of(
        "  - path: owner/pairs\n    type:\n      field_prompt: q\n      field_chosen: good\n      prompt_format: '<|user|>{prompt}'\n",
    );
    assert_eq!(row(&found, "datasets[0].type.prompt_format").fate, Fate::Differs);
    assert!(found.toml.contains("chosen = \"good\""), "{}", found.toml);
    let text = AXOLOTL.replace("chat_template.default", "zephyr.nectar");
    refused(&text, "`datasets[0].type: zephyr.nectar` has no counterpart here");
}

/// The first file of each source of training, its split and weight.
fn weighted(config: &RunConfig) -> Vec<(&str, &str, f64)> {
    let sources = config.data.train.iter();
    sources.map(|source| (&*source.files[0], &*source.split, source.weight)).collect()
}

#[test]
fn mixtures_of_the_handbook_keep_their_weights_and_splits() {
    let text = "model_name_or_path: owner/model\nuse_peft: true\ndataset_mixture:\n  datasets:\n    - id: a/b\n      config: default\n      split: train_prefs\n      columns: [chosen, rejected]\n      weight: 0.5\n    - id: c/d\n      config: other\n  test_split_size: 100\n  seed: 0\n";
    let found = imported(text);
    let config = RunConfig::parse(&found.toml, "a").unwrap();
    assert_eq!(
        weighted(&config),
        [("hf://datasets/a/b", "train_prefs", 0.5), ("hf://datasets/c/d/other", "train", 1.0)]
    );
    assert_eq!(row(&found, "dataset_mixture.test_split_size").fate, Fate::Differs);
    assert_eq!(row(&found, "dataset_mixture.datasets[1].config").fate, Fate::Translated);
    let text = "model_name_or_path: owner/model\nuse_peft: true\ndataset_mixer:\n  a/b: 1.0\n  c/d: 0.25\ndataset_splits: [train_prefs, test_prefs]\n";
    let config = super::config(text);
    assert_eq!(
        weighted(&config),
        [("hf://datasets/a/b", "train_prefs", 1.0), ("hf://datasets/c/d", "train_prefs", 0.25)]
    );
    assert_eq!(config.eval.sets[0].files.len(), 2);
}

#[test]
fn data_sets_of_llama_factory_are_those_of_its_list() {
    let folder = tempfile::tempdir().unwrap();
    let info = r#"{"mine": {"file_name": "mine.json", "ranking": true, "formatting": "sharegpt", "columns": {"messages": "talk", "chosen": "good", "rejected": "bad"}},
        "orca": {"hf_hub_url": "owner/orca", "ranking": true, "columns": {"prompt": "question", "chosen": "chosen", "rejected": "rejected", "system": "system"}},
        "answers": {"file_name": "answers.json"}, "odd": {"file_name": "odd.json", "ranking": true, "script_url": "x"}}"#;
    std::fs::write(folder.path().join("dataset_info.json"), info).unwrap();
    let dir = folder.path().display().to_string();
    let text = |names: &str| {
        LLAMA_FACTORY
            .replace("no/such/folder", &dir)
            .replace("dataset: pairs", &format!("dataset: {names}"))
    };
    let config = config(&text("mine, orca"));
    assert_eq!(config.data.train[0].files, [format!("{dir}/mine.json")]);
    assert_eq!(config.data.train[1].files, ["hf://datasets/owner/orca"]);
    let columns = format!("{:?}", config.data.train[0].reading);
    assert!(
        columns.contains("talk") && columns.contains("good") && columns.contains("bad"),
        "{columns}"
    );
    refused(&text("answers"), "`answers.ranking` must be `true`");
    refused(&text("other"), "`dataset` has `other`");
    refused(&text("odd"), "`odd.script_url` is not read");
    let missing = imported(LLAMA_FACTORY);
    assert_eq!(row(&missing, "dataset").fate, Fate::Missing);
    assert!(
        missing.toml.contains("# To be filled in:")
            && missing.toml.contains(r#"train = ["pairs"]"#),
        "{}",
        missing.toml
    );
}
