//! The name of a host -> its addresses, within a time.
//!
//! ureq's own resolver panics where the thread of a look-up cannot be started. This one fails, and asks nobody about what is an address
//! already.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// No thread could be started for a look-up, so nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("no thread can be started to look up the name of the host: {0}")]
pub(super) struct NoThread(io::Error);

/// Looks names up as the system does, each on a thread of its own, since a look-up cannot be interrupted.
#[derive(Debug)]
pub(super) struct Names;

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        look_up(thread::Builder::new(), uri, config, timeout)
    }
}

/// The addresses of the host of `uri`; `thread`: how the thread of a look-up is started.
fn look_up(
    thread: thread::Builder,
    uri: &Uri,
    config: &Config,
    timeout: NextTimeout,
) -> Result<ResolvedSocketAddrs, Error> {
    let place = uri.scheme().zip(uri.authority());
    let place = place.and_then(|(scheme, at)| DefaultResolver::host_and_port(scheme, at));
    let is_address = place.is_some_and(|place| place.parse::<SocketAddr>().is_ok());
    let (reason, after) = (timeout.reason, timeout.after);
    // Without a time-out, ureq looks up on the thread that asks.
    let asked = |uri: &Uri, config: &Config| {
        DefaultResolver::default().resolve(uri, config, NextTimeout::default())
    };
    if is_address || after.is_not_happening() {
        return asked(uri, config);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let (uri, config) = (uri.clone(), config.clone());
    thread
        .name("look-up".to_owned())
        .spawn(move || drop(sender.send(asked(&uri, &config))))
        .map_err(|error| Error::Other(NoThread(error).into()))?;
    match receiver.recv_timeout(*after) {
        Ok(found) => found,
        Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(reason)),
        Err(RecvTimeoutError::Disconnected) => Err(Error::HostNotFound),
    }
}

#[cfg(test)]
mod tests {
    use ureq::unversioned::transport::time::Duration;

    use super::*;

    fn found(uri: &str, thread: thread::Builder, after: Duration) -> Result<SocketAddr, Error> {
        let timeout = NextTimeout { after, reason: ureq::Timeout::Resolve, ..Default::default() };
        look_up(thread, &uri.parse().unwrap(), &Config::default(), timeout).map(|found| found[0])
    }

    /// A builder whose threads cannot be started: no machine has room for their stack.
    fn impossible() -> thread::Builder {
        thread::Builder::new().stack_size(1 << (usize::BITS - 2))
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_an_error_and_an_address_needs_none() {
        let minute = Duration::from_secs(60);
        let error = found("http://localhost:1234/v1", impossible(), minute).unwrap_err();
        assert!(error.to_string().contains("no thread can be started"), "{error}");
        for uri in ["http://127.0.0.1:1234/v1", "https://[::1]/v1"] {
            let address = found(uri, impossible(), minute).unwrap();
            assert!(address.ip().is_loopback() && matches!(address.port(), 1234 | 443));
        }
    }

    #[test]
    fn a_name_is_looked_up_within_its_time() {
        let minute = Duration::from_secs(60);
        let address = found("http://localhost:1234/v1", thread::Builder::new(), minute).unwrap();
        assert!(address.ip().is_loopback());
        let error =
            found("http://localhost:1234/v1", thread::Builder::new(), Duration::from_secs(0));
        assert!(matches!(error, Err(Error::Timeout(ureq::Timeout::Resolve)) | Ok(_)), "{error:?}");
    }
}
