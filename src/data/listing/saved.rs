//! A folder that `save_to_disk` of datasets wrote -> its Arrow files.

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{InputError, shown};

/// The file that names the splits of a saved `DatasetDict`.
pub const DICT: &str = "dataset_dict.json";

/// The file that names the Arrow files of a saved `Dataset`.
pub const STATE: &str = "state.json";

/// The file beside [`STATE`] that names the columns.
pub const INFO: &str = "dataset_info.json";

#[derive(Deserialize)]
struct Dict {
    splits: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
}

/// The splits of a `dataset_dict.json`. `name`: the file, for messages.
pub(super) fn splits(bytes: &[u8], name: &str) -> Result<Vec<String>> {
    let dict: Dict =
        serde_json::from_slice(bytes).map_err(|error| wrong(name, &error.to_string()))?;
    match dict.splits.iter().find(|split| !is_plain(split)) {
        Some(split) => Err(wrong(name, &format!("`{}` is no name of a folder", shown(split)))),
        None => Ok(dict.splits),
    }
}

/// The columns that a `dataset_info.json` names; none where it names none.
pub(super) fn columns(bytes: &[u8]) -> Vec<String> {
    let info: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let features = info.get("features").and_then(Value::as_object);
    features.into_iter().flat_map(|features| features.keys().cloned()).collect()
}

/// The Arrow files that a `state.json` names, in order, and the split that it says it is. `columns`: those of the data set, as far as known.
pub(super) fn files(
    bytes: &[u8],
    name: &str,
    columns: &[String],
) -> Result<(Vec<String>, Option<String>)> {
    let state: Value =
        serde_json::from_slice(bytes).map_err(|error| wrong(name, &error.to_string()))?;
    let Some(keys) = state.as_object() else { return Err(wrong(name, "expected an object")) };
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    // What `concatenate_datasets` makes shows all columns by name.
    let shows_all = |value: &Value| {
        let shown = value.as_array().map(Vec::as_slice).unwrap_or_default();
        !columns.is_empty() && columns.iter().all(|column| shown.iter().any(|one| one == column))
    };
    for (key, value) in keys.iter().filter(|(_, value)| is_set(value)) {
        let (what, remedy) = match &**key {
            // The type of what Python is given, and what marks the state in a cache.
            "_data_files"
            | "_fingerprint"
            | "_split"
            | "_format_type"
            | "_format_kwargs"
            | "_output_all_columns" => continue,
            "_format_columns" if shows_all(value) => continue,
            "_format_columns" => {
                ("shows some of its columns alone", "save it again after `reset_format()`")
            }
            "_indices_data_files" | "_indices_files" => (
                "selects rows by a table of indices",
                "save it again with a later datasets, or after `flatten_indices()`",
            ),
            _ => ("is not known here", "save it again with `save_to_disk` of datasets 5"),
        };
        let message = format!("{name}: `{}` is set, which {what}", shown(key));
        return Err(InputError::new(message).hint(remedy).into());
    }
    let files = keys.get("_data_files").cloned().unwrap_or_default();
    let files: Vec<File> = serde_json::from_value(files)
        .map_err(|error| wrong(name, &format!("`_data_files`: {error}")))?;
    if let Some(file) = files.iter().find(|file| !is_plain(&file.filename)) {
        return Err(wrong(
            name,
            &format!("`{}` is no name of a file beside it", shown(&file.filename)),
        ));
    }
    let split = keys.get("_split").and_then(Value::as_str).map(str::to_owned);
    Ok((files.into_iter().map(|file| file.filename).collect(), split))
}

/// Whether `text` names something in the folder itself.
fn is_plain(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\\', '\0'])
}

fn wrong(name: &str, why: &str) -> anyhow::Error {
    InputError::new(format!("{name}: not what `save_to_disk` of datasets writes: {why}"))
        .hint("save the data set again")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_names_its_files_and_what_would_change_the_rows_is_refused() {
        let state = r#"{"_data_files": [{"filename": "data-00000-of-00002.arrow"}, {"filename": "b.arrow"}], "_fingerprint": "ab",
            "_format_columns": null, "_format_kwargs": {}, "_format_type": "torch", "_output_all_columns": false, "_split": "train"}"#;
        let (found, split) = files(state.as_bytes(), "s/state.json", &[]).unwrap();
        assert_eq!((found.len(), &*found[1], split.as_deref()), (2, "b.arrow", Some("train")));
        let all = ["prompt".to_owned(), "chosen".to_owned()];
        let shown = br#"{"_data_files": [{"filename": "a.arrow"}], "_format_columns": ["chosen", "prompt"]}"#;
        assert!(files(shown, "s/state.json", &all).is_ok());
        assert!(files(shown, "s/state.json", &[]).is_err(), "columns that are not known");
        let info =
            br#"{"description": "", "features": {"prompt": {"dtype": "string"}, "chosen": {}}}"#;
        let mut named = columns(info);
        named.sort();
        assert_eq!((named, columns(b"{}").len()), (vec!["chosen".into(), "prompt".into()], 0));
        for (key, value, why) in [
            (
                "_format_columns",
                r#"["prompt"]"#,
                "s/state.json: `_format_columns` is set, which shows some of its columns alone",
            ),
            (
                "_indices_data_files",
                r#"[{"filename": "i.arrow"}]"#,
                "`_indices_data_files` is set, which selects rows",
            ),
            ("_new", "1", "`_new` is set, which is not known here"),
            ("_data_files", r#"[{"filename": "../x"}]"#, "`../x` is no name of a file beside it"),
            ("_data_files", "3", "`_data_files`: "),
        ] {
            let error = files(format!("{{\"{key}\": {value}}}").as_bytes(), "s/state.json", &all)
                .unwrap_err();
            assert!(InputError::of(&error).is_some() && error.to_string().contains(why), "{error}");
        }
        assert!(
            files(b"[", "s/state.json", &all).is_err()
                && files(b"[]", "s/state.json", &all).is_err()
        );
    }

    #[test]
    fn a_dict_names_its_splits() {
        assert_eq!(splits(br#"{"splits": ["train", "test"]}"#, "d").unwrap(), ["train", "test"]);
        for wrong in [r#"{"splits": ["../x"]}"#, "{}", "["] {
            assert!(
                InputError::of(&splits(wrong.as_bytes(), "d").unwrap_err()).is_some(),
                "{wrong}"
            );
        }
    }
}
