//! The agent that sends every request: certificates, time-outs, and no token for another host.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::InputError;

/// Time-out of a silent peer, at every stage of a request.
const SILENCE: Duration = Duration::from_secs(60);

/// An agent that trusts the certificates of the PEM file `certificates` or, without one, those of Mozilla's programme.
///
/// A response of any status is no error.
pub fn new(certificates: Option<&Path>) -> Result<Agent> {
    let roots = match certificates {
        Some(path) => {
            let wrong = |what: String| {
                InputError::new(format!("`{}`: {what}", path.display()))
                    .hint("set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to a PEM file of certificates")
            };
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let certificates: Vec<_> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err(wrong("there is no certificate in it".into()).into());
            }
            RootCerts::from(certificates)
        }
        None => RootCerts::WebPki,
    };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // A redirect must not carry the token to another host.
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        // With any other encoding, lengths are those of compressed bodies.
        .accept_encoding("identity")
        .user_agent(concat!("mvpbench/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(SILENCE))
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build();
    Ok(config.into())
}
