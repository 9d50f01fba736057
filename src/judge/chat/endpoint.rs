//! Whom to ask: a provider by name or a base URL, and the key from the environment.

use std::ffi::OsString;
use std::net::IpAddr;

use anyhow::Result;
use ureq::http::Uri;

use crate::error::InputError;
use crate::judge::chat::secret::{self, Secret};

/// A provider that is known by name.
struct Preset {
    name: &'static str,
    base: &'static str,
    /// The environment variable of its key; none where it needs no key.
    key_env: Option<&'static str>,
    /// Its name in the table of prices.
    priced_as: Option<&'static str>,
    limit: TokenLimit,
    refuses_schemas: bool,
}

const PRESETS: [Preset; 4] = [
    Preset {
        name: "openai",
        base: "https://api.openai.com/v1",
        key_env: Some("OPENAI_API_KEY"),
        priced_as: Some("openai"),
        limit: TokenLimit::MaxCompletionTokens,
        refuses_schemas: false,
    },
    Preset {
        name: "deepseek",
        base: "https://api.deepseek.com/v1",
        key_env: Some("DEEPSEEK_API_KEY"),
        priced_as: Some("deepseek"),
        limit: TokenLimit::MaxTokens,
        refuses_schemas: true,
    },
    // Volcengine Ark, which serves the Doubao models.
    Preset {
        name: "ark",
        base: "https://ark.cn-beijing.volces.com/api/v3",
        key_env: Some("ARK_API_KEY"),
        priced_as: None,
        limit: TokenLimit::MaxTokens,
        refuses_schemas: true,
    },
    Preset {
        name: "local",
        base: "http://127.0.0.1:8000/v1",
        key_env: None,
        priced_as: None,
        limit: TokenLimit::MaxTokens,
        refuses_schemas: false,
    },
];

/// The field of a request that limits the tokens of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLimit {
    /// What most servers know.
    MaxTokens,
    /// OpenAI's own, whose reasoning models refuse `max_tokens`.
    MaxCompletionTokens,
}

/// A server that speaks OpenAI's chat completions.
pub struct Endpoint {
    name: String,
    base: String,
    key_env: Option<String>,
    key: Option<Secret>,
    priced_as: Option<&'static str>,
    limit: TokenLimit,
    refuses_schemas: bool,
    is_loopback: bool,
}

impl Endpoint {
    /// The endpoint `given`: `openai`, `deepseek`, `ark`, `local`, or a base URL such as `http://127.0.0.1:8000/v1`.
    ///
    /// - `key_env`: the environment variable that holds the key; none: the preset's, and no key for a URL.
    ///
    /// Refuses an unknown name, a URL that holds a password or a query, a `key_env` that is no variable's name, a missing or malformed
    /// key, and a key that would be sent unencrypted to another machine.
    pub fn open(given: &str, key_env: Option<&str>) -> Result<Self> {
        Self::read(given, key_env, |name| std::env::var_os(name))
    }

    /// The endpoint `given` without its key: for what sends nothing, such as an estimate or an export.
    pub fn without_key(given: &str) -> Result<Self> {
        Self::of(given, None, |_| None)
    }

    fn read(
        given: &str,
        key_env: Option<&str>,
        get: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self> {
        let preset = PRESETS.iter().find(|preset| preset.name == given);
        Self::of(given, key_env.or(preset.and_then(|preset| preset.key_env)), get)
    }

    fn of(
        given: &str,
        key_env: Option<&str>,
        get: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self> {
        let preset = PRESETS.iter().find(|preset| preset.name == given);
        let base = preset.map_or(given, |preset| preset.base).trim_end_matches('/').to_owned();
        let (scheme, host) = parts(&base)?;
        let is_loopback = host.eq_ignore_ascii_case("localhost")
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        key_env.map_or(Ok(()), secret::check_name)?;
        let key_env = key_env.map(str::to_owned);
        let key = match &key_env {
            None => None,
            Some(name) => Some(match get(name) {
                Some(value) => Secret::read(name, value)?,
                None => {
                    let what = format!("the endpoint `{given}` needs a key, and {name} is not set");
                    let hint = format!(
                        "set the environment variable {name}, or name another with `--key-env`"
                    );
                    return Err(InputError::new(what).hint(hint).into());
                }
            }),
        };
        if key.is_some() && scheme == "http" && !is_loopback {
            let what = format!("the key of `{base}` would be sent unencrypted to another machine");
            return Err(InputError::new(what)
                .hint("give an address that begins with `https://`, or reach the server through a tunnel to 127.0.0.1")
                .into());
        }
        Ok(Self {
            name: given.to_owned(),
            base,
            key_env,
            key,
            priced_as: preset.and_then(|preset| preset.priced_as),
            limit: preset.map_or(TokenLimit::MaxTokens, |preset| preset.limit),
            refuses_schemas: preset.is_some_and(|preset| preset.refuses_schemas),
            is_loopback,
        })
    }

    /// The preset's name or the URL, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that paths such as `/chat/completions` follow.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The name of the environment variable that holds the key.
    pub fn key_env(&self) -> Option<&str> {
        self.key_env.as_deref()
    }

    /// The field that limits the tokens of an answer.
    pub fn token_limit(&self) -> TokenLimit {
        self.limit
    }

    /// Whether the endpoint is known not to take a JSON schema.
    pub fn refuses_schemas(&self) -> bool {
        self.refuses_schemas
    }

    /// Whether the server is on this machine.
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// The provider's name in the table of prices.
    pub(super) fn priced_as(&self) -> Option<&'static str> {
        self.priced_as
    }

    pub(super) fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }
}

/// Scheme and host of a base URL. An error does not show the URL where it may hold a password.
fn parts(base: &str) -> Result<(String, String)> {
    let names: Vec<_> = PRESETS.iter().map(|preset| format!("`{}`", preset.name)).collect();
    let hint = format!(
        "the names are {}; any other is a base URL such as `http://127.0.0.1:8000/v1`",
        names.join(", ")
    );
    if base.contains(['@', '?', '#']) {
        let what = "the endpoint's URL must hold no user, password, query or fragment";
        return Err(InputError::new(what)
            .hint("give the key by the name of an environment variable with `--key-env`")
            .into());
    }
    let uri: Option<Uri> = base.parse().ok();
    let parts = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?)));
    match parts {
        Some((scheme @ ("http" | "https"), host)) => Ok((scheme.to_owned(), host.to_owned())),
        _ => Err(InputError::new(format!("unknown endpoint `{base}`")).hint(hint).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &str, key_env: Option<&str>) -> Result<Endpoint> {
        Endpoint::read(given, key_env, |name| {
            ["OPENAI_API_KEY", "MINE"].contains(&name).then(|| "sk-123456789".into())
        })
    }

    #[track_caller]
    fn refused(given: &str, key_env: Option<&str>) -> String {
        let error = read(given, key_env).err().unwrap();
        let input = InputError::of(&error).unwrap();
        assert!(input.remedy().is_some());
        let said = format!("{input} {}", input.remedy().unwrap());
        assert!(!said.contains("sk-123456789"), "{said}");
        said
    }

    #[test]
    fn a_preset_names_its_key_and_a_url_needs_none() {
        let openai = read("openai", None).unwrap();
        assert_eq!(
            (openai.base(), openai.key_env()),
            ("https://api.openai.com/v1", Some("OPENAI_API_KEY"))
        );
        assert_eq!(read("openai", Some("MINE")).unwrap().key_env(), Some("MINE"));
        assert!(refused("deepseek", None).contains("DEEPSEEK_API_KEY"));
        assert!(Endpoint::without_key("deepseek").unwrap().key().is_none());
        for (given, loopback) in [
            ("local", true),
            ("http://localhost:1/v1/", true),
            ("http://[::1]:8000/v1", true),
            ("http://10.0.0.1/v1", false),
        ] {
            let endpoint = read(given, None).unwrap();
            assert_eq!(endpoint.is_loopback(), loopback, "{given}");
            assert!(endpoint.key().is_none() && !endpoint.base().ends_with('/'));
        }
    }

    #[test]
    fn a_key_never_leaves_the_machine_unencrypted() {
        assert!(refused("http://10.0.0.1/v1", Some("MINE")).contains("unencrypted"));
        assert!(refused("http://localhost.evil.org/v1", Some("MINE")).contains("unencrypted"));
        assert!(read("http://127.0.0.1:1/v1", Some("MINE")).unwrap().key().is_some());
        assert!(read("https://10.0.0.1/v1", Some("MINE")).is_ok());
    }

    #[test]
    fn a_url_with_a_password_is_refused_without_showing_it() {
        assert!(!refused("https://me:pass@host/v1", None).contains("pass@"));
        assert!(refused("gpt", None).contains("`openai`, `deepseek`, `ark`, `local`"));
        refused("ftp://host/v1", None);
    }
}
