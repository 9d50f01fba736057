//! A local model that answers chats, with the outcomes that an endpoint would have.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};

use crate::console::progress::Verbosity;
use crate::data::prompt::Prompt;
use crate::error::InputError;
use crate::judge::chat::Outcome;
use crate::judge::chat::outcome::{Answer, Failure, Finish, Usage};
use crate::judge::chat::request::Message;
use crate::judge::protocol::Stage;
use crate::model::generation::{Generation, Sampling, Stop, StopStrings};
use crate::parallel::world::World;
use crate::session::local_model::{Drawing, LocalChoice, LocalModel};

/// How answers are drawn, as a stage of a protocol says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChatDrawing {
    /// 0: the most probable token.
    pub temperature: f64,
    /// Above 0, to 1.
    pub top_p: f64,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// An answer depends on it, on its conversation and on the conversation's place among all.
    pub seed: u64,
}

impl ChatDrawing {
    /// As `stage` of a protocol says.
    pub fn of(stage: &Stage, seed: u64) -> Self {
        let Stage { temperature, top_p, max_tokens, .. } = *stage;
        Self { temperature, top_p, max_tokens, seed }
    }
}

/// A local model, opened once for any number of calls.
pub struct LocalChat(LocalModel);

impl LocalChat {
    /// Reads the small files of the model; its weights are opened with the first conversations.
    pub fn load(choice: LocalChoice, verbosity: Verbosity) -> Result<Self> {
        Ok(Self(LocalModel::load(choice, verbosity)?))
    }

    /// Shares the answers with all ranks of `world`.
    pub fn on(self, world: Rc<World>) -> Result<Self> {
        Ok(Self(self.0.on(world)?))
    }

    /// The model.
    pub fn model(&self) -> &LocalModel {
        &self.0
    }

    /// The outcome of each conversation, in order.
    ///
    /// Messages go through the model's chat template. A model without one is given their texts, a blank line between two and a line break
    /// at the end ([`Prompt::chat`]). A conversation that leaves no room in the context has a failure.
    ///
    /// - `journal`: a file that keeps finished answers. The same call resumes from it, a call with other conversations is refused, and the
    ///   caller removes it once the outcomes are written.
    pub fn answer(
        &self,
        chats: &[Vec<Message>],
        drawing: &ChatDrawing,
        journal: &Path,
        verbosity: Verbosity,
    ) -> Result<Vec<Outcome>> {
        let model = &self.0;
        let (mut ids, mut outcomes) = (Vec::new(), Vec::with_capacity(chats.len()));
        for (number, chat) in (1..).zip(chats) {
            let place = format!("conversation {number}");
            let messages: Vec<_> =
                chat.iter().map(|message| (message.role.name(), &*message.text)).collect();
            let template = model.base.template.as_ref();
            match model.ids(&Prompt::chat(&messages, String::new(), place, template)?) {
                Ok(prompt) => {
                    ids.push(prompt);
                    outcomes.push(None);
                }
                Err(error) if error.is::<InputError>() => {
                    let failure = Failure { status: None, why: error.to_string() };
                    outcomes.push(Some(Outcome::Failed(failure)));
                }
                Err(error) => return Err(error),
            }
        }
        let ChatDrawing { temperature, top_p, max_tokens, seed } = *drawing;
        let sampling = Sampling { temperature, top_p, top_k: 0, seed };
        let drawing = Drawing {
            max_new_tokens: max_tokens as usize,
            sampling: (temperature > 0.0).then_some(sampling),
        };
        let whole = StopStrings::none(&model.base.tokenizer);
        let (generations, _) = model.generate(&ids, &drawing, &whole, Some(journal), verbosity)?;
        let mut answers = ids.iter().zip(&generations);
        for place in outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            let (prompt, generation) = answers.next().context("an answer is missing")?;
            *place = Some(outcome(prompt, generation, whole.text(generation)?));
        }
        outcomes.into_iter().collect::<Option<_>>().context("a conversation has no outcome")
    }
}

fn outcome(prompt: &[u32], generation: &Generation, text: String) -> Outcome {
    let finish = match generation.stop {
        Stop::Eos | Stop::String => Finish::Stop,
        Stop::Length | Stop::Context => Finish::Length,
    };
    let usage = Usage {
        prompt: prompt.len() as u64,
        completion: generation.ids.len() as u64,
        reasoning: 0,
    };
    Outcome::Answer(Answer { text: text.into(), finish, usage: Some(usage) })
}
