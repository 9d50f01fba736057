//! What may pass, how long it is waited for, and when it is given up.

use std::time::Duration;

use anyhow::{Result, anyhow};
use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode};

use crate::train::interrupt;
use crate::train::progress::Verbosity;

/// How often the same thing is asked for before it is given up.
const TRIES: u32 = 5;
/// Pause after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that the hub may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(330);

/// No answer came from the hub, however often it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreachable(String);

/// Something that may pass.
pub(super) struct Fault {
    what: String,
    /// How long the hub wants to be left alone.
    pause: Option<Duration>,
    kind: FaultKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    /// The hub said so.
    Answered,
    /// No whole answer came.
    Silent,
    /// No whole answer came, and none will.
    Hopeless,
}

impl Fault {
    pub(super) fn of(response: &Response<Body>) -> Self {
        let seconds = |text: &str| text.trim().parse().ok().map(Duration::from_secs);
        let headers = response.headers();
        // `RateLimit: "api";r=0;t=55`: 55 seconds until more may be asked.
        let pause = text(headers, "retry-after").and_then(seconds).or_else(|| {
            let limited = response.status() == StatusCode::TOO_MANY_REQUESTS;
            text(headers, "ratelimit")
                .filter(|_| limited)?
                .split(';')
                .find_map(|part| seconds(part.trim().strip_prefix("t=")?))
        });
        Self {
            what: format!("the hub answers {}", response.status()),
            pause,
            kind: FaultKind::Answered,
        }
    }

    pub(super) fn broken(error: &ureq::Error) -> Self {
        use ureq::Error::{ConnectionFailed, HostNotFound, Io, Protocol, Timeout};
        let kind = match error {
            // A certificate that is not trusted will not be trusted either when asked again.
            Io(error) if error.kind() == std::io::ErrorKind::InvalidData => FaultKind::Hopeless,
            Io(_) | Timeout(_) | HostNotFound | ConnectionFailed | Protocol(_) => FaultKind::Silent,
            _ => FaultKind::Hopeless,
        };
        Self { what: format!("no whole answer from the hub: {error}"), pause: None, kind }
    }

    /// The connection ended in the middle of a file.
    pub(super) fn cut(done: u64, size: u64, why: &str) -> Self {
        let what = format!("the connection ended after {done} of {size} bytes{why}");
        Self { what, pause: None, kind: FaultKind::Silent }
    }
}

/// How many failures in a row are borne.
pub(super) struct Patience<'a> {
    what: &'a str,
    say: Verbosity,
    failures: u32,
}

impl<'a> Patience<'a> {
    pub(super) fn new(what: &'a str, say: Verbosity) -> Self {
        Self { what, say, failures: 0 }
    }

    /// Something came; failures count anew.
    pub(super) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits until it may be tried again, or gives up.
    pub(super) fn wait(&mut self, fault: Fault) -> Result<()> {
        self.failures += 1;
        let pause = fault.pause.unwrap_or(FIRST_PAUSE * 2u32.pow(self.failures - 1));
        let (what, why) = (self.what, fault.what);
        if fault.kind == FaultKind::Hopeless || self.failures >= TRIES || pause > LONGEST_PAUSE {
            let times = if self.failures == 1 { "" } else { " every time" };
            let wait = match pause > LONGEST_PAUSE {
                true => format!(" in {} seconds", pause.as_secs()),
                false => String::new(),
            };
            let first = match fault.kind {
                FaultKind::Answered => "",
                _ => "check the network, HF_ENDPOINT and SSL_CERT_FILE, then ",
            };
            let message = format!(
                "{what}: {why}{times}\n\nhint: {first}run the same command again{wait}; what has arrived is kept"
            );
            return Err(match fault.kind {
                FaultKind::Answered => anyhow!(message),
                _ => Unreachable(message).into(),
            });
        }
        self.say.note(format!("{what}: {why}; again in {:.1} s", pause.as_secs_f64()));
        pause_for(pause)
    }
}

/// Sleeps, but not through Ctrl-C.
pub(super) fn pause_for(pause: Duration) -> Result<()> {
    let end = std::time::Instant::now() + pause;
    loop {
        interrupt::check()?;
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// The text of a header.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends() {
        let fault = |pause| Fault { what: "x".into(), pause, kind: FaultKind::Answered };
        let mut patience = Patience::new("`f`", Verbosity::Quiet);
        for _ in 1..TRIES {
            patience.wait(fault(Some(Duration::ZERO))).unwrap();
        }
        assert!(patience.wait(fault(Some(Duration::ZERO))).is_err());
        patience.renew();
        let error = patience.wait(fault(Some(LONGEST_PAUSE * 2))).unwrap_err().to_string();
        assert!(error.contains("in 660 seconds"), "{error}");
    }
}
