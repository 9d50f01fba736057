//! The adapter: rank, scale, dropout, the modules that carry it.

use anyhow::Result;
use toml::Value;

use super::Fate::{Differs, Harmless, Translated};
use super::draft::Draft;
use crate::config::Projection;
use crate::disk::yaml::{Node, Yaml};
use crate::error::InputError;

/// What full fine-tuning becomes.
const FULL: &str = "every weight is trained there, a LoRA adapter here: another method, whose learning rate is usually ten times \
                    as high; `[lora]` is written with the program's own defaults where it has some";

/// Notes that all weights are trained there; `key`: what says so.
pub(super) fn note_full(draft: &mut Draft<'_>, key: &str) {
    draft.note(key, Differs, FULL);
}

/// Dropout: TRL's trainer, which the three programs run or copy, turns all of it off, the adapter's too, unless told otherwise.
pub(super) fn dropout(draft: &mut Draft<'_>) -> Result<()> {
    let (key, ours) = ("lora_dropout", "lora.dropout");
    let given = draft.number(key)?;
    let is_off = draft.flag("disable_dropout")?.unwrap_or(true);
    let default = draft.known.default(key).number().unwrap_or(0.0);
    let why = match draft.given("disable_dropout") {
        Some(_) => "`disable_dropout` turns all dropout off",
        None => "TRL's `disable_dropout`, on by default, turns all dropout off",
    };
    match (is_off, given) {
        (true, Some(_)) => draft.translate_as(key, ours, 0.0, why),
        (true, None) => draft.set(ours, 0.0, why.replace('`', "")),
        (false, Some(_)) => draft.translate(key, ours, given.unwrap_or(default)),
        (false, None) => draft.set_default(ours, default, key),
    }
    if draft.given("disable_dropout").is_some() {
        draft.note("disable_dropout", Translated, "a part of `lora.dropout`");
    }
    Ok(())
}

/// The modules of `key`: names, a word for all linear layers, or a regular expression.
///
/// - `all`: the words for all linear layers.
/// - `takes_commas`: whether one text is names with commas between them; otherwise it is a regular expression, as in PEFT.
pub(super) fn modules(
    draft: &mut Draft<'_>,
    key: &str,
    all: &[&str],
    takes_commas: bool,
) -> Result<()> {
    let Some(node) = draft.given(key) else { return Ok(()) };
    let names: Option<Vec<String>> = match &node.value {
        Yaml::Text(text) if all.contains(&text.as_str()) => return set_all(draft, key),
        Yaml::Text(text) if !takes_commas && !is_projection(text) => {
            draft.translate_as(
                key,
                "lora.target_modules",
                text.clone(),
                "a regular expression of whole paths",
            );
            return Ok(());
        }
        Yaml::Text(text) if !takes_commas => Some(vec![text.clone()]),
        value => value.words(),
    };
    let names = names.ok_or_else(|| draft.wrong(key, node, "the names of modules"))?;
    if let [name] = &names[..]
        && all.contains(&name.as_str())
    {
        return set_all(draft, key);
    }
    refuse_other(draft, key, node, &names)?;
    let mut modules: Vec<Value> = Vec::new();
    for name in names.into_iter().map(Value::from) {
        if !modules.contains(&name) {
            modules.push(name);
        }
    }
    draft.translate(key, "lora.target_modules", modules);
    Ok(())
}

fn is_projection(name: &str) -> bool {
    Projection::NAMES.contains(&name)
}

/// Every linear layer of a Llama's decoder.
pub(super) fn set_all(draft: &mut Draft<'_>, key: &str) -> Result<()> {
    draft.translate_as(
        key,
        "lora.target_modules",
        names(Projection::NAMES),
        "all linear layers of a Llama",
    );
    Ok(())
}

/// Names as a list.
fn names(names: &[&str]) -> Value {
    names.iter().map(|name| Value::from(*name)).collect::<Vec<_>>().into()
}

/// What PEFT puts an adapter on in a Llama where nothing is said.
pub(super) fn set_pefts(draft: &mut Draft<'_>, key: &str) {
    let comment = format!("{key} is not set: PEFT's default for a Llama");
    draft.set("lora.target_modules", names(&["q_proj", "v_proj"]), comment);
}

/// Refuses a module that no Llama's decoder layer has.
fn refuse_other(draft: &Draft<'_>, key: &str, node: &Node, names: &[String]) -> Result<()> {
    // A path, such as `model.layers.0.self_attn.q_proj`, ends with the module.
    let other = names.iter().find(|name| !is_projection(name.rsplit('.').next().unwrap_or(name)));
    match other {
        Some(name) => {
            let known = Projection::NAMES.join(", ");
            let message = format!(
                "{}: `{key}` has `{name}`, which no layer of a Llama has",
                draft.place(node.line)
            );
            Err(InputError::new(message).hint(format!("an adapter is put on {known}")).into())
        }
        None => Ok(()),
    }
}

/// Ranks or alphas of single modules.
pub(super) fn pattern(draft: &mut Draft<'_>, key: &str, ours: &'static str) -> Result<()> {
    let Some(node) = draft.given(key) else { return Ok(()) };
    let Yaml::Table(table) = &node.value else {
        return Err(draft.wrong(key, node, "a table").into());
    };
    let mut of_patterns = toml::Table::new();
    for (pattern, node) in table {
        let Some(number) = node.value.integer() else {
            return Err(draft.wrong(&format!("{key}.{pattern}"), node, "a whole number").into());
        };
        of_patterns.insert(pattern.clone(), number.into());
    }
    match of_patterns.is_empty() {
        true => draft.note(key, Harmless, "empty, as here"),
        false => draft.translate(key, ours, of_patterns),
    }
    Ok(())
}
