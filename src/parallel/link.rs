//! Bytes between two ranks.

use anyhow::Result;

/// A rank's way to the others. Messages between two ranks arrive in the order in which they were sent.
pub trait Link {
    /// This rank, from 0.
    fn rank(&self) -> usize;
    /// How many there are.
    fn ranks(&self) -> usize;
    /// Sends `bytes` to the rank `to`; may wait until that rank receives them.
    fn send(&self, to: usize, bytes: &[u8]) -> Result<()>;
    /// The next message of the rank `from`.
    fn receive(&self, from: usize) -> Result<Vec<u8>>;
    /// Sends `bytes` to the rank `to` while the next message of `from` comes in: a ring of ranks that all do so moves on.
    fn swap(&self, to: usize, bytes: &[u8], from: usize) -> Result<Vec<u8>>;
    /// Ends every rank now, with this exit status.
    fn abort(&self, status: u8) -> !;
}

#[cfg(test)]
pub(crate) mod threads {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use anyhow::Context;

    use super::*;

    /// A link between the threads of a test.
    pub(crate) struct Threads {
        rank: usize,
        to: Vec<Sender<Vec<u8>>>,
        from: Vec<Receiver<Vec<u8>>>,
    }

    impl Link for Threads {
        fn rank(&self) -> usize {
            self.rank
        }

        fn ranks(&self) -> usize {
            self.to.len()
        }

        fn send(&self, to: usize, bytes: &[u8]) -> Result<()> {
            self.to[to].send(bytes.to_vec()).context("the other rank is gone")
        }

        fn receive(&self, from: usize) -> Result<Vec<u8>> {
            self.from[from].recv().context("the other rank is gone")
        }

        fn swap(&self, to: usize, bytes: &[u8], from: usize) -> Result<Vec<u8>> {
            self.send(to, bytes)?;
            self.receive(from)
        }

        fn abort(&self, status: u8) -> ! {
            panic!("abort with {status}")
        }
    }

    /// Runs `rank` on each of `ranks` threads; returns what each returned, by rank.
    pub(crate) fn each<T: Send>(ranks: usize, rank: impl Fn(Threads) -> T + Sync) -> Vec<T> {
        let mut to: Vec<Vec<_>> = (0..ranks).map(|_| Vec::new()).collect();
        let mut from: Vec<Vec<_>> = (0..ranks).map(|_| Vec::new()).collect();
        for sender in &mut to {
            for receiver in &mut from {
                let (send, receive) = channel();
                sender.push(send);
                receiver.push(receive);
            }
        }
        let links = to.into_iter().zip(from).enumerate();
        std::thread::scope(|scope| {
            let threads: Vec<_> = links
                .map(|(number, (to, from))| {
                    let rank = &rank;
                    scope.spawn(move || rank(Threads { rank: number, to, from }))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }
}
