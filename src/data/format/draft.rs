//! A record -> its pairs, before and after the model's chat template.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::config::{AddBos, LayoutName, PromptFormat, Reading};
use crate::data::chat::{ChatTemplate, Rendered};
use crate::data::format::Layout;
use crate::data::format::conversation::Conversation;
use crate::data::format::fields::{Record, strip};
use crate::data::format::parts::{Notes, Part, Texts};
use crate::data::groups;
use crate::data::pair::{LoadCounts, Markup, Pair, TemplateBos};
use crate::error::InputError;

/// How the texts of records become those of pairs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prompts<'a> {
    /// The form of plain texts; conversations always go through the template.
    pub format: PromptFormat,
    /// The model's chat template, if it has one.
    pub template: Option<&'a ChatTemplate>,
    /// Whether a conversation gets a BOS that the template does not write.
    pub add_bos: AddBos,
}

/// What a template was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::data) enum Origin {
    /// A plain text, as the user's message.
    Text,
    /// A conversation.
    Messages,
}

impl Prompts<'_> {
    /// The markup of a prompt that `template` rendered, whose last `left_out` bytes no answer follows. A plain text has one BOS, whoever writes it; a conversation has the template's.
    pub(in crate::data) fn markup(
        &self,
        template: &ChatTemplate,
        rendered: &str,
        left_out: usize,
        origin: Origin,
    ) -> Markup {
        let bos = match (origin, self.add_bos) {
            _ if template.writes_bos(rendered) => TemplateBos::Written,
            (Origin::Messages, AddBos::Template) => TemplateBos::Absent,
            (Origin::Messages, AddBos::Always) | (Origin::Text, _) => TemplateBos::Added,
        };
        Markup::Template { bos, left_out }
    }
}

/// The pairs of a record before any template.
pub(in crate::data) struct Draft {
    pub(in crate::data) id: String,
    pub(in crate::data) user: Option<String>,
    pub(in crate::data) groups: BTreeMap<String, String>,
    source: String,
    layout: LayoutName,
    parts: Vec<Part>,
}

impl Draft {
    /// The prompt that all pairs have, not rendered; none if there is no pair.
    pub(in crate::data) fn prompt(self) -> Option<Texts> {
        self.parts.into_iter().next().map(|part| part.texts)
    }

    /// The pair of a record that has one, as texts; of messages they are empty.
    pub(in crate::data) fn plain(&self) -> [String; 3] {
        match self.parts.first().map(|part| &part.texts) {
            Some(Texts::Plain(texts)) => texts.clone(),
            _ => Default::default(),
        }
    }

    /// The pairs with their texts rendered. `record`: the one they were made of, which may have more for a template; the columns that
    /// are not read are counted.
    pub(in crate::data) fn render(
        self,
        record: &Record<'_>,
        prompts: &Prompts<'_>,
        counts: &mut LoadCounts,
    ) -> Result<Vec<Pair>> {
        let Self { id, user, groups, source, layout, parts } = self;
        let mut pairs = Vec::with_capacity(parts.len());
        for Part { texts, number } in parts {
            let (texts, markup) = rendered(texts, record, prompts, counts)?;
            let [prompt, chosen, rejected] = texts;
            pairs.push(Pair {
                id: number.map_or_else(|| id.clone(), |number| format!("{id}:{number}")),
                user: user.clone(),
                source: source.clone(),
                prompt,
                chosen,
                rejected,
                markup,
                groups: groups.clone(),
            });
        }
        counts.recognise(layout, &record.read(), pairs.first());
        counts.leave_unread(record.unread());
        Ok(pairs)
    }
}

/// Prompt and answers as the text that is tokenized, and who wrote its special tokens.
pub(in crate::data) fn rendered(
    texts: Texts,
    record: &Record<'_>,
    prompts: &Prompts<'_>,
    counts: &mut LoadCounts,
) -> Result<([String; 3], Markup)> {
    let place = record.place;
    let (mut conversation, origin) = match (texts, prompts.format) {
        (Texts::Plain([prompt, chosen, rejected]), PromptFormat::Mvpbench) => {
            let prompt = after_system(record, prompt, counts)?;
            return Ok(([prompt, chosen, rejected], Markup::Plain));
        }
        (Texts::Plain(texts), PromptFormat::Chat) => {
            (Conversation::of_texts(texts.each_ref().map(String::as_str)), Origin::Text)
        }
        (Texts::Messages(conversation), _) => (conversation, Origin::Messages),
    };
    let Some(template) = prompts.template else {
        let what = match origin {
            Origin::Messages => format!("{place}: the record is a conversation"),
            Origin::Text => "`data.prompt_format` is `chat`".to_owned(),
        };
        return Err(InputError::new(format!("{what}, but the model has no chat template"))
            .hint("take a chat model (`chat_template` in tokenizer_config.json, or chat_template.jinja), or plain texts")
            .into());
    };
    counts.systems += usize::from(conversation.add_columns(record)?);
    counts.joined_parts += usize::from(conversation.join_parts(template));
    counts.empty_answers += conversation.empty_answers();
    let Rendered { texts, left_out } =
        conversation.texts(template).with_context(|| place.to_string())?;
    let markup = prompts.markup(template, &texts[0], left_out, origin);
    Ok((texts, markup))
}

/// A plain prompt after the text of the column `system`, a line break between; it is unchanged where there is none.
pub(in crate::data) fn after_system(
    record: &Record<'_>,
    prompt: String,
    counts: &mut LoadCounts,
) -> Result<String> {
    Ok(match system(record)? {
        Some(system) => {
            counts.plain_systems += 1;
            format!("{}\n{prompt}", strip(system))
        }
        None => prompt,
    })
}

/// The text of the column `system`; none if it is blank or no text.
pub(in crate::data) fn system<'r>(record: &'r Record<'_>) -> Result<Option<&'r str>> {
    match record.peek("system") {
        Some(Value::String(text)) if !strip(text).is_empty() => Ok(Some(record.text("system")?)),
        _ => Ok(None),
    }
}

/// The pairs of one record, before any template.
///
/// - `stem`, `number`: stem of the file and the record's place in it, from 1; they make the id where the record has none.
/// - `reading`: the layout, or `auto`, and which pairs a list of answers gives.
/// - `counts`: missing fields and pairs that are left out are added to it.
pub(in crate::data) fn draft(
    record: &Record<'_>,
    stem: &str,
    number: usize,
    reading: &Reading,
    counts: &mut LoadCounts,
) -> Result<Draft> {
    let mut groups = groups::demographic(record)?;
    let user = record.label(&["user_id"])?;
    let id = id(record, stem, number)?;
    let layout = Layout::of_pair(record, reading.layout)?;
    let is_sure = reading.layout != LayoutName::Auto || layout.is_of(record);
    let parts = (layout.read)(layout, record, &mut Notes::new(&mut groups, counts, reading))?;
    if !is_sure {
        return Err(Layout::unknown(record));
    }
    Ok(Draft { id, user, groups, source: stem.to_owned(), layout: layout.name, parts })
}

/// The record's own id, or one made of the file's stem and the record's place.
pub(in crate::data) fn id(record: &Record<'_>, stem: &str, number: usize) -> Result<String> {
    Ok(record.label(&["id"])?.unwrap_or_else(|| format!("{stem}:{number}")))
}

/// The prompt of a record, and its layout: that of its pairs, or what it has without any.
pub(in crate::data) fn prompt(
    record: &Record<'_>,
    stem: &str,
    number: usize,
    layout: LayoutName,
    counts: &mut LoadCounts,
) -> Result<(LayoutName, Texts)> {
    let reading = Reading { layout, ..Reading::default() };
    if Layout::is_pair(record) {
        let layout = Layout::of_pair(record, layout)?;
        let draft = draft(record, stem, number, &reading, counts)?;
        if let Some(texts) = draft.prompt() {
            return Ok((layout.name, texts));
        }
    }
    let layout = Layout::of_prompt(record, layout)?;
    let mut groups = BTreeMap::new();
    let prompt = (layout.read_prompt)(record, &mut Notes::new(&mut groups, counts, &reading))?;
    Ok((layout.name, Texts::prompt(prompt)))
}
