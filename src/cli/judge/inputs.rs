//! What was typed, checked: judges, answers, data.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::Result;

use super::JudgeArgs;
use crate::console::progress::Verbosity;
use crate::data::benchmark::References;
use crate::error::InputError;
use crate::eval::paa::items::Benchmark;
use crate::judge::chat::secret;
use crate::judge::rule;
use crate::run_folder::answers::{Answers, AnswersFolder};
use crate::run_folder::paa::PaaFolder;

/// A judge behind an endpoint, as it was named.
pub(super) struct Named<'a> {
    pub(super) endpoint: &'a str,
    pub(super) model: &'a str,
    pub(super) key_env: Option<&'a str>,
}

/// The judges behind endpoints. Refuses options that do not make pairs.
pub(super) fn named(args: &JudgeArgs) -> Result<Vec<Named<'_>>> {
    let (endpoints, models, keys) = (&args.endpoint, &args.chat_model, &args.key_env);
    if endpoints.len() != models.len() {
        let what = format!(
            "expected a `--chat-model` for each `--endpoint`, got {} for {}",
            models.len(),
            endpoints.len()
        );
        let hint = "name the judge of each endpoint, as in `--endpoint deepseek --chat-model deepseek-chat`";
        return Err(InputError::new(what).hint(hint).into());
    }
    if keys.len() > endpoints.len() {
        let what = format!("got {} `--key-env` for {} `--endpoint`", keys.len(), endpoints.len());
        return Err(InputError::new(what).hint("name at most one variable an endpoint").into());
    }
    if !keys.is_empty() && keys.len() < endpoints.len() {
        let what = format!(
            "expected no `--key-env` or one for each of {} endpoints, got {}",
            endpoints.len(),
            keys.len()
        );
        return Err(InputError::new(what)
            .hint("name the variable of every endpoint, or of none")
            .into());
    }
    if let Some(option) = args.requests.given().filter(|_| endpoints.is_empty()) {
        let what = format!("`{option}` needs `--endpoint`");
        return Err(InputError::new(what).hint("add `--endpoint` and `--chat-model`").into());
    }
    if args.recompute
        && let Some(option) = args.requests.given()
    {
        let what = format!("`{option}` and `--recompute` exclude each other");
        return Err(InputError::new(what).hint("`--recompute` asks nothing").into());
    }
    keys.iter().try_for_each(|key| secret::check_name(key))?;
    let all = endpoints.iter().zip(models).enumerate();
    let named: Vec<Named<'_>> = all
        .map(|(at, (endpoint, model))| Named {
            endpoint,
            model,
            key_env: keys.get(at).map(String::as_str),
        })
        .collect();
    let rule = args.judge.iter().map(|_| rule::NAME);
    let all = rule.chain(args.model.as_deref()).chain(named.iter().map(|one| one.model));
    let all: Vec<&str> = all.collect();
    if let Some(name) =
        (1..all.len()).find_map(|at| all[..at].contains(&all[at]).then_some(all[at]))
    {
        let what = format!("two judges have the name `{name}`");
        let hint = "set `repetitions`, and a temperature above 0, in the protocol to ask one judge several times";
        return Err(InputError::new(what).hint(hint).into());
    }
    Ok(named)
}

/// Each model's answers, under the name of their folder. Refuses two whose files of verdicts would be one.
pub(super) fn models(folders: &[PathBuf]) -> Result<Vec<Answers>> {
    let mut models: Vec<Answers> = Vec::new();
    for (at, path) in folders.iter().enumerate() {
        let folder = AnswersFolder::of(path);
        let mut model = folder.read()?;
        model.about.name = folder.name()?;
        // Some file systems know no upper case.
        let file = |model: &Answers| PaaFolder::verdicts_name(&model.about.name).to_lowercase();
        if let Some(other) = models.iter().position(|other| file(other) == file(&model)) {
            let what = format!(
                "`{}` and `{}` would both be `{}` in figures and files",
                folders[other].display(),
                folders[at].display(),
                model.about.name
            );
            let hint = "name each folder once, and rename one of two: a model is called as the last part of its folder";
            return Err(InputError::new(what).hint(hint).into());
        }
        models.push(model);
    }
    Ok(models)
}

/// The data that the answers were made from, or that is given in its place.
pub(super) fn benchmark(
    args: &JudgeArgs,
    models: &[Answers],
    verbosity: Verbosity,
) -> Result<Benchmark> {
    let mut names = args.data.clone();
    if names.is_empty() {
        let mut seen = HashSet::new();
        let files = models.iter().flat_map(|model| &model.about.data);
        // The same file may have been given by several paths.
        names.extend(files.filter(|file| seen.insert(&file.sha256)).map(|file| file.name.clone()));
    }
    Benchmark::load(&names, References::Keep, verbosity)
}

/// Refuses an output inside a folder of answers, which would no longer be one, and to recompute what was never judged.
pub(super) fn check_output(args: &JudgeArgs) -> Result<()> {
    let output = std::path::absolute(&args.output).unwrap_or_else(|_| args.output.clone());
    let inside =
        output.ancestors().skip(1).find(|folder| AnswersFolder::of(folder).about().exists());
    if let Some(folder) = inside {
        let what =
            format!("`{}` is inside the answers `{}`", args.output.display(), folder.display());
        return Err(InputError::new(what).hint("give another folder with `--output`").into());
    }
    if args.recompute && !args.output.is_dir() {
        let what = format!("nothing was judged in `{}`", args.output.display());
        return Err(InputError::new(what)
            .hint("run the command without `--recompute` first")
            .into());
    }
    Ok(())
}
