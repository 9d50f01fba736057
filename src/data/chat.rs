//! Conversations as text, through the model's own `chat_template`: a Jinja template, rendered as transformers renders it.
//!
//! Long by the tests of what transformers' templates may do; the engine, tags and JSON have files of their own.

mod engine;
mod expressions;
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
mod tags;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::{Map, Value, json};

use super::tokenizer::Tokenizer;
use crate::data::format::fields::shorten;
use crate::disk::read;
use crate::error::InputError;

/// Longest text of one conversation, in bytes.
const LONGEST_TEXT: usize = 64 << 20;

/// Names in a list of templates: the one that transformers takes, and the one that it takes for a record with tools.
const DEFAULT: &str = "default";
const FOR_TOOLS: &str = "tool_use";

/// Folder of templates by name, beside `chat_template.jinja`.
pub const ADDITIONAL_TEMPLATES: &str = "additional_chat_templates";

/// Names under which a message holds the model's reasoning, the standard one first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

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
        let in_config = format!("{name}/tokenizer_config.json: `chat_template`");
        let one = |source: String| vec![(DEFAULT.to_owned(), source)];
        let text = |file: &str, bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| InputError::new(format!("{name}/{file}: expected UTF-8 text")))
        };
        let mut files = Vec::new();
        if let Some(bytes) = jinja {
            files.push((DEFAULT.to_owned(), text("chat_template.jinja", bytes)?));
        }
        for (file, bytes) in additional {
            let title = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
            files.retain(|(known, _)| *known != title);
            files.push((title.into_owned(), text(file, bytes)?));
        }
        let (sources, name) = match (&files[..], &config["chat_template"]) {
            ([_, ..], _) if additional.is_empty() => (files, format!("{name}/chat_template.jinja")),
            ([_, ..], _) => {
                (files, format!("{name}: chat_template.jinja and {ADDITIONAL_TEMPLATES}/"))
            }
            ([], Value::String(source)) => (one(source.clone()), in_config),
            ([], Value::Array(list)) => (named(list, &in_config)?, in_config),
            ([], _) => return Ok(None),
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

/// The templates in the folder `additional_chat_templates` of the model folder `model`, by name below it, in the order of the names.
pub fn additional_templates(model: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = read::folder(&model.join(ADDITIONAL_TEMPLATES))?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "jinja"));
    files.sort();
    let read = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok((format!("{ADDITIONAL_TEMPLATES}/{name}"), bytes))
    };
    files.iter().map(|path| read(path)).collect()
}

/// The templates of a list, each with its name.
fn named(list: &[Value], place: &str) -> Result<Vec<(String, String)>> {
    let one = |template: &Value| {
        let text = |key: &str| template[key].as_str().map(str::to_owned);
        text("name").zip(text("template")).ok_or_else(|| {
            let message =
                format!("{place}: a list with an element that has no texts `name` and `template`");
            InputError::new(message).into()
        })
    };
    list.iter().map(one).collect()
}

/// A message as transformers gives it to a template: without fields that are null, its reasoning under the names templates read.
fn for_template(message: &Value) -> Value {
    let Value::Object(fields) = message else { return message.clone() };
    let set = || fields.iter().filter(|(_, value)| !value.is_null());
    let reasoning = REASONING.iter().find_map(|name| fields.get(*name).filter(|v| !v.is_null()));
    let mut seen = Map::new();
    seen.extend(reasoning.map(|text| ("thinking".to_owned(), text.clone())));
    seen.extend(set().map(|(name, value)| (name.clone(), value.clone())));
    seen.extend(reasoning.map(|text| ("reasoning_content".to_owned(), text.clone())));
    Value::Object(seen)
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

/// One message.
pub(super) fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;

    /// Llama-2-chat's own template, as its tokenizer_config.json has it.
    pub(crate) const LLAMA_2: &str = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
        {% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}\
        {% set system_message = false %}{% endif %}{% for message in loop_messages %}\
        {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
        {% if loop.index0 == 0 and system_message != false %}\
        {% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
        {% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
        {{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
        {{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";

    #[test]
    fn a_template_that_asks_for_the_date_is_said_to_have_none() {
        let of = |source: &str| {
            ChatTemplate::new(source.into(), &tokenizer(), "m/chat_template.jinja".into()).unwrap()
        };
        let dated =
            of("{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}2024{% endif %}");
        assert!(dated.note().unwrap().starts_with("m/chat_template.jinja: asks for today's date"));
        assert_eq!(of(LLAMA_2).note(), None);
    }

    fn tokenizer() -> Tokenizer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/models/tiny");
        Tokenizer::load(&folder).unwrap()
    }

    pub(crate) fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new(source.to_owned(), &tokenizer(), "t".to_owned()).unwrap()
    }

    #[test]
    fn llama_2_chat_is_rendered_as_published() {
        let llama = template(LLAMA_2);
        let conversation = [
            message("system", "Be kind."),
            message("user", " Why? "),
            message("assistant", "So.\n"),
            message("user", "And?"),
        ];
        assert_eq!(
            llama.render(&conversation, &Variables::default(), true).unwrap(),
            "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n Why? [/INST] So. </s><s>[INST] And? [/INST]"
        );
        let [prompt, chosen, rejected] = llama
            .texts(
                &[message("user", "Why?")],
                [&[message("assistant", "a")], &[message("assistant", "b c")]],
                &Variables::default(),
            )
            .unwrap();
        assert_eq!(prompt, "<s>[INST] Why? [/INST]");
        assert_eq!((chosen.as_str(), rejected.as_str()), (" a </s>", " b c </s>"));
        assert!(llama.writes_bos(&prompt));
    }

    #[test]
    fn a_block_on_a_line_of_its_own_leaves_no_line_behind() {
        let zephyr = template(
            "{% for message in messages %}\n    {% if message.role == 'user' %}\n{{ '<|user|>\\n' + message['content'] }}\n    \
             {%- endif %}\n{% if message.role == 'assistant' %}\n{{ '\\n<|assistant|>\\n'  + message['content'] + eos_token }}\n\
             {% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '\\n<|assistant|>\\n' }}\n{% endif %}\n{% endfor %}\n",
        );
        assert_eq!(
            zephyr
                .render(
                    &[message("user", "q"), message("assistant", "a")],
                    &Variables::default(),
                    false
                )
                .unwrap(),
            "<|user|>\nq\n<|assistant|>\na</s>\n"
        );
    }

    #[test]
    fn a_conversation_that_the_template_refuses_is_an_input_error() {
        let error = template(LLAMA_2)
            .render(&[message("assistant", "a")], &Variables::default(), false)
            .unwrap_err();
        assert!(
            InputError::of(&error).unwrap().to_string().contains("roles must alternate"),
            "{error}"
        );
        let error = template("{{ messages.nobody() }}")
            .render(&[], &Variables::default(), true)
            .unwrap_err();
        assert!(InputError::of(&error).is_some(), "{error}");
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(
            InputError::of(
                &template(endless).render(&[], &Variables::default(), true).unwrap_err()
            )
            .is_some()
        );
        assert!(ChatTemplate::new("{% if".to_owned(), &tokenizer(), "t".to_owned()).is_err());
    }

    #[test]
    fn a_template_that_hides_its_prompt_is_refused() {
        let last = template("{{ messages[-1].content }}");
        let error = last
            .texts(
                &[message("user", "q")],
                [&[message("assistant", "a")], &[message("assistant", "b")]],
                &Variables::default(),
            )
            .unwrap_err();
        assert!(error.to_string().contains("does not begin with that of its prompt"), "{error}");
    }

    #[test]
    fn the_template_is_found_in_each_of_its_places() {
        let find = |jinja: Option<&str>, config: &str| {
            let found = ChatTemplate::find(
                jinja.map(str::as_bytes),
                &[],
                Some(config.as_bytes()),
                &tokenizer(),
                "m",
            );
            found
                .unwrap()
                .map(|template| template.render(&[], &Variables::default(), false).unwrap())
        };
        let text = r#"{"chat_template": "text"}"#;
        let list = r#"{"chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "listed"}]}"#;
        assert_eq!(find(None, text).as_deref(), Some("text"));
        assert_eq!(find(None, list).as_deref(), Some("listed"));
        assert_eq!(find(Some("file"), text).as_deref(), Some("file"));
        assert_eq!(find(None, "{}"), None);
    }

    #[test]
    fn a_record_with_tools_takes_the_template_for_them() {
        let config = r#"{"chat_template": [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]}"#;
        let found = ChatTemplate::find(None, &[], Some(config.as_bytes()), &tokenizer(), "m");
        let found = found.unwrap().unwrap();
        let with = Variables { tools: Some(Vec::new()), ..Variables::default() };
        assert_eq!(found.render(&[], &with, true).unwrap(), "tools");
        assert_eq!(found.render(&[], &Variables::default(), true).unwrap(), "plain");
    }

    /// As transformers 5.23: files come before tokenizer_config.json, and those of the folder beside the one file.
    #[test]
    fn templates_of_the_folder_stand_beside_the_default() {
        let config = br#"{"chat_template": "ignored"}"#;
        let tools: (&str, &[u8]) = ("additional_chat_templates/tool_use.jinja", b"tools");
        let find = |jinja: Option<&[u8]>| {
            ChatTemplate::find(jinja, &[tools], Some(config), &tokenizer(), "m").unwrap().unwrap()
        };
        let with = Variables { tools: Some(Vec::new()), ..Variables::default() };
        let found = find(Some(b"plain"));
        assert_eq!(found.render(&[], &with, true).unwrap(), "tools");
        assert_eq!(found.render(&[], &Variables::default(), true).unwrap(), "plain");
        let error = find(None).render(&[], &Variables::default(), true).unwrap_err();
        assert!(error.to_string().contains("without a `default`; it has `tool_use`"), "{error}");
    }

    #[test]
    fn a_list_without_a_default_names_what_it_has() {
        let config = r#"{"chat_template": [{"name": "rag", "template": "x"}, {"name": "tool_use", "template": "{% y"}]}"#;
        let find = |config: &str| {
            ChatTemplate::find(None, &[], Some(config.as_bytes()), &tokenizer(), "m")
                .map(Option::unwrap)
        };
        let broken = find(config).unwrap_err();
        assert!(broken.to_string().contains("not a template"), "{broken}");
        let found = find(&config.replace("{% y", "y")).unwrap();
        let error = found.render(&[], &Variables::default(), true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "m/tokenizer_config.json: `chat_template`: a list of templates without a `default`; it has `rag`, `tool_use`"
        );
        let odd = find(r#"{"chat_template": [{"name": "default"}]}"#).unwrap_err();
        assert!(odd.to_string().contains("no texts `name` and `template`"), "{odd}");
    }

    #[test]
    fn a_message_reaches_the_template_without_its_nulls_and_with_its_reasoning() {
        let source = "{% for m in messages %}{{ m.items() | map('first') | join(',') }}:{{ m.reasoning_content }};{% endfor %}{{ unk_token }}{{ tools is none }}{{ documents is none }}";
        let messages = [
            serde_json::json!({"role": "user", "content": null, "tool_calls": null}),
            serde_json::json!({"role": "assistant", "reasoning": "hm"}),
        ];
        let config =
            serde_json::json!({"chat_template": source, "unk_token": {"content": "<unk>"}});
        let bytes = serde_json::to_vec(&config).unwrap();
        let found =
            ChatTemplate::find(None, &[], Some(&bytes), &tokenizer(), "m").unwrap().unwrap();
        assert_eq!(
            found.render(&messages, &Variables::default(), false).unwrap(),
            "role:;thinking,role,reasoning,reasoning_content:hm;<unk>TrueTrue"
        );
    }

    #[test]
    fn a_template_that_writes_nothing_for_ever_is_refused() {
        let idle = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let error = template(idle).render(&[], &Variables::default(), true).unwrap_err();
        assert!(InputError::of(&error).is_some_and(|e| e.to_string().contains("fuel")), "{error}");
    }

    #[test]
    fn a_template_longer_than_the_limit_is_refused() {
        let of = |length| ChatTemplate::new("x".repeat(length), &tokenizer(), "t".to_owned());
        assert!(of(engine::LONGEST_SOURCE).is_ok());
        let error = of(engine::LONGEST_SOURCE + 1).err().unwrap();
        assert_eq!(error.to_string(), "t: a template of 65537 bytes, expected at most 65536");
    }
}
