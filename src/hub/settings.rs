//! The hub's settings, from the environment variables of the Python tools.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bail_input;
use crate::console::interrupt;
use crate::disk::pipe;
use crate::error::InputError;
use crate::net::agent;

/// Settings of the hub.
#[derive(Clone)]
pub struct Settings {
    /// Address without a `/` at the end: `HF_ENDPOINT`, or that of the hf-hub library.
    pub endpoint: String,
    /// `HF_TOKEN`, or the content of the file `HF_TOKEN_PATH` or `$HF_HOME/token`.
    pub token: Option<String>,
    /// The shared cache: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or in `huggingface` of the user's cache folder.
    pub cache: PathBuf,
    /// Whether to use the cache alone: `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// Certificates to trust in place of Mozilla's, a PEM file: `SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE`.
    pub certificates: Option<PathBuf>,
}

impl Settings {
    /// Reads the environment.
    pub fn from_environment() -> Result<Self> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
    }

    fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let path = |name: &str| get(name).map(PathBuf::from);
        let home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(path("HOME")?.join(".cache/huggingface")));
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(home.as_ref()?.join("hub")));
        let Some(cache) = cache else {
            return Err(InputError::new("expected a folder for files of the hub, got none")
                .hint("set HF_HOME to a folder")
                .into());
        };
        let token = match get("HF_TOKEN").or_else(|| get("HUGGING_FACE_HUB_TOKEN")) {
            Some(token) => Some(token),
            None => {
                let file = path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")));
                file.as_deref().map(token_in).transpose()?.flatten()
            }
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.chars().all(|c| c.is_ascii_graphic())) {
            return Err(InputError::new(
                "expected a hub token of visible ASCII characters, got others, such as spaces",
            )
            .hint("set HF_TOKEN to the token alone, or run `hf auth login` again")
            .into());
        }
        let endpoint = match get("HF_ENDPOINT") {
            Some(endpoint) => endpoint.trim().trim_end_matches('/').to_owned(),
            None => library_endpoint(&cache)?,
        };
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            bail_input!("HF_ENDPOINT must begin with `https://` or `http://`, got `{endpoint}`");
        }
        let offline = get("HF_HUB_OFFLINE").is_some_and(|value| {
            ["1", "on", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str())
        });
        let certificates = agent::certificates(&get);
        Ok(Self { endpoint, token, cache, offline, certificates })
    }
}

/// The text of the token's file, which may be a pipe; none if it is not there.
fn token_in(file: &Path) -> Result<Option<String>> {
    const MOST: u64 = 1 << 16; // bytes
    let read = pipe::bytes(file, MOST);
    interrupt::check()?;
    let bytes = match read {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        read => read.with_context(|| format!("cannot read the hub token `{}`", file.display()))?,
    };
    // Other bytes become characters that no token has, which is refused.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The hub's address, from the hf-hub library.
fn library_endpoint(cache: &std::path::Path) -> Result<String> {
    let api = hf_hub::api::sync::ApiBuilder::from_cache(hf_hub::Cache::new(cache.to_owned()))
        .with_progress(false)
        .build()?;
    let address = api.model("a/b".into()).url("c");
    address
        .strip_suffix("/a/b/resolve/main/c")
        .map(str::to_owned)
        .with_context(|| format!("expected an address of the hub, got `{address}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_is_where_the_python_tools_have_it() {
        for (variables, cache) in [
            (&[("HOME", "/h")][..], "/h/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HF_HOME", "/f"), ("XDG_CACHE_HOME", "/x")], "/f/hub"),
            (&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")], "/c"),
        ] {
            assert_eq!(read(variables).unwrap().cache, PathBuf::from(cache), "{variables:?}");
        }
        assert!(InputError::of(&read(&[]).err().unwrap()).is_some());
    }

    #[test]
    fn the_token_of_the_environment_comes_before_that_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        assert_eq!(read(&[("HF_HOME", home)]).unwrap().token, None);
        std::fs::write(folder.path().join("token"), "of-the-file\n").unwrap();
        assert_eq!(read(&[("HF_HOME", home)]).unwrap().token.as_deref(), Some("of-the-file"));
        let both = [("HF_HOME", home), ("HF_TOKEN", " mine ")];
        assert_eq!(read(&both).unwrap().token.as_deref(), Some("mine"));
        assert!(read(&[("HF_HOME", home), ("HF_TOKEN", "two words")]).is_err());
        // A token that is there and cannot be read is no missing one.
        let error = read(&[("HF_TOKEN_PATH", home), ("HF_HOME", home)]).err().unwrap();
        assert!(format!("{error:#}").contains("cannot read the hub token"), "{error:#}");
    }

    #[test]
    fn the_endpoint_is_the_environments_or_the_librarys() {
        let set = |endpoint| read(&[("HF_HOME", "/f"), ("HF_ENDPOINT", endpoint)]);
        assert_eq!(set("http://localhost:1/").unwrap().endpoint, "http://localhost:1");
        assert!(InputError::of(&set("localhost").err().unwrap()).is_some());
        assert!(read(&[("HF_HOME", "/f")]).unwrap().endpoint.starts_with("https://"));
    }
}
