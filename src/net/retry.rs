//! Requests that are retried while a retry may help: which failures are temporary, how long to wait, when to give up.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow};
use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode};

use crate::console::interrupt;
use crate::console::progress::Verbosity;
use crate::net::resolver::NoThread;

/// How often a request is tried, and how long the pauses are.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Failures in a row after which a request is given up.
    pub tries: u32,
    /// The same where the peer asks to slow down (429).
    pub busy_tries: u32,
    /// The same where a whole response of status 200 is not what was asked for: the peer may charge for each.
    pub garbled_tries: u32,
    /// Pause after the first failure; it doubles with each further one.
    pub first: Duration,
    /// Longest pause of our own choice.
    pub ceiling: Duration,
    /// Longest pause that a peer may ask for.
    pub longest: Duration,
    /// Largest share of a pause that is added to it by chance, so that many requests do not come back at once.
    pub jitter: f64,
}

impl Backoff {
    /// One download at a time.
    pub const DOWNLOADS: Self = Self {
        tries: 5,
        busy_tries: 5,
        garbled_tries: 5,
        first: Duration::from_millis(500),
        ceiling: Duration::from_secs(8),
        longest: Duration::from_secs(330),
        jitter: 0.0,
    };

    /// Pause after `failures` of a request in a row, of which `fault` is the last; none if it is given up.
    pub fn pause(&self, failures: u32, fault: &Fault) -> Option<Duration> {
        let tries = match fault.kind {
            FaultKind::Hopeless => return None,
            FaultKind::Status | FaultKind::Broken | FaultKind::Unreached | FaultKind::Cut => {
                self.tries
            }
            FaultKind::Busy => self.busy_tries,
            FaultKind::Garbled => self.garbled_tries,
        };
        let pause = fault.pause.unwrap_or_else(|| {
            let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
            self.first.saturating_mul(doubled).min(self.ceiling)
        });
        let wanted = failures < tries && pause <= self.longest;
        wanted.then(|| pause.mul_f64(1.0 + self.jitter * fastrand::f64()))
    }
}

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
    /// The peer asks to slow down.
    Busy,
    /// The peer answered with what was not asked for.
    Garbled,
    /// No whole response arrived.
    Broken,
    /// The peer was not reached.
    Unreached,
    /// No whole response arrived, and a retry cannot help.
    Hopeless,
    /// The connection ended in the middle of a body.
    Cut,
}

impl Fault {
    /// A response with a temporary status.
    pub fn of(response: &Response<Body>) -> Self {
        let seconds = |text: &str| text.trim().parse().ok().map(Duration::from_secs);
        let date = |text: &str| {
            let then = httpdate::parse_http_date(text.trim()).ok()?;
            // A date that has passed asks for no pause.
            Some(then.duration_since(SystemTime::now()).unwrap_or_default())
        };
        let headers = response.headers();
        // `RateLimit: "api";r=0;t=55`: the next request is allowed in 55 seconds.
        let limited = response.status() == StatusCode::TOO_MANY_REQUESTS;
        let asked = text(headers, "retry-after").and_then(|text| seconds(text).or(date(text)));
        let pause = asked.or_else(|| {
            text(headers, "ratelimit")
                .filter(|_| limited)?
                .split(';')
                .find_map(|part| seconds(part.trim().strip_prefix("t=")?))
        });
        let kind = if limited { FaultKind::Busy } else { FaultKind::Status };
        Self { kind, what: response.status().to_string(), pause }
    }

    /// A whole response that is not what was asked for; `what`: in words.
    pub fn garbled(what: String) -> Self {
        Self { kind: FaultKind::Garbled, what, pause: None }
    }

    /// Adds what the peer said about it.
    #[must_use]
    pub fn saying(mut self, said: &str) -> Self {
        if !said.is_empty() {
            self.what = format!("{}: {said}", self.what);
        }
        self
    }

    /// The pause that the peer asks for by a 429, zero where it names none; none for another fault.
    pub fn asks_to_slow_down(&self) -> Option<Duration> {
        (self.kind == FaultKind::Busy).then(|| self.pause.unwrap_or_default())
    }

    /// Whether the peer answered, although with what was not asked for.
    pub fn is_garbled(&self) -> bool {
        self.kind == FaultKind::Garbled
    }

    /// Whether the peer may have done the work and charge for it: it answered with what was not asked for, or its answer was lost.
    pub fn may_be_charged(&self) -> bool {
        matches!(self.kind, FaultKind::Garbled | FaultKind::Broken | FaultKind::Cut)
    }

    /// The pause that the peer asks for.
    pub fn asked_pause(&self) -> Option<Duration> {
        self.pause
    }

    /// A request or a body that ended in `error`.
    pub fn broken(error: &ureq::Error) -> Self {
        use ureq::Error::{ConnectionFailed, HostNotFound, Io, Other, Protocol, Timeout};
        use ureq::Timeout::{Connect, Resolve};
        let kind = match error {
            // A certificate that is not trusted now will not be trusted on a retry.
            Io(error) if error.kind() == std::io::ErrorKind::InvalidData => FaultKind::Hopeless,
            Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                FaultKind::Unreached
            }
            HostNotFound | ConnectionFailed | Timeout(Connect | Resolve) => FaultKind::Unreached,
            // A thread may end meanwhile.
            Other(error) if error.is::<NoThread>() => FaultKind::Unreached,
            Io(_) | Timeout(_) | Protocol(_) => FaultKind::Broken,
            _ => FaultKind::Hopeless,
        };
        let what = match error {
            Other(error) => error.to_string(), // without ureq's `other: `
            error => error.to_string(),
        };
        Self { kind, what, pause: None }
    }

    /// A connection that ended after `done` of `size` bytes; `why`: empty, or the reason after `: `.
    pub fn cut(done: u64, size: u64, why: &str) -> Self {
        let what = format!("the connection ended after {done} of {size} bytes{why}");
        Self { kind: FaultKind::Cut, what, pause: None }
    }

    /// The failure in words; `peer`: the name of the receiver.
    pub fn sentence(&self, peer: &str) -> String {
        match self.kind {
            FaultKind::Status | FaultKind::Busy | FaultKind::Garbled => {
                format!("{peer} answers {}", self.what)
            }
            FaultKind::Broken | FaultKind::Unreached | FaultKind::Hopeless => {
                format!("no whole answer from {peer}: {}", self.what)
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
        let (what, why) = (self.what, fault.sentence(self.peer.name));
        let Some(pause) = Backoff::DOWNLOADS.pause(self.failures, fault) else {
            let times = if self.failures == 1 { "" } else { " every time" };
            let wait = match fault.pause {
                Some(pause) if pause > Backoff::DOWNLOADS.longest => {
                    format!(" in {} seconds", pause.as_secs())
                }
                _ => String::new(),
            };
            let first = match fault.kind {
                FaultKind::Status | FaultKind::Busy | FaultKind::Garbled => String::new(),
                _ => format!("check {}, then ", self.peer.check),
            };
            let message = format!(
                "{what}: {why}{times}\n\nhint: {first}run the same command again{wait}; what was received is kept"
            );
            return Err(match fault.kind {
                FaultKind::Status | FaultKind::Busy | FaultKind::Garbled => anyhow!(message),
                _ => Unreachable(message).into(),
            });
        };
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

/// Whether a retry may get another status.
pub fn is_temporary(status: StatusCode) -> bool {
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
        for _ in 1..Backoff::DOWNLOADS.tries {
            patience.wait(&fault(Some(Duration::ZERO))).unwrap();
        }
        assert!(patience.wait(&fault(Some(Duration::ZERO))).is_err());
        patience.renew();
        let error =
            patience.wait(&fault(Some(Backoff::DOWNLOADS.longest * 2))).unwrap_err().to_string();
        assert!(error.contains("in 660 seconds"), "{error}");
    }

    #[test]
    fn pauses_double_up_to_the_ceiling_and_jitter_never_shortens_one_that_was_asked_for() {
        let backoff = Backoff { tries: 9, jitter: 0.5, ..Backoff::DOWNLOADS };
        let fault = |pause| Fault { what: "503".into(), pause, kind: FaultKind::Status };
        for (failures, pause_s) in [(1, 0.5), (2, 1.0), (4, 4.0), (5, 8.0), (8, 8.0)] {
            let got = backoff.pause(failures, &fault(None)).unwrap().as_secs_f64();
            assert!((pause_s..pause_s * 1.5).contains(&got), "{failures}: {got}");
        }
        assert!(backoff.pause(9, &fault(None)).is_none());
        let asked = Duration::from_secs(40);
        assert!(backoff.pause(1, &fault(Some(asked))).unwrap() >= asked);
        let garbled = Fault::garbled("`<html>`".into());
        let few = Backoff { garbled_tries: 2, ..backoff };
        assert!(few.pause(1, &garbled).is_some() && few.pause(2, &garbled).is_none());
    }

    #[test]
    fn a_pause_is_read_in_seconds_and_as_a_date() {
        let pause = |text: &str| {
            let response = Response::builder().status(429).header("retry-after", text);
            Fault::of(&response.body(Body::builder().data("")).unwrap()).pause
        };
        assert_eq!(pause("7"), Some(Duration::from_secs(7)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(90));
        assert!((80..=90).contains(&pause(&soon).unwrap().as_secs()));
        assert_eq!(pause("soon"), None);
    }

    #[test]
    fn work_that_a_peer_may_have_done_may_be_charged_for() {
        let io = |kind| Fault::broken(&ureq::Error::Io(std::io::Error::from(kind)));
        let timeout = |which| Fault::broken(&ureq::Error::Timeout(which));
        for (fault, is_charged) in [
            (Fault::garbled("x".into()), true),
            (io(std::io::ErrorKind::UnexpectedEof), true),
            (timeout(ureq::Timeout::RecvResponse), true),
            (timeout(ureq::Timeout::Connect), false),
            (io(std::io::ErrorKind::ConnectionRefused), false),
            (Fault::broken(&ureq::Error::HostNotFound), false),
        ] {
            assert_eq!(fault.may_be_charged(), is_charged, "{}", fault.what);
        }
    }

    #[test]
    fn a_peer_without_an_answer_is_unreachable_and_one_that_answers_is_not() {
        for (kind, unreachable) in [
            (FaultKind::Status, false),
            (FaultKind::Broken, true),
            (FaultKind::Unreached, true),
            (FaultKind::Hopeless, true),
            (FaultKind::Cut, true),
        ] {
            let mut patience = Patience::new(PEER, "`f`", Verbosity::Quiet);
            let fault =
                Fault { kind, what: "x".into(), pause: Some(Backoff::DOWNLOADS.longest * 2) };
            let error = patience.wait(&fault).unwrap_err();
            assert_eq!(error.is::<Unreachable>(), unreachable, "{kind:?}: {error}");
        }
    }
}
