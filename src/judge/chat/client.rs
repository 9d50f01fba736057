//! One try of one request: an answer, a failure that a retry may cure, one of this item, or one of all items.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::error::InputError;
use crate::judge::chat::concurrency;
use crate::judge::chat::endpoint::Endpoint;
use crate::judge::chat::outcome::{Answer, Failure, Finish, Outcome};
use crate::judge::chat::response::{self, Heard};
use crate::net::agent::{self, Manner};
use crate::net::retry::{self, Fault, text};

/// Longest body that is read, in bytes.
const LONGEST_BODY: u64 = 16 << 20;
/// Longest text of an error that is kept, in characters.
const LONGEST_ERROR: usize = 500;

/// What one try came to.
pub(super) enum Try {
    /// The item is done.
    Done(Outcome, Heard),
    /// A retry may help.
    Temporary(Fault),
    /// No item will get an answer.
    Fatal(anyhow::Error),
}

/// Sends requests to one endpoint.
pub(super) struct Client {
    agent: Agent,
    endpoint: Endpoint,
    address: String,
    model: String,
}

impl Client {
    /// - `silence`: longest wait for an answer.
    pub(super) fn new(
        endpoint: Endpoint,
        model: &str,
        silence: Duration,
        certificates: Option<&Path>,
    ) -> Result<Self> {
        let manner = Manner {
            silence,
            // Some servers send blank lines while the model thinks.
            body: Some(silence),
            connections: concurrency::MOST,
            // The key and the profiles of people go to the address that was given, and to no other.
            redirects: 0,
            // A proxy cannot reach this machine's own address.
            proxied: !endpoint.is_loopback(),
        };
        let agent = agent::new(certificates, manner)?;
        let address = format!("{}/chat/completions", endpoint.base());
        Ok(Self { agent, endpoint, address, model: model.to_owned() })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends `body` once.
    pub(super) fn ask(&self, body: &[u8]) -> Try {
        let mut request = self.agent.post(&self.address).header("Content-Type", "application/json");
        if let Some(key) = self.endpoint.key() {
            request = request.header("Authorization", key.authorization());
        }
        let response = match request.send(body) {
            Ok(response) => response,
            Err(error) => return Try::Temporary(Fault::broken(&error)),
        };
        let status = response.status();
        let fault = retry::is_temporary(status).then(|| Fault::of(&response));
        let moved = text(response.headers(), "location").map(str::to_owned);
        let request_id = text(response.headers(), "x-request-id").map(str::to_owned);
        let read = response.into_body().into_with_config().limit(LONGEST_BODY).read_to_vec();
        let body = match (read, fault.is_some() || !status.is_success()) {
            // Before any text of it is cut, which might leave a part of the key.
            (Ok(body), _) => self.redacted_bytes(body),
            // The status alone says enough.
            (Err(_), true) => Vec::new(),
            (Err(error), false) => return Try::Temporary(Fault::broken(&error)),
        };
        if status.is_success() {
            return match response::answer(&body) {
                Ok((answer, heard)) => {
                    let heard = self.heard(heard, request_id);
                    Try::Done(Outcome::Answer(self.clean(answer)), heard)
                }
                Err(what) => Try::Temporary(Fault::garbled(self.redacted(what))),
            };
        }
        let said = self.said(&body);
        let out_of_credit = status == StatusCode::TOO_MANY_REQUESTS
            && String::from_utf8_lossy(&body).contains("insufficient_quota");
        match fault {
            Some(fault) if !out_of_credit => Try::Temporary(fault.saying(&said)),
            _ => match self.fatal(status, out_of_credit, moved.as_deref(), &said) {
                Some(error) => Try::Fatal(error.into()),
                None => {
                    let why = if said.is_empty() { status.to_string() } else { said };
                    let failure = Failure { status: Some(status.as_u16()), why };
                    Try::Done(Outcome::Failed(failure), self.heard(Heard::default(), request_id))
                }
            },
        }
    }

    /// The error that stops the run, for a status that every item will get.
    fn fatal(
        &self,
        status: StatusCode,
        out_of_credit: bool,
        moved: Option<&str>,
        said: &str,
    ) -> Option<InputError> {
        let name = self.endpoint.name();
        let after = if said.is_empty() { String::new() } else { format!(": {said}") };
        let what = format!("endpoint `{name}`, model `{}`: {status}{after}", self.model);
        let hint = match status.as_u16() {
            402 | 429 if status.as_u16() == 402 || out_of_credit => {
                "add credit at the provider and run the same command again; what was answered is kept".to_owned()
            }
            401 | 403 => match self.endpoint.key_env() {
                Some(variable) => format!("set {variable} to a key that may use this model"),
                None => "name the environment variable that holds the key with `--key-env`".to_owned(),
            },
            404 | 405 => format!(
                "check the model's name and the address; requests go to `{}`",
                self.address
            ),
            300..=399 => match moved {
                Some(moved) => format!(
                    "redirects are not followed, so that no key goes elsewhere; it points to `{}`",
                    self.redacted(moved.to_owned())
                ),
                None => "redirects are not followed; give the final address".to_owned(),
            },
            _ => return None,
        };
        Some(InputError::new(what).hint(hint))
    }

    /// What the server says about an error, without the key.
    fn said(&self, body: &[u8]) -> String {
        let text = self.redacted(response::error_text(body));
        match text.char_indices().nth(LONGEST_ERROR) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    }

    fn clean(&self, mut answer: Answer) -> Answer {
        if let Some(key) = self.endpoint.key() {
            answer.text = key.redacted(answer.text.to_string()).into();
            if let Finish::Other(Some(reason)) = &answer.finish {
                answer.finish = Finish::Other(Some(key.redacted(reason.to_string()).into()));
            }
        }
        answer
    }

    /// What was heard without the key; the header's name of the request is the one that a provider can look up.
    fn heard(&self, heard: Heard, request_id: Option<String>) -> Heard {
        Heard {
            model: heard.model.map(|model| self.redacted(model)),
            request_id: self.redacted(request_id.unwrap_or(heard.request_id)),
        }
    }

    fn redacted_bytes(&self, body: Vec<u8>) -> Vec<u8> {
        match self.endpoint.key() {
            Some(key) if key.is_in(&body) => {
                key.redacted(String::from_utf8_lossy(&body).into_owned()).into_bytes()
            }
            _ => body,
        }
    }

    fn redacted(&self, text: String) -> String {
        match self.endpoint.key() {
            Some(key) => key.redacted(text),
            None => text,
        }
    }
}
