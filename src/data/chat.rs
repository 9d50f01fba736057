//! Conversations as text, through the model's own `chat_template`: a Jinja template, rendered as transformers renders it.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind};
use serde_json::{Value, json};

use super::tokenizer::Tokenizer;
use crate::error::InputError;

/// Most steps of a template; one that takes more is refused as endless.
const FUEL: u64 = 10_000_000;

/// The longest source of a template, in bytes; those of the hub's models have up to twenty thousand. The compiler takes time
/// quadratic in the longest expression.
const LONGEST_SOURCE: usize = 64 << 10;

/// Stack for compiling the longest source, in bytes; pages that are not used take no memory.
const COMPILER_STACK: usize = 256 << 20;

/// Longest text of one conversation, in bytes.
const LONGEST_TEXT: usize = 64 << 20;

/// A model's chat template.
///
/// `strftime_now` is not defined, though transformers has it: a prompt with today's date would differ tomorrow.
/// Templates that ask for it fall back to a date of their own.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    name: String,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The template of a model folder, if it has one: `chat_template.jinja`, or `chat_template` of `tokenizer_config.json`
    /// (of several the one named `default`). `name`: the folder, for messages.
    pub fn find(
        jinja: Option<&[u8]>,
        tokenizer_config: Option<&[u8]>,
        tokenizer: &Tokenizer,
        name: &str,
    ) -> Result<Option<Self>> {
        if let Some(bytes) = jinja {
            let name = format!("{name}/chat_template.jinja");
            let source = String::from_utf8(bytes.to_vec())
                .map_err(|_| InputError::new(format!("{name}: expected UTF-8 text")))?;
            return Self::new(source, tokenizer, name).map(Some);
        }
        let config: Value = tokenizer_config
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let source = match &config["chat_template"] {
            Value::String(source) => Some(source.as_str()),
            Value::Array(named) => named
                .iter()
                .find(|template| template["name"] == "default")
                .and_then(|template| template["template"].as_str()),
            _ => None,
        };
        let name = format!("{name}/tokenizer_config.json: `chat_template`");
        source.map(|source| Self::new(source.to_owned(), tokenizer, name)).transpose()
    }

    /// A template from its source. `name`: for messages.
    pub fn new(source: String, tokenizer: &Tokenizer, name: String) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<(), minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        if source.len() > LONGEST_SOURCE {
            crate::bail_input!(
                "{name}: a template of {} bytes, expected at most {LONGEST_SOURCE}",
                source.len()
            );
        }
        // The compiler goes as deep as an expression is long.
        let compiled = std::thread::scope(|scope| {
            let compile = || environment.add_template_owned("chat", source);
            let thread = std::thread::Builder::new().stack_size(COMPILER_STACK);
            Ok::<_, io::Error>(thread.spawn_scoped(scope, compile)?.join())
        });
        match compiled.context("cannot start a thread")? {
            Ok(Ok(())) => {}
            Ok(Err(error)) => crate::bail_input!("{name}: not a template: {error}"),
            Err(_) => crate::bail_input!("{name}: not a template"),
        }
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let (bos, eos) = (text(tokenizer.bos_text()), text(Some(tokenizer.eos_text())));
        Ok(Self { environment: Arc::new(environment), name, bos, eos })
    }

    /// The text of some messages; with `add_generation_prompt` it ends where the assistant's answer begins.
    pub fn render(&self, messages: &[Value], add_generation_prompt: bool) -> Result<String> {
        let context = json!({
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self.bos,
            "eos_token": self.eos,
        });
        let mut text = Text::default();
        let rendered = self.environment.get_template("chat").and_then(|template| {
            template.render_captured_to(Serde(&context), &mut text).map(|_| ())
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

    /// Prompt, chosen and rejected answer as text: the prompt ends where an answer begins, and each answer is the text after it.
    pub(super) fn texts(
        &self,
        prompt: &[Value],
        chosen: &[Value],
        rejected: &[Value],
    ) -> Result<[String; 3]> {
        let before = self.render(prompt, true)?;
        let answer = |answer: &[Value]| -> Result<String> {
            let whole = self.render(&[prompt, answer].concat(), false)?;
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
        !self.bos.is_empty() && rendered.starts_with(&self.bos)
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

    fn tokenizer() -> Tokenizer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/models/tiny");
        Tokenizer::load(&folder).unwrap()
    }

    fn template(source: &str) -> ChatTemplate {
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
            llama.render(&conversation, true).unwrap(),
            "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n Why? [/INST] So. </s><s>[INST] And? [/INST]"
        );
        let [prompt, chosen, rejected] = llama
            .texts(
                &[message("user", "Why?")],
                &[message("assistant", "a")],
                &[message("assistant", "b c")],
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
            zephyr.render(&[message("user", "q"), message("assistant", "a")], false).unwrap(),
            "<|user|>\nq\n<|assistant|>\na</s>\n"
        );
    }

    #[test]
    fn a_conversation_that_the_template_refuses_is_an_input_error() {
        let error = template(LLAMA_2).render(&[message("assistant", "a")], false).unwrap_err();
        assert!(
            InputError::of(&error).unwrap().to_string().contains("roles must alternate"),
            "{error}"
        );
        let error = template("{{ messages.nobody() }}").render(&[], true).unwrap_err();
        assert!(InputError::of(&error).is_some(), "{error}");
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(InputError::of(&template(endless).render(&[], true).unwrap_err()).is_some());
        assert!(ChatTemplate::new("{% if".to_owned(), &tokenizer(), "t".to_owned()).is_err());
    }

    #[test]
    fn a_template_that_hides_its_prompt_is_refused() {
        let last = template("{{ messages[-1].content }}");
        let error = last
            .texts(
                &[message("user", "q")],
                &[message("assistant", "a")],
                &[message("assistant", "b")],
            )
            .unwrap_err();
        assert!(error.to_string().contains("does not begin with that of its prompt"), "{error}");
    }

    #[test]
    fn the_template_is_found_in_each_of_its_places() {
        let find = |jinja: Option<&str>, config: &str| {
            let found = ChatTemplate::find(
                jinja.map(str::as_bytes),
                Some(config.as_bytes()),
                &tokenizer(),
                "m",
            );
            found.unwrap().map(|template| template.render(&[], false).unwrap())
        };
        let text = r#"{"chat_template": "text"}"#;
        let list = r#"{"chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "listed"}]}"#;
        assert_eq!(find(None, text).as_deref(), Some("text"));
        assert_eq!(find(None, list).as_deref(), Some("listed"));
        assert_eq!(find(Some("file"), text).as_deref(), Some("file"));
        assert_eq!(find(None, "{}"), None);
    }
}
