//! Threads that each send one request at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::judge::chat::client::{Client, Try};

/// Bytes of a thread's stack: a request with TLS takes less than a quarter of it.
const STACK: usize = 1 << 19;

/// A request on its way.
struct Job {
    at: usize,
    body: Vec<u8>,
}

/// A request that came back.
pub(super) struct Back {
    /// The number that it was sent with.
    pub(super) at: usize,
    /// When it was sent.
    pub(super) sent: Instant,
    /// What it came to.
    pub(super) attempt: Try,
}

/// Threads, started as they are needed. They end once this is dropped and their request came back; a program that ends does not
/// wait for them.
pub(super) struct Pool {
    client: Arc<Client>,
    jobs: Sender<Job>,
    queue: Arc<Mutex<Receiver<Job>>>,
    came_back: Sender<Back>,
    back: Receiver<Back>,
    threads: usize,
    in_flight: usize,
}

impl Pool {
    pub(super) fn new(client: Arc<Client>) -> Self {
        let (jobs, queue) = channel();
        let (came_back, back) = channel();
        let queue = Arc::new(Mutex::new(queue));
        Self { client, jobs, queue, came_back, back, threads: 0, in_flight: 0 }
    }

    /// Requests that did not come back yet.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends `body` as number `at`.
    pub(super) fn send(&mut self, at: usize, body: Vec<u8>) -> Result<()> {
        if self.threads == self.in_flight {
            self.start().context("cannot start a thread for requests")?;
        }
        self.in_flight += 1;
        self.jobs.send(Job { at, body }).context("no thread takes requests")
    }

    /// The next request that comes back within `wait`.
    pub(super) fn next(&mut self, wait: Duration) -> Option<Back> {
        match self.back.recv_timeout(wait) {
            Ok(back) => {
                self.in_flight -= 1;
                Some(back)
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    fn start(&mut self) -> std::io::Result<()> {
        let (client, queue, came_back) =
            (Arc::clone(&self.client), Arc::clone(&self.queue), self.came_back.clone());
        let work = move || {
            loop {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(Job { at, body }) = job else { return };
                let sent = Instant::now();
                let attempt =
                    catch_unwind(AssertUnwindSafe(|| client.ask(&body))).unwrap_or_else(|_| {
                        Try::Fatal(anyhow!("a thread that sent a request panicked"))
                    });
                if came_back.send(Back { at, sent, attempt }).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("request".into()).stack_size(STACK).spawn(work)?;
        self.threads += 1;
        Ok(())
    }
}
