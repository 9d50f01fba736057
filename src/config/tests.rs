//! The tests of the whole room in one file: a key goes through every part of it on its way from a text to a section.

use super::*;

const SMALL: &str = r#"[model]
path = "models/small"
[data]
train = ["a.json"]
[output]
dir = "runs/small"
"#;

fn resolve(text: &str, overrides: &[&str]) -> anyhow::Result<RunConfig> {
    let overrides: Vec<_> = overrides.iter().map(|argument| (*argument).to_owned()).collect();
    RunConfig::resolve(text, "configs/run.toml", &overrides)
}

fn small() -> RunConfig {
    resolve(SMALL, &[]).unwrap()
}

/// Message and hint.
#[track_caller]
fn refused<T: fmt::Debug>(result: anyhow::Result<T>) -> (String, String) {
    let error = result.unwrap_err();
    let error = InputError::of(&error).expect("the user's input was wrong");
    (error.to_string(), error.remedy().unwrap_or_default().to_owned())
}

/// The message about `SMALL` with `lines` under it.
#[track_caller]
fn refused_with(lines: &str) -> String {
    refused(resolve(&format!("{SMALL}{lines}"), &[])).0
}

/// The message about `SMALL` with one override.
#[track_caller]
fn refused_set(argument: &str) -> String {
    refused(resolve(SMALL, &[argument])).0
}

#[test]
fn what_is_not_written_has_the_papers_values() {
    let mut expected = RunConfig::default();
    expected.model.path = "models/small".into();
    expected.data.train = vec!["a.json".into()];
    expected.output.dir = "runs/small".into();
    assert_eq!(small(), expected);
}

#[test]
fn unknown_config_key_is_an_error() {
    let (message, hint) = refused(resolve(&format!("{SMALL}[lora]\nrnak = 8\n"), &[]));
    assert_eq!(message, "configs/run.toml: unknown key `lora.rnak`");
    assert_eq!(hint, "did you mean `lora.rank`?");

    let (message, hint) = refused(resolve(&format!("{SMALL}[eval.paa]\njudges = 3\n"), &[]));
    assert_eq!(message, "configs/run.toml: unknown key `eval.paa`");
    assert_eq!(
        hint,
        "the keys of `[eval]` are `tokenization`, `score_eos`, `every`, `best_metric`, `best_set`, `patience`, `min_delta`, `kl_pairs`, `sets`, `spmr`, `samples`"
    );

    let (message, hint) = refused(resolve(&format!("zebra = 1\n{SMALL}"), &[]));
    assert_eq!(message, "configs/run.toml: unknown key `zebra`");
    assert_eq!(hint, "the sections are `model`, `lora`, `dpo`, `data`, `train`, `eval`, `output`");
}

#[test]
fn all_unknown_keys_come_before_any_other_problem() {
    let text = "[train]\nepochs = \"3\"\nlr = 1.0\n[lroa]\nrank = 0\n[[eval.sets]]\nnmae = 1\n[[eval.sets]]\nnmae = 2\n";
    let (message, hint) = refused(resolve(text, &["dpo.bata=-1"]));
    let expected = "configs/run.toml: unknown keys `train.lr`, `lroa`, `eval.sets.nmae`; `--set dpo.bata=-1`: unknown key `dpo.bata`";
    assert_eq!(message, expected);
    assert_eq!(hint, "did you mean `train.learning_rate`, `lora`, `eval.sets.name`, `dpo.beta`?");
}

#[test]
fn what_another_trainer_has_and_this_one_not_is_said() {
    let (_, hint) =
        refused(resolve(&format!("load_in_4bit = true\nadam_beta1 = 0.9\n{SMALL}"), &[]));
    assert!(hint.contains("bf16 or f32") && hint.contains("AdamW"), "{hint}");
    let (_, hint) = refused(resolve(&format!("lr = 1\nload_in_4bit = true\n{SMALL}"), &[]));
    assert!(hint.starts_with("did you mean `train.learning_rate`?\n"), "{hint}");
    let (_, hint) = refused(resolve(SMALL, &["dpo.loss=dpo"]));
    assert_eq!(hint, "did you mean `\"sigmoid\"`?");
}

#[test]
fn a_path_that_a_shell_would_expand_is_refused() {
    for path in ["~/models/x", "~", "$HOME/x", "${HOME}", "$SCRATCH/x"] {
        let message = refused_set(&format!("model.path={path}"));
        assert!(message.contains("`model.path` must be a path without `~`"), "{message}");
    }
    let (message, hint) = refused(resolve(SMALL, &["data.train=[\"a.json\", \"~/b.json\"]"]));
    assert!(message.contains("`data.train[1]`"), "{message}");
    let home = std::env::var("HOME").unwrap_or_default();
    assert!(home.is_empty() || hint == format!("write `{home}/b.json`"), "{hint}");
    resolve(SMALL, &["model.path=a~b/$x"]).unwrap();
}

#[test]
fn a_configuration_in_another_language_is_recognised() {
    for (text, language) in [
        ("base_model: meta-llama/Llama-2-7b-hf\nlora_r: 16\n", "YAML"),
        ("---\n# of Axolotl\nbase_model: x\ndatasets:\n  - path: y\n", "YAML"),
        ("{\n \"model\": {\"path\": \"x\"}}", "JSON"),
    ] {
        let (_, hint) = refused(resolve(text, &[]));
        assert!(hint.contains(language) && hint.contains("TOML"), "{hint}");
    }
    let error = resolve("[train\n", &[]).unwrap_err();
    assert_eq!(InputError::of(&error).and_then(InputError::remedy), None);
}

#[test]
fn a_wrong_type_names_the_line() {
    for (lines, expected) in [
        (
            "[lora]\nrank = \"16\"",
            "configs/run.toml:8: `lora.rank` must be an integer, got `\"16\"`",
        ),
        ("[lora]\n\nrank = 16.0", "configs/run.toml:9: `lora.rank` must be an integer, got `16.0`"),
        ("[dpo]\nbeta = true", "configs/run.toml:8: `dpo.beta` must be a number, got `true`"),
        ("[dpo]\nloss = 1", "configs/run.toml:8: `dpo.loss` must be a string, got `1`"),
        ("[eval]\nsets = 1", "configs/run.toml:8: `eval.sets` must be a list of tables, got `1`"),
        ("[eval]\nsets = [1]", "configs/run.toml:8: `eval.sets[0]` must be a table, got `1`"),
        ("[[lora]]\nrank = 1", "configs/run.toml:7: `lora` must be a table, got `[{ rank = 1 }]`"),
        (
            "[lora]\ntarget_modules = [\n\"q_proj\",\n7]",
            "configs/run.toml:10: `lora.target_modules[1]` must be a string, got `7`",
        ),
        (
            "[[eval.sets]]\nname = \"a\"\nfiles = [\"a\"]\n[[eval.sets]]\nname = \"b\"\nfiles = 3",
            "configs/run.toml:12: `eval.sets[1].files` must be a list of strings, got `3`",
        ),
        ("[[eval.sets]]\nname = \"a\"", "configs/run.toml:7: missing key `eval.sets[0].files`"),
    ] {
        assert_eq!(refused_with(lines), expected);
    }
    let (message, hint) = refused(resolve("[data]\ntrain = \"a.json\"", &[]));
    assert_eq!(
        message,
        "configs/run.toml:2: `data.train` must be a list of strings, got `\"a.json\"`"
    );
    assert_eq!(hint, "write `[\"a.json\"]`");
    assert_eq!(
        refused_set("data.shuffle=yes"),
        "`--set data.shuffle=yes`: `data.shuffle` must be `true` or `false`, got `\"yes\"`"
    );
}

#[test]
fn a_value_out_of_range_is_an_error() {
    let losses = LossType::NAMES.iter().map(|loss| format!("`\"{loss}\"`"));
    let losses = losses.collect::<Vec<_>>().join(", ");
    assert!(losses.starts_with("`\"sigmoid\"`, `\"sigmoid_norm\"`, "));
    for (lines, expected) in [
        ("[lora]\nrank = 0", "`lora.rank` must be in 1..=1024, got `0`"),
        ("[lora]\nrank = 1025", "`lora.rank` must be in 1..=1024, got `1025`"),
        ("[lora]\nalpha = 0", "`lora.alpha` must be finite and above 0, got `0`"),
        ("[lora]\ndropout = 1.0", "`lora.dropout` must be in 0..1, got `1.0`"),
        ("[lora]\ndropout = -0.1", "`lora.dropout` must be in 0..1, got `-0.1`"),
        ("[lora]\ntarget_modules = []", "`lora.target_modules` must not be empty"),
        (
            "[lora]\ntarget_modules = [\"q_proj\", \"q_proj\"]",
            "`lora.target_modules` has `\"q_proj\"` twice",
        ),
        ("[dpo]\nbeta = inf", "`dpo.beta` must be finite and above 0, got `inf`"),
        ("[dpo]\nbeta = nan", "`dpo.beta` must be finite and above 0, got `nan`"),
        ("[dpo]\nlabel_smoothing = 0.5", "`dpo.label_smoothing` must be in 0..0.5, got `0.5`"),
        ("[dpo]\nloss = \"aot\"", &*format!("`dpo.loss` must be one of {losses}, got `\"aot\"`")),
        ("[dpo]\nsft_weight = -1", "`dpo.sft_weight` must be finite and at least 0, got `-1`"),
        (
            "[dpo]\nreference = \"sft\"",
            "`dpo.reference` must be one of `\"base\"`, `\"init\"`, got `\"sft\"`",
        ),
        (
            "[train]\nlearning_rate = -1e-5",
            "`train.learning_rate` must be finite and at least 0, got `-0.00001`",
        ),
        ("[train]\nepochs = 0", "`train.epochs` must be above 0 and at most 1000000, got `0`"),
        ("[train]\nseed = -1", "`train.seed` must be at least 0, got `-1`"),
        (
            "[train]\nscheduler = \"step\"",
            "`train.scheduler` must be one of `\"linear\"`, `\"cosine\"`, `\"constant\"`, got `\"step\"`",
        ),
    ] {
        assert_eq!(refused_with(lines), format!("configs/run.toml: {expected}"));
    }
    for (argument, expected) in [
        ("data.train=[]", "`data.train` must not be empty"),
        ("data.train=[\"\"]", "`data.train[0]` must not be empty"),
        ("model.path=", "`model.path` must not be empty"),
        (
            "data.prompt_format=chta",
            "`data.prompt_format` must be one of `\"mvpbench\"`, `\"chat\"`, got `\"chta\"`",
        ),
    ] {
        assert_eq!(refused_set(argument), format!("`--set {argument}`: {expected}"));
    }
}

#[test]
fn a_key_that_the_loss_ignores_or_misses_is_an_error() {
    let ignored = |key: &str, loss: &str, readers: &str| {
        (
            format!("configs/run.toml: `dpo.{key}` is set, but `dpo.loss = \"{loss}\"` ignores it"),
            format!("leave it out; it is read by {readers}"),
        )
    };
    let smoothing = |loss| ignored("label_smoothing", loss, "`sigmoid`, `robust`, `exo_pair`");
    for loss in LossType::ALL.into_iter().filter(|loss| !loss.reads("label_smoothing")) {
        let set = format!("dpo.loss={loss}");
        assert_eq!(
            refused(resolve(SMALL, &[&set, "dpo.label_smoothing=0.1"])),
            smoothing(loss.name())
        );
        resolve(SMALL, &[&set, "dpo.sft_weight=0.2", "dpo.label_smoothing=0"]).unwrap();
    }
    assert_eq!(
        refused(resolve(SMALL, &["dpo.simpo_gamma=1.4"])),
        ignored("simpo_gamma", "sigmoid", "`simpo`")
    );
    resolve(SMALL, &["dpo.simpo_gamma=1.4", "dpo.loss=simpo"]).unwrap();
    resolve(SMALL, &["dpo.simpo_gamma=0.5"]).unwrap();
    let (message, hint) = refused(resolve(SMALL, &["dpo.loss=exo_pair"]));
    assert_eq!(
        message,
        "configs/run.toml: `dpo.loss = \"exo_pair\"` needs `dpo.label_smoothing` above 0"
    );
    assert_eq!(hint, "its paper sets 0.001");
    resolve(SMALL, &["dpo.loss=exo_pair", "dpo.label_smoothing=1e-3"]).unwrap();
}

#[test]
fn evaluations_during_training_need_what_they_compare() {
    let sets = "[[eval.sets]]\nname = \"MVP_test\"\nfiles = [\"a\"]\n";
    let refused = |text: &str, set: &[&str]| refused(resolve(&format!("{SMALL}{text}"), set));
    let metric = "eval.best_metric=opa";
    for (text, set, message, hint) in [
        ("", &["eval.every=5"][..], "`eval.every` needs a set", "add `[[eval.sets]]`"),
        (sets, &[metric], "`eval.best_metric` needs evaluations", "set `eval.every`"),
        (sets, &["eval.patience=2"], "`eval.patience` needs a metric", "set `eval.best_metric`"),
        (sets, &["eval.best_set=x"], "`eval.best_set` needs a metric", "set `eval.best_metric`"),
        (sets, &["eval.min_delta=1"], "`eval.min_delta` needs `eval.patience`", "leave it out"),
        (
            sets,
            &[metric, "eval.every=5", "eval.best_set=MVP_tset"],
            "`eval.best_set` names no set, got `\"MVP_tset\"`",
            "did you mean `\"MVP_test\"`?",
        ),
        (
            sets,
            &["eval.best_metric=loss"],
            "`eval.best_metric` must be one of `\"none\"`, `\"opa\"`",
            "did you mean `\"dpo_loss\"`?",
        ),
    ] {
        let (said, remedy) = refused(text, set);
        assert!(said.contains(message) && remedy.contains(hint), "{said}; {remedy}");
    }
    let all =
        ["eval.every=5", metric, "eval.best_set=MVP_test", "eval.patience=1", "eval.min_delta=0.1"];
    resolve(&format!("{SMALL}{sets}"), &all).unwrap();
}

#[test]
fn ranges_hold_their_ends() {
    for argument in [
        "lora.rank=1",
        "lora.rank=1024",
        "lora.dropout=0",
        "dpo.label_smoothing=0.49",
        "train.learning_rate=0",
        "train.max_steps=0",
        "data.max_length=0",
        "train.max_grad_norm=0",
        "lora.init_from=",
        "train.epochs=1",
    ] {
        resolve(SMALL, &[argument]).unwrap();
    }
}

#[test]
fn cutting_as_trl_0_6_needs_room_for_an_answer() {
    let cut = |prompt: usize, length: usize| {
        let of = |key: &str, value: usize| format!("data.{key}={value}");
        let set = [of("max_prompt_tokens", prompt), of("max_length", length)];
        resolve(SMALL, &["data.truncation=trl-0.6", &set[0], &set[1]])
    };
    for (prompt, length) in [(0, 1024), (1024, 1024), (1025, 1024), (1, 1)] {
        let (message, hint) = refused(cut(prompt, length));
        let expected = format!(
            "`data.truncation = \"trl-0.6\"` needs `data.max_prompt_tokens` in 1..{length} (`data.max_length`), got `{prompt}`"
        );
        assert!(message.ends_with(&expected), "{message}");
        assert!(hint.contains("`data.max_length = 0` cuts nothing"), "{hint}");
    }
    for (prompt, length) in [(1, 1024), (1023, 1024), (512, 0), (0, 0)] {
        cut(prompt, length).unwrap();
    }
    resolve(SMALL, &["data.max_prompt_tokens=0"]).unwrap();
}

#[test]
fn evaluation_sets_need_names_of_their_own_that_fit_a_file_name() {
    let set = |name: &str| format!("[[eval.sets]]\nname = \"{name}\"\nfiles = [\"a.json\"]\n");
    let twice = set("UF-P-4") + &set("uf-p-4");
    assert_eq!(
        refused_with(&twice),
        "configs/run.toml: `eval.sets[1].name` must be another name than `eval.sets[0].name`, whatever the case, got `\"uf-p-4\"`"
    );
    for name in ["a/b", ".hidden", "..", "a b", "é", &"a".repeat(101)] {
        let (message, hint) = refused(resolve(&format!("{SMALL}{}", set(name)), &[]));
        let expected = "`eval.sets[0].name` must be 1 to 100 letters, digits, `-`, `_` or `.`, the first not a `.`, got";
        assert!(message.contains(expected), "{message}");
        assert_eq!(hint, "it becomes a part of file names, as `scores-<name>-before.jsonl`");
    }
    assert_eq!(refused_with(&set("")), "configs/run.toml: `eval.sets[0].name` must not be empty");
    let config = resolve(&format!("{SMALL}{}{}", set("MVP_test"), set("v1.0")), &[]).unwrap();
    assert_eq!(config.eval.sets[1].name, "v1.0");
    assert_eq!(config.eval.sets[1].metrics, [MetricName::Opa]);
    let no_files = "[[eval.sets]]\nname = \"a\"\nfiles = []";
    assert_eq!(refused_with(no_files), "configs/run.toml: `eval.sets[0].files` must not be empty");
    let spmr = "[[eval.sets]]\nname = \"a\"\nfiles = [\"a\"]\nmetrics = [\"spmr\"]";
    assert_eq!(
        refused_with(spmr),
        "configs/run.toml: `eval.sets[0].metrics` must be a list with `\"opa\"` in it, got `[\"spmr\"]`"
    );
}

#[test]
fn a_syntax_error_names_line_and_column() {
    let (message, _) = refused(resolve("[model]\npath = \"models\n", &[]));
    assert!(message.starts_with("configs/run.toml:2:15: "), "{message}");
    assert!(message.ends_with(", in `path = \"models`"), "{message}");
    let (message, _) = refused(resolve("[lora]\nrank = 1\nrank = 2\n", &[]));
    assert_eq!(message, "configs/run.toml:3:1: duplicate key, in `rank = 2`");
    for text in ["[", "a = ", "\u{e9}\u{e9} = 1", "a = 99999999999999999999", "\r", "a = \"\u{0}\""]
    {
        refused(resolve(text, &[]));
    }
}

#[test]
fn a_missing_key_is_shown_by_example() {
    let (message, hint) = refused(resolve("", &["data.train=[\"a\"]", "output.dir=b"]));
    assert_eq!(message, "configs/run.toml: missing key `model.path`");
    assert_eq!(hint, "add, for example, `path = \"meta-llama/Llama-2-7b-hf\"` under `[model]`");
    let (message, _) = refused(resolve("", &["data.train=[\"a\"]"]));
    assert_eq!(message, "configs/run.toml: missing keys `model.path`, `output.dir`");
}

#[test]
fn an_override_wins_over_the_file_and_over_an_earlier_one() {
    let config = resolve(
        &format!("{SMALL}[lora]\nrank = 0\n[[eval.sets]]\nname = \"a\"\nfiles = [\"a\"]"),
        &[
            "lora.rank=4",
            "lora.rank = 8",
            "dpo.loss=sigmoid",
            "train.learning_rate=1e-3",
            "eval.sets=[]",
            "output.dir=2024-01-01",
            "model.path=\"a=b\"",
            "lora.target_modules=[\"v_proj\",\"k_proj\"]",
            "data.train=[a.json, \"b.json\"]",
        ],
    )
    .unwrap();
    assert_eq!(config.lora.rank, 8);
    assert_eq!(config.train.learning_rate.to_string(), "0.001");
    assert_eq!(config.eval.sets, []);
    assert_eq!(config.output.dir, Path::new("2024-01-01"));
    assert_eq!(config.model.path, "a=b");
    assert_eq!(config.lora.target_modules, Modules::of([Projection::KProj, Projection::VProj]));
    assert_eq!(config.data.train, ["a.json", "b.json"].map(Source::from));
}

#[test]
fn a_broken_override_names_itself() {
    let (message, hint) = refused(resolve(SMALL, &["lora.rnak=8"]));
    assert_eq!(message, "`--set lora.rnak=8`: unknown key `lora.rnak`");
    assert_eq!(hint, "did you mean `lora.rank`?");
    assert_eq!(
        refused_set("lora.rank=0"),
        "`--set lora.rank=0`: `lora.rank` must be in 1..=1024, got `0`"
    );
    assert_eq!(
        refused_set("lora.rank=x"),
        "`--set lora.rank=x`: `lora.rank` must be an integer, got `\"x\"`"
    );
    assert_eq!(
        refused_set("lora.rank"),
        "`--set lora.rank`: expected `section.key=value`, found no `=`"
    );
    assert_eq!(
        refused_set("lora=1"),
        "`--set lora=1`: expected `section.key=value`, `lora` is a section"
    );
    assert_eq!(
        refused_set("eval.sets[0].name=b"),
        "`--set eval.sets[0].name=b`: expected `eval.sets=[...]`, the list is replaced as a whole"
    );
    assert_eq!(refused_set("=1"), "`--set =1`: unknown key ``");
}

#[test]
fn what_is_written_reads_back_the_same() {
    for name in presets::NAMES {
        let (config, origin) =
            RunConfig::load(name, &["train.seed=9007199254740993".to_owned()]).unwrap();
        assert_eq!(origin, ConfigOrigin::Preset(name));
        assert_eq!(RunConfig::parse(&config.to_toml().unwrap(), name).unwrap(), config);
    }
    let mut config = small();
    config.model.path = "a \"b\"\n\\c".into();
    config.dpo.beta = 1.0 / 3.0;
    assert_eq!(RunConfig::parse(&config.to_toml().unwrap(), "config.toml").unwrap(), config);
}

#[test]
fn differences_name_the_keys_that_change_the_adapter() {
    let earlier = resolve(SMALL, &[r#"eval.sets=[{name="a", files=["a"]}]"#]).unwrap();
    let changed =
        ["lora.rank=8", "train.checkpoint_every=1", "train.keep_checkpoints=9", "output.dir=x"];
    let set = r#"eval.sets=[{name="a", files=["b"]}]"#;
    let said = |later: &RunConfig| -> Vec<String> {
        later.differences(&earlier).unwrap().into_iter().map(|difference| difference.said).collect()
    };
    let later = resolve(SMALL, &[&changed[..], &[set]].concat()).unwrap();
    assert_eq!(
        said(&later),
        ["`eval.sets[0].files` is `[\"b\"]`, was `[\"a\"]`", "`lora.rank` is `8`, was `16`"]
    );
    assert_eq!(said(&earlier), [""; 0]);
    let lasting = |differs: &str| {
        let later = resolve(SMALL, &[r#"eval.sets=[{name="a", files=["a"]}]"#, differs]).unwrap();
        later.differences(&earlier).unwrap()[0].is_lasting()
    };
    assert!(lasting("lora.rank=8") && lasting("model.path=x"));
    assert!(!lasting("lora.dropout=0.5") && !lasting("train.epochs=7"));
    let none = resolve(SMALL, &["eval.sets=[]"]).unwrap();
    assert_eq!(none.differences(&earlier).unwrap().len(), 4, "{:?}", none.differences(&earlier));
}

#[test]
fn a_file_is_read_before_a_preset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.toml");
    let name = path.to_str().unwrap();
    std::fs::write(&path, format!("\u{feff}{SMALL}")).unwrap();
    let (config, origin) = RunConfig::load(name, &[]).unwrap();
    assert_eq!((config, &origin), (small(), &ConfigOrigin::File(path.clone())));
    assert_eq!(origin.to_string(), name);
    assert_eq!(ConfigOrigin::Preset("tiny.toml").to_string(), "preset `tiny.toml`");

    std::fs::write(&path, b"[model]\npath = \"\xff\"").unwrap();
    let (message, _) = refused(RunConfig::load(name, &[]));
    assert_eq!(message, format!("{name}: expected a TOML file in UTF-8, byte 16 is not"));
    std::fs::write(&path, vec![b'#'; LONGEST_FILE as usize + 1]).unwrap();
    let (message, _) = refused(RunConfig::load(name, &[]));
    assert_eq!(
        message,
        format!("{name}: has 1048577 bytes, expected a TOML file of at most 1048576")
    );
    let (message, _) = refused(RunConfig::load(folder.path().to_str().unwrap(), &[]));
    assert!(message.ends_with("expected a file, found a folder"), "{message}");
}

#[test]
fn neither_file_nor_preset_lists_the_presets() {
    let (message, hint) = refused(RunConfig::load("llama3.toml", &[]));
    assert_eq!(message, "`llama3.toml`: no such file, and no preset of that name");
    assert_eq!(
        hint,
        "the presets are `llama2-7b.toml`, `llama2-13b.toml`, `llama2-7b-chat.toml`, `llama2-13b-chat.toml`, `paper-llama2-7b.toml`, `paper-llama2-13b.toml`, `paper-llama2-7b-chat.toml`, `paper-llama2-13b-chat.toml`, `tiny.toml`"
    );
}

#[test]
fn a_warm_up_is_given_once() {
    let (message, hint) =
        refused(resolve(SMALL, &["train.warmup_steps=3", "train.warmup_ratio=0.1"]));
    assert!(
        message.ends_with(
            "`train.warmup_ratio` and `train.warmup_steps` are both set, got `0.1` and `3`"
        ),
        "{message}"
    );
    assert_eq!(hint, "leave one of them at 0");
    resolve(SMALL, &["train.warmup_ratio=0.1"]).unwrap();
}

#[test]
fn a_table_in_a_table_is_read_set_and_checked_like_any_other() {
    let text = format!("{SMALL}[eval.spmr]\nthreshold = 0.5\nembedder = \"minilm\"\n");
    let config = resolve(&text, &["eval.spmr.threshold=0.75", "eval.spmr.max_prompts=9"]).unwrap();
    let spmr = &config.eval.spmr;
    assert_eq!((spmr.embedder.as_str(), spmr.max_prompts, spmr.max_new_tokens), ("minilm", 9, 512));
    assert!((spmr.threshold - 0.75).abs() <= 0.0);
    assert_eq!(resolve(&config.to_toml().unwrap(), &[]).unwrap(), config);
    for (set, expected) in [
        ("eval.spmr.threshold=1.5", "`eval.spmr.threshold` must be in -1..=1, got `1.5`"),
        (
            "eval.spmr.max_new_tokens=0",
            "`eval.spmr.max_new_tokens` must be in 1..=1000000, got `0`",
        ),
        ("eval.spmr={}", "expected `section.key=value`, `eval.spmr` is a section"),
    ] {
        assert_eq!(refused(resolve(&text, &[set])).0, format!("`--set {set}`: {expected}"));
    }
    let (message, _) = refused(resolve(&format!("{SMALL}[eval]\nspmr = 3\n"), &[]));
    assert_eq!(message, "configs/run.toml:8: `eval.spmr` must be a table, got `3`");
}

#[test]
fn modules_are_names_or_a_pattern_and_what_differs_by_module_is_a_table() {
    let set = |arguments: &[&str]| resolve(SMALL, arguments).unwrap().lora;
    let lora = set(&[
        "lora.target_modules=all-linear",
        "lora.exclude_modules=[up_proj,q_proj]",
        "lora.rank_pattern={\"layers.0.self_attn.q_proj\"=8}",
        "lora.alpha_pattern={v_proj=3}",
    ]);
    assert!(lora.target_modules.is_all_linear());
    assert_eq!(lora.exclude_modules, Modules::of([Projection::QProj, Projection::UpProj]));
    assert_eq!(lora.rank_pattern.0, [("layers.0.self_attn.q_proj".to_owned(), 8)]);
    assert_eq!(lora.alpha_pattern.0, [("v_proj".to_owned(), 3.0)]);
    let regex = set(&[r"lora.target_modules=.*\.(q|v)_proj"]).target_modules;
    assert_eq!(regex, Modules::Pattern(r".*\.(q|v)_proj".to_owned()));
    let layers = set(&["lora.layers_to_transform=[3,1]", "lora.layers_pattern=[layers]"]);
    assert_eq!(
        (&*layers.layers_to_transform, &*layers.layers_pattern),
        (&[3, 1][..], &["layers".to_owned()][..])
    );
    let text = format!("{SMALL}[lora.rank_pattern]\nq_proj = 4\n\"0.self_attn.v_proj\" = 2\n");
    let config = resolve(&text, &[]).unwrap();
    assert_eq!(config.lora.rank_pattern.0.len(), 2);
    assert_eq!(RunConfig::parse(&config.to_toml().unwrap(), "again").unwrap(), config);

    for (arguments, message) in [
        (&["lora.target_modules="][..], "`lora.target_modules` must not be empty"),
        (&["lora.target_modules=3"], "must be a list of names or a pattern, got `3`"),
        (&["lora.exclude_modules=[a,a]"], "`lora.exclude_modules` has `\"a\"` twice"),
        (&["lora.layers_to_transform=[1,1]"], "`lora.layers_to_transform` has `1` twice"),
        (&["lora.layers_to_transform=[-1]"], "`lora.layers_to_transform[0]` must be at least 0"),
        (&["lora.layers_to_transform=1"], "must be a list of whole numbers, got `1`"),
        (
            &["lora.layers_pattern=[layers]"],
            "`lora.layers_pattern` needs `lora.layers_to_transform`",
        ),
        (&["lora.rank_pattern={q_proj=0}"], "`lora.rank_pattern.\"q_proj\"` must be in 1..=1024"),
        (&["lora.rank_pattern=[1]"], "`lora.rank_pattern` must be a table of patterns"),
        (&["lora.alpha_pattern={q_proj=-1}"], "must be finite and above 0, got `-1`"),
        (&["lora.alpha_pattern={\"\"=1}"], "must not be empty"),
        (
            &["lora.target_modules=.*q_proj", "lora.layers_to_transform=[1]"],
            "`lora.layers_to_transform` is set, but `lora.target_modules` is a text",
        ),
    ] {
        let (said, _) = refused(resolve(SMALL, arguments));
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}
