//! Adapters on the hub, for `--adapter` and `lora.init_from`.

use super::server::{COMMIT, FakeHub, Served};
use super::{assert_fails, place, succeed};
use crate::command::Place;
use crate::golden::{pairs, path};
use mvpbench::disk::digest;

/// An adapter of the tiny model as `org/lora`, without the file `absent` and with the file `more`.
fn adapter(absent: &str, more: Option<&str>) -> Served {
    let names = ["adapter_config.json", "adapter_model.safetensors"];
    let read = |name: &str| std::fs::read(path("adapters/tiny-nonzero").join(name)).unwrap();
    let files = names.into_iter().filter(|name| *name != absent);
    let mut files: Vec<_> = files.map(|name| (name.to_owned(), read(name))).collect();
    files.extend(more.map(|name| (name.to_owned(), b"{}".to_vec())));
    Served { repository: "org/lora", files: files.into_iter().collect() }
}

/// Runs `mvpbench` on the tiny model with this hub; standard error, whether it succeeded or not.
fn mvpbench(
    place: &Place,
    hub: &FakeHub,
    arguments: &[&str],
    offline: bool,
) -> Result<String, String> {
    let model = path("models/tiny").display().to_string();
    let mut command = place.mvpbench(&[arguments, &["--model", &model]].concat());
    command.env_remove("HF_HUB_OFFLINE").env_remove("HF_HUB_CACHE").env_remove("HF_TOKEN");
    command.env("HF_HOME", place.path("hf")).env("HF_ENDPOINT", &hub.endpoint);
    if offline {
        command.env("HF_HUB_OFFLINE", "1");
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn an_adapter_on_the_hub_is_fetched_by_every_verb_and_is_that_of_its_folder() {
    let hub = FakeHub::serve(vec![adapter("", Some("README.md"))]);
    let place = Place::new();
    let data = format!("golden={}", pairs());
    let eval = |adapter: &str, output: &str, offline: bool| {
        let arguments = ["eval", "--data", &data, "--adapter", adapter, "--output", output];
        mvpbench(&place, &hub, &arguments, offline)
    };
    let said = eval("org/lora", "hub", false).unwrap();
    let sha256 = digest::of_bytes(
        &std::fs::read(path("adapters/tiny-nonzero/adapter_model.safetensors")).unwrap(),
    );
    let note = format!(
        "adapter: hub model `org/lora` at `main`, commit {COMMIT}, weights sha256 {sha256}"
    );
    assert!(said.contains(&note), "{said}");
    assert!(hub.requests("README.md").is_empty(), "only the two files are fetched");
    eval(&path("adapters/tiny-nonzero").display().to_string(), "folder", false).unwrap();
    let scores = |run: &str| place.bytes(&format!("{run}/eval/scores-golden-after.jsonl"));
    assert_eq!(scores("hub"), scores("folder"));

    // Again offline, also by its commit; every other verb that takes an adapter.
    eval(&format!("org/lora@{COMMIT}"), "pinned", true).unwrap();
    assert_eq!(scores("pinned"), scores("folder"));
    let generate = ["generate", "--adapter", "org/lora", "--prompt", "a", "--max-new-tokens", "2"];
    assert!(mvpbench(&place, &hub, &generate, true).unwrap().contains(&note));
    let merge = ["merge", "--adapter", "org/lora", "--output", "merged"];
    assert!(mvpbench(&place, &hub, &merge, true).unwrap().contains(&note));
    assert_eq!(hub.requests(""), Vec::<String>::new());

    // A folder of that name wins.
    let own = place.path("org/lora");
    std::fs::create_dir_all(&own).unwrap();
    let error = eval("org/lora", "own", false).unwrap_err();
    assert!(error.contains("cannot read `org/lora/adapter_config.json`"), "{error}");
    assert_eq!(hub.requests(""), Vec::<String>::new());
}

#[test]
fn a_run_starts_from_an_adapter_on_the_hub_and_notes_its_commit() {
    let hub = FakeHub::serve(vec![adapter("", None)]);
    let place = place(path("models/tiny").to_str().unwrap())
        .set("lora.init_from", "org/lora")
        .set("lora.rank", 16);
    let said = succeed(&place, &hub, &[], &[]);
    let note = format!("adapter: hub model `org/lora` at `main`, commit {COMMIT}");
    assert!(said.contains(&note), "{said}");
    let summary = String::from_utf8(place.bytes("run/summary.json")).unwrap();
    assert!(summary.contains(&note), "{summary}");
    succeed(&place, &hub, &["--output", "again"], &[("HF_HUB_OFFLINE", "1")]);
    let weights = |run: &str| place.bytes(&format!("{run}/adapter/adapter_model.safetensors"));
    assert_eq!(weights("again"), weights("run"));
}

#[test]
fn an_adapter_that_cannot_be_had_is_an_error_that_says_why() {
    let place = place(path("models/tiny").to_str().unwrap()).set("lora.init_from", "org/lora");
    let whole = || FakeHub::serve(vec![adapter("", None)]);
    let first = "`lora.init_from`: there is no folder `org/lora`";
    let offline = [("HF_HUB_OFFLINE", "1")];
    let parts = [first, "is not in the cache", "the hub was not asked: HF_HUB_OFFLINE is set"];
    assert_fails(&place, &whole(), &[], &offline, 2, &parts);
    let pickle =
        FakeHub::serve(vec![adapter("adapter_model.safetensors", Some("adapter_model.bin"))]);
    let parts = [first, "has no `adapter_model.safetensors`", "a pickle", "save_pretrained"];
    assert_fails(&place, &pickle, &[], &[], 2, &parts);
    let model = FakeHub::serve(vec![adapter("adapter_config.json", Some("config.json"))]);
    let parts = ["has no `adapter_config.json`", "it is a whole model and no adapter"];
    assert_fails(&place, &model, &[], &[], 2, &parts);
    let other = FakeHub::serve(vec![adapter("adapter_config.json", None)]);
    assert_fails(&place, &other, &[], &[], 2, &["it has `adapter_model.safetensors`"]);
    let missing = ["--set", "lora.init_from=org/none"];
    assert_fails(
        &place,
        &whole(),
        &missing,
        &[],
        2,
        &["no folder `org/none`", "no such repository"],
    );
    let revision = ["--set", "lora.init_from=org/lora@v9"];
    assert_fails(&place, &whole(), &revision, &[], 2, &["`org/lora` at `v9`", "no such revision"]);
    let odd = ["--set", "lora.init_from=org/lora@../x"];
    assert_fails(&place, &whole(), &odd, &[], 2, &["is not a revision"]);
}
