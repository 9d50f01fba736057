//! The agent that sends every request: certificates, time-outs, and no token for another host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;

use crate::error::InputError;
use crate::net::resolver::Names;

/// Time-out of a silent peer, at every stage of a request.
const SILENCE: Duration = Duration::from_secs(60);

/// How an agent treats its peer.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Longest wait for a response to begin, and for its next bytes.
    pub silence: Duration,
    /// Longest time for a whole body; none for files of any size.
    pub body: Option<Duration>,
    /// Connections that are kept open between requests.
    pub connections: usize,
    /// Redirects that are followed.
    pub redirects: u32,
    /// Whether the environment's proxy is used.
    pub proxied: bool,
}

impl Manner {
    /// One request at a time, files of any size, redirects to their storage.
    pub const DOWNLOADS: Self =
        Self { silence: SILENCE, body: None, connections: 3, redirects: 10, proxied: true };
}

/// The PEM file of certificates to trust in place of Mozilla's that the environment `get` names: `SSL_CERT_FILE`, or
/// `REQUESTS_CA_BUNDLE`.
pub fn certificates(get: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    get("SSL_CERT_FILE").or_else(|| get("REQUESTS_CA_BUNDLE")).map(PathBuf::from)
}

/// An agent that trusts the certificates of the PEM file `certificates` or, without one, those of Mozilla's programme.
///
/// A response of any status is no error.
pub fn new(certificates: Option<&Path>, manner: Manner) -> Result<Agent> {
    let roots = match certificates {
        Some(path) => {
            const REMEDY: &str =
                "set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to a PEM file of certificates";
            let place = format!("`{}`", path.display());
            let wrong = |what: &str| InputError::new(format!("{place}: {what}")).hint(REMEDY);
            let is_special =
                std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
            if is_special {
                return Err(wrong("expected a file, found a pipe or a device").into());
            }
            let pem = std::fs::read(path)
                .map_err(|error| InputError::of_path(&place, error, |error| error.hint(REMEDY)))?;
            let certificates: Vec<_> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err(wrong("there is no certificate in it").into());
            }
            RootCerts::from(certificates)
        }
        None => RootCerts::WebPki,
    };
    let mut builder = Agent::config_builder();
    if !manner.proxied {
        builder = builder.proxy(None);
    }
    let config = builder
        .http_status_as_error(false)
        // A redirect must not carry the token to another host.
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        // With any other encoding, lengths are those of compressed bodies.
        .accept_encoding("identity")
        .user_agent(concat!("mvpbench/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(SILENCE))
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(manner.silence))
        .timeout_recv_body(manner.body)
        .timeout_per_read(Some(manner.silence))
        .max_redirects(manner.redirects)
        .max_idle_connections(manner.connections.max(10))
        .max_idle_connections_per_host(manner.connections)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build();
    Ok(Agent::with_parts(config, DefaultConnector::default(), Names))
}
