//! Conversations as text, through the model's own `chat_template`: a Jinja template, rendered as transformers renders it.
//!
//! `sources` finds the template of a model, `rewrite` gives it the operators of Python, `engine` compiles and bounds it.

mod attributes;
mod calls;
mod engine;
mod expressions;
mod messages;
mod operators;
mod python_compare;
mod python_filters;
mod python_json;
mod python_numbers;
mod python_order;
mod python_strings;
mod python_text;
mod python_values;
mod rewrite;
mod signatures;
mod sources;
mod tags;

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Result;
use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::{Map, Value, json};

use self::messages::for_template;
pub(super) use self::messages::message;
use self::sources::DEFAULT;
pub use self::sources::{ADDITIONAL_TEMPLATES, additional_templates};
use super::tokenizer::Tokenizer;
use crate::data::format::fields::shorten;
use crate::error::InputError;

/// Longest text of one conversation, in bytes.
const LONGEST_TEXT: usize = 64 << 20;

/// The name in a list of templates that transformers takes for a record with tools.
const FOR_TOOLS: &str = "tool_use";

/// A model's chat template.
///
/// `strftime_now` is not defined, though transformers has it: a prompt with today's date would differ tomorrow.
/// Templates that ask for it fall back to a date of their own, which [`ChatTemplate::note`] says.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    name: String,
    /// The names of the templates, one of which is usually [`DEFAULT`].
    listed: Vec<String>,
    /// `bos_token`, `eos_token` and the other special tokens that the model has.
    special: Map<String, Value>,
}

/// What a record gives its template beside the messages, under the names of transformers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variables {
    /// `tools`: functions that the model may call, as JSON schemas.
    pub tools: Option<Vec<Value>>,
    /// `chat_template_kwargs`: any other variables.
    pub others: Map<String, Value>,
}

impl ChatTemplate {
    /// The template of a model folder, if it has one: `chat_template.jinja` with those of `additional`, name and content each, or
    /// `chat_template` of `tokenizer_config.json`, a text or a list of named ones. `name`: the folder, for messages.
    pub fn find(
        jinja: Option<&[u8]>,
        additional: &[(&str, &[u8])],
        tokenizer_config: Option<&[u8]>,
        tokenizer: &Tokenizer,
        name: &str,
    ) -> Result<Option<Self>> {
        let config: Value = tokenizer_config
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let Some((sources, name)) =
            sources::found(jinja, additional, &config["chat_template"], name)?
        else {
            return Ok(None);
        };
        let mut template = Self::of_sources(sources, tokenizer, name)?;
        for key in ["unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] {
            let text = config[key].as_str().or_else(|| config[key]["content"].as_str());
            if let Some(text) = text {
                template.special.insert(key.to_owned(), text.into());
            }
        }
        Ok(Some(template))
    }

    /// A template from its source. `name`: for messages.
    pub fn new(source: String, tokenizer: &Tokenizer, name: String) -> Result<Self> {
        Self::of_sources(vec![(DEFAULT.to_owned(), source)], tokenizer, name)
    }

    fn of_sources(
        sources: Vec<(String, String)>,
        tokenizer: &Tokenizer,
        name: String,
    ) -> Result<Self> {
        let mut environment = engine::environment()?;
        let mut listed = Vec::new();
        for (title, source) in sources {
            listed.push(title.clone());
            if title == DEFAULT || title == FOR_TOOLS {
                engine::compile(&mut environment, title, &source, &name)?;
            }
        }
        let mut special = Map::new();
        special.insert("eos_token".to_owned(), tokenizer.eos_text().into());
        if let Some(bos) = tokenizer.bos_text() {
            special.insert("bos_token".to_owned(), bos.into());
        }
        Ok(Self { environment: Arc::new(environment), name, listed, special })
    }

    /// A sentence about a template whose prompts transformers would date; none for any other.
    pub fn note(&self) -> Option<String> {
        let mut templates = self.environment.templates();
        templates.any(|(_, template)| template.source().contains("strftime_now")).then(|| {
            format!(
                "{}: asks for today's date, which transformers gives it; here it has none, so that a prompt is the same tomorrow",
                self.name
            )
        })
    }

    /// The text of some messages; with `add_generation_prompt` it ends where the assistant's answer begins.
    ///
    /// As in transformers, a message's fields that are null are left out, and variables of the record come before special tokens.
    pub fn render(
        &self,
        messages: &[Value],
        variables: &Variables,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let mut context = self.special.clone();
        context.insert("tools".to_owned(), json!(variables.tools));
        context.insert("documents".to_owned(), Value::Null);
        context.extend(variables.others.clone());
        context.insert("messages".to_owned(), messages.iter().map(for_template).collect());
        context.insert("add_generation_prompt".to_owned(), add_generation_prompt.into());

        let has = |title: &str| self.listed.iter().any(|listed| listed == title);
        let title = match variables.tools {
            Some(_) if has(FOR_TOOLS) => FOR_TOOLS,
            _ if has(DEFAULT) => DEFAULT,
            _ => return Err(self.no_default().into()),
        };
        let mut text = Text::default();
        let rendered = engine::bounded_for(&self.name, || {
            self.environment.get_template(title).and_then(|template| {
                template.render_captured_to(Serde(&context), &mut text).map(|_| ())
            })
        });
        rendered.map_err(|error| {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            let what = if text.full { "more than 64 MiB of text".to_owned() } else { detail };
            InputError::new(format!("{}: {what}", self.name)).hint(
                "the template refuses this conversation, or has something that is not known here",
            )
        })?;
        Ok(String::from_utf8(text.bytes)?)
    }

    fn no_default(&self) -> InputError {
        const SHOWN: usize = 12;
        let mut names: Vec<_> =
            self.listed.iter().take(SHOWN).map(|name| format!("`{}`", shorten(name))).collect();
        if self.listed.len() > SHOWN {
            names.push(format!("and {} more", self.listed.len() - SHOWN));
        }
        let has = if names.is_empty() {
            "it is empty".to_owned()
        } else {
            format!("it has {}", names.join(", "))
        };
        InputError::new(format!("{}: a list of templates without a `{DEFAULT}`; {has}", self.name))
            .hint(format!("name the one to use `{DEFAULT}`, or save it as chat_template.jinja"))
    }

    /// Prompt, chosen and rejected answer as text: the prompt ends where an answer begins, and each answer is the text after it.
    pub(super) fn texts(
        &self,
        prompt: &[Value],
        [chosen, rejected]: [&[Value]; 2],
        variables: &Variables,
    ) -> Result<[String; 3]> {
        let before = self.render(prompt, variables, true)?;
        let answer = |answer: &[Value]| -> Result<String> {
            let whole = self.render(&[prompt, answer].concat(), variables, false)?;
            match whole.strip_prefix(before.as_str()) {
                Some(answer) => Ok(answer.to_owned()),
                None => Err(InputError::new(format!(
                    "{}: renders a conversation as a text that does not begin with that of its prompt",
                    self.name
                ))
                .hint("such a template cannot say which tokens are the answer's; render the pairs yourself, as plain strings")
                .into()),
            }
        };
        let (chosen, rejected) = (answer(chosen)?, answer(rejected)?);
        Ok([before, chosen, rejected])
    }

    /// Whether a rendered text begins with the BOS text, so that the tokenizer must not add another.
    pub(super) fn writes_bos(&self, rendered: &str) -> bool {
        let bos = self.special.get("bos_token").and_then(Value::as_str);
        bos.is_some_and(|bos| rendered.starts_with(bos))
    }
}

/// The output of a template, up to a limit.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Text {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.full = self.bytes.len() + more.len() > LONGEST_TEXT;
        if self.full {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
