//! A record -> its pair, before and after the model's chat template.

use anyhow::{Context, Result};

use crate::config::{AddBos, PromptFormat};
use crate::data::chat::ChatTemplate;
use crate::data::format::conversation::Conversation;
use crate::data::format::fields::Record;
use crate::data::format::{Layout, Texts};
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
    /// The markup of a prompt that `template` rendered. A plain text has one BOS, whoever writes it; a conversation has the template's.
    pub(in crate::data) fn markup(
        &self,
        template: &ChatTemplate,
        rendered: &str,
        origin: Origin,
    ) -> Markup {
        let bos = match (origin, self.add_bos) {
            _ if template.writes_bos(rendered) => TemplateBos::Written,
            (Origin::Messages, AddBos::Template) => TemplateBos::Absent,
            (Origin::Messages, AddBos::Always) | (Origin::Text, _) => TemplateBos::Added,
        };
        Markup::Template { bos }
    }
}

/// A pair before any template. The texts of a conversation are not in `pair` yet.
pub(in crate::data) struct Draft {
    pub(in crate::data) pair: Pair,
    conversation: Option<Conversation>,
}

impl Draft {
    /// The id and the prompt, not rendered.
    pub(in crate::data) fn prompt(self) -> (String, Texts) {
        let texts = match self.conversation {
            Some(conversation) => Texts::Messages(conversation),
            None => Texts::prompt(self.pair.prompt),
        };
        (self.pair.id, texts)
    }

    /// The pair with its texts rendered. `record`: the one it was made of, which may have more for a template; the columns that
    /// are not read are counted.
    pub(in crate::data) fn render(
        self,
        record: &Record<'_>,
        prompts: &Prompts<'_>,
        counts: &mut LoadCounts,
    ) -> Result<Pair> {
        let pair = self.rendered(record, prompts, counts)?;
        counts.leave_unread(record.unread());
        Ok(pair)
    }

    fn rendered(
        self,
        record: &Record<'_>,
        prompts: &Prompts<'_>,
        counts: &mut LoadCounts,
    ) -> Result<Pair> {
        let Self { mut pair, conversation } = self;
        let place = record.place;
        let origin = if conversation.is_some() { Origin::Messages } else { Origin::Text };
        let mut conversation = match (conversation, prompts.format) {
            (None, PromptFormat::Mvpbench) => return Ok(pair),
            (None, PromptFormat::Chat) => {
                Conversation::of_texts([&pair.prompt, &pair.chosen, &pair.rejected])
            }
            (Some(conversation), _) => conversation,
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
        counts.empty_answers += conversation.empty_answers();
        [pair.prompt, pair.chosen, pair.rejected] =
            conversation.texts(template).with_context(|| place.to_string())?;
        pair.markup = prompts.markup(template, &pair.prompt, origin);
        Ok(pair)
    }
}

/// The pair of one record, before any template.
///
/// - `stem`, `number`: stem of the file and the record's place in it, from 1; they make the id where the record has none.
/// - `counts`: missing fields are added to it.
pub(in crate::data) fn draft(
    record: &Record<'_>,
    stem: &str,
    number: usize,
    counts: &mut LoadCounts,
) -> Result<Draft> {
    let mut groups = groups::demographic(record)?;
    let user = record.label(&["user_id"])?;
    let layout = Layout::of_pair(record)?;
    let texts = (layout.read_pair)(layout, record, &mut groups, counts)?;
    let ([prompt, chosen, rejected], conversation) = match texts {
        Texts::Plain(texts) => (texts, None),
        Texts::Messages(conversation) => (Default::default(), Some(conversation)),
    };
    let pair = Pair {
        id: record.label(&["id"])?.unwrap_or_else(|| format!("{stem}:{number}")),
        user,
        source: stem.to_owned(),
        prompt,
        chosen,
        rejected,
        markup: Markup::Plain,
        groups,
    };
    Ok(Draft { pair, conversation })
}
