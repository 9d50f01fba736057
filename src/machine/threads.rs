//! The threads that a program computes on, started once, before anything needs one: a limit of threads is then an error with its
//! remedy, or fewer threads, and no panic of a library.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rayon::{ThreadBuilder, ThreadPoolBuilder};

use crate::console::progress::Verbosity;
use crate::console::units;
use crate::error::InputError;
use crate::machine::{limits, peak, proc};
use crate::parallel::launch;

/// Address space that any command takes beside its threads' stacks, its data and its model. An estimate: runs
/// on the golden model under 50 to 300 MB end in a message or a result with it.
const START_BYTES: f64 = 32.0 * 1048576.0;
/// Address space of a thread: its stack with the guard pages and the stack of its signal handler.
const THREAD_BYTES: f64 = 2.1 * 1048576.0;

/// Sets the number of threads, as rayon reads it.
const VARIABLE: &str = "RAYON_NUM_THREADS";
/// The same for the loops of candle's own.
const CANDLE_VARIABLE: &str = "CANDLE_NUM_THREADS";

/// Starts the threads of all loops, as many as `RAYON_NUM_THREADS` or the machine says. Where a limit allows fewer, a warning
/// says so, and results are the same bits. Call it once, first.
///
/// One thread more is tried and ended again, since templates are compiled on one of their own. An error where not even that can
/// be started. candle has a pool of its own, and panics where it cannot start it, so it gets its threads here too, or none.
pub fn start() -> Result<()> {
    let ranks = launch::local().map_or(1, |(_, ranks)| ranks.max(1));
    let wanted = wanted(std::env::var(VARIABLE).ok().as_deref(), ranks);
    let candle = match std::env::var(CANDLE_VARIABLE).ok().and_then(|text| text.trim().parse().ok())
    {
        Some(threads) if threads > 0 => threads,
        _ if ranks > 1 => 1,
        _ => candle_core::utils::get_num_threads(),
    };
    let tried = wanted + 1 + (candle - 1);
    refuse_narrow_address_space(tried)?;
    let mut waiting = Vec::new();
    let refused = (0..tried).find_map(|_| match Waiting::start() {
        Ok(thread) => {
            waiting.push(thread);
            None
        }
        Err(error) => Some(error),
    });
    if waiting.is_empty() {
        let error = refused.unwrap_or_else(|| io::ErrorKind::WouldBlock.into());
        return Err(error).context("no thread can be started");
    }
    let kept = wanted.min(waiting.len() - 1);
    waiting.drain(kept..).for_each(Waiting::end);
    if refused.is_some() {
        without_candles_own();
    } else {
        wait_for_threads(1 + kept);
    }
    candle_core::utils::barrier_pool();

    let started = kept.max(1);
    let builder = ThreadPoolBuilder::new().num_threads(started);
    let built = if waiting.is_empty() {
        builder.use_current_thread().build_global()
    } else {
        builder.spawn_handler(|thread| hand_over(&mut waiting, thread)).build_global()
    };
    if let Some(error) = refused.filter(|_| started < wanted) {
        Verbosity::Normal.warn(format!(
            "{started} of {wanted} threads can be started ({error}); computing on {started}"
        ));
    }
    built.context("cannot start the threads")
}

/// Has candle compute its own loops on the calling thread.
#[expect(unsafe_code, reason = "candle reads the variable and nothing else tells it")]
fn without_candles_own() {
    // SAFETY: the only other threads are those that wait in `Waiting::start`, which read no variable.
    unsafe { std::env::set_var(CANDLE_VARIABLE, "1") };
}

/// Waits until the system counts no more than `most` threads of this process: it counts one that has ended for some
/// microseconds more.
fn wait_for_threads(most: usize) {
    for _ in 0..100 {
        match proc::number("/proc/self/status", "Threads:") {
            Some(threads) if threads > most as f64 => thread::sleep(Duration::from_millis(1)),
            _ => return,
        }
    }
}

/// Refuses a `ulimit -v` under which the start itself would fail, and keeps memory in one arena under any other: each thread's own
/// would reserve 64 MiB of addresses, if it is made at all, so that no plan of the memory would hold.
fn refuse_narrow_address_space(threads: usize) -> Result<()> {
    let Some(room) = limits::of_address_space() else { return Ok(()) };
    peak::share_one_arena();
    let needed = START_BYTES + THREAD_BYTES * threads as f64;
    if room >= needed {
        return Ok(());
    }
    let (room, needed) = (units::bytes(room), units::bytes(needed));
    Err(InputError::new(format!(
        "`ulimit -v` leaves {room} of addresses, expected {needed} or more for {threads} threads and their work"
    ))
    .hint("raise the limit, or lift it with `ulimit -v unlimited`")
    .into())
}

/// How many threads `text`, the value of the variable, asks for; without one this process's part of those that the machine has, where `ranks`
/// processes share it.
fn wanted(text: Option<&str>, ranks: usize) -> usize {
    let set = text.and_then(|text| text.trim().parse().ok()).filter(|threads| *threads > 0);
    let machine = || thread::available_parallelism().map_or(1, usize::from);
    set.unwrap_or_else(|| (machine() / ranks).max(1))
}

/// A thread that waits for its work.
struct Waiting {
    work: Sender<ThreadBuilder>,
    thread: JoinHandle<()>,
}

impl Waiting {
    fn start() -> io::Result<Self> {
        let (work, received) = mpsc::channel::<ThreadBuilder>();
        let wait = move || {
            if let Ok(work) = received.recv() {
                work.run();
            }
        };
        Ok(Self { work, thread: thread::Builder::new().spawn(wait)? })
    }

    /// Ends it without work.
    fn end(self) {
        drop(self.work);
        let _ = self.thread.join(); // it does nothing that could panic
    }
}

fn hand_over(waiting: &mut Vec<Waiting>, work: ThreadBuilder) -> io::Result<()> {
    let thread = waiting.pop().ok_or(io::ErrorKind::WouldBlock)?;
    thread.work.send(work).map_err(|_| io::ErrorKind::BrokenPipe.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read_as_rayon_reads_it() {
        let machine = wanted(None, 1);
        assert!(machine >= 1);
        assert_eq!(
            [wanted(Some("3"), 2), wanted(Some("0"), 1), wanted(Some("x"), 1)],
            [3, machine, machine]
        );
    }
}
