//! Broken input: exit status 2, a message that names the place and the remedy, and nothing written.

use crate::command::Place;
use crate::golden::{path, text};

/// A configuration that works, to be broken by `--set`.
fn place() -> Place {
    Place::golden("tiny").set("train.max_steps", 1)
}

#[track_caller]
fn assert_refused(place: &Place, arguments: &[&str], parts: &[&str]) {
    let existed = place.path("run").exists();
    place.refuse(&[&["--config", "config.toml"], arguments].concat(), parts);
    assert_eq!(place.path("run").exists(), existed, "{arguments:?}: something was written");
    assert!(!place.path("cache").exists(), "{arguments:?}: something was written");
}

#[test]
fn unknown_config_key_is_an_error() {
    assert_refused(
        &place(),
        &["--set", "lora.rnak=8"],
        &["unknown key `lora.rnak`", "hint: did you mean `lora.rank`?"],
    );
    assert_refused(&place(), &["--set", "lora.rank=0"], &["`lora.rank`", "got `0`"]);
}

#[test]
fn files_that_are_missing_empty_or_broken_are_named() {
    let place = place();
    place.write("empty.json", "");
    place.write("array.json", "[]");
    place.write(
        "broken.jsonl",
        "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \n",
    );
    place.write(
        "missing.jsonl",
        "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \"a\", \"chosen\": \"b\"}\n",
    );
    place.write("bytes.jsonl", [0xff, 0xfe, 0x00]);
    for (file, part) in [
        ("nowhere.json", "nowhere.json"),
        ("empty.json", "empty.json"),
        ("array.json", "array.json"),
        ("broken.jsonl", "broken.jsonl:2"),
        ("missing.jsonl", "missing.jsonl:2"),
        ("bytes.jsonl", "bytes.jsonl"),
    ] {
        assert_refused(&place, &["--set", &format!("data.train=[{file:?}]")], &[part]);
        assert_refused(
            &place,
            &["--set", &format!("eval.sets=[{{name=\"x\",files=[{file:?}]}}]")],
            &[part],
        );
    }
    assert_refused(&place, &["--set", "data.max_length=1"], &["data.max_length = 1"]);
}

#[test]
fn a_folder_that_is_no_llama_is_refused() {
    let place = place();
    assert_refused(&place, &["--set", "model.path=nowhere"], &["model folder `nowhere`", "hint: "]);
    assert_refused(&place, &["--set", "model.path="], &["model.path"]);
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        place.write(
            &format!("other/{name}"),
            std::fs::read(path("models/tiny").join(name)).unwrap(),
        );
    }
    let config = std::fs::read_to_string(path("models/tiny/config.json")).unwrap();
    assert_refused(&place, &["--set", "model.path=other"], &["config.json"]);
    place.write("other/config.json", config.replace("\"llama\"", "\"mistral\""));
    assert_refused(&place, &["--set", "model.path=other"], &["model_type", "mistral"]);
    place.write("other/config.json", &config);
    assert_refused(&place, &["--set", "model.path=other"], &["model.safetensors"]);
    let weights = std::fs::read(path("models/tiny/model.safetensors")).unwrap();
    place.write("other/model.safetensors", &weights[..weights.len() / 2]);
    assert_refused(
        &place,
        &["--set", "model.path=other"],
        &["not made of whole safetensors files"],
    );
    place.write("other/model.safetensors", weights);
    place.write(
        "other/config.json",
        config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
    );
    assert_refused(&place, &["--set", "model.path=other"], &["missing: `model.layers.2."]);
    place.write(
        "other/config.json",
        config.replace("\"intermediate_size\": 176", "\"intermediate_size\": 172"),
    );
    assert_refused(
        &place,
        &["--set", "model.path=other"],
        &["has shape [176, 64], expected [172, 64]"],
    );
}

#[test]
fn an_adapter_of_another_shape_is_refused_with_the_key_to_set() {
    let place = place();
    let adapter = path("adapters/tiny-nonzero");
    let init = format!("lora.init_from={}", adapter.display());
    assert_refused(
        &place,
        &["--set", &init, "--set", "lora.rank=8"],
        &["lora_A.weight` has shape [16, 64], expected [8, 64]", "set `lora.rank = 16`"],
    );
    assert_refused(
        &place,
        &["--set", &init, "--set", "lora.alpha=8"],
        &["set `lora.alpha = 32.0`"],
    );
    assert_refused(
        &place,
        &["--set", &init, "--set", "lora.target_modules=[k_proj]"],
        &["lora.target_modules = [\"q_proj\",\"v_proj\"]"],
    );
    assert_refused(&place, &["--set", "lora.init_from=nowhere"], &["nowhere/adapter_config.json"]);
    let gqa = format!("lora.init_from={}", path("adapters/tiny-gqa-nonzero").display());
    assert_refused(
        &place,
        &["--set", &gqa],
        &["v_proj.lora_B.weight` has shape [32, 16], expected [64, 16]", "another shape"],
    );
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_there_is_refused() {
    assert_refused(
        &place(),
        &["--device", "cuda"],
        &["`--device cuda`", "hint: use `--device cpu`"],
    );
    assert_refused(&place(), &["--device", "abacus"], &["abacus"]);
}

#[test]
fn a_second_program_in_the_same_run_folder_is_refused() {
    let place = crate::train::kills::place();
    let mut first = place.start(&["--config", "config.toml"]);
    first.wait_for("its configuration", || place.path("run/config.toml").exists());
    first.send("-STOP");
    let output = place.run(&["--config", "config.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("another program is writing in `run`") && said.contains("hint: "),
        "{said}"
    );
    first.send("-CONT");
    assert_eq!(first.end().1, Some(0), "the first continues");
}

#[test]
fn a_model_that_runs_away_is_stopped_and_its_steps_are_counted() {
    let place = place();
    let set = ["train.learning_rate=1e30", "train.max_steps=8", "train.max_skipped_steps=3"];
    let sets: Vec<_> = set.iter().flat_map(|set| ["--set", set]).collect();
    let more = ["--set", "train.epochs=10"];
    let output = place.run(&[&["--config", "config.toml"], &sets[..], &more].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("step 2 skipped") && said.contains("3 steps in a row"), "{said}");
    assert!(said.contains("that of step 1, with a learning rate of 1e30"), "{said}");
    let skipped: Vec<_> = crate::command::records(&place.path("run/train.jsonl"))
        .iter()
        .map(|record| record["skipped"].as_bool().unwrap())
        .collect();
    assert_eq!(skipped, [false, true, true, true]);
}

#[test]
fn a_folder_with_anything_else_in_it_is_left_alone() {
    let place = place();
    place.write("run/thesis.txt", "x");
    assert_refused(&place, &[], &["`thesis.txt`", "--output"]);
    std::fs::remove_file(place.path("run/thesis.txt")).unwrap();
    place.succeed(&["--config", "config.toml"]);
    std::fs::remove_dir_all(place.path("cache")).unwrap();
    assert_refused(
        &place,
        &["--set", "train.learning_rate=1e-3"],
        &["holds another run", "train.learning_rate", "0.001"],
    );
    assert_refused(&place, &["--resume", "never"], &["holds a run already"]);
    let pairs = std::fs::read_to_string(path("pairs.jsonl")).unwrap();
    place.write("pairs.jsonl", pairs);
    assert_refused(
        &place,
        &["--set", "data.train=[\"pairs.jsonl\"]"],
        &["holds another run", "data.train"],
    );
}

/// A folder with the files of a golden adapter and `changes` to its configuration.
fn adapter_with(place: &Place, folder: &str, changes: &[(&str, serde_json::Value)]) {
    let from = path("adapters/tiny-nonzero");
    let text = std::fs::read_to_string(from.join("adapter_config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    changes.iter().for_each(|(name, value)| config[*name] = value.clone());
    place.write(&format!("{folder}/adapter_config.json"), config.to_string());
    let weights = std::fs::read(from.join("adapter_model.safetensors")).unwrap();
    place.write(&format!("{folder}/adapter_model.safetensors"), weights);
}

/// Refused by `train`, `eval`, `generate` and `merge` alike.
#[track_caller]
fn assert_adapter_refused(place: &Place, adapter: &str, parts: &[&str]) {
    let init = format!("lora.init_from={adapter}");
    assert_refused(place, &["--set", &init, "--set", "lora.rank=16"], parts);
    let model = path("models/tiny");
    let given = ["--model", model.to_str().unwrap(), "--adapter", adapter, "--output", "out"];
    let pairs = format!("D={}", crate::golden::pairs());
    for (verb, more) in
        [("eval", &["--data", &pairs][..]), ("generate", &["--prompt", "a"]), ("merge", &[])]
    {
        let output = place.mvpbench(&[&[verb], &given[..], more].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{verb}: {said}");
        parts.iter().for_each(|part| assert!(said.contains(part), "{verb}: `{part}` in {said}"));
        assert!(!place.path("out").exists(), "{verb} wrote something");
    }
}

#[test]
fn an_adapter_that_is_no_plain_lora_is_refused_by_every_verb() {
    let place = place();
    for (name, value) in [
        ("init_lora_weights", serde_json::json!("pissa")),
        ("init_lora_weights", serde_json::json!("olora")),
        ("alora_invocation_tokens", serde_json::json!([1, 2])),
        ("use_dora", true.into()),
        ("a_field_of_2027", serde_json::json!({"x": 1})),
    ] {
        adapter_with(&place, "adapter", &[(name, value)]);
        assert_adapter_refused(&place, "adapter", &["adapter_config.json", name]);
    }
}

#[test]
fn an_adapter_folder_that_lacks_something_is_refused_with_the_remedy() {
    let place = place();
    adapter_with(&place, "done/adapter", &[]);
    assert_adapter_refused(&place, "done", &["its adapter is `done/adapter`"]);
    adapter_with(&place, "pickle", &[]);
    std::fs::remove_file(place.path("pickle/adapter_model.safetensors")).unwrap();
    place.write("pickle/adapter_model.bin", "x");
    assert_adapter_refused(&place, "pickle", &["adapter_model.bin", "save_pretrained"]);
    adapter_with(&place, "rank", &[("r", 8.into())]);
    let output = place
        .mvpbench(&[
            "merge",
            "--model",
            path("models/tiny").to_str().unwrap(),
            "--adapter",
            "rank",
            "--output",
            "out",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("`r` is 8, its tensors have rank 16") && !said.contains("lora.rank"),
        "{said}"
    );
}

#[test]
fn keys_with_the_adapters_name_in_them_are_read() {
    let place = place();
    adapter_with(&place, "named", &[]);
    let bytes = std::fs::read(path("adapters/tiny-nonzero/adapter_model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let named: Vec<_> = tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| (name.replace(".weight", ".default.weight"), view))
        .collect();
    place.write("named/adapter_model.safetensors", safetensors::serialize(named, None).unwrap());
    let model = path("models/tiny");
    let answer = |adapter: &str| {
        let given = [
            "generate",
            "--model",
            model.to_str().unwrap(),
            "--adapter",
            adapter,
            "--prompt",
            "a",
            "-q",
        ];
        let output = place.mvpbench(&given).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    assert_eq!(answer("named"), answer(path("adapters/tiny-nonzero").to_str().unwrap()));
}

#[test]
fn seeds_a_preset_and_lengths_that_are_none_are_refused_with_what_was_expected() {
    let place = place();
    for (arguments, part) in [
        (&["--config", "tiny.toml", "--seeds", "-1"][..], "expected a whole number from 0"),
        (&["--print-config", "nosuch.toml"], "the presets are `llama2-7b.toml`"),
    ] {
        let output = place.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{said}");
    }
    let all = ["generate", "--model", "embedded:tiny/model", "--prompt", "a", "--max-new-tokens"];
    for most in ["18446744073709551615", "99999999999", "-1"] {
        let output = place.mvpbench(&[&all[..], &[most]].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{most}: {said}");
    }
}

#[test]
fn a_printed_preset_is_a_configuration() {
    let place = place();
    let text = place.succeed(&["--print-config", "llama2-7b.toml"]);
    assert!(text.contains("# ") && text.contains("meta-llama/Llama-2-7b-hf"), "{text}");
    place.write("own.toml", text.replace("meta-llama/Llama-2-7b-hf", "nowhere"));
    place.refuse(&["--config", "own.toml"], &["model folder `nowhere`"]);
}

/// A pipe is read to its end and once, a device may have none: data comes from files, a configuration may come from a pipe.
#[cfg(target_os = "linux")]
#[test]
fn data_from_a_device_a_pipe_or_a_socket_is_refused_by_its_kind() {
    let place = Place::golden("tiny").set("train.max_steps", 1);
    let pipe = place.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    for (file, said) in [
        ("/dev/zero", "`/dev/zero`: expected a file, found a device"),
        ("pipe", "`pipe`: expected a file, found a pipe"),
        ("socket", "`socket`: expected a file, found a socket"),
        (".", "folder `.` has no data file"),
    ] {
        let set = format!("data.train=[\"{file}\"]");
        place.refuse(&["--config", "config.toml", "--set", &set], &[said]);
        let sets = format!("eval.sets=[{{name=\"a\",files=[\"{file}\"]}}]");
        place.refuse(&["--config", "config.toml", "--set", &sets], &[said]);
    }
    let text = place.bytes("config.toml");
    let writer = std::thread::spawn(move || std::fs::write(pipe, text).unwrap());
    place.succeed(&["--config", "pipe"]);
    writer.join().unwrap();
    place.refuse(&["--config", "/dev/zero"], &["found a device", "hint: write what it gives"]);
    place.refuse(&["--config", "/dev/stdin"], &["found a device"]); // the null device
    // A pipe that nobody writes into is waited for, and a signal ends that.
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let mut waiting = place.start_heard(&["--config", "pipe"]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(!waiting.has_ended());
        waiting.send(signal);
        let (said, code) = waiting.end();
        assert_eq!(code, Some(status), "{said}");
    }
}

#[track_caller]
fn assert_verb_refused(place: &Place, arguments: &[&str], parts: &[&str]) {
    let output = place.mvpbench(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "expected `{part}` in: {said}"));
}

#[test]
fn options_of_generate_without_a_meaning_are_refused_with_what_was_expected() {
    let place = place();
    let model = ["generate", "--model", "embedded:tiny/model"];
    let refused = |more: &[&str], parts: &[&str]| {
        assert_verb_refused(&place, &[&model[..], more].concat(), parts);
    };
    refused(&[], &["--prompts <FILE>", "--prompt <TEXT>"]);
    for (option, value, part) in [
        ("--temperature", "-1", "must be at least 0, got `-1`"),
        ("--temperature", "nan", "must be at least 0"),
        ("--top-p", "-0.5", "must be above 0 and at most 1"),
        ("--top-k", "-1", "expected a whole number from 0 to 16777216, got `-1`"),
        ("--seed", "-1", "expected a whole number from 0"),
        ("--batch", "-1", "expected a whole number from 1 to 65536"),
        ("--batch", "0", "expected a whole number from 1 to 65536, got `0`"),
        ("--max-new-tokens", "0", "expected a whole number from 1 to 16777216, got `0`"),
        ("--stop", "", "--stop <TEXT>"),
    ] {
        refused(&["--prompt", "a", option, value], &[part]);
    }
    for name in ["embedded", "tiny", "builtin", "embedded:tiny"] {
        let arguments = ["generate", "--prompt", "a", "--model", name];
        assert_verb_refused(
            &place,
            &arguments,
            &["the model inside the binary is `embedded:tiny/model`"],
        );
    }
}

#[test]
fn a_preset_without_its_ending_and_an_adapter_as_a_checkpoint_have_their_hints() {
    let place = place();
    for typed in ["tiny", "./tiny.toml", "Tiny.toml"] {
        place.refuse(&["--config", typed], &["hint: did you mean `tiny.toml`?"]);
    }
    place.succeed(&["--config", "config.toml"]);
    place.refuse(
        &["--config", "config.toml", "--resume", "run/adapter"],
        &[
            "`--resume run/adapter` is the folder of an adapter, not of a checkpoint",
            "`--set lora.init_from=run/adapter` starts a new run",
            "`--output run` without `--resume` resumes its run",
        ],
    );
}

#[test]
fn patterns_keys_that_stand_twice_and_ids_beyond_the_vocabulary_are_refused() {
    let place = place();
    let record = r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#;
    place.write("train-1.jsonl", record);
    place.write("train-2.jsonl", record);
    assert_refused(
        &place,
        &["--set", "data.train=[\"train-*.csv\"]"],
        &["`train-*.csv`: the pattern matches no file", "`train-1.jsonl`, `train-2.jsonl`"],
    );
    place.write("twice.jsonl", r#"{"prompt": "a", "chosen": "b", "chosen": "c", "rejected": "d"}"#);
    assert_refused(
        &place,
        &["--set", "data.train=[\"twice.jsonl\"]"],
        &["twice.jsonl:1: the key `chosen` stands twice"],
    );
    for name in ["tokenizer.json", "tokenizer_config.json", "config.json"] {
        place.write(
            &format!("other/{name}"),
            std::fs::read(path("models/tiny").join(name)).unwrap(),
        );
    }
    place.write("other/generation_config.json", r#"{"eos_token_id": [2, 99999]}"#);
    assert_refused(
        &place,
        &["--set", "model.path=other"],
        &["generation_config.json: `eos_token_id` must be"],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_can_hold_no_answers_is_refused_in_the_right_words() {
    let place = Place::new();
    place.write("p.jsonl", "{\"prompt\": \"a\"}\n");
    place.write("old.jsonl", "x");
    place.write("runs/a", "x");
    let model = ["generate", "--model", "embedded:tiny/model", "--max-new-tokens", "2", "-q"];
    for (output, parts) in [
        ("p.jsonl", ["`p.jsonl` is the file of the prompts", "hint: give another `--output`"]),
        ("./p.jsonl", ["`./p.jsonl` is the file of the prompts", "hint: give another `--output`"]),
        (
            "runs",
            ["`runs`: expected a file to write, found a folder", "such as `runs/answers.jsonl`"],
        ),
        ("/dev/full", ["`/dev/full`: expected a file to write", "hint: leave out `--output`"]),
        ("old.jsonl", ["`old.jsonl` already exists", "hint: give another `--output`, or move"]),
        ("old.jsonl/x", ["cannot be written", "hint: give another"]),
    ] {
        let more = ["--prompts", "p.jsonl", "--output", output];
        let ended = place.mvpbench(&[&model[..], &more].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{output}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{output}: {said}");
        assert!(!said.contains("remove"), "{output}: {said}");
    }
    // A folder that is not there is made, as those of all other commands.
    let more = ["--prompts", "p.jsonl", "--output", "new/folder/a.jsonl"];
    assert!(place.mvpbench(&[&model[..], &more].concat()).status().unwrap().success());
    assert_eq!(place.bytes("new/folder/a.jsonl").iter().filter(|byte| **byte == b'\n').count(), 1);
}

#[test]
fn an_adapter_of_another_base_model_or_task_is_said_or_refused() {
    let place = Place::new();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        place.write(
            &format!("a/{file}"),
            std::fs::read(path("adapters/tiny-nonzero").join(file)).unwrap(),
        );
    }
    let model = text("models/tiny");
    let arguments =
        ["generate", "--model", &model, "--adapter", "a", "--prompt", "a", "--max-new-tokens", "1"];
    let run = || {
        let ended = place.mvpbench(&arguments).output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let (code, said) = run();
    assert!(code == Some(0) && !said.contains("made for"), "{said}");
    let config = String::from_utf8(place.bytes("a/adapter_config.json")).unwrap();
    let change = |from: &str, to: &str| {
        assert!(config.contains(from), "{config}");
        place.write("a/adapter_config.json", config.replace(from, to))
    };
    change("\"base_model_name_or_path\": \"tiny\"", "\"base_model_name_or_path\": \"org/other\"");
    let (code, said) = run();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("adapter `a`: made for the base model `org/other`, used on `"), "{said}");
    change("\"CAUSAL_LM\"", "\"SEQ_CLS\"");
    let (code, said) = run();
    assert!(
        code == Some(2) && said.contains("a/adapter_config.json: `task_type` must be"),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn a_note_escapes_what_a_files_name_would_do_to_the_terminal() {
    let place = Place::new();
    let name = "p\u{1b}[31m.jsonl";
    place.write(name, "{\"prompt\": \"a\", \"extra\": 1}\n");
    let model = ["generate", "--model", "embedded:tiny/model", "--max-new-tokens", "1"];
    let ended = place.mvpbench(&[&model[..], &["--prompts", name]].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("p\\u{1b}[31m.jsonl: columns that are not read: `extra`"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
}
