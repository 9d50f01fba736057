//! What a build was made from and what it counted, in `manifest.json` and in a few lines.

use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::built::Built;
use super::recipe::{MappedBy, Recipe};
use crate::console::units::{self, count, counted};
use crate::construct::prism::{self, Prism};
use crate::disk::digest;
use crate::error::shown;

/// Counts of PRISM as it was published.
const PUBLISHED: [(&str, usize); 4] =
    [("survey_users", 1500), ("users", 1396), ("conversations", 8011), ("birth_countries", 74)];

/// What a build was made from.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The recipe's file or preset.
    pub recipe_name: &'a str,
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Lists of exclusions, name and SHA-256 each.
    pub excluded: &'a [(String, String)],
    /// Who wrote, and who labelled where a model did.
    pub model: Model,
    /// Name and digest of the sentence encoder; none without one.
    pub encoder: Option<(String, String)>,
}

/// A model behind an endpoint.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Model {
    /// The endpoint.
    pub endpoint: String,
    /// The model's name there.
    pub chat_model: String,
    /// The names under which it says it answered.
    pub served: Vec<String>,
    /// US dollars of all replies; none without prices.
    pub cost_usd: Option<f64>,
}

/// A count of the files beside that of PRISM as it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// What is counted.
    pub what: &'static str,
    /// The count of the published files.
    pub published: usize,
    /// The count of these.
    pub found: usize,
    /// Whether they differ.
    pub differs: bool,
}

/// The counts of the files beside those that were published.
pub fn compared(counts: &prism::Counts) -> [Compared; 4] {
    PUBLISHED.map(|(what, published)| {
        let found = match what {
            "survey_users" => counts.survey_users,
            "users" => counts.users,
            "conversations" => counts.conversations,
            _ => counts.birth_countries,
        };
        Compared { what, published, found, differs: found != published }
    })
}

/// The manifest of `built`.
pub fn manifest(origin: &Origin<'_>, prism: &Prism, built: &Built) -> Result<Vec<u8>> {
    let inputs: Vec<Value> = (prism.inputs.iter())
        .map(|(file, sha256)| json!({"file": file, "sha256": sha256}))
        .collect();
    let excluded: Vec<Value> = (origin.excluded.iter())
        .map(|(file, sha256)| json!({"file": file, "sha256": sha256}))
        .collect();
    let files: Vec<Value> = (built.files.iter())
        .map(|(file, bytes)| {
            let mut about = json!({"file": file, "sha256": digest::of_bytes(bytes)});
            if let Some(records) = built.records.get(file) {
                about["records"] = (*records).into();
            }
            if let Some(users) = built.users.get(file) {
                about["users"] = (*users).into();
            }
            about
        })
        .collect();
    let manifest = json!({
        "mvpbench": env!("CARGO_PKG_VERSION"),
        "kind": "mvpbench",
        "inputs": inputs,
        "exclusions": excluded,
        "recipe": {"file": origin.recipe_name, "sha256": origin.recipe.sha256()?, "text": origin.recipe.priceless()},
        "model": origin.model,
        "encoder": origin.encoder.as_ref().map(|(name, sha256)| json!({"name": name, "sha256": sha256})),
        "published": compared(&prism.counts),
        "prism": prism.counts,
        "unknown_fields": prism.unknown_fields,
        "counts": built.counts,
        "split": {"by": "user", "settings": origin.recipe.split},
        "files": files,
        "broken": prism.broken,
    });
    let mut bytes = serde_json::to_vec_pretty(&manifest)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// What was read, in lines for the console, with the counts that differ from those published.
pub fn notes_of(prism: &Prism) -> Vec<String> {
    let mut notes = Vec::new();
    let prism::Counts { survey_users, users, conversations, users_without_conversations, .. } =
        prism.counts;
    notes.push(format!(
        "PRISM: {} of {}, {} without a conversation left out",
        counted(conversations, "conversation"),
        counted(users, "user"),
        count(users_without_conversations)
    ));
    let differing: Vec<_> = compared(&prism.counts).into_iter().filter(|c| c.differs).collect();
    if !differing.is_empty() {
        let each: Vec<_> = (differing.iter())
            .map(|c| {
                format!(
                    "{} {} in place of {}",
                    count(c.found),
                    c.what.replace('_', " "),
                    count(c.published)
                )
            })
            .collect();
        notes.push(format!("not the counts of PRISM as published: {}", each.join(", ")));
    }
    let without: Vec<_> = (prism.counts.users_without_field.iter())
        .map(|(field, users)| format!("`{field}` ({})", counted(*users, "user")))
        .collect();
    if !without.is_empty() {
        notes.push(format!("fields that are missing: {}", without.join(", ")));
    }
    let said = [
        (prism.counts.users_of_broken_conversations, "of whom every conversation is broken"),
        (
            prism.counts.users_of_the_survey_alone,
            "with conversations, of whom the survey says there are none",
        ),
    ];
    for (users, what) in said.into_iter().filter(|(users, _)| *users > 0) {
        notes.push(format!("{} {what}", counted(users, "user")));
    }
    if prism.counts.users_of_another_count > 0 {
        notes.push(format!(
            "{} of {} with another number of conversations than the survey says",
            counted(prism.counts.users_of_another_count, "user"),
            count(survey_users)
        ));
    }
    notes
}

/// The result in lines for stdout. `folder`: where the files are.
pub fn summary(origin: &Origin<'_>, built: &Built, folder: &str) -> Result<String> {
    let mut text = String::new();
    let counts = &built.counts;
    if let (MappedBy::Model, Some(checked)) = (origin.recipe.mapping.by, &counts.mapping) {
        writeln!(
            text,
            "labels:    {} of {} people as the rule gives them; {} differ, {} unread",
            count(checked.agree),
            count(checked.people),
            count(checked.disagree),
            count(checked.unread)
        )?;
    }
    let writing = &counts.writing;
    writeln!(
        text,
        "asked:     {}, {} a second time; {} without a label left out",
        counted(writing.rows, "conversation"),
        count(writing.retried),
        count(counts.rows_without_preference)
    )?;
    let kinds: Vec<_> = writing
        .failed_by_kind
        .iter()
        .map(|(kind, n)| format!("{} {}", count(*n), kind.replace('_', " ")))
        .collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    writeln!(text, "items:     {}, {} failed{kinds}", count(writing.items), count(writing.failed))?;
    if writing.replies_of_another_length > 0 || !writing.unread_fields.is_empty() {
        let fields: Vec<_> =
            writing.unread_fields.keys().map(|name| format!("`{}`", shown(name))).collect();
        let fields = if fields.is_empty() { "none".to_owned() } else { fields.join(", ") };
        writeln!(
            text,
            "replies:   {} of fewer or more than three objects; fields that are not read: {fields}",
            count(writing.replies_of_another_length)
        )?;
    }
    if writing.language_unsure > 0 {
        writeln!(
            text,
            "language:  cannot be told of {}",
            counted(writing.language_unsure, "item")
        )?;
    }
    if !origin.excluded.is_empty() {
        writeln!(
            text,
            "excluded:  {}; {} of other texts, {} of no item",
            count(counts.excluded),
            count(counts.exclusions_of_other_texts),
            count(counts.exclusions_of_no_item)
        )?;
    }
    writeln!(
        text,
        "benchmark: {} of {}, {} countries of birth",
        counted(counts.records, "record"),
        counted(counts.users, "user"),
        count(counts.birth_countries)
    )?;
    for (name, users) in &built.users {
        let records = built.records.get(name).copied().unwrap_or_default();
        writeln!(text, "{name:<16} {} of {}", counted(records, "record"), counted(*users, "user"))?;
    }
    if let Some(cost) = origin.model.cost_usd {
        writeln!(text, "cost:      {}", units::dollars(cost))?;
    }
    writeln!(text, "folder:    {folder}")?;
    Ok(text)
}
