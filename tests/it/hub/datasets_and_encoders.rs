//! Data files of dataset repositories, and a sentence encoder.

use super::server::{COMMIT, FakeHub, Served, model};
use super::{WEIGHTS, assert_fails, place, succeed};
use crate::eval::encoder::{FILES, folder};
use crate::golden::path;

#[test]
fn data_files_come_from_a_dataset_repository() {
    let files = [("data/pairs.jsonl".to_owned(), std::fs::read(path("pairs.jsonl")).unwrap())];
    let hub =
        FakeHub::serve(vec![Served { repository: "datasets/org/pairs", files: files.into() }]);
    let model = path("models/tiny");
    let place = place(model.to_str().unwrap());
    let here = "hf://datasets/org/pairs/data/pairs.jsonl";
    let train = format!("data.train=[{here:?}]");
    let eval = format!(
        "eval.sets=[{{name=\"golden\",files=[\"hf://datasets/org/pairs@{COMMIT}/data/pairs.jsonl\"]}}]"
    );
    let both = ["--set", &train, "--set", &eval];
    let said = succeed(&place, &hub, &both, &[]);
    assert!(said.contains(&format!("{here}: commit {COMMIT}")), "{said}");
    assert_eq!(hub.requests("GET /datasets/org/pairs/resolve").len(), 1);
    assert!(place.path("hf/hub/datasets--org--pairs/refs/main").is_file());
    succeed(
        &place,
        &hub,
        &[&both[..], &["--output", "again"]].concat(),
        &[("HF_HUB_OFFLINE", "1")],
    );

    let place = super::place(model.to_str().unwrap());
    for (file, part) in [
        ("hf://datasets/org/pairs/other.json", "it has `data/pairs.jsonl`"),
        ("hf://datasets/org/nothing/a.json", "no such repository"),
        ("hf://org/pairs/a.json", "expected `hf://datasets/OWNER/NAME`"),
    ] {
        let train = format!("data.train=[{file:?}]");
        assert_fails(&place, &hub, &["--set", &train], &[], 2, &[part]);
    }
}

/// The tiny sentence encoder as `org/encoder`, without the file `absent`.
fn encoder(absent: &str) -> Served {
    let files = FILES.into_iter().filter(|file| *file != absent);
    let read = |file: &str| std::fs::read(folder().join(file)).unwrap();
    Served {
        repository: "org/encoder",
        files: files.map(|file| (file.to_owned(), read(file))).collect(),
    }
}

#[test]
fn a_sentence_encoder_comes_from_the_hub_and_its_weights_come_last() {
    let pairs = path("pairs.jsonl");
    let sets = format!("eval.sets=[{{name=\"a\",files=[{pairs:?}],metrics=[\"opa\",\"spmr\"]}}]");
    let arguments = [
        "--set",
        &sets,
        "--set",
        "eval.spmr.embedder=org/encoder",
        "--set",
        "eval.spmr.max_new_tokens=4",
    ];
    let model = || model("org/tiny", "tiny");
    let place = place("org/tiny");

    let hub = FakeHub::serve(vec![model(), encoder("1_Pooling/config.json")]);
    assert_fails(
        &place,
        &hub,
        &arguments,
        &[],
        2,
        &["1_Pooling/config.json", "expected the pooling mode"],
    );
    assert!(hub.requests("").iter().all(|request| !request.contains(WEIGHTS)));
    let hub = FakeHub::serve(vec![model(), encoder("modules.json")]);
    std::fs::remove_dir_all(place.path("hf/hub/models--org--encoder")).unwrap();
    assert_fails(
        &place,
        &hub,
        &arguments,
        &[],
        2,
        &["`org/encoder` at `main` has no `modules.json`"],
    );

    let hub = FakeHub::serve(vec![model(), encoder("")]);
    let said = succeed(&place, &hub, &arguments, &[]);
    assert!(
        said.contains(&format!(
            "sentence encoder: hub model `org/encoder` at `main`, commit {COMMIT}"
        )),
        "{said}"
    );
    let requests = hub.requests("GET /org/encoder/resolve");
    assert!(requests.last().unwrap().contains(WEIGHTS), "{requests:?}");
    let answers = place.bytes("run/eval/generations-a-after.jsonl");
    succeed(
        &place,
        &hub,
        &[&arguments[..], &["--output", "again"]].concat(),
        &[("HF_HUB_OFFLINE", "1")],
    );
    assert_eq!(hub.requests(""), Vec::<String>::new());
    assert_eq!(place.bytes("again/eval/generations-a-after.jsonl"), answers);
}
