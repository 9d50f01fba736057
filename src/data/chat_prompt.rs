//! Prompts as messages, for a server that puts them into the model's template itself.

use std::path::Path;

use anyhow::Result;

use super::file;
use super::pair::LoadCounts;
use crate::config::LayoutName;
use crate::data::format::draft;
use crate::data::format::fields::{Place, Record};
use crate::data::format::parts::Texts;
use crate::data::unpacked::inner_name;
use crate::error::InputError;

/// A prompt as messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatPrompt {
    /// The record's own id, or `<file stem>:<place in the file>`.
    pub id: String,
    /// Role and text of each message; a plain prompt is the user's one.
    pub messages: Vec<(String, String)>,
}

impl ChatPrompt {
    /// A plain prompt typed on the command line; `number`: its place among them.
    pub fn typed(text: &str, number: usize) -> Self {
        Self::plain(text, format!("prompt:{number}"))
    }

    fn plain(text: &str, id: String) -> Self {
        Self { id, messages: vec![("user".to_owned(), text.to_owned())] }
    }

    /// The texts of the messages, a blank line between two.
    pub fn text(&self) -> String {
        self.messages.iter().map(|(_, text)| &**text).collect::<Vec<_>>().join("\n\n")
    }
}

/// The prompts of one file, of what [`super::prompt::load_as`] reads, and what was seen on the way. Refuses a conversation that has
/// more than texts, such as tools.
pub fn load(bytes: &[u8], name: &str, layout: LayoutName) -> Result<(Vec<ChatPrompt>, LoadCounts)> {
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
            ChatPrompt::plain(text.strip_suffix('\r').unwrap_or(text), format!("{stem}:{line}"))
        };
        return Ok((lines.into_iter().map(line).collect(), counts));
    }
    let bytes = file::json(bytes, name)?;
    let mut prompts = Vec::new();
    for (number, (line, json)) in file::elements(&bytes, name)?.into_iter().enumerate() {
        let record = Record::new(Place { file: name, line }, file::object(json, name, line)?);
        prompts.push(of_record(&record, &stem, number + 1, layout, &mut counts)?);
        counts.leave_unread(record.unread());
    }
    Ok((prompts, counts))
}

fn of_record(
    record: &Record<'_>,
    stem: &str,
    number: usize,
    layout: LayoutName,
    counts: &mut LoadCounts,
) -> Result<ChatPrompt> {
    let id = draft::id(record, stem, number)?;
    let (layout, texts) = draft::prompt(record, stem, number, layout, counts)?;
    counts.recognise(layout, &record.read(), None);
    match texts {
        Texts::Plain([text, ..]) => {
            let mut prompt = ChatPrompt::plain(&text, id);
            if let Some(system) = draft::system(record)? {
                counts.systems += 1;
                prompt.messages.insert(0, ("system".to_owned(), system.to_owned()));
            }
            Ok(prompt)
        }
        Texts::Messages(mut conversation) => {
            counts.systems += usize::from(conversation.add_columns(record)?);
            let messages = conversation.plain_messages().map_err(|what| {
                InputError::new(format!("{}: {what}", record.place)).hint(
                    "an endpoint is asked with the texts of `system`, `user` and `assistant` alone",
                )
            })?;
            Ok(ChatPrompt { id, messages })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(json: &str) -> Result<Vec<(String, String)>> {
        Ok(load(json.as_bytes(), "d/a.json", LayoutName::Auto)?.0.remove(0).messages)
    }

    fn owned(messages: &[(&str, &str)]) -> Vec<(String, String)> {
        messages.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_plain_prompt_is_the_users_message_and_a_conversation_stays_one() {
        let plain = messages(r#"{"prompt": "Why?", "profile": "old"}"#).unwrap();
        assert_eq!(plain, owned(&[("user", "old\nWhy?")]));
        let talk = r#""prompt": [{"role": "user", "content": "Why?"}], "system": "Be brief.""#;
        let said = r#", "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]"#;
        for more in ["", said] {
            let found = messages(&format!("{{{talk}{more}}}")).unwrap();
            assert_eq!(found, owned(&[("system", "Be brief."), ("user", "Why?")]));
        }
        let (lines, _) = load(b"one\r\n\ntwo\n", "d/a.txt", LayoutName::Auto).unwrap();
        assert_eq!(lines[1], ChatPrompt::plain("two", "a:3".into()));
    }

    #[test]
    fn what_an_endpoint_would_not_be_told_is_refused() {
        for more in [r#", "tools": [{"name": "f"}]"#, r#", "chat_template_kwargs": {"a": 1}"#] {
            let json = format!(r#"{{"prompt": [{{"role": "user", "content": "Why?"}}]{more}}}"#);
            let error = messages(&json).unwrap_err();
            assert!(error.to_string().starts_with("d/a.json:1: "), "{error}");
        }
        let tool = r#"{"prompt": [{"role": "tool", "content": "7"}]}"#;
        assert!(messages(tool).unwrap_err().to_string().contains("`tool`"));
    }
}
