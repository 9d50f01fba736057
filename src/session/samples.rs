//! The fixed prompts that a run answers, as text and as tokens.

use anyhow::Result;

use crate::config::RunConfig;
use crate::data::format::draft::Prompts;
use crate::data::prompt;
use crate::data::spread::spread;
use crate::data::tokenize::cut_prompt;
use crate::disk::digest;
use crate::error::InputError;
use crate::session::base::Base;
use crate::session::data_file;

/// A prompt to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplePrompt {
    /// The record's own id, or `<file stem>:<place in the file>`.
    pub id: String,
    /// The prompt as the model reads it.
    pub text: String,
    /// Its token ids, with BOS where the model wants one.
    pub ids: Vec<u32>,
}

/// The prompts of `eval.samples`, and the file that they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleInputs {
    /// The prompts, in the order of the file; at least one.
    pub prompts: Vec<SamplePrompt>,
    /// Name and SHA-256 of the file.
    pub file: (String, String),
}

impl SampleInputs {
    /// Reads the prompts that `config` names; none if it names none. Adds counts to `notes`. Refuses a file without a prompt.
    ///
    /// A long prompt keeps its BOS and its end: `data.max_prompt_tokens`, lowered to what `max_new_tokens` leaves of the model's context
    /// or to half the context, whichever is larger.
    pub(super) fn load(
        base: &Base,
        config: &RunConfig,
        notes: &mut Vec<String>,
    ) -> Result<Option<Self>> {
        let section = &config.eval.samples;
        if !section.is_on() {
            return Ok(None);
        }
        let (file, format) = (&section.prompts, config.data.prompt_format);
        let bytes = data_file::read(file, &base.hub, notes)?;
        let template = base.template.as_ref();
        let loaded = prompt::load(
            &bytes,
            file,
            &Prompts { format, template, add_bos: config.data.add_bos },
        )?;
        notes.extend(loaded.counts.unread_line().map(|line| format!("{file}: {line}")));
        let context = base.shape.max_positions;
        let room = context.saturating_sub(section.max_new_tokens).max(context / 2);
        let most = match config.data.max_prompt_tokens {
            0 => room,
            most => most.min(room),
        };
        let asked = if section.max_prompts == 0 { usize::MAX } else { section.max_prompts };
        let (mut prompts, mut cut) = (Vec::new(), 0);
        for place in spread(loaded.prompts.len(), asked) {
            let prompt = &loaded.prompts[place];
            let mut ids = prompt.ids(&base.tokenizer)?;
            if ids.is_empty() {
                let what = format!("{}: the prompt is empty", prompt.place);
                return Err(InputError::new(what).into());
            }
            let mut text = prompt.text.clone();
            if ids.len() > most {
                cut_prompt(&mut ids, most, base.tokenizer.bos_id());
                text = base.tokenizer.decode(&ids, true)?;
                cut += 1;
            }
            prompts.push(SamplePrompt { id: prompt.id.clone(), text, ids });
        }
        if prompts.is_empty() {
            return Err(InputError::new(format!("{file}: the file has no prompt")).into());
        }
        let all = loaded.prompts.len();
        let mut note = format!("samples: {} of {all} prompts of {file}", prompts.len());
        if cut > 0 {
            note += &format!(", {cut} cut to {most} tokens");
        }
        notes.push(note);
        Ok(Some(Self { prompts, file: (file.clone(), digest::of_bytes(&bytes)) }))
    }

    /// Digest of every prompt.
    pub(super) fn digest(&self) -> String {
        digest::of_parts(self.prompts.iter().flat_map(|prompt| {
            let ids = prompt.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            [prompt.id.clone().into_bytes(), prompt.text.clone().into_bytes(), ids]
        }))
    }

    /// Tokens of the longest prompt.
    pub fn longest(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0)
    }
}
