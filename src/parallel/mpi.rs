//! A link over MPI.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::request::{WaitGuard, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

use super::link::Link;
use crate::console::interrupt::{self, Interrupted};

/// Most bytes of one message of MPI, whose counts are 32-bit integers.
const MOST_BYTES: usize = 1 << 28;

/// How long a rank looks for a message without a pause, which costs a core.
const BUSY: Duration = Duration::from_micros(200);
/// The pauses after that.
const PAUSE: Duration = Duration::from_micros(100);
/// How long a rank waits for another one after a signal. Where a rank has died, the launcher signals the others, and nothing more comes.
const GRACE: Duration = Duration::from_secs(10);

/// All ranks of the job.
pub(super) struct Mpi {
    world: SimpleCommunicator,
    /// Ends MPI when it is dropped.
    _universe: Universe,
}

impl Mpi {
    /// Joins the job that a launcher has started this process in.
    pub(super) fn join() -> Result<Self> {
        let (universe, threading) = mpi::initialize_with_threading(Threading::Funneled)
            .context("MPI is running in this process already")?;
        ensure!(threading >= Threading::Funneled, "this MPI does not allow threads");
        Ok(Self { world: universe.world(), _universe: universe })
    }

    fn other(&self, rank: usize) -> Result<mpi::topology::Process<'_>> {
        Ok(self.world.process_at_rank(rank.try_into()?))
    }

    /// The next message of MPI from `from`; sleeps while it waits. [`Interrupted`] where none comes after a signal.
    fn next(&self, from: usize) -> Result<Vec<u8>> {
        let (from, begun) = (self.other(from)?, Instant::now());
        let mut signalled = None;
        loop {
            if let Some((message, status)) = from.immediate_matched_probe() {
                let count = status.count(u8::equivalent_datatype());
                let mut bytes = vec![0; count.try_into()?];
                message.matched_receive_into(&mut bytes[..]);
                return Ok(bytes);
            }
            if begun.elapsed() > BUSY {
                std::thread::sleep(PAUSE);
            }
            if interrupt::is_signalled()
                && signalled.get_or_insert_with(Instant::now).elapsed() > GRACE
            {
                return Err(Interrupted.into());
            }
        }
    }
}

/// Ends the job where this rank panics: leaving MPI in order would wait for ranks that wait for this one.
impl Drop for Mpi {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.world.abort(1);
        }
    }
}

impl Link for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn ranks(&self) -> usize {
        self.world.size() as usize
    }

    fn send(&self, to: usize, bytes: &[u8]) -> Result<()> {
        let to = self.other(to)?;
        to.send(&bytes.len().to_le_bytes()[..]);
        bytes.chunks(MOST_BYTES).for_each(|part| to.send(part));
        Ok(())
    }

    fn receive(&self, from: usize) -> Result<Vec<u8>> {
        let length = self.next(from)?;
        let length = length.try_into().map_err(|_| anyhow::anyhow!("a message has no length"))?;
        let length = usize::from_le_bytes(length);
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            bytes.extend(self.next(from)?);
        }
        Ok(bytes)
    }

    fn swap(&self, to: usize, bytes: &[u8], from: usize) -> Result<Vec<u8>> {
        let length = bytes.len().to_le_bytes();
        let to = self.other(to)?;
        scope(|scope| {
            let first = std::iter::once(&length[..]);
            let sent: Vec<_> = first
                .chain(bytes.chunks(MOST_BYTES))
                .map(|part| WaitGuard::from(to.immediate_send(scope, part)))
                .collect();
            let received = self.receive(from);
            drop(sent); // waits until they are sent
            received
        })
    }

    fn abort(&self, status: u8) -> ! {
        self.world.abort(status.into())
    }
}
