//! The run over all items that have no answer: what is sent when, what is sent again, and when to stop.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::console::interrupt;
use crate::console::progress::{Progress, Verbosity};
use crate::console::units;
use crate::error::InputError;
use crate::judge::chat::client::{Client, Try};
use crate::judge::chat::concurrency::Limit;
use crate::judge::chat::cost::{self, Prices};
use crate::judge::chat::journal::Journal;
use crate::judge::chat::outcome::{Failure, Outcome};
use crate::judge::chat::pool::{Back, Pool};
use crate::judge::chat::request::{Items, Request};
use crate::judge::chat::response::Heard;
use crate::judge::chat::settings::Settings;
use crate::judge::chat::stopped::Stopped;
use crate::net::retry::{Backoff, Fault};

/// Pauses of one among many requests. 429 is a matter of minutes: 20 tries are a quarter of an hour. An answer that cannot be
/// read may have been paid for: three tries.
const BACKOFF: Backoff = Backoff {
    tries: 6,
    busy_tries: 20,
    garbled_tries: 3,
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(60),
    longest: Duration::from_secs(330),
    jitter: 0.5,
};
/// Failures before the first answer after which the request itself must be wrong, such as a parameter that the model refuses.
const FIRST_FAILURES: usize = 20;
/// How long requests in flight may still come back after Ctrl-C or a fatal answer: they are paid for.
const GRACE: Duration = Duration::from_secs(10);
/// Longest wait without a look at Ctrl-C.
const TICK: Duration = Duration::from_millis(100);

/// What was sent and spent so far, to which the limits of a command apply.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Used {
    /// Requests.
    pub requests: usize,
    /// US dollars of their answers, and the most of tries that brought none and may be charged for; 0 without prices.
    pub cost: f64,
}

/// An item that was sent and has no outcome yet.
#[derive(Default)]
struct Trying {
    failures: u32,
    /// Answers of the run before its first try.
    answers_before: usize,
    /// US dollars that it may cost.
    reserved: f64,
}

/// One run over the items of `waiting`.
pub(super) struct Dispatch<'a> {
    pub(super) client: &'a Arc<Client>,
    pub(super) settings: &'a Settings,
    pub(super) prices: Option<&'a Prices>,
    pub(super) journal: &'a mut Journal,
    pub(super) items: &'a dyn Items,
    /// Names of the items' requests.
    pub(super) ids: &'a [String],
    /// Numbers of the items to ask.
    pub(super) waiting: VecDeque<usize>,
    /// Different requests, those that have an outcome included.
    pub(super) total: usize,
    pub(super) verbosity: Verbosity,
    /// Of earlier calls; what this one sends and spends is added.
    pub(super) used: &'a mut Used,
}

struct State {
    pool: Pool,
    limit: Limit,
    trying: HashMap<usize, Trying>,
    /// Items to send again, and when.
    delayed: Vec<(Instant, usize)>,
    /// Before this the peer wants no request.
    not_before: Instant,
    sent: usize,
    answers: usize,
    failures: usize,
    spent: f64,
    /// Whether nothing was ever answered, so that failures alone may mean that all will fail.
    is_first: bool,
    /// The limit by which no new item is sent.
    closed: Option<String>,
    /// Why nothing is sent any more, and until when requests in flight may come back.
    ended: Option<(anyhow::Error, Instant)>,
    progress: Progress,
}

impl Dispatch<'_> {
    /// Asks until each item has an outcome, a limit is reached or nothing can be done.
    pub(super) fn run(mut self) -> Result<()> {
        let done = self.total - self.waiting.len();
        let progress = self.verbosity.progress("asking", "answers", done as u64, self.total as u64);
        let mut state = State {
            pool: Pool::new(Arc::clone(self.client)),
            limit: Limit::new(),
            trying: HashMap::new(),
            delayed: Vec::new(),
            not_before: Instant::now(),
            sent: self.used.requests,
            answers: 0,
            failures: 0,
            spent: self.used.cost,
            is_first: !self.journal.holds_answers(),
            closed: None,
            ended: None,
            progress,
        };
        loop {
            if state.ended.is_none() {
                if let Err(interrupted) = interrupt::check() {
                    state.end(interrupted);
                } else {
                    self.fill(&mut state)?;
                }
            }
            let in_flight = state.pool.in_flight();
            let deadline = state.ended.as_ref().map(|(_, deadline)| *deadline);
            let is_over = match deadline {
                Some(deadline) => in_flight == 0 || Instant::now() >= deadline,
                None => in_flight == 0 && state.delayed.is_empty() && self.nothing_waits(&state),
            };
            if is_over {
                break;
            }
            if let Some(back) = state.pool.next(self.wait(&state)) {
                self.take(&mut state, back)?;
            }
        }
        *self.used = Used { requests: state.sent, cost: state.spent };
        self.journal.flush()?;
        match (state.ended, state.closed) {
            (Some((error, _)), _) => Err(error),
            (None, Some(limit)) => Err(self.stopped(&limit, state.spent).into()),
            (None, None) => Ok(()),
        }
    }

    fn nothing_waits(&self, state: &State) -> bool {
        self.waiting.is_empty() || state.closed.is_some()
    }

    /// How long nothing needs to be sent.
    fn wait(&self, state: &State) -> Duration {
        let due = state.delayed.iter().map(|(due, _)| *due).min();
        let due = due.map(|due| due.max(state.not_before));
        let wait = due.map_or(TICK, |due| due.saturating_duration_since(Instant::now()));
        wait.clamp(Duration::from_millis(1), TICK)
    }

    /// Sends what may be sent now.
    fn fill(&mut self, state: &mut State) -> Result<()> {
        let now = Instant::now();
        while now >= state.not_before && state.pool.in_flight() < state.limit.slots() {
            let due = state.delayed.iter().position(|(due, _)| *due <= now);
            let at = match due {
                Some(place) => state.delayed.swap_remove(place).1,
                None => match self.waiting.front().copied() {
                    Some(at) if state.closed.is_none() => {
                        state.closed = self.limit(state, at)?;
                        if state.closed.is_some() {
                            return Ok(());
                        }
                        self.waiting.pop_front();
                        self.begin(state, at)?;
                        at
                    }
                    _ => return Ok(()),
                },
            };
            let request = Request::new(
                self.client.endpoint(),
                &self.settings.parameters,
                self.items.at(at)?.as_ref(),
            )?;
            state.pool.send(at, serde_json::to_vec(&request.body)?)?;
        }
        Ok(())
    }

    /// US dollars that an item may cost; 0 without prices.
    fn most(&self, at: usize) -> Result<f64> {
        let Some(prices) = self.prices else { return Ok(0.0) };
        let item = self.items.at(at)?;
        Ok(prices.of_usage(cost::estimated(&item, self.settings.parameters.max_tokens)))
    }

    fn begin(&self, state: &mut State, at: usize) -> Result<()> {
        state.sent += 1;
        let reserved = self.most(at)?;
        let trying = Trying { failures: 0, answers_before: state.answers, reserved };
        state.trying.insert(at, trying);
        Ok(())
    }

    /// The limit that forbids to begin item `at`.
    fn limit(&self, state: &State, at: usize) -> Result<Option<String>> {
        match self.settings.max_requests {
            Some(most) if state.sent >= most => Ok(Some(format!("`--max-requests {most}`"))),
            _ => self.limit_of_cost(state, at),
        }
    }

    /// The limit of the cost, where another try of item `at`, which holds no reservation, may pass it.
    fn limit_of_cost(&self, state: &State, at: usize) -> Result<Option<String>> {
        let Some(most) = self.settings.max_cost else { return Ok(None) };
        let reserved: f64 = state.trying.values().map(|trying| trying.reserved).sum();
        let is_within = state.spent + reserved + self.most(at)? <= most;
        Ok((!is_within).then(|| format!("`--max-cost {most}`")))
    }

    fn stopped(&self, limit: &str, spent: f64) -> Stopped {
        let [total, left] = [self.total, self.waiting.len()].map(units::count);
        let cost = match self.prices {
            Some(_) => format!(", about {} spent", units::dollars(spent)),
            None => String::new(),
        };
        Stopped::at_limit(format!("stopped at {limit}: {left} of {total} requests are left{cost}"))
    }

    /// Books a request that came back.
    fn take(&mut self, state: &mut State, back: Back) -> Result<()> {
        let Back { at, sent, attempt } = back;
        match attempt {
            Try::Done(outcome, heard) => self.finish(state, at, outcome, &heard),
            Try::Fatal(error) => {
                state.end(error);
                Ok(())
            }
            Try::Temporary(fault) => self.again(state, at, sent, &fault),
        }
    }

    /// Plans another try of item `at`, or gives it up.
    fn again(&mut self, state: &mut State, at: usize, sent: Instant, fault: &Fault) -> Result<()> {
        let now = Instant::now();
        let is_busy = fault.asks_to_slow_down().is_some();
        if is_busy {
            state.limit.refused(sent);
        }
        let mut trying = state.trying.remove(&at).unwrap_or_default();
        if fault.may_be_charged() {
            // By the estimate it was charged no more than this, so the limit of the cost stays a bound.
            state.spent += trying.reserved;
        }
        if state.ended.is_some() {
            return Ok(());
        }
        trying.failures += 1;
        let (failures, answers_before) = (trying.failures, trying.answers_before);
        if let Some(pause) = BACKOFF.pause(failures, fault) {
            if let Some(limit) = self.limit_of_cost(state, at)? {
                state.closed.get_or_insert(limit);
                self.waiting.push_front(at);
                return Ok(());
            }
            state.trying.insert(at, trying);
            if fault.asked_pause().is_some() {
                state.not_before = state.not_before.max(now + pause);
            }
            state.delayed.push((now + pause, at));
            return Ok(());
        }
        let why = fault.sentence("the endpoint");
        // A peer that answers nobody is down. One that answers others does not like this item.
        if is_busy || (!fault.is_garbled() && state.answers == answers_before) {
            let name = self.client.endpoint().name();
            let wait = fault.asked_pause().filter(|pause| *pause > BACKOFF.longest);
            let wait =
                wait.map_or(String::new(), |pause| format!(" in {} seconds", pause.as_secs()));
            state.end(anyhow!(
                "endpoint `{name}`: {why}, {failures} times\n\nhint: check the address and the network, then run the same \
                 command again{wait}; what was answered is kept"
            ));
            return Ok(());
        }
        self.finish(state, at, Outcome::Failed(Failure { status: None, why }), &Heard::default())
    }

    /// Keeps an outcome.
    fn finish(
        &mut self,
        state: &mut State,
        at: usize,
        outcome: Outcome,
        heard: &Heard,
    ) -> Result<()> {
        state.trying.remove(&at);
        match &outcome {
            Outcome::Answer(answer) => {
                state.answers += 1;
                state.limit.answered();
                if let Some(prices) = self.prices {
                    state.spent +=
                        prices.of_usage(cost::of_answer(answer, self.items.at(at)?.as_ref()));
                }
            }
            Outcome::Failed(failure) => {
                state.failures += 1;
                if state.is_first
                    && state.answers == 0
                    && state.failures == FIRST_FAILURES
                    && state.ended.is_none()
                {
                    let what = format!(
                        "endpoint `{}`: the first {FIRST_FAILURES} requests all failed: {}",
                        self.client.endpoint().name(),
                        failure.why
                    );
                    let hint = "change what the message names, such as a parameter that the model does not take; add \
                                `--retry-failed` if the requests themselves stay as they are";
                    state.end(InputError::new(what).hint(hint).into());
                }
            }
        }
        self.journal.append(&self.ids[at], outcome, heard)?;
        let cost = self.prices.map(|_| units::dollars(state.spent));
        let failures = state.failures;
        let failed = (failures > 0).then(|| format!("{} failed", units::count(failures)));
        state.progress.advance(1, &cost.into_iter().chain(failed).collect::<Vec<_>>());
        Ok(())
    }
}

impl State {
    /// Sends nothing any more, for the first reason.
    fn end(&mut self, error: anyhow::Error) {
        if self.ended.is_none() {
            self.ended = Some((error, Instant::now() + GRACE));
        }
    }
}
