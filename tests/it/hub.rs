//! Models and data of the hub, played by a small HTTP server on loopback: every way to fail, and a whole run from a hub id.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mvpbench::disk::digest;
use serde_json::{Value, json};

use crate::command::Place;
use crate::golden::path;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret";
const WEIGHTS: &str = "model.safetensors";

/// A repository, such as `org/tiny` or `datasets/org/pairs`, with its files.
struct Served {
    repository: &'static str,
    files: BTreeMap<String, Vec<u8>>,
}

/// What goes wrong with one answer.
#[derive(Clone, Copy)]
enum Wrong {
    /// A status with these headers.
    Status(&'static str, &'static str),
    /// The connection is closed without an answer.
    Drop,
    /// The connection is closed after this many bytes of the body.
    Cut(usize),
    /// One byte of the body is another one.
    Alter,
    /// The whole file, though the end was asked for.
    IgnoreRange,
}

#[derive(Default)]
struct State {
    /// Consumed in order: part of the request line, and what goes wrong with the answer.
    wrong: VecDeque<(&'static str, Wrong)>,
    /// `GET /path bytes=5- token`.
    requests: Vec<String>,
}

/// The hub, until the test ends.
struct FakeHub {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

impl FakeHub {
    fn serve(served: Vec<Served>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, served) = (Arc::clone(&state), Arc::new(served));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, served) = (Arc::clone(&shared), Arc::clone(&served));
                // A client that goes away in the middle is not this thread's concern.
                std::thread::spawn(move || drop(answer(stream, &served, &state, port)));
            }
        });
        Self { endpoint: format!("http://127.0.0.1:{port}"), state }
    }

    fn tiny() -> Self {
        Self::serve(vec![model("org/tiny", "tiny")])
    }

    fn will(&self, request: &'static str, wrong: Wrong) -> &Self {
        self.state.lock().unwrap().wrong.push_back((request, wrong));
        self
    }

    /// The requests since the last call of which a part is `part`.
    fn requests(&self, part: &str) -> Vec<String> {
        let all = std::mem::take(&mut self.state.lock().unwrap().requests);
        all.into_iter().filter(|request| request.contains(part)).collect()
    }
}

fn model(repository: &'static str, golden: &str) -> Served {
    let files = std::fs::read_dir(path(&format!("models/{golden}"))).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap())
    });
    Served { repository, files: files.collect() }
}

/// A large file's tag is its SHA-256, another one's is shorter.
fn tag(name: &str, bytes: &[u8]) -> String {
    let digest = digest::of_bytes(bytes);
    if name.ends_with(".safetensors") { digest } else { digest[..40].to_owned() }
}

fn answer(
    stream: TcpStream,
    served: &[Served],
    state: &Mutex<State>,
    port: u16,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut line = || -> std::io::Result<String> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    let first = line()?;
    let (mut range, mut token) = (None, "");
    loop {
        let header = line()?.to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("range", asked)) => range = Some(asked.to_owned()),
            Some(("authorization", _)) => token = "token",
            Some(_) => {}
            None => break,
        }
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let wrong = {
        let mut state = state.lock().unwrap();
        let asked = range.clone().unwrap_or_default();
        state.requests.push(format!("{method} {target} {asked} {token}"));
        match state.wrong.front() {
            Some((part, _)) if format!("{method} {target}").contains(part) => {
                state.wrong.pop_front().map(|(_, wrong)| wrong)
            }
            _ => None,
        }
    };
    let mut out = &stream;
    let mut head = |status: &str, headers: &str| {
        write!(out, "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n")
    };
    let refuse = |code| format!("X-Error-Code: {code}\r\nContent-Length: 0\r\n");
    match wrong {
        Some(Wrong::Drop) => return Ok(()),
        Some(Wrong::Status(status, headers)) => {
            return head(status, &format!("{headers}Content-Length: 0\r\n"));
        }
        _ => {}
    }
    if let Some(target) = target.strip_prefix("/api/") {
        let target = target.strip_prefix("models/").unwrap_or(target);
        let Some((repository, revision)) = target.split_once("/revision/") else {
            return head("404 Not Found", &refuse("RepoNotFound"));
        };
        let Some(served) = served.iter().find(|served| served.repository == repository) else {
            let status = if token.is_empty() { "401 Unauthorized" } else { "404 Not Found" };
            return head(status, &refuse("RepoNotFound"));
        };
        if !["main", COMMIT].contains(&revision) {
            return head("404 Not Found", &refuse("RevisionNotFound"));
        }
        let files: Vec<_> = served.files.keys().map(|name| json!({"rfilename": name})).collect();
        let body = json!({"sha": COMMIT, "siblings": files}).to_string();
        head("200 OK", &format!("Content-Length: {}\r\n", body.len()))?;
        return out.write_all(body.as_bytes());
    }
    let (target, stored) = match target.strip_prefix("/stored") {
        Some(target) => (target, true),
        None => (target, false),
    };
    let found = target.trim_start_matches('/').split_once(&format!("/resolve/{COMMIT}/"));
    let found = found.and_then(|(repository, name)| {
        let served = served.iter().find(|served| served.repository == repository)?;
        Some((name, served.files.get(name)?))
    });
    let Some((name, bytes)) = found else {
        return head("404 Not Found", &refuse("EntryNotFound"));
    };
    if name.ends_with(".safetensors") && !stored {
        // As the hub does: a large file lies with another host.
        return head(
            "302 Found",
            &format!(
                "X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{}\"\r\nX-Linked-Size: {}\r\n\
                 Location: http://localhost:{port}/stored{target}\r\nContent-Length: 0\r\n",
                tag(name, bytes),
                bytes.len()
            ),
        );
    }
    let from = match (&range, wrong) {
        (_, Some(Wrong::IgnoreRange)) | (None, _) => 0,
        (Some(range), _) => range["bytes=".len()..].trim_end_matches('-').parse().unwrap(),
    };
    let mut body = bytes[from..].to_vec();
    let headers = format!("ETag: \"{}\"\r\nContent-Length: {}\r\n", tag(name, bytes), body.len());
    match from {
        0 => head("200 OK", &headers)?,
        from => {
            let range =
                format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            head("206 Partial Content", &(headers + &range))?;
        }
    }
    match wrong {
        Some(Wrong::Cut(length)) => body.truncate(length),
        Some(Wrong::Alter) => body[1000] ^= 1,
        _ => {}
    }
    if method == "HEAD" { Ok(()) } else { out.write_all(&body) }
}

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
    (place, hub): (&Place, &FakeHub),
    arguments: &[&str],
    environment: &[(&str, &str)],
    (status, parts): (i32, &[&str]),
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

    // Online again: the hub is asked which commit it is, and for no file.
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
fn a_gated_model_says_what_to_do() {
    let place = place("org/tiny");
    let gated = "X-Error-Code: GatedRepo\r\nX-Error-Message: Access is restricted\r\n";
    let hub = FakeHub::tiny();
    hub.will("HEAD", Wrong::Status("401 Unauthorized", gated));
    let page = format!("accept the licence on {}/org/tiny", hub.endpoint);
    assert_fails(
        (&place, &hub),
        &[],
        &[],
        (
            2,
            &[
                "`config.json` of hub model `org/tiny`",
                "gated",
                &page,
                "`hf auth login`",
                "HF_TOKEN",
            ],
        ),
    );
    hub.will("HEAD", Wrong::Status("403 Forbidden", gated));
    assert_fails(
        (&place, &hub),
        &[],
        &[("HF_TOKEN", TOKEN)],
        (2, &["may not read `org/tiny`", &page, "with the token's account"]),
    );
    hub.will("/api/", Wrong::Status("401 Unauthorized", ""));
    assert_fails(
        (&place, &hub),
        &[],
        &[("HF_TOKEN", TOKEN)],
        (2, &["does not accept the token", "`hf auth login`"]),
    );
}

#[test]
fn a_model_or_revision_that_is_not_there_is_said_with_the_folder_that_is_not() {
    let hub = FakeHub::tiny();
    let place = place("models/nothing");
    assert_fails(
        (&place, &hub),
        &[],
        &[],
        (
            2,
            &[
                "there is no folder `models/nothing`, so the hub was asked",
                "no such repository",
                "HF_TOKEN",
            ],
        ),
    );
    assert_fails(
        (&place, &hub),
        &[],
        &[("HF_TOKEN", TOKEN)],
        (2, &["no such repository for this token"]),
    );
    let revision = ["--set", "model.path=org/tiny", "--set", "model.revision=v9"];
    assert_fails((&place, &hub), &revision, &[], (2, &["`org/tiny` at `v9`", "no such revision"]));
    let wrong = ["--set", "model.path=org/tiny", "--set", "model.revision=../x"];
    assert_fails((&place, &hub), &wrong, &[], (2, &["`../x` is not a revision"]));
    let folder = format!("model.path={}", path("models/tiny").display());
    let pinned = ["--set", &folder, "--set", "model.revision=v9"];
    assert_fails(
        (&place, &hub),
        &pinned,
        &[],
        (2, &["is not on the hub", "leave `model.revision` out"]),
    );
}

#[test]
fn a_repository_without_safetensors_is_refused_before_anything_is_fetched() {
    let mut served = model("org/tiny", "tiny");
    let weights = served.files.remove(WEIGHTS).unwrap();
    served.files.insert("pytorch_model.bin".into(), weights);
    let (hub, place) = (FakeHub::serve(vec![served]), place("org/tiny"));
    assert_fails(
        (&place, &hub),
        &[],
        &[],
        (2, &["has no `model.safetensors`", "only `pytorch_model.bin`", "save_pretrained"]),
    );
    assert_eq!(hub.requests("").len(), 1);
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
    assert_fails(
        (&place, &hub),
        &[],
        &[],
        (1, &["429", "run the same command again in 7200 seconds"]),
    );
    for _ in 0..5 {
        hub.will("GET /stored/", Wrong::Status("500 Internal Server Error", "Retry-After: 0\r\n"));
    }
    assert_fails(
        (&place, &hub),
        &[],
        &[],
        (
            1,
            &[
                "`model.safetensors` of hub model `org/tiny`",
                "500",
                "every time",
                "run the same command again",
            ],
        ),
    );
    assert_eq!(hub.requests("GET /stored/").len(), 5);
}

#[test]
fn a_cut_download_goes_on_where_it_was_cut() {
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
fn another_command_goes_on_with_what_an_earlier_one_left() {
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
        (&place, &hub),
        &[],
        &[],
        (1, &["`model.safetensors`", "expected SHA-256", "the download is deleted"]),
    );
    let left: Vec<_> = std::fs::read_dir(place.path("hf/hub/models--org--tiny/blobs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().all(|name| name.len() == 40), "{left:?}");
    succeed(&place, &hub, &[], &[]);
}

#[test]
fn mistakes_in_the_data_show_before_the_weights_are_fetched() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    let data = ["--set", "data.train=[\"nowhere.json\"]"];
    assert_fails((&place, &hub), &data, &[], (2, &["`nowhere.json`"]));
    assert_eq!(hub.requests("/stored/"), Vec::<String>::new());
}

#[test]
fn offline_without_a_cache_says_what_is_missing() {
    let (hub, place) = (FakeHub::tiny(), place("org/tiny"));
    let offline = [("HF_HUB_OFFLINE", "1")];
    assert_fails(
        (&place, &hub),
        &[],
        &offline,
        (2, &["not in the cache", "HF_HUB_OFFLINE is set"]),
    );
    succeed(&place, &hub, &["--output", "first"], &[]);
    std::fs::remove_file(
        place.path(&format!("hf/hub/models--org--tiny/snapshots/{COMMIT}/{WEIGHTS}")),
    )
    .unwrap();
    assert_fails((&place, &hub), &[], &offline, (2, &["model.safetensors` is not in the cache"]));
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

    let place = self::place(model.to_str().unwrap());
    for (file, part) in [
        ("hf://datasets/org/pairs/other.json", "it has `data/pairs.jsonl`"),
        ("hf://datasets/org/nothing/a.json", "no such repository"),
        ("hf://org/pairs/a.json", "expected `hf://datasets/OWNER/NAME/FILE`"),
    ] {
        let train = format!("data.train=[{file:?}]");
        assert_fails((&place, &hub), &["--set", &train], &[], (2, &[part]));
    }
}

/// The tiny sentence encoder as `org/encoder`, without the files of `absent`.
fn encoder(absent: &str) -> Served {
    let files = crate::encoder::FILES.into_iter().filter(|file| *file != absent);
    let read = |file: &str| std::fs::read(crate::encoder::folder().join(file)).unwrap();
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
        (&place, &hub),
        &arguments,
        &[],
        (2, &["1_Pooling/config.json", "expected the pooling mode"]),
    );
    assert!(hub.requests("").iter().all(|request| !request.contains(WEIGHTS)));
    let hub = FakeHub::serve(vec![model(), encoder("modules.json")]);
    std::fs::remove_dir_all(place.path("hf/hub/models--org--encoder")).unwrap();
    assert_fails(
        (&place, &hub),
        &arguments,
        &[],
        (2, &["`org/encoder` at `main` has no `modules.json`"]),
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
