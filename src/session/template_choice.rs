//! Which chat template renders conversations, and the day it is given.

use std::path::Path;

use anyhow::{Context, Result};
use chrono::NaiveDate;
use serde_json::Value;

use crate::config::{DataSection, RunConfig};
use crate::console::clock;
use crate::data::chat::Sources;
use crate::data::tokenizer::Tokenizer;
use crate::disk::read;
use crate::error::{InputError, shown};
use crate::run_folder::begun_day;
use crate::run_folder::guard::Resume;
use crate::run_folder::purpose::Purpose;

/// The name of the file that a template has in a folder.
const FILE: &str = "chat_template.jinja";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The template to use, and the day it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateChoice {
    /// A `.jinja` file or a folder that has a template, `data.chat_template`; empty for the model's own.
    pub path: String,
    /// The day that the template is given where it asks for the date.
    pub day: NaiveDate,
}

impl TemplateChoice {
    /// That of a configuration, for a command that writes no folder: the day is today, unless the run of the folder has begun.
    pub fn of(config: &RunConfig) -> Result<Self> {
        Self::of_run(config, Purpose::Run, &Resume::Auto, clock::now().date_naive())
    }

    /// That of a run or an evaluation: without `data.template_date` the day is the one on which its folder began, else `today`.
    pub fn of_run(
        config: &RunConfig,
        purpose: Purpose,
        resume: &Resume,
        today: NaiveDate,
    ) -> Result<Self> {
        let DataSection { chat_template, template_date, .. } = &config.data;
        let day = match template_date.parse() {
            Ok(day) => day,
            Err(_) => begun_day::find(purpose, &config.output.dir, resume)?.unwrap_or(today),
        };
        Ok(Self { path: chat_template.clone(), day })
    }

    /// That of options of the command line, in which an empty text is none.
    pub fn typed(path: &str, day: Option<NaiveDate>) -> Self {
        Self { path: path.to_owned(), day: day.unwrap_or_else(|| clock::now().date_naive()) }
    }

    /// The templates of `path`; none if it is empty.
    ///
    /// Refuses a folder whose tokenizer has tokens that `tokenizer` has not, or another EOS: TRL would add them to the model.
    pub(super) fn sources(&self, tokenizer: &Tokenizer) -> Result<Option<Sources>> {
        if self.path.is_empty() {
            return Ok(None);
        }
        let path = Path::new(&self.path);
        let name = self.path.as_str();
        let at = format!("chat template `{}`", shown(&self.path));
        if path.is_dir() {
            return folder(path, name, &at, tokenizer).map(Some);
        }
        let is_template =
            path.extension().is_some_and(|ending| ending == "jinja" || ending == "j2");
        if !is_template || !path.exists() {
            let what = if path.exists() { "is no such file" } else { "is not there" };
            return Err(InputError::new(format!(
                "{at}: expected a `.jinja` file, or a folder with `{FILE}` or `{TOKENIZER_CONFIG}`; it {what}"
            ))
            .hint("a model on the hub has its template in one of these files: download it, and name its path")
            .into());
        }
        let bytes = read::bytes(path).with_context(|| format!("{at}: cannot read it"))?;
        Ok(Some(Sources::of_file(bytes, name)?))
    }
}

/// The templates of the folder `path`.
fn folder(path: &Path, name: &str, at: &str, tokenizer: &Tokenizer) -> Result<Sources> {
    let Some(sources) = Sources::of_folder(path, name)? else {
        let what = format!(
            "{at}: the folder has no `{FILE}`, and no `chat_template` in `{TOKENIZER_CONFIG}`"
        );
        return Err(InputError::new(what).into());
    };
    // One that is no JSON is refused above.
    let config = read::if_there(&path.join(TOKENIZER_CONFIG))?.unwrap_or_default();
    let config: Value = serde_json::from_slice(&config).unwrap_or_default();
    let hint = "name the `.jinja` file alone, if the template is to be used without them";
    let text =
        |token: &Value| token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned);
    let added = config["added_tokens_decoder"].as_object().into_iter().flatten();
    let unknown = added.filter_map(|(_, token)| text(token)).find(|text| !tokenizer.knows(text));
    if let Some(unknown) = unknown {
        return Err(InputError::new(format!(
            "{at}: its tokenizer has the token `{}`, which the model's tokenizer has not",
            shown(&unknown)
        ))
        .hint(format!(
            "TRL adds such tokens to the model, whose embeddings do not grow here; {hint}"
        ))
        .into());
    }
    if let Some(eos) = text(&config["eos_token"]).filter(|eos| eos != tokenizer.eos_text()) {
        return Err(InputError::new(format!(
            "{at}: its tokenizer has the EOS `{}`, the model's has `{}`",
            shown(&eos),
            shown(&tokenizer.eos_text())
        ))
        .hint(format!("TRL makes it the model's EOS; {hint}"))
        .into());
    }
    Ok(sources)
}
