//! What is asked for, and how far to go.

use std::time::Duration;

use crate::judge::chat::cost::Prices;
use crate::judge::chat::request::Parameters;

/// What is asked for, and how far to go.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The model and how it answers.
    pub parameters: Parameters,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Whether items that failed before are asked again.
    pub retry_failed: bool,
    /// Most items that all calls of [`crate::judge::chat::Asker::ask`] ask together; none: all.
    pub max_requests: Option<usize>,
    /// Most US dollars that all calls of [`crate::judge::chat::Asker::ask`] spend together; none: no limit. Requests in flight count
    /// with their estimate, and so does each try that brought no answer and may be charged for.
    pub max_cost: Option<f64>,
    /// Prices; none: those of the compiled-in table.
    pub prices: Option<Prices>,
}

impl Settings {
    /// All items, ten minutes for an answer, failures kept.
    pub fn of(parameters: Parameters) -> Self {
        Self {
            parameters,
            timeout: Duration::from_secs(600),
            retry_failed: false,
            max_requests: None,
            max_cost: None,
            prices: None,
        }
    }
}
