//! Requests that are retried while a retry may help: which failures are temporary, how long to wait, when to give up.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode};

use crate::console::interrupt;
use crate::console::progress::Verbosity;

/// Failures in a row after which a request is given up.
const TRIES: u32 = 5;
/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause that a peer may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(330);

/// No try of a request got a whole response.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(String);

/// The receiver of a request, as messages name it.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Such as `the hub`.
    pub name: &'static str,
    /// What to check when it gives no answer, such as `the network and HF_ENDPOINT`.
    pub check: &'static str,
}

/// A failure of one try.
pub struct Fault {
    kind: FaultKind,
    what: String,
    /// Pause that the peer asks for.
    pause: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    /// The peer answered with a temporary status.
    Status,
    /// No whole response arrived.
    Broken,
    /// No whole response arrived, and a retry cannot help.
    Hopeless,
    /// The connection ended in the middle of a body.
    Cut,
}

impl Fault {
    /// A response with a temporary status.
    fn of(response: &Response<Body>) -> Self {
        let seconds = |text: &str| text.trim().parse().ok().map(Duration::from_secs);
        let headers = response.headers();
        // `RateLimit: "api";r=0;t=55`: the next request is allowed in 55 seconds.
        let pause = text(headers, "retry-after").and_then(seconds).or_else(|| {
            let limited = response.status() == StatusCode::TOO_MANY_REQUESTS;
            text(headers, "ratelimit")
                .filter(|_| limited)?
                .split(';')
                .find_map(|part| seconds(part.trim().strip_prefix("t=")?))
        });
        Self { kind: FaultKind::Status, what: response.status().to_string(), pause }
    }

    /// A request or a body that ended in `error`.
    pub fn broken(error: &ureq::Error) -> Self {
        use ureq::Error::{ConnectionFailed, HostNotFound, Io, Protocol, Timeout};
        let kind = match error {
            // A certificate that is not trusted now will not be trusted on a retry.
            Io(error) if error.kind() == std::io::ErrorKind::InvalidData => FaultKind::Hopeless,
            Io(_) | Timeout(_) | HostNotFound | ConnectionFailed | Protocol(_) => FaultKind::Broken,
            _ => FaultKind::Hopeless,
        };
        Self { kind, what: error.to_string(), pause: None }
    }

    /// A connection that ended after `done` of `size` bytes; `why`: empty, or the reason after `: `.
    pub fn cut(done: u64, size: u64, why: &str) -> Self {
        let what = format!("the connection ended after {done} of {size} bytes{why}");
        Self { kind: FaultKind::Cut, what, pause: None }
    }

    /// The failure in words.
    fn sentence(&self, peer: &Peer) -> String {
        match self.kind {
            FaultKind::Status => format!("{} answers {}", peer.name, self.what),
            FaultKind::Broken | FaultKind::Hopeless => {
                format!("no whole answer from {}: {}", peer.name, self.what)
            }
            FaultKind::Cut => self.what.clone(),
        }
    }
}

/// Counts the failures of one request in a row, waits between retries and gives up.
pub struct Patience<'a> {
    peer: Peer,
    what: &'a str,
    verbosity: Verbosity,
    failures: u32,
}

impl<'a> Patience<'a> {
    /// `what`: the request, as messages name it.
    pub fn new(peer: Peer, what: &'a str, verbosity: Verbosity) -> Self {
        Self { peer, what, verbosity, failures: 0 }
    }

    /// Data arrived: forget earlier failures.
    pub fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits until the next try, or gives up.
    pub fn wait(&mut self, fault: &Fault) -> Result<()> {
        self.failures += 1;
        let pause = fault.pause.unwrap_or(FIRST_PAUSE * 2u32.pow(self.failures - 1));
        let (what, why) = (self.what, fault.sentence(&self.peer));
        if fault.kind == FaultKind::Hopeless || self.failures >= TRIES || pause > LONGEST_PAUSE {
            let times = if self.failures == 1 { "" } else { " every time" };
            let wait = match pause > LONGEST_PAUSE {
                true => format!(" in {} seconds", pause.as_secs()),
                false => String::new(),
            };
            let first = match fault.kind {
                FaultKind::Status => String::new(),
                _ => format!("check {}, then ", self.peer.check),
            };
            let message = format!(
                "{what}: {why}{times}\n\nhint: {first}run the same command again{wait}; what was received is kept"
            );
            return Err(match fault.kind {
                FaultKind::Status => anyhow!(message),
                _ => Unreachable(message).into(),
            });
        }
        self.verbosity.note(format!("{what}: {why}; retry in {:.1} s", pause.as_secs_f64()));
        pause_for(pause)
    }

    /// Sends `request` until it gets a response whose status is not temporary.
    pub fn ask(
        &mut self,
        request: impl Fn() -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>> {
        loop {
            interrupt::check()?;
            match request() {
                Ok(response) if is_temporary(response.status()) => {
                    self.wait(&Fault::of(&response))?;
                }
                Ok(response) => return Ok(response),
                Err(error) => self.wait(&Fault::broken(&error))?,
            }
        }
    }
}

fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// Sleeps, and ends early with an error after Ctrl-C.
pub fn pause_for(pause: Duration) -> Result<()> {
    let end = Instant::now() + pause;
    loop {
        interrupt::check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// The text of a header.
pub fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Peer = Peer { name: "the hub", check: "the network" };

    #[test]
    fn patience_ends() {
        let fault = |pause| Fault { what: "503".into(), pause, kind: FaultKind::Status };
        let mut patience = Patience::new(PEER, "`f`", Verbosity::Quiet);
        for _ in 1..TRIES {
            patience.wait(&fault(Some(Duration::ZERO))).unwrap();
        }
        assert!(patience.wait(&fault(Some(Duration::ZERO))).is_err());
        patience.renew();
        let error = patience.wait(&fault(Some(LONGEST_PAUSE * 2))).unwrap_err().to_string();
        assert!(error.contains("in 660 seconds"), "{error}");
    }

    #[test]
    fn a_peer_without_an_answer_is_unreachable_and_one_that_answers_is_not() {
        for (kind, unreachable) in [
            (FaultKind::Status, false),
            (FaultKind::Broken, true),
            (FaultKind::Hopeless, true),
            (FaultKind::Cut, true),
        ] {
            let mut patience = Patience::new(PEER, "`f`", Verbosity::Quiet);
            let fault = Fault { kind, what: "x".into(), pause: Some(LONGEST_PAUSE * 2) };
            let error = patience.wait(&fault).unwrap_err();
            assert_eq!(error.is::<Unreachable>(), unreachable, "{kind:?}: {error}");
        }
    }
}
