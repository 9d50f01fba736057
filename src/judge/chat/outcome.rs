//! What became of an item: an answer, or a failure with its reason.

use std::fmt;
use std::sync::Arc;

/// What became of an item. A copy shares the text.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The model answered; also by refusing, or with nothing.
    Answer(Answer),
    /// The endpoint will never answer this request as it is, or did not in all tries.
    Failed(Failure),
}

/// An answer of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The text without any separate reasoning; that of the refusal where the model refused.
    pub text: Arc<str>,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens that the endpoint counted; none where it counts none.
    pub usage: Option<Usage>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// The limit of tokens was reached: the text is cut.
    Length,
    /// A filter of the provider withheld it, or a part of it.
    ContentFilter,
    /// The model refused in the field made for that.
    Refusal,
    /// Another reason of the endpoint, or none.
    Other(Option<Arc<str>>),
}

impl Finish {
    /// `stop`, `length`, `content_filter`, `refusal`, or the endpoint's own word.
    pub fn name(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::Refusal => "refusal",
            Self::Other(reason) => reason.as_deref().unwrap_or("unknown"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "status {status}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// Tokens of a request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Of the prompt.
    pub prompt: u64,
    /// Of the answer, reasoning included.
    pub completion: u64,
    /// Of the reasoning, which the text does not hold; estimated where the endpoint sends reasoning without a count.
    pub reasoning: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status; none where no response arrived.
    pub status: Option<u16>,
    /// In words, without the key.
    pub why: String,
}
