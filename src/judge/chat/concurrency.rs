//! How many requests are in flight: fewer after a refusal for their rate, slowly more while answers arrive.

use std::time::Instant;

/// Requests at once in the beginning: what the smallest paid tiers of providers allow for short answers.
const START: f64 = 20.0;
/// Most requests at once: threads, connections and what a single GPU server batches without queueing.
pub(super) const MOST: usize = 64;
/// What a refusal leaves of the limit: as AIMD, but gentler than a half, since a limit by the minute is passed by a little.
const CUT: f64 = 0.8;

/// The number of requests that may be in flight.
pub(super) struct Limit {
    current: f64,
    cut_at: Option<Instant>,
}

impl Limit {
    pub(super) fn new() -> Self {
        Self { current: START, cut_at: None }
    }

    /// Requests that may be in flight now, 1 to [`MOST`].
    pub(super) fn slots(&self) -> usize {
        (self.current as usize).clamp(1, MOST)
    }

    /// An answer arrived: one slot more for each round of answers.
    pub(super) fn answered(&mut self) {
        self.current = (self.current + 1.0 / self.current).min(MOST as f64);
    }

    /// The peer asked to slow down by its answer to a request sent at `sent`. Of the requests that were in flight together,
    /// only the first refusal counts: the others say the same.
    pub(super) fn refused(&mut self, sent: Instant) {
        if self.cut_at.is_none_or(|cut_at| sent > cut_at) {
            self.current = (self.current * CUT).max(1.0);
            self.cut_at = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_one_round_cut_once_and_answers_grow_it_to_the_cap() {
        let mut limit = Limit::new();
        let sent = Instant::now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        (0..20).for_each(|_| limit.refused(sent));
        assert_eq!(limit.slots(), 16);
        (0..16).for_each(|_| limit.answered());
        assert_eq!(limit.slots(), 16, "a round grows it by less than one");
        (0..10_000).for_each(|_| limit.answered());
        assert_eq!(limit.slots(), MOST);
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_micros(10));
            limit.refused(Instant::now());
        }
        assert_eq!(limit.slots(), 1, "never none");
    }
}
