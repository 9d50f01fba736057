//! TRL's data set with its splits, its mixture, and those of alignment-handbook.

use anyhow::Result;

use super::super::Fate::{Differs, Harmless, Translated};
use super::super::draft::Draft;
use super::super::evaluation;
use super::super::sources::{self, NOT_TRLS, Named, Source};
use crate::disk::yaml::{Node, Yaml};
use crate::error::InputError;

/// Translates the data and how it is evaluated.
pub(super) fn translate(draft: &mut Draft<'_>) -> Result<()> {
    let mixtures = ["datasets", "dataset_mixture", "dataset_mixer"];
    match draft.given_of(&mixtures) {
        Some(("datasets", node)) if !node.value.is_idle() => {
            mixture(draft, "datasets", node, "datasets")?
        }
        Some(("dataset_mixture", node)) => {
            draft.refuse_unknown_inside("dataset_mixture", "dataset_mixture", node)?;
            let Some(list) = node.value.get("datasets") else {
                return Err(draft.wrong("dataset_mixture", node, "a table with `datasets`").into());
            };
            if let Some(node) = node.value.get("test_split_size") {
                let said = "that many pairs are held out there and trained on here; `mvpbench data split` makes two files of one";
                draft.note_inside("dataset_mixture.test_split_size".into(), node, Differs, said);
            }
            mixture(draft, "dataset_mixture", list, "dataset_mixture.datasets")?;
        }
        Some(("dataset_mixer", node)) => mixer(draft, node)?,
        _ => named(draft)?,
    }
    if draft.given_of(&mixtures).is_some_and(|(_, node)| !node.value.is_idle()) {
        for key in ["dataset_name", "dataset_config", "dataset_train_split", "dataset_test_split"] {
            if draft.given(key).is_some() {
                draft.note(key, Harmless, "the mixture is read in its place, as there");
            }
        }
    }
    evaluation::held_out(draft, "test_split_size")?;
    template(draft)?;
    evaluation::during_training(draft)
}

/// `dataset_name` with its split.
fn named(draft: &mut Draft<'_>) -> Result<()> {
    let Some(node) = draft.given("dataset_name") else {
        return Err(InputError::new(format!(
            "{}: neither `dataset_name` nor `datasets` is set",
            draft.name
        ))
        .hint("give what the command line of `trl dpo` has in the file")
        .into());
    };
    let named = Named {
        at: "dataset_name",
        path: node,
        files: None,
        revision: None,
        configuration: draft.given("dataset_config").map(|node| ("dataset_config", node)),
        folder: None,
    };
    let set = sources::loaded(draft, named)?;
    let (train, test) = ("dataset_train_split", "dataset_test_split");
    let from: Vec<_> = ["dataset_name", "dataset_config", train]
        .into_iter()
        .filter(|key| draft.given(key).is_some())
        .collect();
    let training = set.of_split(draft, train, draft.given(train), Some("train"))?;
    sources::set(draft, training.into_iter().map(as_trl).collect(), &from);
    let evaluates = draft.given_of(&evaluation::STRATEGIES);
    if evaluates.is_some_and(|(_, node)| node.value.word().as_deref() != Some("no")) {
        let tests = set.of_split(draft, test, draft.given(test), Some("test"))?;
        sources::set_evaluation(draft, "test", tests.into_iter().map(as_trl).collect(), &[test]);
    } else if draft.given(test).is_some() {
        draft.note(test, Harmless, "nothing is evaluated there");
    }
    Ok(())
}

/// A source read as TRL reads it.
fn as_trl(mut source: Source) -> Source {
    source.no_column(NOT_TRLS);
    source
}

/// A list of data sets: TRL's `datasets`, alignment-handbook's `dataset_mixture.datasets`.
fn mixture(draft: &mut Draft<'_>, key: &str, list: &Node, path: &str) -> Result<()> {
    let Yaml::List(items) = &list.value else {
        return Err(draft.wrong(key, list, "a list of data sets").into());
    };
    let mut all = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let at = format!("{path}[{i}]");
        draft.refuse_unknown_inside(&at, path, item)?;
        let name = if path == "datasets" { "path" } else { "id" };
        let Some(node) = item.value.get(name) else {
            let place = draft.place(item.line);
            return Err(InputError::new(format!("{place}: `{at}` has no `{name}`")).into());
        };
        let keys = [name, "split", "config", "name", "data_dir"];
        let [path_at, split_at, config_at, name_at, folder_at] =
            keys.map(|key| format!("{at}.{key}"));
        let inner = |key: &str| item.value.get(key).filter(|node| !node.value.is_idle());
        let configuration = match path {
            "datasets" => inner("name").map(|node| (&*name_at, node)),
            _ => inner("config").map(|node| (&*config_at, node)),
        };
        let named = Named {
            at: &path_at,
            path: node,
            files: inner("data_files"),
            revision: None,
            configuration,
            folder: inner("data_dir").map(|node| (&*folder_at, node)),
        };
        let set = sources::loaded(draft, named)?;
        let mut found = set.of_split(draft, &split_at, inner("split"), Some("train"))?;
        if let Some(node) = item.value.get("columns") {
            draft.note_inside(
                format!("{at}.columns"),
                node,
                Harmless,
                "other columns are not read here either",
            );
        }
        if let Some(node) = item.value.get("fraction") {
            let said = "a share of the mixture there, whose rows depend on the sizes of all sets; `weight` takes a share of one set's pairs";
            draft.note_inside(format!("{at}.fraction"), node, Differs, said);
        }
        if let Some(node) = item.value.get("weight") {
            let Some(weight) = node.value.number() else {
                return Err(draft.wrong(&format!("{at}.weight"), node, "a number").into());
            };
            found.iter_mut().for_each(|source| put_weight(source, weight));
        }
        all.extend(found.into_iter().map(as_trl));
    }
    if all.is_empty() {
        return Err(draft.wrong(key, list, "a list of one or more data sets").into());
    }
    sources::set(draft, all, &[key]);
    Ok(())
}

fn put_weight(source: &mut Source, weight: f64) {
    if (weight - 1.0).abs() > f64::EPSILON {
        source.put("weight", weight);
    }
}

/// The mixture of earlier recipes of alignment-handbook: a share of each data set, and the splits of all.
fn mixer(draft: &mut Draft<'_>, node: &Node) -> Result<()> {
    let Yaml::Table(table) = &node.value else {
        return Err(draft.wrong("dataset_mixer", node, "a table").into());
    };
    let splits = match draft.given("dataset_splits") {
        Some(node) => node
            .value
            .words()
            .ok_or_else(|| draft.wrong("dataset_splits", node, "a list of splits"))?,
        None => vec!["train".into(), "test".into()],
    };
    let (training, testing): (Vec<_>, Vec<_>) =
        splits.iter().partition(|split| split.contains("train"));
    let (mut all, mut tests) = (Vec::new(), Vec::new());
    for (name, weight) in table {
        let Some(weight) = weight.value.number() else {
            return Err(draft.wrong(&format!("dataset_mixer.{name}"), weight, "a number").into());
        };
        let path = Node { line: node.line, value: Yaml::Text(name.clone()) };
        let named = Named {
            at: "dataset_mixer",
            path: &path,
            files: None,
            revision: None,
            configuration: None,
            folder: None,
        };
        let set = sources::loaded(draft, named)?;
        let mut of = |split: &String| {
            let node = Node { line: node.line, value: Yaml::Text(split.clone()) };
            set.of_split(draft, "dataset_splits", Some(&node), None)
        };
        for split in &training {
            for mut source in of(split)? {
                put_weight(&mut source, weight);
                all.push(as_trl(source));
            }
        }
        for split in &testing {
            tests.extend(of(split)?.into_iter().map(as_trl));
        }
    }
    if all.is_empty() {
        return Err(draft
            .wrong(
                "dataset_mixer",
                node,
                "a table of one or more data sets, with a split of training",
            )
            .into());
    }
    sources::set(draft, all, &["dataset_mixer"]);
    if !tests.is_empty() {
        sources::set_evaluation(draft, "test", tests, &["dataset_splits"]);
    }
    if draft.given("dataset_splits").is_some() && !draft.is_noted("dataset_splits") {
        draft.note("dataset_splits", Translated, "the splits of `data.train`");
    }
    Ok(())
}

/// The template of earlier recipes: its text.
fn template(draft: &mut Draft<'_>) -> Result<()> {
    if draft.given("chat_template").is_some() {
        let said = "a text has no key: write it to a file and name that, as `data.chat_template = \"template.jinja\"`";
        draft.note("chat_template", Differs, said);
    }
    Ok(())
}
