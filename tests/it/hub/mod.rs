//! Models and data from the hub, a small HTTP server on loopback: every way to fail, and a whole run from a hub id.

mod adapters;
mod datasets_and_encoders;
mod server;
mod sources;

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::server::{COMMIT, FakeHub, Wrong, model, tag};
use crate::command::Place;
use crate::golden::path;

const TOKEN: &str = "hf_secret";
const WEIGHTS: &str = "model.safetensors";

/// A configuration of one step from `model`.
fn place(model: &str) -> Place {
    Place::golden("tiny").set("model.path", model).set("train.max_steps", 1)
}

/// Runs the command with an environment of its own for the hub.
fn run(place: &Place, hub: &FakeHub, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = place.command(&[&["--config", "config.toml"], arguments].concat());
    for name in [
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTPS_PROXY",
        "https_proxy",
    ] {
        command.env_remove(name);
    }
    command.env("HF_HOME", place.path("hf")).env("HF_ENDPOINT", &hub.endpoint);
    command.envs(environment.iter().copied()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn succeed(
    place: &Place,
    hub: &FakeHub,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> String {
    let output = run(place, hub, arguments, environment);
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

#[track_caller]
fn assert_fails(
    place: &Place,
    hub: &FakeHub,
    arguments: &[&str],
    environment: &[(&str, &str)],
    status: i32,
    parts: &[&str],
) {
    let output = run(place, hub, arguments, environment);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    for part in parts {
        assert!(said.contains(part), "expected `{part}` in: {said}");
    }
    assert!(!place.path("run").exists(), "something was written: {said}");
}

fn cached(place: &Place, name: &str) -> Vec<u8> {
    place.bytes(&format!("hf/hub/models--org--tiny/snapshots/{COMMIT}/{name}"))
}

fn golden_weights() -> Vec<u8> {
    std::fs::read(path("models/tiny").join(WEIGHTS)).unwrap()
}

#[test]
fn a_run_from_a_hub_id_goes_through_and_again_offline() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    let first = succeed(&place, &hub, &[], &[("HF_TOKEN", TOKEN)]);
    assert!(first.contains(&format!("commit {COMMIT}")), "{first}");
    let requests = hub.requests("");
    assert!(
        requests.iter().any(|r| r.starts_with("GET /org/tiny/resolve") && r.ends_with("token"))
    );
    let stored: Vec<_> = requests.iter().filter(|r| r.contains("/stored/")).collect();
    assert!(!stored.is_empty() && stored.iter().all(|r| !r.ends_with("token")), "{stored:?}");

    let adapter: Value =
        serde_json::from_slice(&place.bytes("run/adapter/adapter_config.json")).unwrap();
    assert_eq!(adapter["base_model_name_or_path"], "org/tiny");
    assert_eq!(adapter["revision"], "main");
    let config = String::from_utf8(place.bytes("run/config.toml")).unwrap();
    assert!(config.contains(&format!("# model: commit {COMMIT}")), "{config}");

    // The layout is the Python tools': a reference, blobs by their tags, links to them.
    let folder = place.path("hf/hub/models--org--tiny");
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let link = std::fs::read_link(folder.join("snapshots").join(COMMIT).join(WEIGHTS)).unwrap();
    let blob = tag(WEIGHTS, &golden_weights());
    assert_eq!(link.to_str().unwrap(), format!("../../blobs/{blob}"));
    assert_eq!(std::fs::read(folder.join("blobs").join(blob)).unwrap(), golden_weights());

    let offline = [("HF_HUB_OFFLINE", "1")];
    for pinned in [&[][..], &["--set", &format!("model.revision={COMMIT}")]] {
        let again =
            [&["--output", if pinned.is_empty() { "again" } else { "pinned" }], pinned].concat();
        succeed(&place, &hub, &again, &offline);
    }
    assert_eq!(hub.requests(""), Vec::<String>::new());
    let weights = |run: &str| place.bytes(&format!("{run}/adapter/adapter_model.safetensors"));
    assert_eq!(weights("again"), weights("run"));
    assert_eq!(weights("pinned"), weights("run"));

    // Online again: one request for the commit, none for a file.
    succeed(&place, &hub, &[], &[]);
    assert_eq!(hub.requests("").len(), 1);
}

#[test]
fn shards_come_through_their_index() {
    let hub = FakeHub::serve(vec![model("org/shards", "tiny-f16")]);
    let place = place("org/shards");
    succeed(&place, &hub, &[], &[]);
    let requests = hub.requests("GET /stored/");
    assert_eq!(requests.len(), 2, "{requests:?}");
}

#[test]
fn a_gated_model_is_an_error_with_the_remedy() {
    let place = place("org/tiny");
    let gated = "X-Error-Code: GatedRepo\r\nX-Error-Message: Access is restricted\r\n";
    let hub = FakeHub::tiny();
    hub.will("HEAD", Wrong::Status("401 Unauthorized", gated));
    let page = format!("accept the licence on {}/org/tiny", hub.endpoint);
    assert_fails(
        &place,
        &hub,
        &[],
        &[],
        2,
        &["`config.json` of hub model `org/tiny`", "gated", &page, "`hf auth login`", "HF_TOKEN"],
    );
    hub.will("HEAD", Wrong::Status("403 Forbidden", gated));
    assert_fails(
        &place,
        &hub,
        &[],
        &[("HF_TOKEN", TOKEN)],
        2,
        &["may not read `org/tiny`", &page, "with the token's account"],
    );
    hub.will("/api/", Wrong::Status("401 Unauthorized", ""));
    assert_fails(
        &place,
        &hub,
        &[],
        &[("HF_TOKEN", TOKEN)],
        2,
        &["does not accept the token", "`hf auth login`"],
    );
}

#[test]
fn a_missing_model_or_revision_is_an_error_that_names_the_missing_folder_too() {
    let hub = FakeHub::tiny();
    let place = place("models/nothing");
    assert_fails(
        &place,
        &hub,
        &[],
        &[],
        2,
        &[
            "there is no folder `models/nothing`, so it is taken for a name on the hub",
            "no such repository",
            "HF_TOKEN",
        ],
    );
    assert_fails(
        &place,
        &hub,
        &[],
        &[("HF_TOKEN", TOKEN)],
        2,
        &["no such repository for this token"],
    );
    let revision = ["--set", "model.path=org/tiny", "--set", "model.revision=v9"];
    assert_fails(&place, &hub, &revision, &[], 2, &["`org/tiny` at `v9`", "no such revision"]);
    let wrong = ["--set", "model.path=org/tiny", "--set", "model.revision=../x"];
    assert_fails(&place, &hub, &wrong, &[], 2, &["`../x` is not a revision"]);
    let folder = format!("model.path={}", path("models/tiny").display());
    let pinned = ["--set", &folder, "--set", "model.revision=v9"];
    assert_fails(
        &place,
        &hub,
        &pinned,
        &[],
        2,
        &["is not on the hub", "leave `model.revision` out"],
    );
}

#[test]
fn a_repository_without_safetensors_is_refused_before_anything_is_fetched() {
    let mut served = model("org/tiny", "tiny");
    let weights = served.files.remove(WEIGHTS).unwrap();
    served.files.insert("pytorch_model.bin".into(), weights);
    let (hub, place) = (FakeHub::serve(vec![served]), place("org/tiny"));
    assert_fails(
        &place,
        &hub,
        &[],
        &[],
        2,
        &["has no `model.safetensors`", "only `pytorch_model.bin`", "save_pretrained"],
    );
    assert_eq!(hub.requests("").len(), 1);
}

#[test]
fn a_redirect_with_the_hubs_own_address_is_followed_and_one_to_another_host_is_not() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    hub.will("HEAD /org/tiny/resolve", Wrong::Redirect("127.0.0.1", ""));
    succeed(&place, &hub, &[], &[("HF_TOKEN", TOKEN)]);
    let followed = hub.requests("HEAD /stored/");
    assert!(followed.len() == 1 && followed[0].ends_with("token"), "{followed:?}");

    // The first answer's tag counts.
    let place = self::place("org/tiny");
    let tagged = "X-Repo-Commit: 1\r\nX-Linked-Etag: \"feed\"\r\n";
    hub.will("HEAD /org/tiny/resolve", Wrong::Redirect("127.0.0.1", tagged));
    succeed(&place, &hub, &[], &[]);
    assert!(place.path("hf/hub/models--org--tiny/blobs/feed").exists());

    let place = self::place("org/tiny");
    hub.requests("");
    hub.will("HEAD /org/tiny/resolve", Wrong::Redirect("localhost", ""));
    assert_fails(&place, &hub, &[], &[("HF_TOKEN", TOKEN)], 1, &["did not send its tag and size"]);
    assert_eq!(hub.requests("HEAD /stored/"), Vec::<String>::new());
}

#[test]
fn what_passes_is_waited_for() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    hub.will("/api/", Wrong::Status("429 Too Many Requests", "Retry-After: 1\r\n"))
        .will("/api/", Wrong::Status("500 Internal Server Error", ""))
        .will("HEAD", Wrong::Status("503 Service Unavailable", "Retry-After: 0\r\n"))
        .will("HEAD", Wrong::Drop)
        .will(
            "GET /stored/",
            Wrong::Status("429 Too Many Requests", "RateLimit: \"api\";r=0;t=1\r\n"),
        )
        .will("GET /stored/", Wrong::Drop);
    let begun = Instant::now();
    let said = succeed(&place, &hub, &[], &[]);
    assert!(begun.elapsed() >= Duration::from_secs(2), "the hub's pauses were not kept");
    for part in ["429", "retry in 1.0 s", "500", "503", "no whole answer"] {
        assert!(said.contains(part), "expected `{part}` in: {said}");
    }
    assert_eq!(cached(&place, WEIGHTS), golden_weights());
}

#[test]
fn what_does_not_pass_is_given_up() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    hub.will("/api/", Wrong::Status("429 Too Many Requests", "Retry-After: 7200\r\n"));
    assert_fails(&place, &hub, &[], &[], 1, &["429", "run the same command again in 7200 seconds"]);
    for _ in 0..5 {
        hub.will("GET /stored/", Wrong::Status("500 Internal Server Error", "Retry-After: 0\r\n"));
    }
    assert_fails(
        &place,
        &hub,
        &[],
        &[],
        1,
        &[
            "`model.safetensors` of hub model `org/tiny`",
            "500",
            "every time",
            "run the same command again",
        ],
    );
    assert_eq!(hub.requests("GET /stored/").len(), 5);
}

#[test]
fn a_cut_download_resumes_where_it_was_cut() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    hub.will("GET /stored/", Wrong::Cut(100_000)).will("GET /stored/", Wrong::Cut(200_000));
    let said = succeed(&place, &hub, &[], &[]);
    assert!(said.contains("ended after 100000 of 666984 bytes"), "{said}");
    let ranges: Vec<_> = hub.requests("GET /stored/");
    let asked: Vec<_> = ranges.iter().map(|r| r.split(' ').nth(2).unwrap()).collect();
    assert_eq!(asked, ["", "bytes=100000-", "bytes=300000-"]);
    assert_eq!(cached(&place, WEIGHTS), golden_weights());
}

#[test]
fn another_command_resumes_the_download_of_an_earlier_one() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    let weights = golden_weights();
    let blobs = "hf/hub/models--org--tiny/blobs";
    let partial = format!("{blobs}/{}.incomplete", tag(WEIGHTS, &weights));
    place.write(&partial, &weights[..50_000]);
    hub.will("GET /stored/", Wrong::IgnoreRange).will("GET /stored/", Wrong::Drop);
    succeed(&place, &hub, &[], &[]);
    assert_eq!(cached(&place, WEIGHTS), weights);
    assert!(hub.requests("GET /stored/")[0].contains("bytes=50000-"));

    let again = self::place("org/tiny");
    again.write(&partial, &weights);
    succeed(&again, &hub, &[], &[]);
    assert_eq!(hub.requests("GET /stored/"), Vec::<String>::new(), "all of it was there");
}

#[test]
fn an_altered_file_is_deleted_and_refused() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    hub.will("GET /stored/", Wrong::Alter);
    assert_fails(
        &place,
        &hub,
        &[],
        &[],
        1,
        &["`model.safetensors`", "expected SHA-256", "the download is deleted"],
    );
    let left: Vec<_> = std::fs::read_dir(place.path("hf/hub/models--org--tiny/blobs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().all(|name| name.len() == 40), "{left:?}");
    succeed(&place, &hub, &[], &[]);
}

#[test]
fn weights_that_changed_in_the_cache_are_fetched_again() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    succeed(&place, &hub, &[], &[]);
    let whole = cached(&place, WEIGHTS);
    let file = place.path(&format!("hf/hub/models--org--tiny/snapshots/{COMMIT}/{WEIGHTS}"));
    let file = file.canonicalize().unwrap();
    for (what, change) in [("a bit", None), ("the end", Some(1000))] {
        let mut bytes = whole.clone();
        match change {
            None => bytes[20_001] ^= 64,
            Some(length) => bytes.truncate(length),
        }
        std::fs::write(&file, bytes).unwrap();
        std::fs::remove_dir_all(place.path("run")).unwrap();
        succeed(&place, &hub, &[], &[]);
        assert_eq!(cached(&place, WEIGHTS), whole, "{what}");
    }
    let mut bytes = whole.clone();
    bytes[20_001] ^= 64;
    std::fs::write(&file, bytes).unwrap();
    std::fs::remove_dir_all(place.path("run")).unwrap();
    let offline = [("HF_HUB_OFFLINE", "1")];
    let parts = ["model.safetensors` is damaged", "HF_HUB_OFFLINE is set", "hint: run again"];
    assert_fails(&place, &hub, &[], &offline, 2, &parts);
}

#[test]
fn a_small_file_that_changed_is_fetched_again_or_refused_by_name() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    hub.will("GET /org/tiny/resolve", Wrong::Alter);
    assert_fails(&place, &hub, &[], &[], 1, &["expected git SHA-1", "the download is deleted"]);
    succeed(&place, &hub, &[], &[]);
    let name = "tokenizer.json";
    let whole = cached(&place, name);
    let file = place.path(&format!("hf/hub/models--org--tiny/snapshots/{COMMIT}/{name}"));
    let mut bytes = whole.clone();
    bytes[2001] ^= 1;
    std::fs::write(file.canonicalize().unwrap(), &bytes).unwrap();
    std::fs::remove_dir_all(place.path("run")).unwrap();
    let offline = [("HF_HUB_OFFLINE", "1")];
    let parts = ["tokenizer.json` is damaged", "HF_HUB_OFFLINE is set"];
    assert_fails(&place, &hub, &[], &offline, 2, &parts);
    let said = succeed(&place, &hub, &[], &[]);
    assert!(
        said.contains("tokenizer.json` in the cache is damaged; it is fetched again"),
        "{said}"
    );
    assert_eq!(cached(&place, name), whole);
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_a_download_is_refused_and_not_followed() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    let mine = place.write("mine.txt", "my thesis");
    let weights = golden_weights();
    let link = format!("hf/hub/models--org--tiny/blobs/{}.incomplete", tag(WEIGHTS, &weights));
    place.write(&link, "");
    std::fs::remove_file(place.path(&link)).unwrap();
    std::os::unix::fs::symlink(&mine, place.path(&link)).unwrap();
    assert_fails(&place, &hub, &[], &[], 2, &["incomplete` is a link", "hint: remove it"]);
    assert_eq!(std::fs::read(&mine).unwrap(), b"my thesis");
}

#[test]
fn mistakes_in_the_data_show_before_the_weights_are_fetched() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    let data = ["--set", "data.train=[\"nowhere.json\"]"];
    assert_fails(&place, &hub, &data, &[], 2, &["`nowhere.json`"]);
    assert_eq!(hub.requests("/stored/"), Vec::<String>::new());
}

#[test]
fn offline_without_a_cache_names_what_is_missing() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    let offline = [("HF_HUB_OFFLINE", "1")];
    assert_fails(
        &place,
        &hub,
        &[],
        &offline,
        2,
        &["not in the cache", "the hub was not asked: HF_HUB_OFFLINE is set"],
    );
    succeed(&place, &hub, &["--output", "first"], &[]);
    std::fs::remove_file(
        place.path(&format!("hf/hub/models--org--tiny/snapshots/{COMMIT}/{WEIGHTS}")),
    )
    .unwrap();
    assert_fails(&place, &hub, &[], &offline, 2, &["model.safetensors` is not in the cache"]);
}

#[test]
fn a_hub_out_of_reach_leaves_the_cache() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    succeed(&place, &hub, &["--output", "first"], &[]);
    for _ in 0..5 {
        hub.will("/api/", Wrong::Drop);
    }
    let said = succeed(&place, &hub, &[], &[]);
    assert!(said.contains("using the cache"), "{said}");
}

#[test]
fn a_merge_takes_its_base_from_the_hub_and_a_wrong_adapter_costs_no_download() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    let merge = |base: &str, adapter: &str, output: &str| {
        let adapter = path("adapters").join(adapter);
        let adapter = adapter.to_str().unwrap();
        let words = ["merge", "--model", base, "--adapter", adapter, "--output", output, "-q"];
        let mut command = place.mvpbench(&words);
        command.env("HF_HOME", place.path("hf")).env("HF_ENDPOINT", &hub.endpoint);
        command.env_remove("HF_HUB_OFFLINE").output().unwrap()
    };
    let refused = merge("org/tiny", "tiny-gqa-nonzero", "merged");
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("another shape"), "{}", said(&refused));
    assert_eq!(hub.requests("/stored/"), Vec::<String>::new());
    let done = merge("org/tiny", "tiny-nonzero", "merged");
    assert!(done.status.success(), "{}", said(&done));
    let folder = path("models/tiny");
    assert!(merge(folder.to_str().unwrap(), "tiny-nonzero", "same").status.success());
    assert_eq!(place.bytes("merged/model.safetensors"), place.bytes("same/model.safetensors"));
}
