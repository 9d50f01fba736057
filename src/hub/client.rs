//! Requests to the hub: retried while that may help, otherwise an error with the remedy.

use anyhow::{Context, Result, anyhow, bail};
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::console::progress::Verbosity;
use crate::error::InputError;
use crate::hub::cache;
use crate::hub::name::Repository;
use crate::hub::settings::Settings;
use crate::net::agent::{self, Manner};
use crate::net::retry::{Fault, Patience, Peer, text};

/// The hub, as messages name it.
pub(super) const HUB: Peer =
    Peer { name: "the hub", check: "the network, HF_ENDPOINT and SSL_CERT_FILE" };
/// Longest list of files that is read, in bytes.
const LONGEST_LIST: u64 = 64 << 20;
/// Most redirects within the hub, relative or with its own address,
/// that are followed for one file.
const MOST_REDIRECTS: usize = 5;

/// Sends requests to one hub.
pub(super) struct Client {
    pub(super) settings: Settings,
    pub(super) verbosity: Verbosity,
    agent: Agent,
}

/// The facts about a file in its headers, requested before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    /// Tag of the content: for a large file its SHA-256.
    pub(super) etag: String,
    /// Bytes.
    pub(super) size: u64,
    /// Address of the content.
    pub(super) address: String,
}

impl Client {
    pub(super) fn new(settings: Settings, verbosity: Verbosity) -> Result<Self> {
        let agent = agent::new(settings.certificates.as_deref(), Manner::DOWNLOADS)?;
        Ok(Self { settings, verbosity, agent })
    }

    /// The commit of the repository's revision, and the names of its files.
    pub(super) fn list(&self, repository: &Repository) -> Result<(String, Vec<String>)> {
        let address = format!("{}/api/{}", self.settings.endpoint, repository.library().api_url());
        let what = repository.to_string();
        let mut patience = Patience::new(HUB, &what, self.verbosity);
        let text = loop {
            let response = self.ask(repository, &what, &mut patience, || self.get(&address, 0))?;
            match response.into_body().into_with_config().limit(LONGEST_LIST).read_to_string() {
                Ok(text) => break text,
                Err(error) => patience.wait(&Fault::broken(&error))?,
            }
        };
        let list: serde_json::Value = serde_json::from_str(&text)
            .with_context(|| format!("{what}: `{address}` did not answer with JSON"))?;
        let commit = list["sha"].as_str().filter(|commit| cache::is_commit(commit));
        let names = list["siblings"].as_array().map(|files| {
            files.iter().filter_map(|file| Some(file["rfilename"].as_str()?.to_owned())).collect()
        });
        match (commit, names) {
            (Some(commit), Some(names)) => Ok((commit.to_owned(), names)),
            _ => bail!("{what}: `{address}` did not answer with a commit and its files"),
        }
    }

    /// Tag, size and address of a file of a commit, from its headers.
    pub(super) fn look(&self, repository: &Repository, commit: &str, name: &str) -> Result<Remote> {
        let what = format!("`{name}` of {repository}");
        let address = format!(
            "{}/{}/resolve/{commit}/{}",
            self.settings.endpoint,
            repository.library_at(commit).url(),
            encoded(name)
        );
        let mut asked = address.clone();
        let mut patience = Patience::new(HUB, &what, self.verbosity);
        let (mut linked_tag, mut linked_size) = (None, None);
        // A renamed repository and a mirror redirect within the hub. A redirect to another host already carries the tag.
        for _ in 0..MOST_REDIRECTS {
            let response = self.ask(repository, &what, &mut patience, || self.head(&asked))?;
            let headers = response.headers();
            // The first answer with a tag or size of the file counts: a later one may be of the store behind it.
            let own = |name: &str| text(headers, name).map(str::to_owned);
            linked_tag = linked_tag.or_else(|| own("x-linked-etag"));
            linked_size = linked_size.or_else(|| own("x-linked-size"));
            let within = text(headers, "location").and_then(|location| self.within(location));
            if let Some(within) = within.filter(|_| linked_tag.is_none() || linked_size.is_none()) {
                asked = within;
                continue;
            }
            let etag = linked_tag.as_deref().or_else(|| text(headers, "etag"));
            let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
            let size = linked_size.as_deref().or_else(|| {
                let whole = response.status().is_success();
                text(headers, "content-length").filter(|_| whole)
            });
            return match (etag.filter(|etag| is_tag(etag)), size.map(str::parse)) {
                (Some(etag), Some(Ok(size))) => Ok(Remote { etag: etag.to_owned(), size, address }),
                _ => Err(anyhow!("{what}: the hub did not send its tag and size")),
            };
        }
        bail!("{what}: expected at most {MOST_REDIRECTS} redirects")
    }

    /// The whole address of a redirect that stays on the hub; none for one to another host.
    fn within(&self, location: &str) -> Option<String> {
        let hub = origin(&self.settings.endpoint);
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(format!("{hub}{location}"));
        }
        let is_hub = origin(location).eq_ignore_ascii_case(hub);
        is_hub.then(|| location.to_owned())
    }

    /// The file's content from byte `from` on. With status 200 it is all of the content: the hub ignored `from`.
    pub(super) fn open(
        &self,
        repository: &Repository,
        what: &str,
        patience: &mut Patience<'_>,
        address: &str,
        from: u64,
    ) -> Result<Response<Body>> {
        self.ask(repository, what, patience, || self.get(address, from))
    }

    /// Sends `request`, with retries; a 4xx is an error with its remedy.
    fn ask(
        &self,
        repository: &Repository,
        what: &str,
        patience: &mut Patience<'_>,
        request: impl Fn() -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>> {
        let response = patience.ask(request)?;
        if response.status().is_client_error() {
            return Err(self.refusal(repository, what, &response));
        }
        Ok(response)
    }

    fn get(&self, address: &str, from: u64) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(address);
        if let Some(token) = &self.settings.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        request.call()
    }

    fn head(&self, address: &str) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.head(address).config().max_redirects(0).build();
        if let Some(token) = &self.settings.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call()
    }

    /// The error for a 4xx, with its remedy.
    fn refusal(
        &self,
        repository: &Repository,
        what: &str,
        response: &Response<Body>,
    ) -> anyhow::Error {
        let (status, headers) = (response.status().as_u16(), response.headers());
        let reason = text(headers, "x-error-message")
            .map_or_else(String::new, |reason| format!(", `{reason}`"));
        let page = format!("{}/{}", self.settings.endpoint, repository.library().url());
        let login = "`hf auth login` or set HF_TOKEN";
        let (token, id) = (self.settings.token.is_some(), &repository.id);
        let (message, hint) = match (text(headers, "x-error-code").unwrap_or(""), status, token) {
            ("GatedRepo", _, false) => (
                format!("{what} is gated: the hub answers {status} without a token{reason}"),
                format!("accept the licence on {page}, then {login}"),
            ),
            ("GatedRepo", ..) | (_, 403, true) => (
                format!("{what}: the hub answers {status}, this token may not read `{id}`{reason}"),
                format!(
                    "accept the licence on {page} with the token's account, wait until access is granted, and let \
                     the token read gated repositories"
                ),
            ),
            ("RevisionNotFound", ..) => (
                format!("{what}: there is no such revision"),
                "a revision is a branch, a tag or a commit hash; the default is `main`".to_owned(),
            ),
            ("EntryNotFound", ..) => {
                (format!("{what}: there is no such file"), format!("see {page}"))
            }
            ("RepoNotFound", _, true) | (_, 404, true) => (
                format!(
                    "{what}: the hub has no such repository for this token, or no such revision"
                ),
                format!("check the name `{id}` and the revision, and that the token may read it"),
            ),
            (_, 401 | 403 | 404, false) => (
                format!(
                    "{what}: the hub answers {status}: no such repository, or one that needs a token{reason}"
                ),
                format!(
                    "check the name `{id}` and the revision; if it is gated or private, accept the licence on \
                     {page}, then {login}"
                ),
            ),
            (_, 401, true) => (
                format!("{what}: the hub does not accept the token{reason}"),
                format!("{login} again"),
            ),
            _ => return anyhow!("{what}: the hub answers {}{reason}", response.status()),
        };
        InputError::new(message).hint(hint).into()
    }
}

/// Whether a tag can be the name of a file.
fn is_tag(tag: &str) -> bool {
    (1..=200).contains(&tag.len())
        && !tag.starts_with('.')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// `https://host` of an address.
fn origin(address: &str) -> &str {
    let host = address.find("://").map_or(0, |at| at + 3);
    match address[host..].find('/') {
        Some(path) => &address[..host + path],
        None => address,
    }
}

/// A file's path, with characters that have a meaning in an address percent-encoded.
fn encoded(path: &str) -> String {
    path.bytes()
        .map(|c| match c {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(c).to_string()
            }
            c => format!("%{c:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_cannot_name_another_folder() {
        assert!(is_tag("0123abc") && is_tag("0123abc-7"));
        for tag in ["", "../x", "a/b", ".x", "a\0", "a b"] {
            assert!(!is_tag(tag), "{tag}");
        }
    }

    #[test]
    fn addresses_are_taken_apart_and_put_together() {
        assert_eq!(origin("https://hub.example/mirror"), "https://hub.example");
        assert_eq!(origin("http://localhost:80"), "http://localhost:80");
        assert_eq!(encoded("data/a b#é.json"), "data/a%20b%23%C3%A9.json");
    }
}
