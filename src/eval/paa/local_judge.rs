//! A local model as a judge: its replies are kept as an endpoint's are.

use std::rc::Rc;

use anyhow::{Context, Result};

use crate::bail_input;
use crate::console::progress::Verbosity;
use crate::console::units;
use crate::disk::{digest, read};
use crate::error::InputError;
use crate::eval::paa::local_chat::{ChatDrawing, LocalChat};
use crate::eval::paa::panel::Judge;
use crate::judge::chat::journal::Journal;
use crate::judge::chat::request::Items;
use crate::judge::chat::{Item, Outcome};
use crate::judge::protocol::Protocol;
use crate::judge::stage2::Replies;
use crate::parallel::world::World;
use crate::run_folder::paa::PaaFolder;
use crate::session::local_model::LocalChoice;

/// A local model as a judge.
pub struct LocalJudge {
    chat: LocalChat,
    drawing: ChatDrawing,
    folder: PaaFolder,
    /// Whether nothing is to be generated.
    is_recomputed: bool,
    verbosity: Verbosity,
    /// Digest of the weights and the adapter.
    sha256: String,
    /// What a reply depends on besides its conversation.
    key: String,
}

/// A [`LocalJudge`] whose journal is open.
struct Opened {
    judge: LocalJudge,
    journal: Journal,
}

impl LocalJudge {
    /// Reads the small files of the model and the digest of its weights. Writes nothing.
    ///
    /// - `is_recomputed`: whether every reply must be there already.
    pub fn load(
        choice: LocalChoice,
        protocol: &Protocol,
        folder: &PaaFolder,
        is_recomputed: bool,
        verbosity: Verbosity,
    ) -> Result<Self> {
        let stage = &protocol.judge;
        if let Some(name) = stage.extra.keys().next() {
            bail_input!("`judge.extra.{name}` is an endpoint's; a local model does not read it");
        }
        if protocol.verdict.schema == Some(true) {
            bail_input!("`verdict.schema` is an endpoint's; a local model does not read it");
        }
        let drawing = ChatDrawing::of(stage, 0);
        let chat = LocalChat::load(choice, verbosity)?;
        let model = chat.model();
        let sha256 = model.digest()?;
        let key = digest::of_parts([&*sha256, &model.dtype(), &format!("{drawing:?}")]);
        Ok(Self { chat, drawing, folder: folder.clone(), is_recomputed, verbosity, sha256, key })
    }

    /// Shares the replies with all ranks of `world`.
    pub fn on(self, world: Rc<World>) -> Result<Self> {
        Ok(Self { chat: self.chat.on(world)?, ..self })
    }

    /// Opens the journal.
    pub fn into_judge(self) -> Result<Judge> {
        let choice = self.chat.model().choice();
        let name = choice.model.clone();
        let adapter = choice.adapter.as_ref().map(|adapter| adapter.display().to_string());
        let place =
            adapter.map_or_else(|| "local".to_owned(), |adapter| format!("local, {adapter}"));
        let path = self.folder.journal(&name, &self.key);
        let journal = match self.is_recomputed {
            true => Journal::read(&path)?,
            false => Journal::open(&path, self.verbosity)?,
        };
        let replies: Box<dyn Replies> = Box::new(Opened { judge: self, journal });
        Ok(Judge { name, place, replies: Some(replies) })
    }

    fn id(&self, conversation: &Item) -> String {
        let repetition = conversation.repetition.to_string();
        let messages = conversation.messages.iter();
        let texts = messages.flat_map(|message| [message.role.name(), &*message.text]);
        let parts = [&*self.key, &*conversation.id, &*repetition].into_iter().chain(texts);
        digest::of_parts(parts)[..32].to_owned()
    }
}

/// The error where `--recompute` finds that `missing` of `all` replies were never given.
pub fn not_kept(missing: usize, all: usize) -> InputError {
    let (missing, all) = (units::count(missing), units::count(all));
    InputError::new(format!("{missing} of {all} replies are not in the journal"))
        .hint("run the command without `--recompute`: it asks for those alone")
}

impl Replies for Opened {
    fn sha256(&self) -> String {
        self.judge.sha256.clone()
    }

    fn replies(&mut self, conversations: &dyn Items) -> Result<Vec<Outcome>> {
        let conversations = (0..conversations.count())
            .map(|place| Ok(conversations.at(place)?.into_owned()))
            .collect::<Result<Vec<_>>>()?;
        let Self { judge, journal } = self;
        let ids: Vec<String> = conversations.iter().map(|one| judge.id(one)).collect();
        let missing = ids.iter().filter(|id| journal.get(id).is_none()).count();
        if missing > 0 && judge.is_recomputed {
            return Err(not_kept(missing, ids.len()).into());
        }
        let generations = judge.folder.generations(&digest::of_parts(&ids));
        if missing > 0 {
            // All of them, since a draw depends on the place among all.
            let chats: Vec<_> = conversations.iter().map(|one| one.messages.clone()).collect();
            let outcomes =
                judge.chat.answer(&chats, &judge.drawing, &generations, judge.verbosity)?;
            for (id, outcome) in ids.iter().zip(outcomes) {
                if journal.get(id).is_none() {
                    journal.append(id, outcome, &Default::default())?;
                }
            }
            journal.flush()?;
        }
        if !judge.is_recomputed {
            // Also what a program left that was killed right here.
            read::remove_if_there(&generations)?;
        }
        let outcome = |id: &String| journal.get(id).cloned();
        ids.iter().map(outcome).collect::<Option<_>>().context("a reply is missing")
    }
}
