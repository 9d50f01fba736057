//! Prompts without answers, for generation: from a file of records, from a text file, or typed.

use std::path::Path;

use anyhow::{Context, Result};

use super::file;
use super::pair::{LoadCounts, Markup};
use super::tokenizer::Tokenizer;
use crate::config::{LayoutName, PromptFormat};
use crate::data::chat::ChatTemplate;
use crate::data::format::conversation::Conversation;
use crate::data::format::draft::{self, Origin, Prompts};
use crate::data::format::fields::{Place, Record};
use crate::data::format::parts::Texts;
use crate::data::unpacked::inner_name;
use crate::error::InputError;

/// A prompt as text, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The record's own id, or `<file stem>:<place in the file>`.
    pub id: String,
    /// File and line, for messages.
    pub place: String,
    /// The rendered prompt.
    pub text: String,
    /// Who wrote the special tokens of the text.
    pub markup: Markup,
}

/// The prompts of a file, and what was seen on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedPrompts {
    /// The prompts, in order.
    pub prompts: Vec<Prompt>,
    /// Counts to show the user, the columns that are not read among them.
    pub counts: LoadCounts,
}

/// The prompts of one file, rendered as those of pairs are: JSONL or a JSON array of records, or, if its name ends with `.txt`,
/// one prompt a line.
///
/// A record has one of the layouts of [`super::format::LAYOUTS`], with its answers or without.
pub fn load(bytes: &[u8], name: &str, prompts: &Prompts<'_>) -> Result<LoadedPrompts> {
    load_as(bytes, name, LayoutName::Auto, prompts)
}

/// [`load`] of records of a layout that is named.
pub fn load_as(
    bytes: &[u8],
    name: &str,
    layout: LayoutName,
    prompts: &Prompts<'_>,
) -> Result<LoadedPrompts> {
    let (stem, mut counts) = (file::stem(name), LoadCounts::default());
    if Path::new(inner_name(name))
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("txt"))
    {
        let bytes = file::plain(bytes, name)?;
        let lines = file::lines(file::text(&bytes, name)?);
        if lines.is_empty() {
            return Err(InputError::new(format!("{name}: the file is empty")).into());
        }
        let line = |(line, text): (usize, &str)| {
            let text = text.strip_suffix('\r').unwrap_or(text);
            Prompt::plain(text, format!("{stem}:{line}"), format!("{name}:{line}"), prompts)
        };
        let prompts = lines.into_iter().map(line).collect::<Result<_>>()?;
        return Ok(LoadedPrompts { prompts, counts });
    }
    let bytes = file::json(bytes, name)?;
    let records = file::elements(&bytes, name)?.into_iter().enumerate();
    let read = |(number, (line, json))| {
        let record = Record::new(Place { file: name, line }, file::object(json, name, line)?);
        of_record(&record, &stem, number + 1, layout, prompts, &mut counts)
    };
    let prompts = records.map(read).collect::<Result<_>>()?;
    Ok(LoadedPrompts { prompts, counts })
}

fn of_record(
    record: &Record<'_>,
    stem: &str,
    number: usize,
    layout: LayoutName,
    prompts: &Prompts<'_>,
    counts: &mut LoadCounts,
) -> Result<Prompt> {
    let (id, place) = (draft::id(record, stem, number)?, record.place.to_string());
    let (layout, texts) = draft::prompt(record, stem, number, layout, counts)?;
    counts.recognise(layout, &record.read(), None);
    let (mut conversation, origin) = match (texts, prompts.format) {
        (Texts::Messages(conversation), _) => (conversation, Origin::Messages),
        (Texts::Plain([text, ..]), PromptFormat::Chat) => {
            (Conversation::of_texts([&text, "", ""]), Origin::Text)
        }
        (Texts::Plain([text, ..]), PromptFormat::Mvpbench) => {
            let text = draft::after_system(record, text, counts)?;
            counts.leave_unread(record.unread());
            return Prompt::plain(&text, id, place, prompts);
        }
    };
    counts.systems += usize::from(conversation.add_columns(record)?);
    counts.leave_unread(record.unread());
    if let Some(template) = prompts.template {
        counts.joined_parts += usize::from(conversation.join_parts(template));
    }
    Prompt::rendered(&conversation, origin, id, place, prompts)
}

impl Prompt {
    /// A prompt typed on the command line; `number`: its place among them, for messages.
    pub fn typed(text: &str, number: usize, prompts: &Prompts<'_>) -> Result<Self> {
        Self::plain(text, format!("prompt:{number}"), format!("prompt {number}"), prompts)
    }

    /// A conversation, role and text of each message, through the chat template; without one, the texts of the messages with a blank
    /// line between two and a line break at the end, which a base model continues.
    pub fn chat(
        messages: &[(&str, &str)],
        id: String,
        place: String,
        template: Option<&ChatTemplate>,
    ) -> Result<Self> {
        if template.is_some() {
            let prompts = Prompts { template, ..Prompts::default() };
            let conversation = Conversation::of_messages(messages);
            return Self::rendered(&conversation, Origin::Text, id, place, &prompts);
        }
        let texts: Vec<_> = messages.iter().map(|(_, text)| *text).collect();
        Ok(Self { id, place, text: texts.join("\n\n") + "\n", markup: Markup::Plain })
    }

    /// A plain text: unchanged, or as the user's message under `prompt_format = "chat"`.
    fn plain(text: &str, id: String, place: String, prompts: &Prompts<'_>) -> Result<Self> {
        match prompts.format {
            PromptFormat::Mvpbench => {
                Ok(Self { id, place, text: text.to_owned(), markup: Markup::Plain })
            }
            PromptFormat::Chat => {
                let conversation = Conversation::of_texts([text, "", ""]);
                Self::rendered(&conversation, Origin::Text, id, place, prompts)
            }
        }
    }

    fn rendered(
        conversation: &Conversation,
        origin: Origin,
        id: String,
        place: String,
        prompts: &Prompts<'_>,
    ) -> Result<Self> {
        let Some(template) = prompts.template else {
            return Err(InputError::new(format!(
                "{place}: a conversation needs a chat template, and the model has none"
            ))
            .hint("take a chat model, or plain prompts")
            .into());
        };
        let text = conversation.prompt_text(template).with_context(|| place.clone())?;
        let markup = prompts.markup(template, &text, 0, origin);
        Ok(Self { id, place, text, markup })
    }

    /// The prompt's token ids. A text that begins with BOS itself gets no second one.
    pub fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let special = self.markup.adds_special_tokens(&self.text, tokenizer);
        tokenizer.encode(&self.text, special).with_context(|| self.place.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pair::TemplateBos;

    fn texts(json: &str) -> Vec<(String, String)> {
        let prompts = load(json.as_bytes(), "d/a.json", &Prompts::default()).unwrap().prompts;
        prompts.into_iter().map(|prompt| (prompt.id, prompt.text)).collect()
    }

    fn error(bytes: impl AsRef<[u8]>, name: &str) -> String {
        let error = load(bytes.as_ref(), name, &Prompts::default()).unwrap_err();
        assert!(InputError::of(&error).is_some(), "{error}");
        error.to_string()
    }

    #[test]
    fn a_prompt_is_the_same_with_and_without_its_answers() {
        let records = [
            r#"{"id": "x", "prompt": " Why?\n", "profile": "old"}"#,
            r#"{"id": "x", "prompt": " Why?\n", "profile": "old", "chosen": "a", "rejected": "b"}"#,
        ];
        assert_eq!(
            records.map(texts),
            [0, 1].map(|_| vec![("x".to_owned(), "old\nWhy?".to_owned())])
        );
        let asked = texts(r#"{"question": "Why?", "age": 3}"#);
        let answered = texts(r#"{"question": "Why?", "age": 3, "answer_w": "a", "answer_l": "b"}"#);
        assert_eq!(asked, answered);
        assert!(asked[0].1.starts_with("User profile: Age: 3,") && asked[0].0 == "a:1");
    }

    #[test]
    fn a_text_file_has_a_prompt_on_each_line() {
        let prompts = load(b" one \r\n\ntwo {\n", "d/a.TXT", &Prompts::default()).unwrap().prompts;
        let seen: Vec<_> =
            prompts.iter().map(|p| (p.place.as_str(), p.text.as_str(), p.id.as_str())).collect();
        assert_eq!(seen, [("d/a.TXT:1", " one ", "a:1"), ("d/a.TXT:3", "two {", "a:3")]);
    }

    #[test]
    fn what_is_no_prompt_is_an_error_with_its_place() {
        assert_eq!(error("", "a.txt"), "a.txt: the file is empty");
        assert_eq!(error("", "a.json"), "a.json: the file is empty");
        assert!(error(b"a\n\xff", "a.txt").starts_with("a.txt:2: expected UTF-8 text"));
        assert!(
            error("{\"text\": 1}", "a.json")
                == "a.json:1: the record has the fields of no known layout, found `text`"
        );
        assert!(
            error("{\"prompt\": 1}", "a.json").starts_with("a.json:1: `prompt` must be a string")
        );
        let conversation = r#"{"prompt": [{"role": "user", "content": "Why?"}]}"#;
        assert!(error(conversation, "a.json").contains("needs a chat template"));
    }

    fn tiny() -> Tokenizer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/models/tiny");
        Tokenizer::load(&folder).unwrap()
    }

    #[test]
    fn a_prompt_has_the_bos_that_its_markup_says_and_no_second_one() {
        let tokenizer = tiny();
        let ids = |text: &str, markup| {
            let (id, place) = ("a".to_owned(), "a".to_owned());
            Prompt { id, place, text: text.to_owned(), markup }.ids(&tokenizer).unwrap()
        };
        let plain = ids("Why?", Markup::Plain);
        let bos = tokenizer.encode("", true).unwrap();
        assert_eq!((bos.len(), plain[0]), (1, bos[0]));
        for (text, bos, expected) in [
            ("<s>Why?", TemplateBos::Written, 1),
            ("Why?", TemplateBos::Added, 1),
            ("Why?", TemplateBos::Absent, 0),
        ] {
            let ids = ids(text, Markup::Template { bos, left_out: 0 });
            let count = ids.iter().filter(|id| **id == plain[0]).count();
            assert_eq!(count, expected, "{text}");
        }
    }

    #[test]
    fn a_chat_goes_through_the_template_and_without_one_is_text_that_goes_on() {
        let messages = [("system", "Be brief."), ("user", "Why?")];
        let chat = |template: Option<&ChatTemplate>| {
            Prompt::chat(&messages, "a".into(), "a".into(), template).unwrap()
        };
        assert_eq!(chat(None).text, "Be brief.\n\nWhy?\n");
        let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}";
        let template = ChatTemplate::new(source.to_owned(), &tiny(), "t".to_owned()).unwrap();
        let prompt = chat(Some(&template));
        assert_eq!(prompt.text, "[system]Be brief.[user]Why?>");
        let bos = prompt.ids(&tiny()).unwrap().iter().filter(|id| **id == 1).count();
        assert_eq!(bos, 1);
    }

    #[test]
    fn the_prompt_of_a_pair_of_conversations_is_what_both_begin_with() {
        let source = "{% for message in messages %}{{ message.content }}{% endfor %}";
        let template = ChatTemplate::new(source.to_owned(), &tiny(), "t".to_owned()).unwrap();
        let prompts = Prompts { template: Some(&template), ..Prompts::default() };
        let question = r#"{"role": "user", "content": "Why?"}"#;
        let answer = r#"{"role": "assistant", "content": "So."}"#;
        let other = r#"{"role": "assistant", "content": "No."}"#;
        let json =
            format!(r#"{{"chosen": [{question}, {answer}], "rejected": [{question}, {other}]}}"#);
        let found = load(json.as_bytes(), "a.json", &prompts).unwrap();
        assert_eq!(found.prompts[0].text, "Why?");
    }
}
