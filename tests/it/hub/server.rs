//! A hub on loopback that serves golden files and fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use mvpbench::disk::digest;
use serde_json::json;

use crate::golden::path;
use crate::http;

/// The commit of every repository.
pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A repository, such as `org/tiny` or `datasets/org/pairs`, with its files.
pub(super) struct Served {
    pub(super) repository: &'static str,
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// What goes wrong with one answer.
#[derive(Clone, Copy)]
pub(super) enum Wrong {
    /// A status with these headers.
    Status(&'static str, &'static str),
    /// A redirect to the file itself on this host name, with these headers.
    Redirect(&'static str, &'static str),
    /// The connection is closed without an answer.
    Drop,
    /// The connection is closed after this many bytes of the body.
    Cut(usize),
    /// One byte of the body is changed.
    Alter,
    /// The whole file is sent, although only its end was requested.
    IgnoreRange,
}

#[derive(Default)]
struct State {
    /// Consumed in order: a part of the request line, and what goes wrong with the answer.
    wrong: VecDeque<(&'static str, Wrong)>,
    /// `GET /path bytes=5- token`.
    requests: Vec<String>,
}

/// The hub, until the test ends.
pub(super) struct FakeHub {
    pub(super) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl FakeHub {
    pub(super) fn serve(served: Vec<Served>) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, served) = (Arc::clone(&state), Arc::new(served));
        let port = http::serve(move |stream, port| answer(stream, &served, &shared, port));
        Self { endpoint: format!("http://127.0.0.1:{port}"), state }
    }

    pub(super) fn tiny() -> Self {
        Self::serve(vec![model("org/tiny", "tiny")])
    }

    pub(super) fn will(&self, request: &'static str, wrong: Wrong) -> &Self {
        self.state.lock().unwrap().wrong.push_back((request, wrong));
        self
    }

    /// The requests since the last call that contain `part`.
    pub(super) fn requests(&self, part: &str) -> Vec<String> {
        let all = std::mem::take(&mut self.state.lock().unwrap().requests);
        all.into_iter().filter(|request| request.contains(part)).collect()
    }
}

pub(super) fn model(repository: &'static str, golden: &str) -> Served {
    let files = std::fs::read_dir(path(&format!("models/{golden}"))).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap())
    });
    Served { repository, files: files.collect() }
}

/// The tag of a large file is its SHA-256, that of another file git's SHA-1.
pub(super) fn tag(name: &str, bytes: &[u8]) -> String {
    if name.ends_with(".safetensors") {
        return digest::of_bytes(bytes);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    digest::of_git_blob(file.path()).unwrap()
}

fn answer(
    stream: TcpStream,
    served: &[Served],
    state: &Mutex<State>,
    port: u16,
) -> std::io::Result<()> {
    let Some(request) = http::read(&mut BufReader::new(&stream))? else { return Ok(()) };
    let (method, target) = (&*request.method, &*request.target);
    let range = request.headers.get("range").cloned();
    let token = if request.headers.contains_key("authorization") { "token" } else { "" };
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
        Some(Wrong::Redirect(host, headers)) => {
            let to = format!("Location: http://{host}:{port}/stored{target}\r\n");
            return head("307 Temporary Redirect", &format!("{headers}{to}Content-Length: 0\r\n"));
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
        // As on the hub, a large file is on another host.
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
        Some(Wrong::Alter) => {
            let at = body.len() / 2;
            body[at] ^= 1;
        }
        _ => {}
    }
    if method == "HEAD" { Ok(()) } else { out.write_all(&body) }
}
