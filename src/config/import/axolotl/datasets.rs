//! Axolotl's list of data sets, the strategies that read them, and the chat template.

use anyhow::Result;

use super::super::Fate::{Differs, Harmless, Translated};
use super::super::draft::Draft;
use super::super::evaluation;
use super::super::sources::{self, NOT_TRLS, Named, Source};
use crate::disk::yaml::{Node, Yaml};
use crate::error::InputError;

/// Strategies of `chatml` and `llama3`, and the layout that they read; none for one that is recognised.
const LAYOUTS: &[(&str, Option<&str>)] = &[
    ("default", None),
    ("argilla_chat", Some("implicit-prompt")),
    ("argilla", Some("argilla")),
    ("icr", Some("icr")),
    ("intel", Some("orca")),
    ("prompt_pairs", Some("preference")),
    ("ultra", Some("preference")),
];

/// Translates the data and how it is evaluated.
pub(super) fn translate(draft: &mut Draft<'_>) -> Result<()> {
    let Some(list) = draft.given("datasets") else {
        return Err(InputError::new(format!("{}: `datasets` is not set", draft.name))
            .hint("add it")
            .into());
    };
    let sources = all(draft, "datasets", list)?;
    sources::set(draft, sources, &["datasets"]);
    if let Some(list) = draft.given("test_datasets").filter(|node| !node.value.is_idle()) {
        let sources = all(draft, "test_datasets", list)?;
        sources::set_evaluation(draft, "test", sources, &["test_datasets"]);
    }
    evaluation::held_out(draft, "val_set_size")?;
    template(draft)?;
    evaluation::during_training(draft)
}

fn all(draft: &mut Draft<'_>, key: &str, list: &Node) -> Result<Vec<Source>> {
    let Yaml::List(items) = &list.value else {
        return Err(draft.wrong(key, list, "a list of data sets").into());
    };
    if items.is_empty() {
        return Err(draft.wrong(key, list, "a list of one or more data sets").into());
    }
    let mut all = Vec::new();
    for (i, item) in items.iter().enumerate() {
        all.extend(one(draft, key, i, item)?);
    }
    Ok(all)
}

fn one(draft: &mut Draft<'_>, key: &str, number: usize, item: &Node) -> Result<Vec<Source>> {
    let at = format!("{key}[{number}]");
    draft.refuse_unknown_inside(&at, key, item)?;
    let Some(path) = item.value.get("path") else {
        return Err(
            InputError::new(format!("{}: `{at}` has no `path`", draft.place(item.line))).into()
        );
    };
    let inner = |key: &str| item.value.get(key).filter(|node| !node.value.is_idle());
    let [path_at, split_at, name_at] = ["path", "split", "name"].map(|key| format!("{at}.{key}"));
    let named = Named {
        at: &path_at,
        path,
        files: inner("data_files"),
        revision: inner("revision").and_then(|node| node.value.text()),
        configuration: inner("name").map(|node| (&*name_at, node)),
        folder: None,
    };
    let set = sources::loaded(draft, named)?;
    let default = set.is_of_hub().then_some("train");
    let mut found = set.of_split(draft, &split_at, inner("split"), default)?;
    let mut reading = Source::default();
    layout(draft, &at, item, &mut reading)?;
    found.iter_mut().for_each(|source| source.table.extend(reading.table.clone()));
    for (inner, said) in [
        ("shards", "a part of the pairs is trained on there, all of them here"),
        ("preprocess_shards", "a part of the pairs is trained on there, all of them here"),
        ("drop_system_message", "a system message is a part of the data"),
        ("field_tools", "name the column of the tools by `columns = {tools = ...}` of the source"),
        (
            "chat_template",
            "one template renders all sources; `data.chat_template` gives another than the model's",
        ),
        (
            "chat_template_jinja",
            "one template renders all sources; `data.chat_template` gives another than the model's",
        ),
    ] {
        if let Some(node) = item.value.get(inner).filter(|node| !node.value.is_idle()) {
            draft.note_inside(format!("{at}.{inner}"), node, Differs, said);
        }
    }
    // What SFT reads of a data set, and preference pairs do not.
    let read = [
        "path",
        "name",
        "data_files",
        "split",
        "revision",
        "type",
        "field_messages",
        "field_chosen",
        "field_rejected",
        "roles",
        "message_property_mappings",
        "ds_type",
    ];
    if let Yaml::Table(table) = &item.value {
        for (inner, node) in table {
            let path = format!("{at}.{inner}");
            if !read.contains(&inner.as_str()) && !draft.is_noted(&path) {
                draft.note_inside(path, node, Harmless, "preference pairs do not read it there");
            }
        }
    }
    Ok(found)
}

/// The columns of a data set by the strategy that reads it there.
fn layout(draft: &mut Draft<'_>, at: &str, item: &Node, source: &mut Source) -> Result<()> {
    let at_type = format!("{at}.type");
    let Some(kind) = item.value.get("type") else {
        source.no_column(NOT_TRLS);
        draft.note_inside(
            at_type,
            item,
            Translated,
            "not set: the columns are TRL's, recognised here too",
        );
        return Ok(());
    };
    if let Yaml::Table(_) = &kind.value {
        draft.refuse_unknown_inside(
            &at_type,
            &format!("{}.type", at.split('[').next().unwrap_or(at)),
            kind,
        )?;
        return user_defined(draft, &at_type, kind, source);
    }
    let Some(name) = kind.value.text() else {
        return Err(draft.wrong(&at_type, kind, "the name of a strategy").into());
    };
    let (family, strategy) = name.split_once('.').unwrap_or((name, "default"));
    let chat = "its messages go through the chat template";
    match (family, strategy) {
        ("chat_template", "default") => {
            let field = |key: &str, default: &str| {
                item.value.get(key).and_then(|node| node.value.text()).unwrap_or(default).to_owned()
            };
            source.put("layout", "messages");
            source.column("messages", &field("field_messages", "messages"));
            source.column("chosen", &field("field_chosen", "chosen"));
            source.column("rejected", &field("field_rejected", "rejected"));
            source.no_column(&["system", "tools"]);
            mappings(draft, at, item)?;
            draft.note_inside(at_type, kind, Translated, chat);
        }
        ("chat_template", "argilla_chat" | "argilla") => {
            source.put("layout", "implicit-prompt");
            draft.note_inside(at_type, kind, Translated, chat);
        }
        ("chatml" | "llama3", strategy) if LAYOUTS.iter().any(|(name, _)| *name == strategy) => {
            let layout = LAYOUTS.iter().find(|(name, _)| *name == strategy);
            if let Some(layout) = layout.and_then(|(_, layout)| *layout) {
                source.put("layout", layout);
            }
            let said = format!(
                "`{family}` writes the text in its own template there, whatever the model's; here the model's chat template does: \
                 give `data.chat_template` where it is another one"
            );
            draft.note_inside(at_type, kind, Differs, said);
        }
        ("passthrough", _) => {
            source.no_column(NOT_TRLS);
            let said = "the columns are TRL's, recognised here too";
            draft.note_inside(at_type, kind, Translated, said);
        }
        _ => {
            let place = draft.place(kind.line);
            let message = format!("{place}: `{at_type}: {name}` has no counterpart here");
            let hint = "translated are `chat_template`, `chatml.*`, `llama3.*`, `passthrough` and a table of fields";
            return Err(InputError::new(message).hint(hint).into());
        }
    }
    if family != "passthrough"
        && draft.settings.iter().all(|setting| setting.key != "data.prompt_format")
    {
        draft.set("data.prompt_format", "chat", format!("{at}.type: {name}"));
    }
    Ok(())
}

/// Roles and names of the fields of a message, which are recognised if they are OpenAI's or ShareGPT's.
fn mappings(draft: &mut Draft<'_>, at: &str, item: &Node) -> Result<()> {
    if let Some(node) = item.value.get("message_property_mappings") {
        let of =
            |key: &str| node.value.get(key).and_then(|node| node.value.text()).map(str::to_owned);
        let (role, content) =
            (of("role").unwrap_or("role".into()), of("content").unwrap_or("content".into()));
        let is_known = [("role", "content"), ("from", "value")].contains(&(&*role, &*content));
        let (fate, said) = match is_known {
            true => (Translated, "recognised here too"),
            false => (
                Differs,
                "a message's fields are `role` and `content`, or `from` and `value`, here: rename those of the data",
            ),
        };
        draft.note_inside(format!("{at}.message_property_mappings"), node, fate, said);
    }
    if let Some(node) = item.value.get("roles") {
        let known = |role: &str, name: &str| match role {
            "assistant" => ["assistant", "gpt", "model", "chatgpt", "bot"].contains(&name),
            "user" => ["user", "human"].contains(&name),
            other => other == name,
        };
        let Yaml::Table(roles) = &node.value else {
            return Err(draft.wrong(&format!("{at}.roles"), node, "a table of roles").into());
        };
        let is_known = roles.iter().all(|(role, names)| {
            names.value.words().is_some_and(|names| names.iter().all(|name| known(role, name)))
        });
        let (fate, said) = match is_known {
            true => (Translated, "recognised here too"),
            false => (Differs, "other names of roles are not read here: rename those of the data"),
        };
        draft.note_inside(format!("{at}.roles"), node, fate, said);
    }
    Ok(())
}

/// A table of fields and formats in place of a strategy.
fn user_defined(draft: &mut Draft<'_>, at: &str, kind: &Node, source: &mut Source) -> Result<()> {
    let writes_system = kind
        .value
        .get("prompt_format")
        .and_then(|node| node.value.text())
        .is_some_and(|format| format.contains("{system}"));
    source.no_column(&["profile", "tools"]);
    if !writes_system {
        source.no_column(&["system"]);
    }
    for (key, role) in [
        ("field_prompt", "prompt"),
        ("field_chosen", "chosen"),
        ("field_rejected", "rejected"),
        ("field_system", "system"),
    ] {
        if let Some(node) = kind.value.get(key) {
            let Some(column) = node.value.text() else {
                return Err(draft.wrong(&format!("{at}.{key}"), node, "a column").into());
            };
            if role == "system" && !writes_system {
                let said = "`prompt_format` does not write it";
                draft.note_inside(format!("{at}.{key}"), node, Harmless, said);
                continue;
            }
            source.column(role, column);
            draft.note_inside(
                format!("{at}.{key}"),
                node,
                Translated,
                format!("the column of `{role}`"),
            );
        }
    }
    for (key, plain) in [
        ("prompt_format", "{prompt}"),
        ("chosen_format", "{chosen}"),
        ("rejected_format", "{rejected}"),
    ] {
        if let Some(node) = kind.value.get(key).filter(|node| !node.value.is_idle()) {
            let (fate, said) = match node.value.text() == Some(plain) {
                true => (Translated, "the text as it is"),
                false => (
                    Differs,
                    "a text has no format of its own here: write it into the data, or use a chat template",
                ),
            };
            draft.note_inside(format!("{at}.{key}"), node, fate, said);
        }
    }
    Ok(())
}

/// The chat template: the model's, or Axolotl's own of that name.
fn template(draft: &mut Draft<'_>) -> Result<()> {
    if let Some(name) = draft.text("chat_template")? {
        match name {
            "tokenizer_default" => draft.note("chat_template", Translated, "the model's own"),
            "jinja" => draft.note(
                "chat_template",
                Differs,
                "the text of `chat_template_jinja` in place of the model's template",
            ),
            _ => {
                let said = "Axolotl's own template of that name; here the model's chat template: give `data.chat_template` where they differ";
                draft.note("chat_template", Differs, said);
            }
        }
    }
    if let Some(text) = draft.text("chat_template_jinja")? {
        match text.ends_with(".jinja") && !text.contains('\n') {
            true => draft.translate("chat_template_jinja", "data.chat_template", text),
            false => {
                let said = "a text has no key: write it to a file and name that, as `data.chat_template = \"template.jinja\"`";
                draft.note("chat_template_jinja", Differs, said);
            }
        }
    }
    Ok(())
}
