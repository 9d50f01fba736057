//! The door of the room: items in, an outcome for each out.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::console::progress::Verbosity;
use crate::error::InputError;
use crate::judge::chat::batch::{self, Imported};
use crate::judge::chat::client::Client;
use crate::judge::chat::cost::{self, Prices};
use crate::judge::chat::dispatch::Dispatch;
pub use crate::judge::chat::dispatch::Used;
use crate::judge::chat::endpoint::Endpoint;
use crate::judge::chat::journal::Journal;
use crate::judge::chat::outcome::{Outcome, Usage};
use crate::judge::chat::request::{Item, Items, Request};
use crate::judge::chat::settings::Settings;
pub use crate::judge::chat::stopped::Stopped;
use crate::net::agent;

/// What asking would take.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Requests to send.
    pub requests: usize,
    /// Requests that the journal has an answer for.
    pub answered: usize,
    /// Requests that the journal has a failure for, which is not asked again.
    pub failed: usize,
    /// Tokens of the requests to send, estimated, and the most of their answers.
    pub usage: Usage,
    /// What they cost in US dollars, estimated, if every answer is as long as it may be; none without prices.
    pub cost: Option<f64>,
}

/// Asks one model at one endpoint, and keeps every answer in a journal.
pub struct Asker {
    client: Arc<Client>,
    settings: Settings,
    prices: Option<Prices>,
    journal: Journal,
    verbosity: Verbosity,
    used: Used,
}

impl Asker {
    /// Opens the journal at `journal`, which belongs to this process until the asker is dropped. Sends nothing.
    ///
    /// Refuses a limit of the cost where no price is known, and a journal in use.
    pub fn open(
        endpoint: Endpoint,
        settings: Settings,
        journal: &Path,
        verbosity: Verbosity,
    ) -> Result<Self> {
        Self::with(endpoint, settings, verbosity, || Journal::open(journal, verbosity))
    }

    /// Reads the journal at `journal`, if there is one, to estimate or to export. Makes, writes and locks nothing; what asks is an error.
    pub fn plan(
        endpoint: Endpoint,
        settings: Settings,
        journal: &Path,
        verbosity: Verbosity,
    ) -> Result<Self> {
        Self::with(endpoint, settings, verbosity, || Journal::read(journal))
    }

    fn with(
        endpoint: Endpoint,
        settings: Settings,
        verbosity: Verbosity,
        journal: impl FnOnce() -> Result<Journal>,
    ) -> Result<Self> {
        let model = &settings.parameters.model;
        let prices = prices(&endpoint, &settings)?;
        let certificates = agent::certificates(|name| {
            std::env::var(name).ok().filter(|value| !value.trim().is_empty())
        });
        let client = Client::new(endpoint, model, settings.timeout, certificates.as_deref())?;
        let journal = journal()?;
        Ok(Self {
            client: Arc::new(client),
            settings,
            prices,
            journal,
            verbosity,
            used: Used::default(),
        })
    }

    /// The prices that costs are computed with; none where none are known.
    pub fn prices(&self) -> Option<&Prices> {
        self.prices.as_ref()
    }

    /// The names under which the endpoint says it answered; the journal keeps them.
    pub fn served(&self) -> Vec<String> {
        self.journal.served().map(str::to_owned).collect()
    }

    /// US dollars of the answers to `items` that the journal holds, by this command and those before it; none without prices. Names
    /// that are in `counted` cost nothing more; those of `items` are added to it.
    pub fn spent(&self, items: &dyn Items, counted: &mut HashSet<String>) -> Result<Option<f64>> {
        let Some(prices) = &self.prices else { return Ok(None) };
        let mut spent = 0.0;
        for (place, id) in self.ids(items)?.into_iter().enumerate() {
            if let Some(Outcome::Answer(answer)) = self.journal.get(&id)
                && counted.insert(id)
            {
                spent += prices.of_usage(cost::of_answer(answer, items.at(place)?.as_ref()));
            }
        }
        Ok(Some(spent))
    }

    /// What was sent and spent by all calls of [`Self::ask`], after what [`Self::continue_from`] set.
    pub fn used(&self) -> Used {
        self.used
    }

    /// Counts what another asker of the same command used towards the limits.
    pub fn continue_from(&mut self, used: Used) {
        self.used = used;
    }

    /// The outcome of each item, in order. Asks those that the journal does not hold, once each, many at a time.
    ///
    /// After [`Stopped`], an interruption or any other error the journal holds what was answered, and another call resumes.
    pub fn ask(&mut self, items: &dyn Items) -> Result<Vec<Outcome>> {
        let ids = self.ids(items)?;
        let waiting = self.unanswered(&ids);
        if !waiting.is_empty() {
            Dispatch {
                client: &self.client,
                settings: &self.settings,
                prices: self.prices.as_ref(),
                journal: &mut self.journal,
                items,
                ids: &ids,
                waiting: waiting.into(),
                total: different(&ids),
                verbosity: self.verbosity,
                used: &mut self.used,
            }
            .run()?;
        }
        let outcome = |id: &String| self.journal.get(id).cloned();
        ids.iter().map(outcome).collect::<Option<_>>().context("an item has no outcome")
    }

    /// The outcome of each item that the journal holds; none of one that was not asked.
    pub fn held(&self, items: &dyn Items) -> Result<Vec<Option<Outcome>>> {
        Ok(self.ids(items)?.iter().map(|id| self.journal.get(id).cloned()).collect())
    }

    /// What [`Self::ask`] would take.
    pub fn estimate(&self, items: &[Item]) -> Result<Estimate> {
        let ids = self.ids(&items)?;
        let waiting = self.unanswered(&ids);
        let mut usage = Usage::default();
        for &at in &waiting {
            let one = cost::estimated(&items[at], self.settings.parameters.max_tokens);
            usage.prompt += one.prompt;
            usage.completion += one.completion;
        }
        let is_answer = |id: &&String| matches!(self.journal.get(id), Some(Outcome::Answer(_)));
        let answered = ids.iter().filter(is_answer).collect::<HashSet<_>>().len();
        Ok(Estimate {
            requests: waiting.len(),
            answered,
            failed: different(&ids) - waiting.len() - answered,
            usage,
            cost: self.prices.as_ref().map(|prices| prices.of_usage(usage)),
        })
    }

    /// Writes the requests that [`Self::ask`] would send as files of OpenAI's Batch form into `folder`. Returns their paths.
    pub fn export(&self, items: &[Item], folder: &Path) -> Result<Vec<PathBuf>> {
        let waiting = self.unanswered(&self.ids(&items)?);
        let line = |at: usize| {
            let parameters = &self.settings.parameters;
            Ok(Request::new(self.client.endpoint(), parameters, &items[at])?.batch_line())
        };
        batch::export(waiting.into_iter().map(line), folder, batch::LIMITS)
    }

    /// Takes the outcomes in `files`, which a Batch endpoint or `vllm run-batch` wrote, into the journal.
    pub fn import(&mut self, items: &[Item], files: &[PathBuf]) -> Result<Imported> {
        let known: HashSet<String> = self.ids(&items)?.into_iter().collect();
        let imported = batch::import(files, &known, &mut self.journal)?;
        self.journal.flush()?;
        Ok(imported)
    }

    fn ids(&self, items: &dyn Items) -> Result<Vec<String>> {
        let parameters = &self.settings.parameters;
        let id = |place| {
            Ok(Request::new(self.client.endpoint(), parameters, items.at(place)?.as_ref())?
                .custom_id)
        };
        (0..items.count()).map(id).collect()
    }

    /// Numbers of the items to ask; of several with the same name, the first.
    fn unanswered(&self, ids: &[String]) -> Vec<usize> {
        let mut seen = HashSet::new();
        let is_done = |id: &String| match self.journal.get(id) {
            Some(Outcome::Answer(_)) => true,
            Some(Outcome::Failed(_)) => !self.settings.retry_failed,
            None => false,
        };
        (0..ids.len()).filter(|&at| !is_done(&ids[at]) && seen.insert(&ids[at])).collect()
    }
}

/// The prices that costs are computed with: those that are set, or those of the table; none where none are known. Refuses a limit of the
/// cost then.
pub fn prices(endpoint: &Endpoint, settings: &Settings) -> Result<Option<Prices>> {
    let model = &settings.parameters.model;
    let prices = settings.prices.clone().or_else(|| Prices::of(endpoint, model));
    if settings.max_cost.is_some() && prices.is_none() {
        let what = format!(
            "`--max-cost` needs a price, and {} has none of `{model}` at `{}`",
            cost::TABLE,
            endpoint.name()
        );
        let how = cost::how_to_set(model);
        return Err(InputError::new(what)
            .hint(format!("set its prices in the protocol, {how}; or use `--max-requests`"))
            .into());
    }
    Ok(prices)
}

/// Requests of the names `ids`, each once.
fn different(ids: &[String]) -> usize {
    ids.iter().collect::<HashSet<_>>().len()
}
