//! Interruptions: after any kill the same command resumes and ends with the same bytes.

use crate::command::{Place, lines, records, resealed};
use crate::golden::{pairs, path};

const COMMAND: [&str; 2] = ["--config", "config.toml"];
const ADAPTER: &str = "run/adapter/adapter_model.safetensors";

/// A run of 12 steps with dropout, shuffling and a checkpoint after every second step.
fn place() -> Place {
    Place::golden("tiny-gqa")
        .set("lora.rank", 4)
        .set("lora.dropout", 0.1)
        .set("train.epochs", 6)
        .set("train.learning_rate", 1e-3)
        .set("train.checkpoint_every", 2)
        .set("train.per_device_batch_size", 2)
        .set("train.gradient_accumulation_steps", 4)
        .evaluate("golden", pairs())
}

fn uninterrupted() -> Place {
    let place = place();
    place.succeed(&["--config", "config.toml"]);
    place
}

#[test]
fn resume_is_bit_identical_after_a_kill_at_any_step() {
    let whole = uninterrupted();
    for steps in [0, 1, 4, 7, 11] {
        let place = place();
        let log = place.path("run/train.jsonl");
        place.start(&COMMAND).kill_at(&format!("step {steps}"), || lines(&log) >= steps);
        place.succeed(&["--config", "config.toml"]);
        assert_eq!(place.bytes(ADAPTER), whole.bytes(ADAPTER), "killed after {steps} steps");
        let losses = |place: &Place| {
            records(&place.path("run/train.jsonl"))
                .iter()
                .map(|r| (r["step"].clone(), r["loss"].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(losses(&place), losses(&whole), "killed after {steps} steps");
    }
}

#[test]
fn a_run_killed_before_its_configuration_was_written_resumes() {
    let place = place();
    for file in ["run.lock", ".config.toml.partial", ".base_model.partial/a", "base_model/a"] {
        place.write(&format!("run/{file}"), "x");
    }
    place.succeed(&["--config", "config.toml", "--set", "train.max_steps=1"]);
    let other = self::place();
    other.write("run/base_model/a", "x");
    assert_eq!(other.run(&["--config", "config.toml"]).status.code(), Some(2), "not the program's");
}

#[test]
fn a_broken_checkpoint_is_skipped_for_the_one_before_it() {
    let place = uninterrupted();
    let adapter = place.bytes(ADAPTER);
    let last = "run/checkpoints/step-000012";
    for (file, cut) in [
        ("first_moments.safetensors", false),
        ("adapter_model.safetensors", true),
        ("state.json", false),
        ("manifest.json", true),
    ] {
        for result in ["run/adapter", "run/eval"] {
            std::fs::remove_dir_all(place.path(result)).unwrap();
        }
        let file = format!("{last}/{file}");
        let mut bytes = place.bytes(&file);
        let middle = bytes.len() / 2;
        match cut {
            true => bytes.truncate(middle),
            false => bytes[middle] ^= 1,
        }
        place.write(&file, bytes);
        let output = place.run(&["--config", "config.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("is skipped") && said.contains("after step 10"), "{file}: {said}");
        assert_eq!(place.bytes(ADAPTER), adapter, "{file}");
    }
}

#[test]
fn cached_reference_changes_nothing_and_a_broken_cache_is_computed_again() {
    let place = uninterrupted();
    let first = place.bytes(ADAPTER);
    let cache = only_file(&place.path("cache/reference"));
    let text = std::fs::read_to_string(&cache).unwrap();
    for broken in [None, Some(text.replacen("[-", "[-1", 1)), Some(text[..text.len() / 2].into())] {
        std::fs::remove_dir_all(place.path("run")).unwrap();
        if let Some(text) = &broken {
            std::fs::write(&cache, text).unwrap();
        }
        let output = place.run(&["--config", "config.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains(if broken.is_some() {
                "computed again"
            } else {
                "reference: 13 pairs from the cache"
            }),
            "{said}"
        );
        assert_eq!(place.bytes(ADAPTER), first);
    }
}

/// The only file in a folder.
fn only_file(folder: &std::path::Path) -> std::path::PathBuf {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn cached_tokens_change_nothing_and_a_broken_or_unwritable_cache_is_made_again() {
    let place = uninterrupted();
    let (first, cache) = (place.bytes(ADAPTER), only_file(&place.path("cache/tokens")));
    let whole = std::fs::read(&cache).unwrap();
    // The printed notes about pairs, without the lines about caches and progress.
    let notes = |said: &str| {
        let kept =
            said.lines().filter(|line| line.contains("pairs from") || line.starts_with("  "));
        kept.filter(|line| !line.contains("cache")).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut told = Vec::new();
    for what in
        ["from the cache", "broken", "from the cache", "cut", "from the cache", "not cached"]
    {
        std::fs::remove_dir_all(place.path("run")).unwrap();
        match what {
            "broken" => {
                let mut bytes = whole.clone();
                *bytes.last_mut().unwrap() ^= 1;
                std::fs::write(&cache, bytes).unwrap();
            }
            "cut" => std::fs::write(&cache, &whole[..whole.len() / 2]).unwrap(),
            "not cached" => {
                std::fs::remove_dir_all(place.path("cache/tokens")).unwrap();
                std::fs::write(place.path("cache/tokens"), "no folder").unwrap();
            }
            _ => {}
        }
        let output = place.run(&["--config", "config.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let word = if what == "cut" { "broken" } else { what };
        assert!(said.lines().any(|line| line.contains("token") && line.contains(word)), "{said}");
        assert_eq!(place.bytes(ADAPTER), first, "{what}");
        told.push(notes(&said));
    }
    assert!(!told[0].is_empty() && told.iter().all(|notes| *notes == told[0]), "{told:?}");
}

#[test]
fn a_terminated_run_saves_first_and_prints_how_to_resume() {
    let (whole, place) = (uninterrupted(), place());
    let (log, set) = (place.path("run/train.jsonl"), ["--set", "train.checkpoint_every=1000"]);
    let mut run = place.start_heard(&[&COMMAND, &set[..]].concat());
    run.wait_for("step 3", || lines(&log) >= 3);
    run.send("-TERM");
    let (said, code) = run.end();
    assert_eq!(code, Some(143), "{said}");
    assert!(said.contains("the same command resumes"), "{said}");
    assert_eq!(std::fs::read_dir(place.path("run/checkpoints")).unwrap().count(), 1, "{said}");
    place.succeed(&["--config", "config.toml", "--set", "train.checkpoint_every=1000"]);
    assert_eq!(place.bytes(ADAPTER), whole.bytes(ADAPTER));
}

#[test]
fn resuming_from_a_named_checkpoint_in_a_new_folder_ends_with_the_same_bytes() {
    let place = uninterrupted();
    let from = place.path("run/checkpoints/step-000010");
    place.succeed(&[
        "--config",
        "config.toml",
        "--resume",
        from.to_str().unwrap(),
        "--output",
        "other",
    ]);
    assert_eq!(place.bytes(ADAPTER), place.bytes("other/adapter/adapter_model.safetensors"));
}

#[test]
fn a_finished_run_prints_its_results_again_and_changes_nothing() {
    let place = uninterrupted();
    let (adapter, log) = (place.bytes(ADAPTER), place.bytes("run/train.jsonl"));
    let first = place.succeed(&["--config", "config.toml"]);
    assert!(first.contains("golden"), "{first}");
    assert_eq!((place.bytes(ADAPTER), place.bytes("run/train.jsonl")), (adapter, log));
}

#[test]
fn micro_batches_and_recomputing_change_nothing_beyond_rounding() {
    let whole = uninterrupted();
    let last = |place: &Place| {
        records(&place.path("run/train.jsonl")).last().unwrap()["loss"].as_f64().unwrap()
    };
    for (set, tolerance) in [
        ("train.activations=recompute", 0.0),
        ("train.micro_batch_tokens=1", 1e-4),
        ("train.micro_batch_tokens=300", 1e-4),
    ] {
        let place = place();
        place.succeed(&["--config", "config.toml", "--set", set]);
        assert!(
            (last(&place) - last(&whole)).abs() <= tolerance,
            "{set}: {} {}",
            last(&place),
            last(&whole)
        );
    }
}

#[test]
fn a_changed_configuration_is_named_and_refused_unless_allowed() {
    let place = uninterrupted();
    let (first, before) = (place.bytes(ADAPTER), place.bytes("run/eval/before.json"));
    let longer = ["--set", "train.epochs=7"];
    let parts = ["`train.epochs` is `7.0`, was `6.0`", "--allow-config-change"];
    place.refuse(&[&COMMAND, &longer[..]].concat(), &parts);
    assert_eq!(place.bytes(ADAPTER), first);

    let sets = "eval.sets=[{name=\"other\", files=[\"other.jsonl\"]}]";
    place.write("other.jsonl", std::fs::read(path("pairs.jsonl")).unwrap());
    let told = [&COMMAND, &longer[..], &["--set", sets]].concat();
    place.succeed(&[&told[..], &["--allow-config-change"]].concat());
    assert_eq!(records(&place.path("run/train.jsonl")).len(), 14);
    assert_ne!(place.bytes(ADAPTER), first);
    assert_ne!(place.bytes("run/eval/before.json"), before);
    let config = String::from_utf8(place.bytes("run/config.toml")).unwrap();
    let said = "# changed after step 12: `train.epochs` is `7.0`, was `6.0`\n";
    assert!(config.contains(said) && config.contains("epochs = 7"), "{config}");
    // From now on it is this run's configuration.
    place.succeed(&told);
    place.refuse(&COMMAND, &["`train.epochs` is `6.0`, was `7.0`"]);

    // No checkpoint fits another rank.
    let wider = ["--set", "lora.rank=8", "--allow-config-change"];
    place.refuse(
        &[&COMMAND, &wider[..]].concat(),
        &["checkpoints do not fit", "`lora.rank` is `8`, was `4`"],
    );
    assert_eq!(String::from_utf8(place.bytes("run/config.toml")).unwrap(), config);
}

#[test]
fn a_named_checkpoint_of_another_configuration_is_refused_unless_allowed() {
    let place = uninterrupted();
    let elsewhere =
        ["--output", "new", "--resume", "run/checkpoints/step-000012", "--set", "dpo.beta=0.5"];
    place.refuse(
        &[&COMMAND, &elsewhere[..]].concat(),
        &["belongs to another run: `dpo.beta` is `0.5`, was `0.1`", "--allow-config-change"],
    );
    assert!(!place.path("new").exists());
    let longer = ["--set", "train.epochs=7", "--allow-config-change"];
    place.succeed(&[&COMMAND, &elsewhere[..], &longer].concat());
    let steps = records(&place.path("new/train.jsonl"));
    assert_eq!((steps.len(), steps[0]["step"].as_u64()), (2, Some(13)));
}

#[test]
fn a_run_that_is_resumed_has_the_wall_time_of_all_its_processes() {
    let place = uninterrupted();
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&place.bytes(&format!("run/{name}"))).unwrap()
    };
    let clock = read("wall_time.json");
    assert!(clock["step"] == 12 && clock["wall_time_s"].as_f64().unwrap() > 0.0, "{clock}");
    let earlier = r#"{"wall_time_s": 5000.0, "step": 12, "sha256": ""}"#;
    place.write("run/wall_time.json", resealed(earlier).trim_end());
    std::fs::remove_file(place.path("run/summary.json")).unwrap(); // killed before it was finished
    place.succeed(&["--config", "config.toml"]);
    let all = read("summary.json")["training"]["wall_time_s"].as_f64().unwrap();
    assert!((5000.0..6000.0).contains(&all), "{all}");
    assert!(read("wall_time.json")["wall_time_s"].as_f64().unwrap() >= all);
}

#[test]
fn a_finished_run_is_left_as_it_is_by_the_same_command() {
    let place = uninterrupted();
    let names = ["summary.json", "wall_time.json", "report.html", "report.md", "adapter/README.md"];
    let read = || names.map(|name| place.bytes(&format!("run/{name}")));
    let before = read();
    place.succeed(&["--config", "config.toml"]);
    let changed: Vec<_> =
        names.iter().zip(before.iter().zip(read())).filter(|(_, (a, b))| *a != b).collect();
    assert!(changed.is_empty(), "{:?}", changed.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

#[test]
fn a_run_resumed_after_its_last_step_without_a_set_is_reported() {
    let place = Place::golden("tiny").set("train.max_steps", 2).set("train.checkpoint_every", 2);
    place.succeed(&["--config", "config.toml", "-q"]);
    let from = "run/checkpoints/step-000002";
    place.succeed(&["--config", "config.toml", "--resume", from, "--output", "new", "-q"]);
    let report = String::from_utf8(place.bytes("new/report.md")).unwrap();
    assert!(report.contains("no record of steps 1, 2;"), "{report}");
    assert!(place.path("new/adapter/adapter_model.safetensors").exists());
}
