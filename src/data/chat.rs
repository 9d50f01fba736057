//! Conversations as text, through the model's own `chat_template`: a Jinja template, rendered as transformers renders it.
//!
//! `sources` finds the template of a model, `rewrite` gives it the operators of Python, `engine` compiles and bounds it.

mod attributes;
mod calls;
mod date;
mod engine;
mod expressions;
mod messages;
mod operators;
mod python_compare;
mod python_filters;
mod python_groups;
mod python_json;
mod python_numbers;
mod python_order;
mod python_padding;
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
use chrono::NaiveDate;
use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::{Map, Value, json};

use self::messages::for_template;
pub(super) use self::messages::message;
use self::sources::DEFAULT;
pub use self::sources::{ADDITIONAL_TEMPLATES, NamedFile, Sources, additional_templates};
use super::tokenizer::Tokenizer;
use crate::data::format::fields::shorten;
use crate::error::InputError;

/// Longest text of one conversation, in bytes.
const LONGEST_TEXT: usize = 64 << 20;

/// The name in a list of templates that transformers takes for a record with tools.
const FOR_TOOLS: &str = "tool_use";

/// A model's chat template.
///
/// Its `strftime_now` gives a day that [`ChatTemplate::dated`] sets, so that a prompt is the same tomorrow; without one a template that
/// calls it is refused.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    name: String,
    /// The day that `strftime_now` gives.
    date: Option<NaiveDate>,
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

/// A prompt and its two answers as a template writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rendered {
    /// Prompt, chosen and rejected answer.
    pub(super) texts: [String; 3],
    /// Bytes at the end of the prompt that are not there where an answer follows.
    pub(super) left_out: usize,
}

impl ChatTemplate {
    /// The template of a model folder, if it has one, as [`Sources::found`] finds it.
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
        let sources = Sources::found(jinja, additional, &config["chat_template"], name)?;
        sources.map(|sources| Self::of(sources, tokenizer_config, tokenizer)).transpose()
    }

    /// The template of `sources`, with the special tokens of a tokenizer and its `tokenizer_config.json`.
    pub fn of(
        sources: Sources,
        tokenizer_config: Option<&[u8]>,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        let config: Value = tokenizer_config
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let mut environment = engine::environment()?;
        let mut listed = Vec::new();
        for (title, source) in sources.templates {
            listed.push(title.clone());
            if title == DEFAULT || title == FOR_TOOLS {
                engine::compile(&mut environment, title, &source, &sources.place)?;
            }
        }
        let mut special = Map::new();
        special.insert("eos_token".to_owned(), tokenizer.eos_text().into());
        if let Some(bos) = tokenizer.bos_text() {
            special.insert("bos_token".to_owned(), bos.into());
        }
        for (key, token) in named_tokens(&config) {
            let text = token.as_str().or_else(|| token["content"].as_str());
            if let Some(text) = text.filter(|_| !["bos_token", "eos_token"].contains(&&**key)) {
                special.insert(key.clone(), text.into());
            }
        }
        let (environment, name) = (Arc::new(environment), sources.place);
        Ok(Self { environment, name, date: None, listed, special })
    }

    /// A template from its source. `name`: for messages.
    pub fn new(source: String, tokenizer: &Tokenizer, name: String) -> Result<Self> {
        Self::of(Sources::one(source, name), None, tokenizer)
    }

    /// The same template on the day `date`, which its `strftime_now` gives.
    #[must_use]
    pub fn dated(mut self, date: NaiveDate) -> Self {
        date::add(Arc::make_mut(&mut self.environment), date);
        self.date = Some(date);
        self
    }

    /// The day that the template writes into a prompt; none if it asks for none.
    pub fn date(&self) -> Option<NaiveDate> {
        let mut templates = self.environment.templates();
        self.date.filter(|_| templates.any(|(_, one)| one.source().contains(date::NAME)))
    }

    /// A sentence about a template that asks for the date; none for any other.
    pub fn note(&self) -> Option<String> {
        let date = self.date()?;
        Some(format!(
            "{}: asks for the date, and is given {date} (`data.template_date`, `--template-date`)",
            self.name
        ))
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

    /// A prompt and its two answers as text: the prompt ends where an answer begins, and each answer is the text after it.
    ///
    /// Some templates end the prompt otherwise than a conversation goes on, for example with the beginning of a thought. The answers then
    /// begin at the first character in which one of them differs from the prompt.
    pub(super) fn texts(
        &self,
        prompt: &[Value],
        answers: [&[Value]; 2],
        variables: &Variables,
    ) -> Result<Rendered> {
        let before = self.render(prompt, variables, true)?;
        let whole = |answer: &[Value]| self.render(&[prompt, answer].concat(), variables, false);
        let [chosen, rejected] = [whole(answers[0])?, whole(answers[1])?];
        let shared = common_prefix(&before, &chosen).min(common_prefix(&before, &rejected));
        let [chosen, rejected] = [chosen, rejected].map(|whole| whole[shared..].to_owned());
        Ok(Rendered { left_out: before.len() - shared, texts: [before, chosen, rejected] })
    }

    /// Whether a rendered text begins with the BOS text, so that the tokenizer must not add another.
    pub(super) fn writes_bos(&self, rendered: &str) -> bool {
        let bos = self.special.get("bos_token").and_then(Value::as_str);
        bos.is_some_and(|bos| rendered.starts_with(bos))
    }
}

/// Names of tokens that every tokenizer may have.
const STANDARD: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The tokens to which `tokenizer_config.json` gives a name, as transformers 5 gives them to a template: `unk_token` and any other
/// `..._token`, such as a model's own `image_token`, and those of the object `extra_special_tokens`. The object
/// `model_specific_special_tokens` counts where there is none of these but the standard ones.
fn named_tokens(config: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let of = |key: &str| config.get(key).and_then(Value::as_object);
    let is_own = |(key, token): (&String, &Value)| {
        key.ends_with("_token") && token.is_string() && !STANDARD.contains(&&**key)
    };
    let extra = of("extra_special_tokens");
    let specific = of("model_specific_special_tokens").filter(|_| {
        extra.is_none_or(Map::is_empty) && !config.as_object().into_iter().flatten().any(is_own)
    });
    let named = config.as_object().into_iter().flatten().filter(|(key, _)| key.ends_with("_token"));
    named.chain(extra.into_iter().flatten()).chain(specific.into_iter().flatten())
}

/// Bytes of the characters that both texts begin with.
fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
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
