//! Sources of pairs: what a program names -> entries of `data.train`.

use anyhow::Result;
use toml::{Table, Value};

use super::Fate::{Differs, Harmless, Missing, Translated};
use super::draft::Draft;
use crate::disk::yaml::{Node, Yaml};
use crate::error::{InputError, shown};

/// Words that `datasets` takes for a format of files, whose names stand elsewhere.
const FORMATS: &[&str] = &["json", "csv", "parquet", "arrow"];

/// One source.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    /// Its keys, as `data.train` has them.
    pub(super) table: Table,
}

impl Source {
    /// Of one name of a file or a data set.
    pub(super) fn of(name: &str) -> Self {
        let mut source = Self::default();
        source.put("files", vec![Value::from(name)]);
        source
    }

    /// Sets one of its keys.
    pub(super) fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.table.insert(key.to_owned(), value.into());
    }

    /// Names a column by its role, unless it has that name already.
    pub(super) fn column(&mut self, role: &str, column: &str) {
        if role != column {
            let columns = self.table.entry("columns").or_insert_with(|| Table::new().into());
            if let Value::Table(columns) = columns {
                columns.insert(role.to_owned(), column.into());
            }
        }
    }

    /// As `data.train` has it: a lone name as a text.
    fn into_value(self) -> Value {
        match (
            self.table.len(),
            self.table.get("files").and_then(Value::as_array).map(Vec::as_slice),
        ) {
            (1, Some([name])) => name.clone(),
            _ => self.table.into(),
        }
    }
}

/// A source by what `datasets.load_dataset` is given: a path, files of it, and the place of the key in the file.
///
/// A path is a file or folder if there is one, else the name of a data set on the hub, as `datasets` decides.
pub(super) fn loaded(
    draft: &mut Draft<'_>,
    at: &str,
    path: &Node,
    files: Option<&Node>,
    revision: Option<&str>,
) -> Result<Source> {
    let Some(name) = path.value.text().filter(|name| !name.trim().is_empty()) else {
        return Err(draft.wrong(at, path, "the name of a data set").into());
    };
    let files = match files {
        None => None,
        Some(node) => match &node.value {
            Yaml::Text(name) => Some(vec![name.clone()]),
            Yaml::List(_) => node.value.words(),
            // By split: those of training.
            Yaml::Table(_) => node.value.get("train").and_then(|node| match &node.value {
                Yaml::Text(name) => Some(vec![name.clone()]),
                value => value.words(),
            }),
            _ => None,
        },
    };
    let is_format = FORMATS.contains(&name);
    if is_format && files.as_ref().is_none_or(Vec::is_empty) {
        let message = format!(
            "{}: `{at}: {name}` is a format, and no files are named",
            draft.place(path.line)
        );
        return Err(InputError::new(message).hint("add `data_files`").into());
    }
    let is_here = !is_format && std::path::Path::new(name).exists();
    let base = match (is_format, is_here, hub_name(name)) {
        (true, ..) => String::new(),
        (false, true, _) => name.trim_end_matches('/').to_owned(),
        (false, false, Some(hub)) => match revision {
            Some(revision) => format!("{hub}@{revision}"),
            None => hub,
        },
        (false, false, None) => {
            let said = "no such file, and not the name `OWNER/NAME` of a data set on the hub: put a name that is in its place";
            draft.note_inside(at.to_owned(), path, Missing, said);
            return Ok(Source::of(name));
        }
    };
    let mut source = Source::of(&base);
    if let Some(files) = files {
        let inside =
            |file: String| match base.is_empty() || file.contains("://") || file.starts_with('/') {
                true => file,
                false => format!("{base}/{file}"),
            };
        source.put("files", files.into_iter().map(inside).map(Value::from).collect::<Vec<_>>());
    }
    Ok(source)
}

/// The name here of a data set on the hub; none for what is no such name.
pub(super) fn hub_name(name: &str) -> Option<String> {
    let word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let (owner, data_set) = name.split_once('/')?;
    let is_file = [".json", ".jsonl", ".csv", ".parquet", ".arrow", ".gz", ".zst", ".zip", ".txt"]
        .iter()
        .any(|end| name.ends_with(end));
    (word(owner) && word(data_set) && !is_file).then(|| format!("hf://datasets/{name}"))
}

/// Writes the sources of training; `from`: the keys of the file that name them.
pub(super) fn set(draft: &mut Draft<'_>, sources: Vec<Source>, from: &[&str]) {
    let comments: Vec<_> = from.iter().map(|key| draft.shown(key)).collect();
    let sources: Vec<Value> = sources.into_iter().map(Source::into_value).collect();
    let written = Value::from(sources);
    draft.set("data.train", written.clone(), comments.join(", "));
    for key in from {
        draft.note(key, Translated, format!("`data.train = {}`", shown(&written)));
    }
}

/// Writes one set to evaluate, and what evaluates it during training; `from`: the keys that name it.
pub(super) fn set_evaluation(
    draft: &mut Draft<'_>,
    name: &str,
    sources: Vec<Source>,
    from: &[&str],
) {
    let comments: Vec<_> = from.iter().map(|key| draft.shown(key)).collect();
    let mut set = Table::new();
    set.insert("name".into(), name.into());
    set.insert(
        "files".into(),
        sources.into_iter().map(Source::into_value).collect::<Vec<_>>().into(),
    );
    let sets = vec![Value::Table(set)];
    draft.set("eval.sets", sets, comments.join(", "));
    for key in from.iter().filter(|key| draft.given(key).is_some()).copied().collect::<Vec<_>>() {
        draft.note(key, Translated, format!("the set `{name}` of `eval.sets`"));
    }
}

/// Notes pairs that are held out there, which are trained on here.
pub(super) fn held_out(draft: &mut Draft<'_>, key: &str) -> Result<()> {
    let Some(share) = draft.number(key)? else { return Ok(()) };
    match share > 0.0 {
        true => {
            let said = "that part of the pairs is held out there and trained on here; `mvpbench data split` makes two files of one";
            draft.note(key, Differs, said);
        }
        false => draft.note(key, Harmless, "nothing is held out, as here"),
    }
    Ok(())
}

/// Evaluations during training, by the keys of transformers' `Trainer`: `eval.every`, and the figure that chooses the best of them.
pub(super) fn evaluations(draft: &mut Draft<'_>, strategies: &[&'static str]) -> Result<()> {
    let strategy = draft.given_of(strategies);
    let word = match strategy {
        Some((key, _)) => draft.word(key)?,
        // Axolotl evaluates by steps where it has their number.
        None if strategies.contains(&"evaluation_strategy")
            && draft.program == super::Program::Axolotl =>
        {
            Some("steps".into())
        }
        None => None,
    };
    let has_set = draft.settings.iter().any(|setting| setting.key == "eval.sets");
    let every = draft.number("eval_steps")?;
    let is_by_steps = word.as_deref() == Some("steps");
    let whole = every.filter(|every| *every >= 1.0 && every.fract().abs() < f64::MIN_POSITIVE);
    let said = match (is_by_steps && has_set, whole) {
        (true, Some(every)) => {
            draft.translate("eval_steps", "eval.every", every as i64);
            None
        }
        _ if !has_set => {
            Some("no pairs to evaluate are named; name them in `[[eval.sets]]`, and `eval.every`")
        }
        _ => Some(
            "evaluations by epochs or shares have no key; the sets are evaluated before and after training, and `eval.every` asks for more",
        ),
    };
    for key in strategies.iter().chain(&["eval_steps"]) {
        if draft.given(key).is_some() && !draft.is_noted(key) {
            draft.note(key, Harmless, said.unwrap_or("`eval.every` has the steps"));
        }
    }
    best(draft, said.is_none())
}

fn best(draft: &mut Draft<'_>, has_evaluations: bool) -> Result<()> {
    let metric =
        draft.text("metric_for_best_model")?.map(|name| name.strip_prefix("eval_").unwrap_or(name));
    let patience = ["early_stopping_patience", "early_stopping_steps"];
    let patience = patience.into_iter().find(|key| draft.given(key).is_some());
    let wants = draft.is_on("load_best_model_at_end") || patience.is_some();
    let ours = match metric.unwrap_or("loss") {
        "loss" => Some("dpo_loss"),
        "rewards/accuracies" => Some("opa"),
        "rewards/margins" => Some("reward_margin_mean"),
        _ => None,
    };
    let said = match (wants, has_evaluations, ours) {
        (false, ..) => None,
        (true, false, _) => Some(
            "the best of several evaluations is exported there, the last adapter here: name `[[eval.sets]]`, `eval.every` and `eval.best_metric`",
        ),
        (true, true, None) => Some(
            "the figure that chooses the best adapter has no counterpart: the last one is exported here",
        ),
        (true, true, Some(figure)) => {
            let key = if draft.is_on("load_best_model_at_end") {
                "load_best_model_at_end"
            } else {
                patience.unwrap_or_default()
            };
            draft.translate(key, "eval.best_metric", figure);
            if let Some(key) = patience {
                let count = draft.integer(key)?.unwrap_or(1);
                draft.translate(key, "eval.patience", count);
            }
            None
        }
    };
    for key in ["load_best_model_at_end", "metric_for_best_model"].into_iter().chain(patience) {
        if draft.given(key).is_some() && !draft.is_noted(key) {
            match said {
                Some(said) => draft.note(key, Differs, said),
                None if wants => draft.note(key, Translated, "`eval.best_metric`"),
                None => {
                    draft.note(key, Harmless, "the adapter of the last step is exported, as there")
                }
            }
        }
    }
    Ok(())
}
