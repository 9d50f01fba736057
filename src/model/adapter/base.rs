//! The base model that an adapter was made for, by its name in `adapter_config.json`.

use std::path::Path;

use serde_json::Value;

use super::CONFIG_FILE;
use crate::disk::read;
use crate::error::shown;

/// A sentence where the adapter in `folder` names another base model than `model`, the one it is used on; none where the names
/// are of one model or do not tell.
///
/// A base model has many paths, so that only the last parts of two names are compared. A wrong base model of the same shape
/// loads without an error, and its figures are those of neither.
pub fn other_base(folder: &Path, model: &str) -> Option<String> {
    let text = read::text(&folder.join(CONFIG_FILE)).ok()?; // a broken file is refused where the adapter is loaded
    let fields: Value = serde_json::from_str(&text).ok()?;
    let made_for = fields.get("base_model_name_or_path")?.as_str()?;
    let names = [made_for, model].map(|path| Some(name(path)?.to_lowercase()));
    let [Some(theirs), Some(ours)] = names else { return None };
    (theirs != ours).then(|| {
        format!(
            "adapter `{}`: made for the base model `{}`, used on `{}`",
            folder.display(),
            shown(&made_for),
            shown(&model)
        )
    })
}

/// The name of a model in its id or path; none where its folder is called as any model's might be.
fn name(path: &str) -> Option<&str> {
    /// Last parts of paths that name no model: a plain folder, and the one in which a run unpacks the embedded model.
    const NAMELESS: [&str; 4] = ["", ".", "model", "base_model"];
    // A snapshot in the hub's cache is `models--OWNER--NAME/snapshots/COMMIT`.
    let cached = path.split('/').find_map(|part| part.strip_prefix("models--"));
    let last = match cached {
        Some(id) => id.rsplit("--").next(),
        None => path.trim_end_matches('/').rsplit('/').next(),
    }?;
    (!NAMELESS.contains(&last)).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn another_model_is_named_and_another_path_to_the_same_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let said = |base: Value, model: &str| {
            let config = json!({"base_model_name_or_path": base}).to_string();
            std::fs::write(folder.path().join(CONFIG_FILE), config).unwrap();
            other_base(folder.path(), model)
        };
        let hub = "meta-llama/Llama-2-7b-hf";
        for same in [
            hub,
            "/data/llama-2-7b-hf/",
            "NousResearch/Llama-2-7b-hf",
            "embedded:tiny/model",
            "/c/hub/models--meta-llama--Llama-2-7b-hf/snapshots/0123",
        ] {
            assert_eq!(said(json!(hub), same), None, "{same}");
        }
        assert_eq!(said(json!("/old/runs/tiny/base_model"), "embedded:tiny/model"), None);
        assert_eq!(said(Value::Null, hub), None);
        let other = said(json!(hub), "meta-llama/Llama-2-7b-chat-hf").unwrap();
        let end = "made for the base model `meta-llama/Llama-2-7b-hf`, used on `meta-llama/Llama-2-7b-chat-hf`";
        assert!(other.ends_with(end), "{other}");
    }
}
