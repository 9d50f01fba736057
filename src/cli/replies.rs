//! Who replies: an endpoint within the limits of the command, a journal alone, or nobody.

use std::cell::Cell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Result;

use crate::cli::request_args::say_imported;
use crate::console::progress::Verbosity;
use crate::console::units;
use crate::eval::paa::local_judge::not_kept;
use crate::judge::chat::Item;
use crate::judge::chat::asker::{Asker, Stopped, Used};
use crate::judge::chat::outcome::{Failure, Outcome};
use crate::judge::chat::request::Items;
use crate::judge::stage2::Replies;

/// A judge behind an endpoint.
pub(in crate::cli) struct Endpoint {
    asker: Asker,
    manner: Manner,
    /// Names of the requests whose cost is in `paid`.
    counted: HashSet<String>,
    paid: Option<f64>,
}

/// Where replies come from.
pub(in crate::cli) enum Manner {
    /// It is asked for those that are missing, within limits that all judges of the command share.
    Ask(Rc<Cell<Used>>),
    /// All of them are in the journal, or the command is refused.
    Recompute,
    /// Those of a batch are in the journal; the command ends where some are missing.
    Import,
}

impl Endpoint {
    pub(in crate::cli) fn new(asker: Asker, manner: Manner) -> Self {
        Self { asker, manner, counted: HashSet::new(), paid: Some(0.0) }
    }

    fn kept(&self, conversations: &dyn Items) -> Result<Vec<Outcome>> {
        let held = self.asker.held(conversations)?;
        let missing = held.iter().filter(|outcome| outcome.is_none()).count();
        match self.manner {
            _ if missing == 0 => Ok(held.into_iter().flatten().collect()),
            Manner::Import => {
                let (missing, all) = (units::count(missing), units::count(held.len()));
                let what = format!("imported: {missing} of {all} replies are still missing");
                Err(Stopped::after_import(what).into())
            }
            Manner::Ask(_) | Manner::Recompute => Err(not_kept(missing, held.len()).into()),
        }
    }
}

impl Replies for Endpoint {
    fn replies(&mut self, conversations: &dyn Items) -> Result<Vec<Outcome>> {
        let outcomes = match &self.manner {
            Manner::Ask(used) => {
                self.asker.continue_from(used.get());
                let outcomes = self.asker.ask(conversations);
                used.set(self.asker.used());
                outcomes?
            }
            Manner::Recompute | Manner::Import => self.kept(conversations)?,
        };
        let more = self.asker.spent(conversations, &mut self.counted)?;
        self.paid = self.paid.zip(more).map(|(paid, more)| paid + more);
        Ok(outcomes)
    }

    fn served(&self) -> Vec<String> {
        self.asker.served()
    }

    fn paid(&self) -> Option<f64> {
        self.paid
    }
}

/// Collects what would be asked, and asks nothing.
pub(in crate::cli) struct Waiting {
    pub(in crate::cli) asker: Asker,
    pub(in crate::cli) conversations: Vec<Item>,
}

impl Replies for Waiting {
    fn replies(&mut self, conversations: &dyn Items) -> Result<Vec<Outcome>> {
        for place in 0..conversations.count() {
            self.conversations.push(conversations.at(place)?.into_owned());
        }
        let asked = |held: Option<Outcome>| {
            held.unwrap_or_else(|| {
                Outcome::Failed(Failure { status: None, why: "not asked".to_owned() })
            })
        };
        Ok(self.asker.held(conversations)?.into_iter().map(asked).collect())
    }
}

/// Takes the results of batches in `files` into the journal of `asker`, second tries after the replies that they follow. `ask`: asks all that
/// the journal's replies lead to. Returns whether any result is of these requests.
pub(in crate::cli) fn import(
    asker: Asker,
    files: &[PathBuf],
    verbosity: Verbosity,
    mut ask: impl FnMut(&mut Waiting) -> Result<()>,
) -> Result<bool> {
    let mut waiting = Waiting { asker, conversations: Vec::new() };
    let mut is_any_ours = false;
    loop {
        waiting.conversations.clear();
        ask(&mut waiting)?;
        let mut imported = waiting.asker.import(&waiting.conversations, files)?;
        let new = imported.answers + imported.failures;
        is_any_ours |= new + imported.duplicates + imported.differing > 0;
        if new == 0 {
            return Ok(is_any_ours);
        }
        // Second tries and what belongs to others; what is nobody's is said by the caller.
        imported.unknown = 0;
        say_imported(&imported, verbosity);
    }
}
