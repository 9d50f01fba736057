//! The agent that every request goes through: certificates, time-outs, and no token carried to another host.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::InputError;

/// The longest silence that is waited for, at every stage of a request.
const SILENCE: Duration = Duration::from_secs(60);

/// An agent that trusts the certificates of the PEM file `certificates` or, without one, those of Mozilla's programme.
///
/// An answer of any status is an answer, not an error.
pub fn new(certificates: Option<&Path>) -> Result<Agent> {
    let roots = match certificates {
        Some(path) => {
            let wrong = |what: String| {
                InputError::new(format!("`{}`: {what}", path.display())).hint(
                    "SSL_CERT_FILE or REQUESTS_CA_BUNDLE must name a PEM file of certificates",
                )
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
        // A redirect to the content's own host must not carry the token there.
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        // Otherwise lengths would be those of compressed bodies.
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
