//! A line of a Batch output file -> what became of its request.

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::StatusCode;

use crate::judge::chat::outcome::{Failure, Outcome};
use crate::judge::chat::response::{self, Heard};
use crate::net::retry;

/// A line of a Batch output file, of whatever server wrote it.
#[derive(Deserialize)]
pub(super) struct Line {
    pub(super) custom_id: String,
    response: Option<Response>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Response {
    status_code: u16,
    #[serde(default)]
    request_id: Value,
    #[serde(default)]
    body: Value,
}

impl Line {
    /// Whether a batch left the request open: it brought no response, as where it expired, or one that a retry may cure.
    pub(super) fn is_open(&self) -> bool {
        self.response.as_ref().is_none_or(|response| {
            StatusCode::from_u16(response.status_code).is_ok_and(retry::is_temporary)
        })
    }

    /// What became of the request, and what the response says besides.
    pub(super) fn outcome(&self) -> (Outcome, Heard) {
        let failed = |status, why| Outcome::Failed(Failure { status, why });
        let Some(Response { status_code, request_id, body }) = &self.response else {
            let why = match &self.error {
                Some(error) => response::error_text(json!({"error": error}).to_string().as_bytes()),
                None => "the line holds neither a response nor an error".to_owned(),
            };
            return (failed(None, why), Heard::default());
        };
        let (outcome, mut heard) = match status_code {
            200 => match response::answer(body.to_string().as_bytes()) {
                Ok((answer, heard)) => (Outcome::Answer(answer), heard),
                Err(why) => (failed(Some(200), why), Heard::default()),
            },
            status => (Outcome::Failed(response::failure(*status, body)), Heard::default()),
        };
        if let Some(id) = request_id.as_str().filter(|id| !id.is_empty()) {
            id.clone_into(&mut heard.request_id);
        }
        (outcome, heard)
    }
}
